#!/usr/bin/env python3
"""Works out what scenarios must give, from README.md and the inputs alone, and compares expected/ with it.

Shares nothing with any SDK nor with the runtime: numbers are Python's own, time is `datetime`, windows keep every record.
Derived are echo, arithmetic, reject, ports, side, tumbling and sliding (without lateness); of order the counts.
"""

import base64
import datetime
import json
import math
import os
import sys
from decimal import Decimal, getcontext

getcontext().prec = 100
HERE = os.path.dirname(os.path.abspath(__file__))
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
MICRO = datetime.timedelta(microseconds=1)
COLUMNS = ["flag", "narrow", "wide", "count", "ratio", "text", "data", "at", "day", "amount"]


def lines(*path):
    try:
        with open(os.path.join(HERE, *path), encoding="utf-8") as file:
            return [json.loads(line, parse_float=lambda text: Raw(text)) for line in file.read().split("\n") if line]
    except FileNotFoundError:
        return []


class Raw(str):
    """A number with a point or an exponent, as it stands."""


def micros(text):
    if text is None:
        return None
    date, _, rest = text.rstrip("Z").partition("T")
    clock, _, fraction = rest.partition(".")
    at = datetime.datetime.fromisoformat(f"{date}T{clock}+00:00")
    return (at - EPOCH) // MICRO + int((fraction + "000000")[:6])


def double(value):
    return None if value is None else float(value)


def number(value):
    return None if value is None else Decimal(str(value))


def wrapped(value, signed=True):
    value &= (1 << 64) - 1
    return value - (1 << 64) if signed and value >> 63 else value


def fits(value, places):
    return abs(value) < Decimal(10) ** (38 - places)


def computed(record):
    wide, narrow, ratio, amount = record.get("wide"), record.get("narrow"), double(record.get("ratio")), number(record.get("amount"))
    row = dict.fromkeys(["sum", "product", "quotient", "rest", "turned", "third", "total", "root", "nan", "doubled", "cut", "year",
                         "month", "dom", "hour", "date_text", "instant_text"])  # fmt: skip
    row["id"] = record["id"]
    if wide is not None and narrow is not None:
        row.update(sum=wrapped(wide + narrow), product=wrapped(wide * narrow))
        if narrow:
            quotient = abs(wide) // abs(narrow) * (1 if (wide < 0) == (narrow < 0) else -1)
            row.update(quotient=wrapped(quotient), rest=wide - quotient * narrow)
    if record.get("count") is not None:
        row["turned"] = wrapped(record["count"] * 3 + 1, signed=False)
    if ratio is not None:
        row["third"] = ratio / 3.0
        row["nan"] = ratio < 0
        # JSON has no NaN: it is published as null.
        row["root"] = math.sqrt(ratio) if not row["nan"] else None
        if wide is not None:
            row["total"] = (ratio + 0.1) + float(wide)
    if amount is not None:
        row["doubled"] = amount * 2 if fits(amount * 2, 10) else None
        row["cut"] = Decimal(int(amount * 100)) / 100
    if record.get("day") is not None:
        day = datetime.date.fromisoformat(record["day"])
        row.update(year=day.year, month=day.month, dom=day.day, date_text=record["day"])
    if record.get("at") is not None:
        at = EPOCH + micros(record["at"]) * MICRO
        row.update(hour=at.hour, instant_text=f"{at.year:04}-{at:%m-%dT%H:%M:%S.%f}Z")
    return row


def echo(record):
    row = {"id": record["id"], **{name: record.get(name) for name in COLUMNS}}
    if row["data"] is not None:
        row["data"] = base64.b64encode(row["data"].encode()).decode()
    return row


def kept(record):
    return {"key": record["key"], "time": record["time"], **echo(record)}


def result(record, what, **more):
    return {"key": record["key"], "what": what, **dict.fromkeys(["id", "number", "total", "sum", "start", "end"]), "id": record["id"], **more}


def noted(record, note, value):
    return {**kept(record), "note": note, "number": value}


class Gives:
    def __init__(self):
        self.rows = {"kept": [], "noted": [], "echo": [], "computed": [], "result": []}
        self.reasons = []

    def push(self, port, row):
        self.rows[port].append(row)


