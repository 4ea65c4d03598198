#!/bin/sh
# Runs the native test: test_{{module}}.c includes the plugin. Any C compiler of gcc's kind.
set -eu
cd "$(dirname "$0")"
${CC:-cc} -std=gnu11 -g -O1 -Wall -fwrapv -fsanitize=address,undefined -fno-sanitize-recover=all -Isegno/include \
    test_{{module}}.c segno/src/*.c segno/testing/*.c -lm -o test_{{module}}
ASAN_OPTIONS=detect_leaks=0 ./test_{{module}}
