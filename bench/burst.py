#!/usr/bin/env python3
"""A burst of timers: windows of a million keys that end at one instant, and how long output pauses meanwhile.

    bench/burst.py [--keys N] [--rounds N]

Each key has one record, within one hour; then a record of a later hour ends all windows. Printed for each round: rows, the
longest time from one published file of the burst to the next (the first: from the last commit before the burst), and the
largest resident memory; once with the default of `epoch.max_timers`, and once with so many that all fire in one epoch.

Needs SEGNO_BIN and SEGNO_COMPONENTS, as `make bench` sets them; writes to a temporary folder.
"""

import argparse
import glob
import json
import os
import subprocess
import tempfile

PIPELINE = """version: 1
name: burst
source:
  files: { path: in.jsonl }
  format: json
  time: /at
  columns: { delay: i64, at: timestamp, origin: utf8 }
steps:
  - id: hours
    plugin: "${SEGNO_COMPONENTS}/windowed_delays.wasm"
    key: origin
sinks:
  - name: hours
    from: hours.hours
    files: { path: out }
  - name: late
    from: hours.late
    files: { path: late }
work_dir: work
epoch: { max_records: 100k, max_timers: TIMERS }
checkpoint: { store: "file://store", ephemeral: true }
"""


def write_records(path, keys):
    with open(path, "w") as file:
        for key in range(keys):
            second = key * 3600 // keys
            at = f"2026-01-01T00:{second // 60:02}:{second % 60:02}Z"
            file.write(f'{{"delay":{key % 90},"at":"{at}","origin":"key-{key:07}"}}\n')
        file.write('{"delay":1,"at":"2026-01-01T02:00:00Z","origin":"last"}\n')


def epochs(folder):
    """When each epoch's journal entry was written, and how many timers it fired."""
    for path in sorted(glob.glob(f"{folder}/store/**/journal/*", recursive=True)):
        if os.path.basename(path).isdigit():
            with open(path) as file:
                body = json.load(file)["body"]
            if body["kind"] == "epoch":
                yield os.stat(path).st_mtime_ns, body["counts"].get("timers", {}).get("hours", 0)


def measure(keys, timers):
    with tempfile.TemporaryDirectory() as folder:
        write_records(f"{folder}/in.jsonl", keys)
        with open(f"{folder}/p.yaml", "w") as file:
            file.write(PIPELINE.replace("TIMERS", str(timers)))
        process = subprocess.Popen([os.environ["SEGNO_BIN"], "run", "-q", "p.yaml"], cwd=folder, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        assert status == 0, "the run failed"
        before, pauses, parts = None, [], 0
        for at, fired in epochs(folder):
            if before and fired:
                pauses.append((at - before) / 1e9)
                parts += 1
            before = at
        rows = 0
        for path in glob.glob(f"{folder}/out/*.jsonl"):
            with open(path) as file:
                rows += sum(1 for _ in file)
        assert rows == keys + 1, f"{rows} rows of {keys + 1} windows"
        return f"{rows} rows in {parts} epochs, longest pause {max(pauses):.2f} s, {usage.ru_maxrss >> 10} MiB"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    for _ in range(args.rounds):
        for name, timers in [("default", 50_000), ("one epoch", args.keys * 2)]:
            print(f"{name:10} {measure(args.keys, timers)}", flush=True)


main()
