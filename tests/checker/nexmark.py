"""Computes Nexmark queries over events by SQL (DuckDB), and compares all rows with those that Segno gave.

    nexmark.py QUERY --events GLOB --rows GLOB [--last] [--journal GLOB]

It shares no code with Segno: both read the same JSON lines, and rows are compared as multisets.
`--last`: of queries 17 and 18, which give a row anew, compares the last row of each key. For events that are not in the
order of their times, where what comes between depends on how they were merged.
`--journal`: for query 12, the entries of the journal: which bytes of which file each epoch read, and what its clock showed.
"""

import argparse
import datetime
import glob
import json
import os
import sys
import tempfile

import duckdb

# What each query gives: columns of the output's JSON with their types, in the order of the SQL.
COLUMNS = {
    "q0": "bid.auction BIGINT, bid.bidder BIGINT, bid.price BIGINT, date_time TIMESTAMP, bid.extra VARCHAR",
    "q1": "bid.auction BIGINT, bid.bidder BIGINT, price_euro DOUBLE, date_time TIMESTAMP, bid.extra VARCHAR",
    "q2": "bid.auction BIGINT, bid.price BIGINT",
    "q3": "name VARCHAR, city VARCHAR, state VARCHAR, auction BIGINT",
    "q5": "window_start TIMESTAMP, window_end TIMESTAMP, auction BIGINT, bids BIGINT",
    "q7": "auction BIGINT, price BIGINT, bidder BIGINT, date_time TIMESTAMP, extra VARCHAR",
    "q8": "party BIGINT, name VARCHAR, window_start TIMESTAMP",
    "q11": "bid.bidder BIGINT, bids BIGINT, start TIMESTAMP, end TIMESTAMP",
    "q12": "bid.bidder BIGINT, bids BIGINT, start TIMESTAMP, end TIMESTAMP",
    "q17": "auction BIGINT, day TIMESTAMP, total_bids BIGINT, rank1_bids BIGINT, rank2_bids BIGINT, rank3_bids BIGINT, "
           "min_price BIGINT, max_price BIGINT, avg_price BIGINT, sum_price BIGINT",
    "q18": "bid.auction BIGINT, bid.bidder BIGINT, bid.price BIGINT, bid.channel VARCHAR, date_time TIMESTAMP, bid.extra VARCHAR",
}

SQL = {
    "q0": "SELECT auction, bidder, price, date_time, extra FROM bid",
    "q1": "SELECT auction, bidder, price::DOUBLE * 0.908::DOUBLE, date_time, extra FROM bid",
    "q2": "SELECT auction, price FROM bid WHERE auction % 123 = 0",
    "q3": """
        SELECT p.name, p.city, p.state, a.id FROM auction a JOIN person p ON a.seller = p.id
        WHERE a.category = 10 AND p.state IN ('OR', 'ID', 'CA')""",
    "q5": """
        WITH windows AS (
            SELECT auction, time_bucket(INTERVAL 2 SECONDS, date_time) - n * INTERVAL 2 SECONDS AS start
            FROM bid, range(5) AS r(n)),
        counts AS (SELECT start, auction, count(*) AS bids FROM windows GROUP BY ALL)
        SELECT start, start + INTERVAL 10 SECONDS, auction, bids FROM counts
        QUALIFY bids = max(bids) OVER (PARTITION BY start)""",
    "q7": """
        SELECT auction, price, bidder, date_time, extra FROM bid
        QUALIFY price = max(price) OVER (PARTITION BY time_bucket(INTERVAL 10 SECONDS, date_time))""",
    "q8": """
        SELECT DISTINCT p.id, p.name, time_bucket(INTERVAL 10 SECONDS, p.date_time)
        FROM person p JOIN auction a ON p.id = a.seller
        AND time_bucket(INTERVAL 10 SECONDS, p.date_time) = time_bucket(INTERVAL 10 SECONDS, a.date_time)""",
    "q11": """
        WITH gaps AS (
            SELECT bidder, date_time,
                coalesce(date_time - lag(date_time) OVER before >= INTERVAL 10 SECONDS, true)::INT AS first
            FROM bid WINDOW before AS (PARTITION BY bidder ORDER BY date_time)),
        sessions AS (
            SELECT bidder, date_time, sum(first) OVER (PARTITION BY bidder ORDER BY date_time ROWS UNBOUNDED PRECEDING) AS number
            FROM gaps)
        SELECT bidder, count(*), min(date_time), max(date_time) + INTERVAL 10 SECONDS FROM sessions GROUP BY bidder, number""",
    "q12": """
        SELECT bidder, count(*), time_bucket(INTERVAL 10 SECONDS, read_at), time_bucket(INTERVAL 10 SECONDS, read_at) + INTERVAL 10 SECONDS
        FROM bid GROUP BY ALL""",
    "q17": """
        SELECT auction, date_trunc('day', date_time), count(*) OVER so_far, count(*) FILTER (price < 10000) OVER so_far,
            count(*) FILTER (price >= 10000 AND price < 1000000) OVER so_far, count(*) FILTER (price >= 1000000) OVER so_far,
            min(price) OVER so_far, max(price) OVER so_far, (sum(price) OVER so_far)::BIGINT // (count(*) OVER so_far),
            (sum(price) OVER so_far)::BIGINT
        FROM bid WINDOW so_far AS (
            PARTITION BY auction, date_trunc('day', date_time) ORDER BY date_time ROWS UNBOUNDED PRECEDING)""",
    "q18": "SELECT auction, bidder, price, channel, date_time, extra FROM bid",
}

