#!/usr/bin/env python3
"""Keyed state of 1 GiB: what epochs, journal and checkpoints cost, and how long a recovery takes.

    bench/state.py [--keys 5000000] [--pairs 7] [--updates 12000000] [--s3]

`make bench` sets SEGNO_BIN, SEGNO_BENCH and SEGNO_COMPONENTS. With `--s3`, run by `scripts/servers/servers.py run --s3 --`, journal and
checkpoints go to that S3 server, whose folder is read for the measures, and recovery starts without anything but the bucket. The state is one text of 200 random characters for each
key. Updates touch 5 % of the keys for as many records as one checkpoint interval takes, then another 5 %. Runs with
checkpoints (`replay_debt: 10s`) alternate with runs that make one at their end only; epochs and journal are the same, since
without them nothing is exactly once. Rates are taken between the first and the last epoch of a run, from the journal, so that
neither the start nor the last checkpoint counts. CPU is that of whole runs, of Segno and of the S3 server apart, for a million updates.
"""

import argparse
import json
import os
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

SEGNO, BENCH, COMPONENTS = (os.environ[name] for name in ("SEGNO_BIN", "SEGNO_BENCH", "SEGNO_COMPONENTS"))

PIPELINE = """version: 1
name: state
source:
  files: {{ path: "in-*.jsonl" }}
  format: json
  columns: {{ key: utf8 }}
steps:
  - id: latest
    plugin: "{components}/latest.wasm"
    key: key
sinks: [{{ blackhole: {{}} }}]
work_dir: work
checkpoint: {{ store: "{store}", ephemeral: true, replay_debt: {debt}, keep: 1000 }}
epoch: {{ {epoch} }}
"""
# All checkpoints are kept, so that the journal has every epoch of a run.
ON = {"debt": "10s", "epoch": "max_delay: 500ms"}
OFF = {"debt": "24h", "epoch": "max_delay: 500ms"}


class Lab:
    def __init__(self, folder, keys, updates, in_s3):
        self.folder, self.keys, self.updates, self.files = folder, keys, updates, 0
        self.url, self.store, self.server = "file://store", self.path("store"), None
        if in_s3:
            with open(os.path.join(os.environ["SEGNO_TEST_SERVERS"], "servers.json")) as file:
                self.server = json.load(file)["s3"]["pid"]
            bucket = os.environ["SEGNO_TEST_S3_BUCKET"]
            self.url, self.store = f"s3://{bucket}/bench", os.path.join(os.environ["SEGNO_TEST_SERVERS"], "s3/objects", bucket, "bench")
            os.environ.update(AWS_ENDPOINT_URL=os.environ["SEGNO_TEST_S3"], AWS_ALLOW_HTTP="true", AWS_REGION="us-east-1")

    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    def add(self, kind):
        """Adds an input file: a new partition, read after those before it."""
        count = str(self.keys if kind == "load" else self.updates)
        name = self.path(f"in-{self.files:03}.jsonl")
        subprocess.run([BENCH, "state", kind, "--keys", str(self.keys), "--records", count, "--seed", str(self.files), name], check=True)
        self.files += 1

    def command(self, settings):
        with open(self.path("pipeline.yaml"), "w") as file:
            file.write(PIPELINE.format(components=COMPONENTS, store=self.url, **settings))
        return [SEGNO, "run", "--quiet", "-o", "json", self.path("pipeline.yaml")]

    def epochs(self, after):
        folder = os.path.join(self.store, "default/state/single/journal")
        names = sorted(name for name in os.listdir(folder) if int(name) > after)
        entries = [json.load(open(os.path.join(folder, name))) for name in names]
        return [entry["body"] for entry in entries if entry["body"]["kind"] == "epoch"], int(names[-1]) if names else after

    def run(self, settings, after):
        """One run to the end of the input: thousand records/s in the steady part, the journal's end, the summary, and CPU-seconds for a
        million records of Segno and of the S3 server."""
        before, of_server = resource.getrusage(resource.RUSAGE_CHILDREN), self.server_cpu()
        done = subprocess.run(self.command(settings), capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stderr)
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        epochs, end = self.epochs(after)
        seconds = (epochs[-1]["logical_time_ms"] - epochs[0]["logical_time_ms"]) / 1e3
        records = sum(epoch["counts"]["records"] for epoch in epochs[:-1])
        millions = (records + epochs[-1]["counts"]["records"]) / 1e6
        cpu = (used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime) / millions, (self.server_cpu() - of_server) / millions
        return records / seconds / 1e3, end, json.loads(done.stdout), cpu

    def server_cpu(self):
        """CPU-seconds of the S3 server so far; 0 where there is none."""
        if self.server is None:
            return 0.0
        with open(f"/proc/{self.server}/stat") as file:
            ticks = file.read().rpartition(") ")[2].split()[11:13]
        return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


