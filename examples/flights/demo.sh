#!/usr/bin/env bash
# The demo: US flights through three plugins, killed twice with kill -9, then replayed and compared.
#
# `make demo` sets SEGNO_BIN, SEGNO_COMPONENTS and FLIGHTS_DATA. Results go to examples/flights/out.
set -euo pipefail
cd "$(dirname "$0")"
export FLIGHTS_OUT=${FLIGHTS_OUT:-out}
pipeline=pipeline.yaml
store=$FLIGHTS_OUT/checkpoints/default/flights/single
rm -rf "$FLIGHTS_OUT"
mkdir -p "$FLIGHTS_OUT"

newest() { # the highest number in a folder of the checkpoint store, 0 when there is none
    local names
    names=$(ls "$store/$1" 2>/dev/null | grep -E '^[0-9]+$' | sort | tail -n 1) || true
    echo $((10#${names:-0}))
}

echo "1. Three million flights of 2001, and a file of odd records, through three plugins in the sandbox:"
echo "   quality gate -> enrich (names of airports) -> running statistics per origin and hour"
checkpoint=0
for kill in 1 2; do
    "$SEGNO_BIN" run --quiet $pipeline >"$FLIGHTS_OUT/run-$kill.log" 2>&1 &
    process=$!
    # Wait for a new checkpoint, then for an epoch committed after it: the epoch that runs now is not committed.
    while kill -0 $process 2>/dev/null && [ "$(newest manifest)" -le "$checkpoint" ]; do sleep 0.01; done
    checkpoint=$(newest manifest)
    entry=$(newest journal)
    while kill -0 $process 2>/dev/null && [ "$(newest journal)" -le "$entry" ]; do sleep 0.01; done
    if ! kill -9 $process 2>/dev/null; then
        echo "FAILED: the run ended before kill number $kill could interrupt it; it said:"
        cat "$FLIGHTS_OUT/run-$kill.log"
        exit 1
    fi
    wait $process 2>/dev/null || true
    echo "   kill -9 number $kill: after checkpoint $checkpoint and $(newest journal) journal entries, amid an epoch"
done
echo "   and the machine's disk is lost as well: the local state is deleted, only the checkpoint store is left"
rm -rf "$FLIGHTS_OUT/work/state"

echo "2. Started again: it recovers from the checkpoint and goes on to the end."
"$SEGNO_BIN" run --quiet $pipeline -o json >"$FLIGHTS_OUT/summary.json"
"$SEGNO_BIN" state scan --quiet $pipeline stats --limit 0 >"$FLIGHTS_OUT/state.jsonl"
python3 - "$FLIGHTS_OUT" <<'PY'
import glob, json, sys
out = sys.argv[1]
summary = json.load(open(out + "/summary.json"))
totals = summary.get("totals", summary)
if not totals.get("records"):
    sys.exit("FAILED: nothing was left for the last run: the kills did not interrupt anything")
letters = [json.loads(line) for name in sorted(glob.glob(out + "/dead-letters/*.jsonl")) for line in open(name)]
print(f"   executed again {totals['reexecuted']} epochs, then read {totals['records']:,} more records\n")
stats = [json.loads(line) for line in open(out + "/state.jsonl")]
busiest = {}
for row in stats:
    key, value = row["key"], row["value"]
    busiest.setdefault(key["origin"], []).append((key["hour"], value))
top = sorted(busiest, key=lambda origin: -sum(v["count"] for _, v in busiest[origin]))[:8]
print("   origin   flights   mean delay   best hour      worst hour")
for origin in top:
    hours = [(v["sum"] / v["count"], hour) for hour, v in busiest[origin] if v["count"] >= 500]
    count = sum(v["count"] for _, v in busiest[origin])
    mean = sum(v["sum"] for _, v in busiest[origin]) / count
    (best, at), (worst, late) = min(hours), max(hours)
    print(f"   {origin:6} {count:9,} {mean:8.1f} min   {at:02}h {best:6.1f}     {late:02}h {worst:6.1f}")
print(f"\n   {len(letters)} dead letters, such as:")
for letter in (letters[0], letters[4], letters[-1]):
    print(f"   [{letter['code']}] {letter['partition']} offset {letter['offset']}: {letter['reason']}")
print()
PY

echo "3. The whole history, executed again and compared digest by digest:"
"$SEGNO_BIN" replay $pipeline --from start --verify
