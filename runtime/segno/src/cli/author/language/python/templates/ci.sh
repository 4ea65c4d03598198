#!/bin/sh
# What must hold before a change lands, for any CI: needs Python 3.11, componentize-py and the segno command.
set -eu
cd "$(dirname "$0")"
python3 -m unittest --quiet
segno build
segno check {{module}}.wasm{{check}}
segno test
