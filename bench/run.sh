#!/usr/bin/env bash
# Measures: the boundary, the sandbox against native, and whole runs of the command. `make bench` sets the environment.
#
#   bench/run.sh            about fifteen minutes; prints what bench/RESULTS.md records
set -euo pipefail
cd "$(dirname "$0")/.."
work=${SEGNO_CACHE:-$HOME/.cache/segno}/bench
mkdir -p "$work"
# The whole workspace, as everywhere: alone, the benchmarks would want dependencies with other features.
cargo build --release --quiet --workspace --bins
bench=$CARGO_TARGET_DIR/release/segno-bench

echo "# boundary and sandbox (one core)"
taskset -c 0 "$bench" micro

events=5000000
[ -s "$work/bids.jsonl" ] || "$bench" bids --events $events "$work/bids.jsonl"

cat >"$work/bids.yaml" <<END
version: 1
name: bids
source:
  files: { path: bids.jsonl }
  format: json
steps:
  - id: filter
    plugin: $SEGNO_COMPONENTS/filter_bids.wasm
sinks: [{ blackhole: {} }]
checkpoint: { store: "file://./bids.checkpoints", ephemeral: true }
work_dir: bids.work
threads: 1
END
run() { # run NAME CPUS: one fresh run; prints million records/s and peak memory in MiB
    rm -rf "$work/$1.checkpoints" "$work/$1.work"
    python3 - "$SEGNO_BIN" "$work/$1.yaml" "$2" <<'PY'
import json, resource, subprocess, sys
binary, pipeline, cpus = sys.argv[1:]
done = subprocess.run(["taskset", "-c", cpus, binary, "run", "--quiet", "-o", "json", pipeline], capture_output=True, text=True)
if done.returncode:
    sys.exit(done.stderr)
summary = json.loads(done.stdout)
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
print(f"{summary['totals']['records'] / summary['seconds'] / 1e6:.2f} million records/s, peak memory {peak:.0f} MiB")
PY
}

echo "# $events Nexmark bids of $(($(stat -c %s "$work/bids.jsonl") / events)) B, JSON lines, two columns read, filter, blackhole"
for round in 1 2 3 4 5; do echo "one core:  $(run bids 0)"; done
for round in 1 2 3; do echo "two cores: $(run bids 0,1)"; done

echo "# flights: 3 million records, three plugins, keyed state, files, dead letters, checkpoints"
for round in 1 2 3; do
    FLIGHTS_OUT=$work/flights.out
    export FLIGHTS_OUT
    rm -rf "$FLIGHTS_OUT"
    mkdir -p "$FLIGHTS_OUT"
    "$SEGNO_BIN" run --quiet -o json examples/flights/pipeline.yaml |
        python3 -c 'import json, sys; s = json.load(sys.stdin); print("run:    %.2f s, %.2f million records/s, %d checkpoints" % (s["seconds"], s["totals"]["records"] / s["seconds"] / 1e6, s["totals"]["checkpoints"]))'
    "$SEGNO_BIN" replay --quiet -o json examples/flights/pipeline.yaml --from start --verify |
        python3 -c 'import json, sys; s = json.load(sys.stdin); print("replay: %.2f s, identical: %s" % (s["seconds"], s["identical"]))'
done
if [ -n "${SEGNO_TEST_POSTGRES:-}" ]; then
    echo "# rows to PostgreSQL, beside a consumer by hand"
    "$bench" postgres
fi
echo "# keyed state of 1 GiB: checkpoints on against off, recovery"
SEGNO_BENCH=$bench bench/state.py
rm -rf "$work"/*.checkpoints "$work"/*.work "$work/flights.out"
