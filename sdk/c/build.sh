#!/bin/sh
# From a plugin in C to a core module, of which `componentize` makes a component: build.sh PLUGIN.c OUT.wasm
set -eu
source=$(realpath "$1") out=$(realpath -m "$2")
cd "$(dirname "$0")"
# By its way from the plugin: where both lie on this machine is not in the component.
near=$(realpath --relative-to="$(dirname "$source")" .)
objects=$(mktemp -d)
trap 'rm -r "$objects"' EXIT
# No hosted header is seen; a date or an undeclared function is no warning; stack that was never written is the same each time.
flags="--target=wasm32 -O2 -flto -mbulk-memory -msimd128 -mnontrapping-fptoint -ffreestanding -nostdlibinc -ffp-contract=off
    -ftrivial-auto-var-init=pattern -Wdate-time -Werror=date-time -Werror=implicit-function-declaration -Wall"
checks="-fsanitize=integer-divide-by-zero,bounds,shift,float-cast-overflow,unreachable,return,null
    -fno-sanitize-recover=all"
for part in memory column observe state timer guest; do clang $flags -Isandbox -Iinclude -c src/$part.c -o "$objects/$part.o"; done
# Compiled in its own folder: a panic names the file as the author knows it, and no path of this machine is in the component.
(cd "$(dirname "$source")" && clang $flags $checks -I"$near/sandbox" -I"$near/include" -c "$(basename "$source")" -o "$objects/plugin.o")
clang --target=wasm32 -c src/world.s -o "$objects/world.o"
wasm-ld --no-entry -O2 --lto-O2 --stack-first -z stack-size=65536 "$objects"/*.o -o "$out"
