#!/bin/sh
# Makes the conformance component of each language that the command builds by that language's own tools, where its sources are newer
# than it. That of Rust is a guest like others (build-guests.sh).
#
#   scripts/build-languages.sh       $SEGNO_BIN builds into $SEGNO_COMPONENTS
set -eu
cd "$(dirname "$0")/.."
for language in python js c; do
    folder=tests/languages/$language
    out=$SEGNO_COMPONENTS/conformance_$language.wasm
    if [ ! -s "$out" ] || [ -n "$(find "$folder" sdk/$language wit -newer "$out" -type f -not -path '*/__pycache__/*' -not -path '*/test*/*')" ]; then
        "$SEGNO_BIN" build --quiet "$folder" --out "$out" >/dev/null
    fi
done
