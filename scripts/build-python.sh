#!/bin/sh
# Makes the component of each plugin in Python that tests need, where its sources are newer than it.
#
#   scripts/build-python.sh       $SEGNO_BIN builds into $SEGNO_COMPONENTS, by $SEGNO_COMPONENTIZE_PY
set -eu
cd "$(dirname "$0")/.."
for folder in tests/languages/python; do
    name=$(sed -n 's/^name = "\(.*\)"/\1/p' "$folder/pyproject.toml")
    out=$SEGNO_COMPONENTS/$name.wasm
    if [ ! -s "$out" ] || [ -n "$(find "$folder" sdk/python/segno wit -newer "$out" \( -name '*.py' -o -name '*.toml' -o -name '*.wit' \))" ]; then
        "$SEGNO_BIN" build --quiet "$folder" --out "$out" >/dev/null
    fi
done