def each(records, gives, behaviour):
    cities = lines("cities.jsonl")
    for record in records:
        flag, text = record.get("flag"), record.get("text")
        if behaviour == "echo":
            gives.push("echo", echo(record))
            if flag:
                gives.push("kept", kept(record))
        elif behaviour == "arithmetic":
            gives.push("computed", computed(record))
        elif behaviour == "reject":
            if text is None:
                gives.push("echo", echo(record))
                gives.push("kept", kept(record))
            else:
                # Not every sink holds this character: the runtime escapes it.
                gives.reasons.append(text.replace("\0", "\\0"))
        elif behaviour == "ports":
            numbers = range(max(record.get("narrow") or 0, 0))
            if flag is None:
                gives.push("kept", kept(record))
            elif flag:
                for n in numbers:
                    gives.push("noted", noted(record, text or "", n))
            else:
                gives.push("echo", echo(record))
                for n in numbers:
                    gives.push("result", result(record, "port", number=n, total=record.get("count"), sum=record.get("ratio"), start=record.get("at")))
                gives.push("kept", kept(record))
        elif behaviour == "side":
            found = [city for city in cities if city["code"] == text]
            if text is None:
                gives.push("noted", noted(record, ",".join(city["code"] for city in cities), len(cities)))
            elif not found:
                gives.push("noted", noted(record, "unknown", None))
            else:
                city = found[0]
                people = city["people"]
                gives.push("noted", noted(record, "?" if city["name"] is None else city["name"], None if people is None else wrapped(people)))
                if city["founded"] is not None or city["capital"]:
                    gives.push("computed", {**computed({"id": record["id"]}), "nan": city["capital"], "date_text": city["founded"]})
        elif behaviour == "order":
            gives.push("noted", noted(record, "*", len(set((text or "").split(" ")))))


def windows(records, gives, settings, delay_us):
    """Every window of a record, with all of its records; results in the order of ends, then of keys, then of starts."""
    size = settings["size"] * 1_000_000
    slide = settings.get("slide", settings["size"]) * 1_000_000
    open_windows, latest, watermark = {}, None, None

    def fire(up_to):
        due = sorted((end, key.encode()) for end, key in open_windows if up_to is None or end <= up_to)
        for end, key in due:
            held = open_windows.pop((end, key.decode()))
            # Sums of doubles depend on their order: slices first, each in the order of its records, then one after the other.
            slices = {}
            for at, ratio in held["ratios"]:
                part = at // math.gcd(size, slide)
                slices[part] = slices.get(part, 0.0) + ratio
            total = None
            for part in sorted(slices):
                total = slices[part] if total is None else total + slices[part]
            row = {"key": key.decode(), "id": 0}
            gives.push("result", result(row, "on_time", number=wrapped(held["sum"]), total=len(held["ratios"]), sum=total, start=end - size, end=end))

    for record in records:
        at = micros(record["time"])
        latest = at if latest is None else max(latest, at)
        watermark = (latest - delay_us) // 100_000 * 100_000
        fire(watermark)
        last = at // slide * slide
        if watermark >= last + size:
            gives.reasons.append(None)
            continue
        start = last
        while start + size > at:
            if start + size > watermark:
                held = open_windows.setdefault((start + size, record["key"]), {"sum": 0, "ratios": []})
                held["sum"] += record.get("wide") or 0
                held["ratios"].append((at, double(record.get("ratio")) or 0.0))
            start -= slide
    fire(None)


def plain(name, value):
    """A value of a row, whatever its spelling."""
    if value is None or isinstance(value, bool):
        return value
    if name in ("amount", "doubled", "cut"):
        return number(value)
    if name in ("ratio", "third", "total", "root", "sum") and not (name in ("sum", "total") and isinstance(value, int)):
        return (float(value), math.copysign(1.0, float(value)))
    if name in ("at", "time", "start", "end"):
        return value if isinstance(value, int) else micros(value)
    return value


def compare(scenario, port, wanted):
    found = lines("scenarios", scenario, "expected", f"{port}.jsonl")
    for row, (one, other) in enumerate(zip(found, wanted)):
        # A published NaN, and the only value whose type the JSON does not tell.
        one = {name: plain(name, value) for name, value in one.items()}
        other = {name: plain(name, value) for name, value in other.items()}
        if one != other:
            names = [name for name in {**one, **other} if one.get(name, "absent") != other.get(name, "absent")]
            sys.exit(f"{scenario}, {port}.jsonl, line {row + 1}: " + ", ".join(f"{name} is {one.get(name)!r}, derived {other.get(name)!r}" for name in names))
    if len(found) != len(wanted):
        sys.exit(f"{scenario}, {port}.jsonl has {len(found)} rows, derived {len(wanted)}")
    return len(wanted)


def main():
    for scenario in ["echo", "arithmetic", "reject", "ports", "side", "order", "tumbling", "sliding"]:
        with open(os.path.join(HERE, "scenarios", scenario, "scenario.json"), encoding="utf-8") as file:
            settings = json.load(file)
        records, gives = lines("scenarios", scenario, "input.jsonl"), Gives()
        if scenario in ("tumbling", "sliding"):
            windows(records, gives, settings["config"]["window"], int(settings["watermark_delay"].rstrip("s")) * 1_000_000)
        else:
            each(records, gives, scenario)
        rows = sum(compare(scenario, port, wanted) for port, wanted in gives.rows.items())
        reasons = [letter["reason"] for letter in lines("scenarios", scenario, "expected", "dlq.jsonl")]
        if len(reasons) != len(gives.reasons) or any(wanted not in (None, found) for wanted, found in zip(gives.reasons, reasons)):
            sys.exit(f"{scenario}: the reasons of dead letters are\n{reasons}\nderived\n{gives.reasons}")
        print(f"## {scenario}: {rows} rows and {len(reasons)} dead letters derived")


main()
