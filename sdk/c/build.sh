#!/bin/sh
# From a plugin in C to a core module, of which a component is made: build.sh PLUGIN.c OUT.wasm [NAME VERSION]
#
# CLANG and WASM_LD name other programs than clang and wasm-ld.
set -eu
source=$(realpath "$1") out=$(realpath -m "$2") name=${3:-plugin} version=${4:-0.0.0}
clang=${CLANG:-clang} wasm_ld=${WASM_LD:-wasm-ld}
cd "$(dirname "$0")"
# By its way from the plugin: where both lie on this machine is not in the component.
near=$(realpath --relative-to="$(dirname "$source")" .)
objects=$(mktemp -d)
trap 'rm -r "$objects"' EXIT
. ./flags
for part in src/*.c; do
    [ "$part" = src/wide.c ] || "$clang" $target $common -Isandbox -Iinclude -c "$part" -o "$objects/$(basename "$part" .c).o"
done
"$clang" $target $wide -c src/wide.c -o "$objects/wide.o"
# Compiled in its own folder: a panic names the file as the author knows it, and no path of this machine is in the component.
(cd "$(dirname "$source")" && "$clang" $target $common $checks -DSEGNO_NAME="\"$name\"" -DSEGNO_VERSION="\"$version\"" \
    -I"$near/sandbox" -I"$near/include" -c "$(basename "$source")" -o "$objects/plugin.o")
"$clang" $target -c src/world.s -o "$objects/world.o"
"$wasm_ld" $link "$objects"/*.o -o "$out"
