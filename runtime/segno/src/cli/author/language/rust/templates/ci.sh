#!/bin/sh
# What must hold before a change lands, for any CI: needs Rust and the segno command.
set -eu
cd "$(dirname "$0")"
cargo test --quiet
segno build
segno check {{module}}.wasm{{check}}
segno test
