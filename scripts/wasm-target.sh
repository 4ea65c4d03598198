#!/bin/sh
# Makes sure that this machine can compile Rust to wasm32-unknown-unknown, and says how: prints `rustup` or `debian` on
# standard output. Quiet when there is nothing to do; says what is missing and exits with 1 when it cannot help.
#
#   rustup   the toolchain's own target, added if need be
#   debian   Debian's rustc with the standard library built from its sources (scripts/build-guests.sh knows how)
set -eu

target=wasm32-unknown-unknown

has_target() {
    [ -n "$(find "$(rustc --print sysroot)/lib/rustlib/$target/lib" -name 'libstd-*.rlib' 2>/dev/null | head -n 1)" ]
}

has_debian() {
    [ -x /usr/bin/rustc ] &&
        [ -d "$(/usr/bin/rustc --print sysroot)/lib/rustlib/src/rust/library" ] &&
        linker >/dev/null
}

linker() {
    for name in wasm-ld-22 wasm-ld-21 wasm-ld-20 wasm-ld-19 wasm-ld; do
        command -v "$name" && return 0
    done
    return 1
}

if has_target; then
    echo rustup
    exit 0
fi

if command -v rustup >/dev/null; then
    echo "adding the Rust target $target" >&2
    if rustup --quiet target add "$target" >&2 && has_target; then
        echo rustup
        exit 0
    fi
fi

if has_debian; then
    echo debian
    exit 0
fi

if command -v apt-get >/dev/null; then
    as_root=
    [ "$(id -u)" = 0 ] || as_root="sudo -n"
    echo "installing Debian's Rust with its sources, for $target" >&2
    if $as_root apt-get install -y -qq rustc-web rust-web-src lld-22 >/dev/null 2>&1 && has_debian; then
        echo debian
        exit 0
    fi
fi

cat >&2 <<END
This machine cannot compile plugins to $target. Either of these makes it able to:
  rustup target add $target
  apt-get install rustc-web rust-web-src lld-22      (Debian)
END
exit 1
