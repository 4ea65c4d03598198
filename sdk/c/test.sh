#!/bin/sh
# Compiles a test natively, with its plugin and the SDK's harness, and runs it: test.sh TEST.c [FLAGS OF THE COMPILER…]
#
# CC names another compiler than cc.
set -eu
test=${1:?usage: test.sh TEST.c [FLAGS OF THE COMPILER...]}
shift
sdk=$(dirname "$0")
program=$(mktemp)
trap 'rm -f "$program"' EXIT
# Integers wrap, as they do in the sandbox.
"${CC:-cc}" -std=gnu11 -O1 -g -fwrapv -ffp-contract=off -Wall "$@" -I"$sdk/include" "$test" "$sdk"/src/*.c "$sdk"/testing/*.c -lm -o "$program"
"$program"
