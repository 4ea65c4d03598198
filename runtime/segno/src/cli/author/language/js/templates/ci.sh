#!/bin/sh
# What must hold before a change lands, for any CI: needs Node.js 20, what `npm install` brings, and the segno command.
set -eu
cd "$(dirname "$0")"
[ -e node_modules/segno ] || npm install --no-audit --no-fund
npm test --silent
segno build
segno check {{module}}.wasm{{check}}
segno test
