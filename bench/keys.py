#!/usr/bin/env python3
"""A count for each of very many keys, on one core: updates per second, and the memory that the process takes.

    bench/keys.py [--keys 100000000] [--updates 30000000]

`make bench` sets SEGNO_BIN, SEGNO_BENCH and SEGNO_COMPONENTS. First every key once, then updates whose keys are drawn by Zipf's law
(exponent 1) and uniformly. A value is two numbers of 8 bytes: a count and a sum. Rates are taken between the first and the last
epoch of a run, from the journal; resident memory is the largest that the system saw of the process (ru_maxrss).
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile

SEGNO, BENCH, COMPONENTS = (os.environ[name] for name in ("SEGNO_BIN", "SEGNO_BENCH", "SEGNO_COMPONENTS"))

PIPELINE = """version: 1
name: keys
source:
  files: {{ path: "in-*.jsonl" }}
  format: json
  columns: {{ key: i64, price: i64 }}
steps:
  - {{ id: count, plugin: "{components}/keyed_count.wasm", key: key }}
sinks: [{{ blackhole: {{}} }}]
work_dir: work
threads: 1
state: {{ memory: {memory} }}
checkpoint: {{ store: "file://store", ephemeral: true, replay_debt: 60s, keep: 2 }}
epoch: {{ max_records: 1M, max_delay: 1s }}
"""


def run(folder, core):
    """One run to the end of the input: its summary, seconds of CPU, largest resident memory in MiB."""
    command = ["taskset", "-c", str(core), SEGNO, "run", "--quiet", "-o", "json", os.path.join(folder, "pipeline.yaml")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit("the run failed")
    return json.loads(said), usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--keys", type=int, default=100_000_000)
    parser.add_argument("--updates", type=int, default=30_000_000)
    parser.add_argument("--memory", default="1GiB", help="of the state store")
    parser.add_argument("--core", type=int, default=0)
    arguments = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="segno-keys-")
    try:
        with open(os.path.join(folder, "pipeline.yaml"), "w") as file:
            file.write(PIPELINE.format(components=COMPONENTS, memory=arguments.memory))
        for number, (drawn, records) in enumerate((("each", arguments.keys), ("zipf", arguments.updates), ("uniform", arguments.updates // 3))):
            name = os.path.join(folder, f"in-{number}.jsonl")
            subprocess.run([BENCH, "keys", drawn, "--keys", str(arguments.keys), "--records", str(records), "--seed", str(number), name], check=True)
            summary, cpu, memory = run(folder, arguments.core)
            seconds = summary["seconds"]
            print(f"{drawn:<8} {records:>11,} updates in {seconds:6.1f} s: {records / seconds / 1e3:5.0f} thousand/s on one core "
                  f"({cpu:.0f} s of CPU), at most {memory:,.0f} MiB resident", flush=True)
        size = sum(os.path.getsize(os.path.join(at, one)) for at, _, names in os.walk(os.path.join(folder, "work")) for one in names)
        print(f"the state has {size / 2**30:.2f} GiB on disk")
    finally:
        shutil.rmtree(folder)


main()
