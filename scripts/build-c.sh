#!/bin/sh
# Makes the component of each plugin in C that tests need, where its sources are newer than it.
#
#   scripts/build-c.sh            $SEGNO_BIN builds into $SEGNO_COMPONENTS
set -eu
cd "$(dirname "$0")/.."
for folder in tests/languages/c; do
    name=$(sed -n 's/^name = "\(.*\)"/\1/p' "$folder/plugin.toml" | tr - _)
    out=$SEGNO_COMPONENTS/$name.wasm
    if [ ! -s "$out" ] || [ -n "$(find "$folder" sdk/c "$SEGNO_BIN" -newer "$out" \( -name '*.[chs]' -o -name '*.toml' -o -name segno \))" ]; then
        "$SEGNO_BIN" build --quiet "$folder" --out "$out" >/dev/null
    fi
done
