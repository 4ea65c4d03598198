#!/bin/sh
# Compiles plugins to WebAssembly modules. `segno build` makes components of them.
#
#   scripts/build-guests.sh [PACKAGE…]     default: every plugin under plugins/ and tests/guests/, and the one of tests/languages
#
# The modules go to $SEGNO_GUESTS, or target/guests under the repository: one PACKAGE.wasm each.
set -eu

cd "$(dirname "$0")/.."
out=${SEGNO_GUESTS:-$PWD/target/guests}
build=${CARGO_TARGET_DIR:-$PWD/target}
target=wasm32-unknown-unknown

whole=$([ $# -gt 0 ] || echo yes)
[ $# -gt 0 ] || set -- $(sed -n 's/^name = "\(.*\)"/\1/p' plugins/*/Cargo.toml plugins/*/*/Cargo.toml tests/guests/*/Cargo.toml tests/languages/rust/Cargo.toml)
packages=
for name; do
    packages="$packages -p $name"
done

# The same instructions on every machine; 128-bit vectors are deterministic, relaxed ones are not and stay off.
flags="-C target-feature=+simd128 --remap-path-prefix $PWD=/segno --remap-path-prefix ${CARGO_HOME:-$HOME/.cargo}=/cargo"
export CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS="$flags"

how=$(scripts/wasm-target.sh)
case $how in
rustup)
    cargo build --quiet --profile guest --target "$target" $packages --lib
    ;;
debian)
    # Debian's compiler calls itself stable, and has no compiled standard library for this target.
    for linker in wasm-ld-22 wasm-ld-21 wasm-ld-20 wasm-ld-19 wasm-ld; do
        ! command -v "$linker" >/dev/null || break
    done
    RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=$linker \
        cargo build --quiet --profile guest --target "$target" $packages --lib -Zbuild-std=std,panic_abort
    ;;
esac

mkdir -p "$out"
files=
for name; do
    # Not touched when nothing changed, so that what is made of it need not be made again.
    file=$(echo "$name" | tr - _).wasm
    cmp -s "$build/$target/guest/$file" "$out/$file" || cp "$build/$target/guest/$file" "$out/$file"
    files="$files $file"
done

# The folder outlives the checkout: a module of another revision, of a plugin that this one does not have, would be made a
# component too, or fail to become one.
[ -z "$whole" ] || for file in "$out"/*.wasm; do
    case "$files " in
    *" ${file##*/} "*) ;;
    *) rm "$file" ;;
    esac
done
