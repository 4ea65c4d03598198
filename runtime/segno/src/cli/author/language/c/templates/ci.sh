#!/bin/sh
# What must hold before a change lands, for any CI: needs clang, lld and the segno command.
set -eu
cd "$(dirname "$0")"
sh test.sh
segno build
segno check {{module}}.wasm{{check}}
segno test