# Which rows are the last of their key, by the names of `c0`, `c1`…
LAST = {
    "q17": "QUALIFY c2 = max(c2) OVER (PARTITION BY c0, c1)",
    "q18": "QUALIFY c4 = max(c4) OVER (PARTITION BY c0, c1)",
}


def dated_events(events, journal):
    """Each event with the logical time of the epoch that read it."""
    files = {os.path.basename(path): open(path, "rb").read() for path in glob.glob(events)}
    # Beside the entries stand bodies of entries that a killed process was creating: they are none, and may be empty.
    for path in sorted(path for path in glob.glob(journal) if os.path.basename(path).isdigit()):
        with open(path, "rb") as file:
            epoch = json.load(file)["body"]
        if epoch["kind"] != "epoch":
            continue
        begins = {one["name"]: one["offset"] for one in epoch["from"]["partitions"]}
        time = datetime.datetime(1970, 1, 1) + datetime.timedelta(milliseconds=epoch["logical_time_ms"])
        for one in epoch["to"]["partitions"]:
            content = files[os.path.basename(one["name"])]
            for line in content[begins.get(one["name"], 0):one["offset"]].splitlines():
                yield b'{"read_at":"%s",%s\n' % (time.isoformat(sep=" ").encode(), line[1:])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("query", choices=list(SQL))
    parser.add_argument("--events", required=True)
    parser.add_argument("--rows", required=True)
    parser.add_argument("--last", action="store_true")
    parser.add_argument("--journal")
    args = parser.parse_args()

    db = duckdb.connect()
    db.execute("SET threads = 1")
    person = "STRUCT(id BIGINT, name VARCHAR, city VARCHAR, state VARCHAR)"
    auction = "STRUCT(id BIGINT, seller BIGINT, category BIGINT)"
    bid = "STRUCT(auction BIGINT, bidder BIGINT, price BIGINT, channel VARCHAR, extra VARCHAR)"
    types = {"event_type": "INT", "date_time": "TIMESTAMP", "person": person, "auction": auction, "bid": bid}
    read = "read_json(?, format = 'newline_delimited', columns = {})"
    if args.journal:
        types["read_at"] = "TIMESTAMP"
        db.execute("CREATE TABLE event (" + ", ".join(f"{name} {kind}" for name, kind in types.items()) + ")")
        with tempfile.TemporaryDirectory() as folder:
            dated = os.path.join(folder, "dated.jsonl")
            with open(dated, "wb") as file:
                file.writelines(dated_events(args.events, args.journal))
            db.execute(f"INSERT INTO event FROM {read.format(types)}", [dated])
    else:
        db.execute(f"CREATE TABLE event AS FROM {read.format(types)}", [args.events])
    times = "date_time, read_at" if args.journal else "date_time"
    for number, kind in enumerate(["person", "auction", "bid"]):
        db.execute(f"CREATE VIEW {kind} AS SELECT {times}, unnest({kind}) FROM event WHERE event_type = {number}")

    columns = dict(column.rsplit(" ", 1) for column in COLUMNS[args.query].split(", "))
    names = [f"c{number}" for number in range(len(columns))]
    selected = ", ".join(f'"{column}" AS {name}' for column, name in zip(columns, names))
    last = LAST.get(args.query, "") if args.last else ""
    db.execute(f"CREATE TABLE found AS SELECT {selected} FROM {read.format(columns)} {last}", [args.rows])
    db.execute(f"CREATE TABLE expected AS SELECT * FROM ({SQL[args.query]}) AS q({', '.join(names)}) {last}")

    wrong = False
    for what, one, other in [("missing", "expected", "found"), ("not expected", "found", "expected")]:
        rows = db.execute(f"FROM {one} EXCEPT ALL FROM {other} ORDER BY ALL").fetchall()
        wrong |= bool(rows)
        for row in rows[:3]:
            print(f"{args.query}: {what}, one of {len(rows)}: {row}", file=sys.stderr)
    count, = db.execute("SELECT count(*) FROM expected").fetchone()
    if not count:
        sys.exit(f"{args.query}: no rows: these events prove nothing")
    if wrong:
        sys.exit(1)
    print(f"{args.query}: {count} rows as SQL has them")


main()
