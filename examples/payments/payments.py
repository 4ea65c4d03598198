#!/usr/bin/env python3
"""Payments for the demo, and the verdict on what came of them. Uses nothing of Segno.

    payments.py make COUNT FILE                        JSON lines; one in a thousand is no payment
    payments.py check FILE COUNTED DEAD TABLE          compares with a direct computation over FILE

COUNTED and DEAD hold the values of the output topics, one a line, as a reader of committed records sees them; TABLE
holds `card|bids|total_price` lines.
"""

import collections
import json
import random
import sys


def make(count, name):
    source = random.Random(7)
    with open(name, "w") as out:
        for number in range(count):
            card = int(source.random() ** 3 * 5_000)
            payment = {"id": number, "card": f"c{card:04}", "price": source.randrange(1, 50_000)}
            out.write(json.dumps(payment, separators=(",", ":"))[: 20 if number % 1000 == 999 else None] + "\n")


def check(name, counted, dead, table):
    expected, broken = collections.defaultdict(list), collections.Counter()
    with open(name) as lines:
        for line in lines:
            try:
                payment = json.loads(line)
            except ValueError:
                broken[line.rstrip("\n")] += 1
                continue
            expected[payment["card"]].append(payment)
    found = collections.defaultdict(list)
    with open(counted) as lines:
        for line in lines:
            row = json.loads(line)
            found[row["card"]].append(row)
    rows = 0
    for card, payments in expected.items():
        total = 0
        if len(found[card]) != len(payments):
            sys.exit(f"FAILED: card {card} has {len(found[card])} rows for {len(payments)} payments: lost or doubled")
        for number, (payment, row) in enumerate(zip(payments, found[card]), 1):
            total += payment["price"]
            rows += 1
            if (row["id"], row["bids"], row["total_price"]) != (payment["id"], number, total):
                sys.exit(f"FAILED: card {card}, payment {number}: {row} came of {payment}: out of order, or counted wrongly")
    if set(found) != set(expected):
        sys.exit("FAILED: rows of cards that nobody paid with")
    with open(dead) as lines:
        if collections.Counter(line.rstrip("\n") for line in lines) != broken:
            sys.exit("FAILED: the dead letters are not the lines that are no payments")
    with open(table) as lines:
        held = {card: (int(bids), int(total)) for card, bids, total in (line.strip().split("|") for line in lines if line.strip())}
    wanted = {card: (len(payments), sum(payment["price"] for payment in payments)) for card, payments in expected.items()}
    if held != wanted:
        sys.exit("FAILED: the table differs from what was paid")
    print(f"   {rows:,} rows in the topic and {len(held):,} cards in the table: nothing lost, doubled or out of order; "
          f"{sum(broken.values())} dead letters, byte for byte")


if sys.argv[1] == "make":
    make(int(sys.argv[2]), sys.argv[3])
else:
    check(*sys.argv[2:])
