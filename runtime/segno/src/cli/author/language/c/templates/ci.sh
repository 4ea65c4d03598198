#!/bin/sh
# What must hold before a change lands, for any CI: needs a C compiler, clang with wasm-ld, and the segno command.
set -eu
cd "$(dirname "$0")"
segno/test.sh test_{{module}}.c
segno build
segno check {{module}}.wasm{{check}}
segno test