def stored(folder):
    return sum(os.path.getsize(os.path.join(folder, name)) for name in os.listdir(folder))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--keys", type=int, default=5_000_000)
    parser.add_argument("--updates", type=int, default=12_000_000)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--s3", action="store_true")
    arguments = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="segno-state-")
    try:
        lab = Lab(folder, arguments.keys, arguments.updates, arguments.s3)
        lab.add("load")
        rate, end, _, _ = lab.run(ON, 0)
        size = stored(lab.path("work/state")) / 2**30
        print(f"loaded {arguments.keys:,} keys at {rate:.0f} thousand records/s; the state has {size:.2f} GiB on disk", flush=True)

        ratios, cpus = [], []
        for pair in range(arguments.pairs):
            rates, cpu = {}, {}
            for name, settings in [("on", ON), ("off", OFF)][:: 1 if pair % 2 == 0 else -1]:
                lab.add("update")
                rates[name], end, summary, cpu[name] = lab.run(settings, end)
                rates[f"{name} checkpoints"] = summary["totals"]["checkpoints"]
            ratios.append(rates["off"] / rates["on"])
            cpus.append(cpu["on"][0] / cpu["off"][0])
            print(f"pair {pair + 1}: on {rates['on']:.0f}, off {rates['off']:.0f} thousand updates/s; "
                  f"{rates['on checkpoints']} and {rates['off checkpoints']} checkpoints; ratio {ratios[-1]:.3f}; "
                  f"CPU-seconds for a million: on {cpu['on'][0]:.2f} and {cpu['on'][1]:.2f} of the server, off {cpu['off'][0]:.2f} and {cpu['off'][1]:.2f}", flush=True)
        for what, found in [("time", ratios), ("CPU of Segno", cpus)]:
            print(f"checkpoints on: {100 * (statistics.median(found) - 1):+.1f} % {what} (median of {len(found)} pairs)")

        settings = {"debt": "5s", "epoch": "max_delay: 500ms"}
        lab.add("update")
        process = subprocess.Popen(lab.command(settings), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        manifests = os.path.join(lab.store, "default/state/single/manifest")
        newest = max(os.listdir(manifests))
        # Killed when the replay debt is nearly full: shortly before the second checkpoint of this run.
        while process.poll() is None and max(os.listdir(manifests)) == newest:
            time.sleep(0.05)
        time.sleep(4)
        if process.poll() is not None:
            sys.exit("the run ended before it could be killed: give more --updates")
        process.send_signal(signal.SIGKILL)
        process.wait()
        shutil.rmtree(lab.path("work"))
        command = lab.command(settings)
        command.remove("--quiet")
        done = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ, SEGNO_LOG="info"))
        if done.returncode:
            sys.exit(done.stderr)
        summary = json.loads(done.stdout)
        for line in done.stderr.splitlines():
            if "checkpoint restored" in line:
                print("  " + line[line.index("checkpoint restored"):])
        print(f"recovery on an empty disk: {summary['first_commit_seconds']:.1f} s from start to first new commit, "
              f"{summary['totals']['reexecuted']} epochs executed again")
    finally:
        shutil.rmtree(folder)


main()
