#!/usr/bin/env bash
# Measures: the boundary, the sandbox against native, and whole runs of the command. `make bench` sets the environment.
#
#   bench/run.sh            about 5 minutes; prints what bench/RESULTS.md records
#   LONG=1 bench/run.sh     also 1 GiB of state: overhead of checkpoints, recovery (about 30 minutes)
set -euo pipefail
cd "$(dirname "$0")/.."
work=${SEGNO_CACHE:-$HOME/.cache/segno}/bench
mkdir -p "$work"
cargo build --release --quiet -p segno-bench
bench=$CARGO_TARGET_DIR/release/segno-bench

echo "# boundary and sandbox (one core)"
taskset -c 0 "$bench" micro

events=5000000
[ -s "$work/bids.jsonl" ] || "$bench" bids --events $events "$work/bids.jsonl"
bytes=$(($(stat -c %s "$work/bids.jsonl") / events))

pipeline() { # pipeline NAME STEPS… : writes a pipeline file over the bids into a blackhole
    cat >"$work/$1.yaml" <<END
version: 1
name: $1
source:
  files: { path: bids.jsonl }
  format: json
  columns: { bid.auction: i64, bid.price: i64 }
steps:
$2
sinks: [{ blackhole: {} }]
checkpoint: { store: "file://./$1.checkpoints", ephemeral: true }
work_dir: $1.work
threads: ${3:-1}
END
}

run() { # run NAME CPUS : one fresh run; prints seconds and peak memory in KiB
    rm -rf "$work/$1.checkpoints" "$work/$1.work"
    python3 - "$SEGNO_BIN" "$work/$1.yaml" "$2" <<'PY'
import json, os, resource, subprocess, sys, time
binary, pipeline, cpus = sys.argv[1:]
started = time.time()
done = subprocess.run(["taskset", "-c", cpus, binary, "run", "--quiet", "-o", "json", pipeline], capture_output=True, text=True)
if done.returncode:
    sys.exit(done.stderr)
seconds = json.loads(done.stdout)["seconds"]
print(seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
PY
}
