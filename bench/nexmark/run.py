#!/usr/bin/env python3
"""Nexmark queries on Segno and on Apache Flink, side by side: the same JSON lines, rows dropped, one core each.

    bench/nexmark/run.py [QUERY…] [--events FEW MANY] [--rounds N] [--check]

Both read the file with FEW and the one with MANY events; the rate is (MANY - FEW) over the difference of the times, so
that starting, and a part of a virtual machine's warming up, is left out. Each process has core 0. Queries with state keep
it in RocksDB and make checkpoints of it, Flink every 10 seconds, Segno as `replay_debt: 10s` has it. The process, not the
summary, is timed.

`--check` measures nothing: it compares the rows of both with SQL (tests/checker/nexmark.py), over 100,000 events.

`make bench-nexmark` sets the environment.
"""

import argparse
import glob
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CACHE = os.environ["SEGNO_CACHE"]
WORK = os.path.join(CACHE, "nexmark")
FLINK = "2.3.0"
QUERIES = ["q0", "q1", "q2", "q3", "q5", "q7", "q8", "q11", "q17", "q18"]
CORE = "0"


def flink_classes():
    """The class path of Flink and of Flink.java; installs and compiles what is missing."""
    home = os.path.join(CACHE, "flink")
    found = glob.glob(f"{home}/lib/python3*/site-packages/pyflink/lib/flink-dist-{FLINK}.jar")
    if not found:
        print("installing Flink (PyPI, 300 MB)", file=sys.stderr)
        shutil.rmtree(home, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", home], check=True)
        pip = [f"{home}/bin/pip", "install", "--quiet", "--no-deps", f"apache-flink-libraries=={FLINK}"]
        subprocess.run(pip, check=True)
        found = glob.glob(f"{home}/lib/python3*/site-packages/pyflink/lib/flink-dist-{FLINK}.jar")
    jars = os.path.join(os.path.dirname(found[0]), "*")
    classes = os.path.join(WORK, "classes")
    os.makedirs(classes, exist_ok=True)
    subprocess.run(["javac", "-cp", jars, "-d", classes, f"{ROOT}/bench/nexmark/Flink.java"], check=True)
    return f"{classes}:{jars}"


def events(count, rate=10_000):
    path = os.path.join(WORK, f"events-{count}-{rate}.jsonl")
    if not os.path.exists(path):
        bench = os.path.join(os.environ["CARGO_TARGET_DIR"], "release/segno-bench")
        subprocess.run([bench, "nexmark-events", "--events", str(count), "--rate", str(rate), path + ".new"], check=True)
        os.rename(path + ".new", path)
    return path


def fresh(name):
    folder = os.path.join(WORK, name)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    return folder


def run(command, core, **settings):
    """Seconds of a process, and its standard output."""
    pinned = ["taskset", "-c", core] if core else []
    started = time.perf_counter()
    done = subprocess.run([*pinned, *command], capture_output=True, text=True, **settings)
    seconds = time.perf_counter() - started
    if done.returncode:
        sys.exit(f"{' '.join(command[:3])}…: {done.stderr[-2000:]}{done.stdout[-2000:]}")
    return seconds, done.stdout


def segno(query, path, core=CORE, keep=False):
    folder = fresh("segno")
    with open(f"{ROOT}/examples/nexmark/{query}.yaml") as example:
        text = example.read()
    if not keep:
        text = re.sub(r"files: \{ path: \"\$\{NEXMARK_OUT[^}]*\}/" + query + r"\" \}", "blackhole: {}", text)
        assert "blackhole" in text
    with open(f"{folder}/pipeline.yaml", "w") as pipeline:
        pipeline.write(text + "threads: 1\n")
    environment = dict(os.environ, NEXMARK_FILE=path, NEXMARK_OUT=folder)
    seconds, said = run([os.environ["SEGNO_BIN"], "run", "-q", "-o", "json", f"{folder}/pipeline.yaml"], core, env=environment)
    return seconds, json.loads(said)["totals"]["checkpoints"]


def flink(query, path, classes, core=CORE, rows=None):
    folder = fresh("flink")
    options = ["-Xmx4g", f"-Djava.io.tmpdir={folder}"]
    arguments = [query, path, f"{folder}/checkpoints"] + ([rows] if rows else [])
    return run(["java", *options, "-cp", classes, "Flink", *arguments], core)[0]


def check(queries, classes):
    # One event a millisecond: Flink's event times have no finer parts.
    path = events(100_000, 1_000)
    for query in queries:
        segno(query, path, core=None, keep=True)
        rows = os.path.join(WORK, "flink-rows.jsonl")
        flink(query, path, classes, core=None, rows=rows)
        for name, found in [("Segno", f"{WORK}/segno/{query}/*.jsonl"), ("Flink", rows)]:
            command = [f"{CACHE}/duckdb/bin/python", f"{ROOT}/tests/checker/nexmark.py", query, "--events", path, "--rows", found]
            print(name, run(command, None)[1].strip(), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("queries", nargs="*", default=QUERIES, metavar="QUERY")
    parser.add_argument("--events", nargs=2, type=int, default=[1_000_000, 4_000_000], metavar=("FEW", "MANY"))
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--only", choices=["segno", "flink"])
    args = parser.parse_args()
    os.makedirs(WORK, exist_ok=True)
    classes = None if args.only == "segno" else flink_classes()
    if args.check:
        return check(args.queries, classes)
    few, many = args.events
    small, large = events(few), events(many)
    for query in args.queries:
        rates, checkpoints = {"segno": [], "flink": []}, 0
        for _ in range(args.rounds):
            if args.only != "flink":
                first = segno(query, small)[0]
                second, checkpoints = segno(query, large)
                rates["segno"].append((many - few) / (second - first) / 1e3)
            if args.only != "segno":
                first = flink(query, small, classes)
                second = flink(query, large, classes)
                rates["flink"].append((many - few) / (second - first) / 1e3)
        said = [f"{name} {statistics.median(found):7.0f} thousand events/s" for name, found in rates.items() if found]
        if args.only is None:
            said.append(f"ratio {statistics.median(rates['segno']) / statistics.median(rates['flink']):5.1f}")
        print(f"{query:4} " + ", ".join(said) + (f" ({checkpoints} checkpoints of Segno)" if checkpoints else ""), flush=True)


main()
