#!/usr/bin/env python3
"""What a record costs in each language: the templates map, filter and window over orders, rows dropped, one thread.

    bench/languages.py [ORDERS]      SEGNO_BIN names the command; needs what builds plugins in every language

CPU of the process as the system counts it, reading included: the difference of two sizes, one a tenth of the other, so that starting
is left out. Interpreters get a tenth of the orders. One round that is not counted, then three, the languages in turn.
"""

import datetime
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

SEGNO = os.environ["SEGNO_BIN"]
LANGUAGES, TEMPLATES, ROUNDS = ("rust", "c", "python", "js"), ("map", "filter", "window"), 3
INTERPRETED = ("python", "js")
SINKS = {"window": "  - { name: windows, from: orders.windows, blackhole: {} }\n  - { name: late, from: orders.late, blackhole: {} }\n"}


def orders(path: Path, count: int) -> None:
    dice = random.Random(1)
    with path.open("w") as file:
        for order in range(count):
            at = datetime.datetime(2024, 5, 1) + datetime.timedelta(seconds=order // 100)
            row = {"order": order, "customer": f"c{dice.randrange(1000)}", "at": f"{at.isoformat()}Z",
                   "quantity": dice.randrange(1, 9), "price_cents": dice.randrange(50, 2000)}
            file.write(json.dumps(row, separators=(",", ":")) + "\n")


def fuel(entry: dict) -> int:
    """Of all steps of an epoch."""
    return sum(entry["body"].get("counts", {}).get("fuel", {}).values())


def run(root: Path, language: str, template: str, count: int) -> tuple[float, float]:
    """Seconds of CPU, and units of fuel, over so many orders."""
    project = root / f"{template}-{language}"
    text = (project / "pipeline.yaml").read_text().replace("files: sample.jsonl", f"files: {root / f'orders-{count}.jsonl'}")
    text = text[: text.index("sinks:")] + "sinks:\n" + SINKS.get(template, "  - blackhole: {}\n") + text[text.index("dlq:") :]
    (project / "cost.yaml").write_text(text + "threads: 1\n")
    subprocess.run(["rm", "-rf", ".segno"], cwd=project, check=True)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([SEGNO, "run", "-q", "cost.yaml"], cwd=project, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    entries = [json.loads(path.read_text()) for path in (project / ".segno").rglob("journal/*")]
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, sum(map(fuel, entries))


def cost(root: Path, language: str, template: str, count: int) -> tuple[float, float]:
    """Microseconds of CPU and units of fuel for a record."""
    most = count // 10 if language in INTERPRETED else count
    large, small = run(root, language, template, most), run(root, language, template, most // 10)
    return (large[0] - small[0]) * 1e6 / (most - most // 10), (large[1] - small[1]) / (most - most // 10)


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for size in {count, count // 10, count // 100}:
            orders(root / f"orders-{size}.jsonl", size)
        for template in TEMPLATES:
            for language in LANGUAGES:
                name = f"{template}-{language}"
                subprocess.run([SEGNO, "new", "-q", name, "--lang", language, "--template", template], cwd=root, check=True, capture_output=True)
                subprocess.run([SEGNO, "build", "-q", name], cwd=root, check=True, capture_output=True)
            rounds = [{language: cost(root, language, template, count) for language in LANGUAGES} for _ in range(1 + ROUNDS)][1:]
            for language in LANGUAGES:
                cpu = statistics.median(one[language][0] for one in rounds)
                print(f"{template:8} {language:6} {cpu:6.2f} µs  {rounds[0][language][1]:8.0f} units of fuel  for a record", flush=True)


main()
