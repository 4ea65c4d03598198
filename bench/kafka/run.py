#!/usr/bin/env python3
"""Kafka to Kafka: Segno beside Kafka Streams (exactly_once_v2), on a broker of its own; `make bench-kafka` sets the environment.

    bench/kafka/run.py [RECORDS] [ROUNDS]
    bench/kafka/run.py [RECORDS] [ROUNDS] transactions     the Kafka sink with and without transactions, instead

Both read records of 100 bytes, hand each to a transform that gives it back, and write them; both commit about every 100 ms, or
every 20 ms where latency is measured.
Prints CPU-seconds per million records (without the broker's, and without what a run of few records costs), the rate, and the
time from writing a record to reading it committed at half of the lower rate. Owns measuring; the servers are scripts/servers's.
"""

import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
JARS = pathlib.Path(os.environ["SEGNO_CACHE"]) / "bench/kafka-streams-4.1.0"
BROKERS = os.environ["SEGNO_TEST_KAFKA"]
SEGNO = os.environ["SEGNO_BIN"]
# The same command with what tests and benches need: only here can transactions be left out.
TESTING = os.environ.get("SEGNO_TESTING_BIN")
PLUGIN = pathlib.Path(os.environ["SEGNO_COMPONENTS"]) / "pass_through.wasm"
LOAD = pathlib.Path(os.environ["CARGO_TARGET_DIR"]) / "release/examples/load"
TOOL = ROOT / "scripts/servers/kafka-tool.sh"
PARTITIONS = "4"
# A run of so few costs what starting costs.
FEW = 1_000
LATENCY_S = 20
# Between commits: where the cost is measured, and where a user wants rows soon.
COMMIT_MS, SOON_MS = 100, 20
JAVA = ["java", "-Xmx512m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]

PIPELINE = """\
version: 1
name: {output}
source:
  kafka: {{ brokers: "{brokers}", topics: [{source}]{until} }}
  format: raw
  columns: {{ value: binary }}
steps: [{{ id: copy, plugin: "{plugin}" }}]
sinks: [{{ kafka: {{ brokers: "{brokers}", topic: {output}, format: raw }}, columns: [value] }}]
epoch: {{ max_delay: {commit}ms, max_records: {epoch} }}
work_dir: work-{output}
checkpoint: {{ store: "file://./store", ephemeral: true }}
"""


def topic(name):
    subprocess.run([TOOL, "topics", "--bootstrap-server", BROKERS, "--create", "--topic", name, "--partitions", PARTITIONS],
                   check=True, stdout=subprocess.DEVNULL)
    return name


def install():
    if not JARS.is_dir():
        subprocess.run(["mvn", "-q", "-B", "-f", HERE / "pom.xml", "dependency:copy-dependencies", "-DincludeScope=runtime",
                        f"-DoutputDirectory={JARS}.new"], check=True)
        os.rename(f"{JARS}.new", JARS)


class Bench:
    def __init__(self, folder):
        self.folder, self.runs = folder, 0
        subprocess.run(["javac", "-cp", f"{JARS}/*", "-d", folder, HERE / "Copy.java"], check=True)
        self.java = [*JAVA, "-cp", f"{folder}:{JARS}/*"]

    def load(self, *words):
        return subprocess.run([LOAD, words[0], BROKERS, *map(str, words[1:])], check=True, stdout=subprocess.PIPE, text=True).stdout

    def start(self, what, source, records, commit):
        """A running copy into a topic of its own; with `records` it ends by itself."""
        self.runs += 1
        output = topic(f"{what.replace('_', '-')}-{self.runs}")
        environment = dict(os.environ)
        if what.startswith("segno"):
            until = ", until: latest" if records else ""
            path = self.folder / f"{output}.yaml"
            path.write_text(PIPELINE.format(brokers=BROKERS, source=source, output=output, plugin=PLUGIN, until=until, epoch=100_000,
                                            commit=commit))
            command = [SEGNO if what == "segno" else TESTING, "run", "-q", path]
            if what == "segno_without_transactions":
                environment["SEGNO_PLANT_NO_TRANSACTIONS"] = "1"
        else:
            command = [*self.java, "Copy", BROKERS, source, output, what, str(records), str(self.folder / f"state-{self.runs}"),
                       str(commit)]
        return output, subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)

    def cost(self, what, source, records):
        """CPU-seconds and seconds of a whole run."""
        output, process = self.start(what, source, records, COMMIT_MS)
        started = time.monotonic()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            sys.exit(f"{what} ended with {process.returncode}")
        seconds = time.monotonic() - started
        written = int(self.load("count", output))
        if written != records:
            sys.exit(f"{what} wrote {written} of {records} records")
        return used.ru_utime + used.ru_stime, seconds

    def latency(self, what, rate):
        source = topic(f"live-{self.runs}")
        output, process = self.start(what, source, 0, SOON_MS)
        try:
            return [float(word) for word in self.load("latency", source, output, rate, LATENCY_S).split()]
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def main():
    records = int(sys.argv[1]) if len(sys.argv) > 1 else 2_000_000
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    install()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(pathlib.Path(folder))
        many, few = topic("many"), topic("few")
        bench.load("fill", many, records)
        bench.load("fill", few, FEW)
        only_transactions = sys.argv[3:] == ["transactions"]
        kinds = ["segno", "exactly_once_v2", "at_least_once"]
        if only_transactions:
            kinds = ["segno_with_transactions", "segno_without_transactions"]
        found = {kind: [] for kind in kinds}
        for number in range(rounds):
            # Each goes first in every other round.
            for kind in kinds[::-1] if only_transactions and number % 2 else kinds:
                whole, seconds = bench.cost(kind, many, records)
                start, start_seconds = bench.cost(kind, few, FEW)
                millions = (records - FEW) / 1e6
                found[kind].append(((whole - start) / millions, (records - FEW) / max(seconds - start_seconds, 0.001)))
                print(f"{kind:16} {found[kind][-1][0]:6.2f} CPU-seconds per million records, {found[kind][-1][1]:9.0f} records/s", flush=True)
        medians = {kind: [statistics.median(column) for column in zip(*found[kind])] for kind in kinds}
        if only_transactions:
            ratios = [one[1] / other[1] for one, other in zip(*(found[kind] for kind in kinds))]
            print(json.dumps({"rates": {kind: [round(speed) for _, speed in found[kind]] for kind in kinds},
                              "medians": {kind: [round(cpu, 2), round(speed)] for kind, (cpu, speed) in medians.items()},
                              "ratio_of_each_round": [round(ratio, 3) for ratio in ratios],
                              "median_ratio": round(statistics.median(ratios), 3)}, indent=2))
            return
        rate = int(min(medians[kind][1] for kind in kinds[:2]) / 2)
        result = {kind: {"cpu_s_per_million": round(cpu, 2), "records_per_s": round(speed)} for kind, (cpu, speed) in medians.items()}
        for kind in kinds[:2]:
            half, most, slowest = bench.latency(kind, rate)
            result[kind].update({"rate": rate, "p50_ms": half, "p99_ms": most, "slowest_ms": slowest})
        print(json.dumps(result, indent=2))


main()
