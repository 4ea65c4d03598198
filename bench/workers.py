#!/usr/bin/env python3
"""Measures several workers: CPU per record with 1, 2 and 4 of them, and how long a take-over takes.

    bench/workers.py [RECORDS]      default 500000; wants SEGNO_TEST_KAFKA (a broker), SEGNO_BIN, SEGNO_COMPONENTS

The input is written once, by Java's producer, keyed, over 8 partitions. Each figure is of fresh processes that read it from the
beginning to its end (keyed count, rows to a topic, checkpoints in a folder), CPU time as the system counts it, start-up
included.
"""

import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timezone

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BROKERS = os.environ["SEGNO_TEST_KAFKA"]
SEGNO = os.environ["SEGNO_BIN"]
COMPONENTS = os.environ["SEGNO_COMPONENTS"]
RECORDS = int(sys.argv[1]) if len(sys.argv) > 1 else 500_000
PARTITIONS = 8
KEYS = 10_000
ROUNDS = 3
TAKE_OVERS = 5
PATIENCE = 90  # seconds

PIPELINE = """\
version: 1
name: {name}
sharding: by_partition
worker: {{ session_timeout: {session} }}
source:
  kafka: {{ brokers: "{brokers}", topics: [{topic}]{until} }}
  format: json
  columns: {{ id: i64, kafka.key: utf8 }}
steps:
  - {{ id: count, plugin: "{components}/keyed_count.wasm", key: kafka.key }}
sinks:
  - {{ kafka: {{ brokers: "{brokers}", topic: {output}, key: kafka.key }}, columns: [id, bids, total_price] }}
work_dir: "work-${{WORKER:-none}}"
threads: 1
{epoch}checkpoint: {{ store: "file://store", ephemeral: true, keep: 3 }}
"""


def tool(name, *arguments, **more):
    subprocess.run([f"{ROOT}/scripts/servers/kafka-tool.sh", name, "--bootstrap-server", BROKERS, *arguments],
                   check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **more)


def topic(what):
    name = f"{what}-{random.getrandbits(48):012x}"
    tool("topics", "--create", "--topic", name, "--partitions", str(PARTITIONS))
    return name


def write(name, records):
    lines = (f'k{random.randrange(KEYS)}\t{{"id":{number},"price":{random.randrange(500)},"note":"{number:064}"}}\n'
             for number in range(records))
    tool("console-producer", "--topic", name, "--property", "parse.key=true", input="".join(lines).encode())


class Team:
    """Processes of one pipeline, in a folder of its own."""

    def __init__(self, folder, source, session="2s", until="", epoch=""):
        self.folder, self.processes, self.logs = folder, [], []
        self.path = os.path.join(folder, "pipeline.yaml")
        with open(self.path, "w") as file:
            file.write(PIPELINE.format(name=topic("p"), session=session, brokers=BROKERS, topic=source, until=until,
                                       epoch=epoch, components=COMPONENTS, output=topic("out")))

    def start(self):
        number = len(self.processes)
        log, summary = (open(os.path.join(self.folder, f"{kind}-{number}"), "w") for kind in ("log", "summary"))
        process = subprocess.Popen([SEGNO, "run", "-v", "-q", "-o", "json", self.path], stdout=summary, stderr=log,
                                   env=dict(os.environ, WORKER=str(number)))
        self.processes.append(process)
        self.logs.append(log.name)

    def said(self, number):
        with open(self.logs[number]) as log:
            return log.read()

    def events(self, number, message):
        """What a process logged: (wall time, fields)."""
        for line in self.said(number).splitlines():
            event = json.loads(line)
            if event.get("message") == message:
                yield seconds(event["time"]), event

    def live(self, number):
        """When each shard became live in a process."""
        return {int(fields["shard"]): at for at, fields in self.events(number, "the shard is live")}

    def given(self, number):
        """When the group gave shards to a process."""
        found = ((at, set(json.loads(fields["shards"]))) for at, fields in self.events(number, "the workers' group")
                 if fields["what"] == "Take")
        return [(at, shards) for at, shards in found if shards]


def seconds(text):
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc).timestamp()


def wait_for(met):
    until = time.time() + PATIENCE
    while not met():
        if time.time() > until:
            sys.exit("it does not come to pass")
        time.sleep(0.05)


def cost(source, workers):
    """CPU microseconds per record and records per second, of a run from the beginning to the end."""
    with tempfile.TemporaryDirectory() as folder:
        team = Team(folder, source, until=", until: latest")
        started = time.time()
        for _ in range(workers):
            team.start()
        cpu = 0.0
        for process in team.processes:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            cpu += usage.ru_utime + usage.ru_stime
        spent = time.time() - started
        read = 0
        for number in range(workers):
            with open(os.path.join(folder, f"summary-{number}")) as summary:
                read += json.load(summary)["totals"]["records"]
        if read != RECORDS or any(process.returncode for process in team.processes):
            sys.exit(f"{read} of {RECORDS} records were read: {team.said(0)}")
        return cpu * 1e6 / read, read / spent


def take_over(source, session):
    """Seconds from a kill to the group's word (detection), and from there until the last shard is live (recovery)."""
    with tempfile.TemporaryDirectory() as folder:
        team = Team(folder, source, session=session, epoch="epoch: { max_records: 2000 }\n")
        team.start()
        team.start()
        wait_for(lambda: team.live(0) and team.live(1) and len(team.live(0) | team.live(1)) == PARTITIONS)
        time.sleep(1)
        lost = {shard for shard in team.live(0) if shard not in team.live(1) or team.live(0)[shard] > team.live(1)[shard]}
        killed = time.time()
        team.processes[0].kill()
        wait_for(lambda: all(team.live(1).get(shard, 0) > killed for shard in lost))
        detected = min(at for at, shards in team.given(1) if at > killed and shards & lost)
        live = max(team.live(1)[shard] for shard in lost)
        team.processes[1].send_signal(signal.SIGTERM)
        for process in team.processes:
            process.wait()
        return detected - killed, live - detected


def main():
    source = topic("in")
    write(source, RECORDS)
    print(f"# {RECORDS} records in {PARTITIONS} partitions, keyed count, rows to a topic")
    results = {workers: [] for workers in (1, 2, 4)}
    for _ in range(ROUNDS):
        for workers, found in results.items():
            found.append(cost(source, workers))
    for workers, found in results.items():
        shown = ", ".join(f"{cpu:.2f}" for cpu, _ in found)
        rate = statistics.median(rate for _, rate in found)
        print(f"{workers} workers: {shown} µs of CPU per record; {rate:,.0f} records/s")
    for session in ("2s", "10s"):
        found = [take_over(source, session) for _ in range(TAKE_OVERS)]
        detections = ", ".join(f"{detection:.1f}" for detection, _ in found)
        recoveries = ", ".join(f"{recovery:.1f}" for _, recovery in found)
        print(f"take-over after kill -9, session_timeout {session}: detected after {detections} s, "
              f"{PARTITIONS // 2} shards live after another {recoveries} s")


main()
