#!/bin/sh
# Installs what is missing on this machine, quietly: system packages, the WebAssembly target, the example's data.
#
#   scripts/setup.sh            Debian or Ubuntu: installs; elsewhere: says what is missing
set -eu
cd "$(dirname "$0")/.."
cache=${SEGNO_CACHE:-$HOME/.cache/segno}
mkdir -p "$cache"

say() { echo "setup: $*"; }

missing=
need() { # need COMMAND PACKAGE
    command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}
need cc gcc
need c++ g++
need make make
need cmake cmake
need clang clang
need wasm-ld lld
need node nodejs
need npm npm
need python3 python3
# A test follows the system calls of a run.
need strace strace
python3 -c 'import ensurepip' 2>/dev/null || missing="$missing python3-venv"
[ -n "$(ls /usr/lib/llvm-*/lib/libclang*.so* /usr/lib/*/libclang*.so* 2>/dev/null | head -n 1)" ] || missing="$missing libclang-dev"
# What librdkafka links: its header files.
[ -e /usr/include/curl/curl.h ] || [ -n "$(ls /usr/include/*/curl/curl.h 2>/dev/null)" ] || missing="$missing libcurl4-openssl-dev"
[ -e /usr/include/openssl/ssl.h ] || missing="$missing libssl-dev"
[ -e /usr/include/zlib.h ] || missing="$missing zlib1g-dev"
# Tests run under a clock that is wrong.
[ -n "$(ls /usr/lib/*/faketime/libfaketimeMT.so.1 2>/dev/null)" ] || missing="$missing libfaketime"
command -v cargo >/dev/null 2>&1 || {
    say "Rust is missing: install it from https://rustup.rs (the version that rust-version in Cargo.toml names)"
    exit 1
}
install() {
    if [ "$(id -u)" = 0 ]; then as=; elif command -v sudo >/dev/null 2>&1; then as=sudo; else as=none; fi
    if [ "$as" = none ] || ! command -v apt-get >/dev/null 2>&1; then
        say "please install these packages:$*"
        exit 1
    fi
    say "installing$*"
    # shellcheck disable=SC2086,SC2048
    { $as apt-get update -qq && DEBIAN_FRONTEND=noninteractive $as apt-get install -y -qq $*; } >"$cache/apt.log" 2>&1 || {
        say "apt-get failed; see $cache/apt.log"
        tail -n 5 "$cache/apt.log"
        exit 1
    }
}
[ -z "$missing" ] || install "$missing"

# The standard library for wasm32: rustup's, or else Debian's sources and compiler.
if ! scripts/wasm-target.sh >/dev/null 2>&1; then
    install " rustc-web rust-web-src lld-22"
    scripts/wasm-target.sh >/dev/null
fi

# Flights and airports of the npm package vega-datasets.
if [ ! -s "$cache/vega-datasets/data/flights-3m.parquet" ]; then
    say "fetching the example's data (npm package vega-datasets)"
    work=$(mktemp -d)
    (cd "$work" && npm pack --silent vega-datasets@3.2.1 >/dev/null && tar xzf vega-datasets-*.tgz) || {
        say "npm could not fetch vega-datasets: is the npm registry reachable?"
        exit 1
    }
    rm -rf "$cache/vega-datasets"
    mv "$work/package" "$cache/vega-datasets"
    rm -rf "$work"
fi

# DuckDB, by which a test computes what the Nexmark queries must give.
if [ ! -x "$cache/duckdb/bin/python" ] || ! "$cache/duckdb/bin/python" -c "import duckdb" 2>/dev/null; then
    say "installing DuckDB (PyPI)"
    rm -rf "$cache/duckdb"
    { python3 -m venv "$cache/duckdb" && "$cache/duckdb/bin/pip" install --quiet duckdb==2.0.1; } >"$cache/duckdb.log" 2>&1 || {
        say "pip could not install DuckDB; see $cache/duckdb.log"
        exit 1
    }
fi

# What builds plugins in Python.
if ! "$cache/componentize-py/bin/componentize-py" --version 2>/dev/null | grep -q " 0\.25\."; then
    say "installing componentize-py (PyPI)"
    rm -rf "$cache/componentize-py"
    { python3 -m venv "$cache/componentize-py" && "$cache/componentize-py/bin/pip" install --quiet componentize-py==0.25.1; } >"$cache/componentize-py.log" 2>&1 || {
        say "pip could not install componentize-py; see $cache/componentize-py.log"
        exit 1
    }
fi

# What builds plugins in JavaScript.
if ! cmp -s scripts/componentize-js/package-lock.json "$cache/componentize-js/package-lock.json" || [ ! -d "$cache/componentize-js/node_modules/esbuild" ]; then
    say "installing componentize-js and esbuild (npm)"
    rm -rf "$cache/componentize-js"
    mkdir -p "$cache/componentize-js"
    cp scripts/componentize-js/package.json scripts/componentize-js/package-lock.json "$cache/componentize-js/"
    (cd "$cache/componentize-js" && npm ci --no-audit --no-fund --ignore-scripts --quiet) >"$cache/componentize-js.log" 2>&1 || {
        say "npm could not install componentize-js; see $cache/componentize-js.log"
        rm -rf "$cache/componentize-js"
        exit 1
    }
fi
