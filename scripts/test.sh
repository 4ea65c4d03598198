#!/bin/sh
# Runs every suite, prints the time of each, and closes with the totals. The Makefile sets the environment.
#
#   scripts/test.sh             SEGNO_BIN, SEGNO_TESTING_BIN, SEGNO_CHECKER_BIN and SEGNO_COMPONENTS must be set
set -u
cd "$(dirname "$0")/.."
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
passed=0 failed=0 started=$(date +%s)

suite() { # suite NAME PACKAGE…
    name=$1
    shift
    packages=
    for package; do packages="$packages -p $package"; done
    from=$(date +%s)
    # shellcheck disable=SC2086
    cargo test --release --quiet $packages >"$logs/$name" 2>&1
    status=$?
    sums=$(awk '/^test result:/ { p += $4; f += $6 } END { print p + 0, f + 0 }' "$logs/$name")
    p=${sums% *} f=${sums#* }
    # A suite that did not get as far as a result failed, whatever it counted.
    [ "$status" = 0 ] || [ "$f" -gt 0 ] || f=1
    passed=$((passed + p)) failed=$((failed + f))
    printf '%-12s %4d passed %3d failed %5d s\n' "$name" "$p" "$f" "$(($(date +%s) - from))"
    if [ "$f" -gt 0 ]; then
        sed 's/^/    /' "$logs/$name" | grep -v '^    running ' | tail -n 150
    fi
    grep -h '^## ' "$logs/$name" 2>/dev/null
}

suite boundary segno-wire
suite sdk segno-sdk segno-sdk-derive
suite plugins $(ls plugins)
suite core segno-core
suite input segno-input
suite sandbox segno-plugin
suite durable segno-durable
suite segno segno
suite checker segno-checker
[ ! -d tests/faults ] || suite faults segno-faults
echo "all suites: $(($(date +%s) - started)) s"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
