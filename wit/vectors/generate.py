#!/usr/bin/env python3
"""Makes the shared test vectors from the text of frame.md, without any of Segno's code.

Run it in this directory after a change of the specification; the files it writes are committed.
"""

import json
import struct

NAN = "7ff8000000000000"
TAGS = {"bool": 1, "i32": 2, "i64": 3, "u64": 4, "f64": 5, "utf8": 6, "binary": 7, "timestamp": 8, "date": 9,
        "decimal128": 10, "u32": 11}
WIDTHS = {"i32": 4, "date": 4, "u32": 4, "i64": 8, "u64": 8, "f64": 8, "timestamp": 8, "decimal128": 16}


def align(data):
    return data + bytes(-len(data) % 8)


def bits(flags):
    out = bytearray((len(flags) + 7) // 8)
    for row, flag in enumerate(flags):
        if flag:
            out[row // 8] |= 1 << (row % 8)
    return bytes(out)


def split_type(name):
    if name.startswith("decimal128("):
        precision, scale = name[11:-1].split(",")
        return "decimal128", int(precision), int(scale)
    return name, 0, 0


def scalar(kind, value):
    if kind == "f64":
        return bytes.fromhex(value)[::-1]
    return int(value).to_bytes(WIDTHS[kind], "little", signed=kind not in ("u64", "u32"))


def raw(kind, value):
    return value.encode() if kind == "utf8" else bytes.fromhex(value)


def buffers(kind, values):
    """Validity, offsets and data of a column; None for a buffer that it does not have."""
    validity = bits([value is not None for value in values]) if None in values else None
    if kind == "bool":
        return validity, None, bits([bool(value) for value in values])
    if kind in ("utf8", "binary"):
        offsets, data = struct.pack("<I", 0), b""
        for value in values:
            data += b"" if value is None else raw(kind, value)
            offsets += struct.pack("<I", len(data))
        return validity, offsets, data
    return validity, None, b"".join(bytes(WIDTHS[kind]) if value is None else scalar(kind, value) for value in values)


def frame(rows, columns):
    """`columns`: (type, values) or (type, (validity, offsets, data)).."""
    at = 16 + 24 * len(columns)
    descriptors, body = b"", b""
    for name, values in columns:
        kind, precision, scale = split_type(name)
        made = values if isinstance(values, tuple) else buffers(kind, values)
        places = []
        for buffer in made:
            if buffer is None:
                places.append(0)
                continue
            body += bytes(-(at + len(body)) % 8)
            places.append(at + len(body))
            body += buffer
        flags = 1 if made[0] is not None else 0
        descriptors += struct.pack("<BBBbIIIII", TAGS[kind], flags, precision, scale, *places, len(made[2]), 0)
    body = align(descriptors + body)
    return b"SGN1" + struct.pack("<HHII", 1, len(columns), rows, 16 + len(body)) + body


def message(magic, sections):
    """`sections`: (kind, index, bytes)."""
    at = 16 + 16 * len(sections)
    table, body = b"", b""
    for kind, index, content in sections:
        table += struct.pack("<HHIII", kind, index, at + len(body), len(content), 0)
        body = align(body + content)
    return magic + struct.pack("<HHII", 1, len(sections), at + len(body), 0) + table + body


def patch(data, at, new):
    return data[:at] + new + data[at + len(new):]


def u16(value):
    return struct.pack("<H", value)


def u32(value):
    return struct.pack("<I", value)


def grow(data, extra, length_at):
    """The same with `extra` at the end, and the stated length corrected."""
    data = data + extra
    return patch(data, length_at, u32(len(data)))


def frames():
    examples = {
        "no columns, no rows": (0, []),
        "no columns, three rows": (3, []),
        "every type, no rows": (0, [(name, []) for name in [*list(TAGS)[:9], "decimal128(10,2)", "u32"]]),
        "every type, no nulls": (3, [
            ("bool", [True, False, True]),
            ("i32", ["-2147483648", "0", "2147483647"]),
            ("i64", ["-9223372036854775808", "-1", "9223372036854775807"]),
            ("u64", ["0", "1", "18446744073709551615"]),
            ("f64", ["8000000000000000", "3ff8000000000000", NAN]),
            ("utf8", ["", "é😀", "a\u0000b"]),
            ("binary", ["", "ff", "00ff00ff00ff00ff00"]),
            ("timestamp", ["-1", "0", "978310020000000"]),
            ("date", ["-719528", "0", "11323"]),
            ("decimal128(38,10)", ["-" + "9" * 38, "0", "9" * 38]),
            ("u32", ["0", "1", "4294967295"]),
        ]),
        "every type, nulls": (3, [
            ("bool", [None, True, None]),
            ("i32", ["1", None, "3"]),
            ("i64", [None, None, "7"]),
            ("u64", ["5", "6", None]),
            ("f64", [None, "7ff0000000000000", "fff0000000000000"]),
            ("utf8", ["x", None, ""]),
            ("binary", [None, "01", None]),
            ("timestamp", [None, "1", "2"]),
            ("date", ["1", "2", None]),
            ("decimal128(5,-2)", ["-99999", None, "99999"]),
            ("u32", [None, None, None]),
        ]),
        "nine rows, two bytes of bits": (9, [
            ("bool", [True] * 8 + [False]),
            ("bool", [None] + [True] * 8),
            ("i32", [str(row) for row in range(8)] + [None]),
        ]),
        "one empty text": (1, [("utf8", [""])]),
    }
    valid = [{"name": name, "rows": rows, "columns": [{"type": kind, "values": values} for kind, values in columns],
              "hex": frame(rows, columns).hex()} for name, (rows, columns) in examples.items()]

    two = frame(2, [("i32", ["1", None]), ("utf8", ["ab", "c"])])
    # Descriptors at 16 and 40; validity at 64, i32 data at 72, offsets at 80 (12 bytes), text at 96 (3 bytes).
    assert len(two) == 104 and two[96:99] == b"abc"
    first, second = 16, 40
    f64s = lambda bits: frame(1, [("f64", (None, None, bytes.fromhex(bits)[::-1]))])
    text = lambda offsets, data: frame(len(offsets) - 1, [("utf8", (None, b"".join(map(u32, offsets)), data))])
    bad = [
        ("an empty list", b"", "frame-short", "values"),
        ("a header cut short", two[:15], "frame-short", "values"),
        ("descriptors cut short", patch(two[:40], 12, u32(40)), "frame-short", "values"),
        ("65,535 columns in 16 bytes", b"SGN1" + struct.pack("<HHII", 1, 65535, 0, 16), "frame-short", "values"),
        ("another magic", patch(two, 0, b"SGN2"), "frame-magic", "values"),
        ("version 0", patch(two, 4, u16(0)), "frame-version", "values"),
        ("version 2", patch(two, 4, u16(2)), "frame-version", "values"),
        ("a length that is too large", patch(two, 12, u32(112)), "frame-length", "values"),
        ("a length that is too small", patch(two, 12, u32(96)), "frame-length", "values"),
        ("a frame cut short", two[:-8], "frame-length", "values"),
        ("a reserved field", patch(two, first + 20, u32(1)), "frame-reserved", "values"),
        ("type 0", patch(two, first, b"\0"), "type-unknown", "values"),
        ("type 12", patch(two, first, b"\x0c"), "type-unknown", "values"),
        ("a precision for an i32", patch(two, first + 2, b"\x01"), "type-parameters", "values"),
        ("a scale for an i32", patch(two, first + 3, b"\xff"), "type-parameters", "values"),
        ("a decimal without digits", frame(0, [("decimal128(0,0)", [])]), "type-parameters", "values"),
        ("a decimal of 39 digits", frame(0, [("decimal128(39,0)", [])]), "type-parameters", "values"),
        ("a scale above the precision", frame(0, [("decimal128(3,4)", [])]), "type-parameters", "values"),
        ("a scale of -128", frame(0, [("decimal128(38,-128)", [])]), "type-parameters", "values"),
        ("an unknown flag", patch(two, first + 1, b"\x03"), "flags-unknown", "values"),
        ("a buffer at 4 more", patch(two, first + 12, u32(76)), "buffer-misaligned", "values"),
        ("a buffer at 1", patch(two, first + 4, u32(1)), "buffer-misaligned", "values"),
        ("a buffer over the descriptors", patch(two, first + 4, u32(0)), "buffer-overlap", "values"),
        ("a buffer over the one before", patch(two, second + 12, u32(80)), "buffer-overlap", "values"),
        ("a buffer past the end", patch(two, second + 12, u32(104)), "buffer-bounds", "values"),
        ("a buffer far past the end", patch(two, second + 12, u32(0xfffffff8)), "buffer-bounds", "values"),
        ("data of 4 GiB", patch(two, second + 16, u32(0xffffffff)), "buffer-bounds", "values"),
        ("a gap before a buffer", patch(two, first + 12, u32(80)), "buffer-gap", "values"),
        ("a gap at the end", grow(two, bytes(8), 12), "buffer-gap", "values"),
        ("an end that is not aligned", grow(two, bytes(1), 12), "buffer-gap", "values"),
        ("offsets for an i32", patch(two, first + 8, u32(80)), "buffer-unexpected", "values"),
        ("validity without its flag", patch(two, first + 1, b"\0"), "buffer-unexpected", "values"),
        ("data shorter than its rows", patch(two, first + 16, u32(4)), "data-length", "values"),
        ("data longer than its rows", patch(two, first + 16, u32(12)), "data-length", "values"),
        ("4,294,967,295 rows", patch(two, 8, u32(0xffffffff)), "data-length", "values"),
        ("4,294,967,295 rows of text", patch(text([0], b""), 8, u32(0xffffffff)), "buffer-bounds", "values"),
        ("offsets from 1", text([1, 2], b"ab"), "offsets-start", "values"),
        ("offsets that decrease", text([0, 2, 1, 3], b"abc"), "offsets-order", "values"),
        ("an offset past the data, and back", text([0, 9, 3], b"abc"), "offsets-order", "values"),
        ("offsets that end before the data", text([0, 2], b"abc"), "offsets-end", "values"),
        ("offsets that end past the data", text([0, 4], b"abc"), "offsets-end", "values"),
        ("a lone continuation byte", text([0, 1], b"\x80"), "utf8-invalid", "values"),
        ("a character cut in two", text([0, 1, 2], "é".encode()), "utf8-invalid", "values"),
        ("a surrogate", text([0, 3], b"\xed\xa0\x80"), "utf8-invalid", "values"),
        ("an overlong form", text([0, 2], b"\xc0\x80"), "utf8-invalid", "values"),
        ("1000 in three digits", frame(1, [("decimal128(3,1)", ["1000"])]), "decimal-range", "values"),
        ("-1000 in three digits", frame(1, [("decimal128(3,1)", ["-1000"])]), "decimal-range", "values"),
        ("a null that hides a number", patch(two, 76, u32(5)), "null-slot", "canonical"),
        ("a null that hides a text",
         frame(1, [("utf8", (b"\0", u32(0) + u32(1), b"x"))]), "null-slot", "canonical"),
        ("a null that hides a bit", frame(1, [("bool", (b"\0", None, b"\1"))]), "null-slot", "canonical"),
        ("validity past the last row",
         frame(1, [("i32", (b"\x02", None, bytes(4)))]), "tail-bits", "canonical"),
        ("bits past the last row", frame(1, [("bool", (None, None, b"\x02"))]), "tail-bits", "canonical"),
        ("padding between buffers", patch(two, 65, b"\1"), "padding", "canonical"),
        ("padding at the end", patch(two, 103, b"\1"), "padding", "canonical"),
        ("a NaN with a payload", f64s("7ff8000000000001"), "nan-payload", "canonical"),
        ("a negative NaN", f64s("fff8000000000000"), "nan-payload", "canonical"),
        ("a signalling NaN", f64s("7ff0000000000001"), "nan-payload", "canonical"),
        ("validity without a null",
         frame(1, [("i32", (b"\x01", None, bytes(4)))]), "validity-needless", "canonical"),
        ("validity of no rows", frame(0, [("i32", (b"", None, b""))]), "validity-needless", "canonical"),
    ]
    return {"valid": valid, "malformed": [
        {"name": name, "hex": data.hex(), "fault": fault, "check": check} for name, data, fault, check in bad]}


def messages():
    one = frame(1, [("i64", ["1"])])
    examples = [
        ("nothing", "effects", b"SGE1", []),
        ("a batch", "batch", b"SGB1", [(1, 0, one), (2, 0, frame(1, [("u32", ["0"])])),
                                       (3, 0, frame(1, [("binary", [None])])),
                                       (5, 0, frame(1, [("timestamp", ["0"])])), (6, 0, bytes(8))]),
        ("sections of any length", "init", b"SGI1", [(1, 0, b"{}"), (2, 0, b""), (2, 1, b"123456789")]),
    ]
    valid = [{"name": name, "kind": kind, "hex": message(magic, sections).hex(),
              "sections": [{"kind": k, "index": i, "hex": content.hex()} for k, i, content in sections]}
             for name, kind, magic, sections in examples]

    init = message(b"SGI1", [(1, 0, b"{}"), (2, 0, b"12345678")])
    # The table at 16 and 32; sections at 48 (2 bytes) and 56 (8 bytes).
    assert len(init) == 64
    bad = [
        ("an empty list", b"", "message-short"),
        ("a header cut short", init[:15], "message-short"),
        ("a table cut short", patch(init[:32], 8, u32(32)), "message-short"),
        ("65,535 sections in 16 bytes", b"SGI1" + struct.pack("<HHII", 1, 65535, 16, 0), "message-short"),
        ("another kind of message", patch(init, 0, b"SGB1"), "message-magic"),
        ("version 0", patch(init, 4, u16(0)), "message-version"),
        ("version 2", patch(init, 4, u16(2)), "message-version"),
        ("a length that is too large", patch(init, 8, u32(72)), "message-length"),
        ("a message cut short", init[:-1], "message-length"),
        ("a reserved field of the header", patch(init, 12, u32(1)), "message-reserved"),
        ("a reserved field of an entry", patch(init, 28, u32(1)), "message-reserved"),
        ("kind 0", patch(init, 16, u16(0)), "section-unknown"),
        ("kind 3 of an init message", patch(init, 32, u16(3)), "section-unknown"),
        ("one section twice", message(b"SGI1", [(2, 0, b""), (2, 0, b"")]), "section-order"),
        ("kinds that descend", message(b"SGI1", [(2, 0, b""), (1, 0, b"")]), "section-order"),
        ("indices that descend", message(b"SGI1", [(2, 1, b""), (2, 0, b"")]), "section-order"),
        ("a section at 4 more", patch(init, 36, u32(60)), "section-misaligned"),
        ("a section over the table", patch(init, 20, u32(40)), "section-overlap"),
        ("a section over the one before", patch(init, 36, u32(48)), "section-overlap"),
        ("a section past the end", patch(init, 36, u32(64)), "section-bounds"),
        ("a section of 4 GiB", patch(init, 40, u32(0xffffffff)), "section-bounds"),
        ("a gap before a section", patch(init, 20, u32(56)), "section-gap"),
        ("a gap at the end", grow(init, bytes(8), 8), "section-gap"),
        ("padding between sections", patch(init, 50, b"\1"), "padding"),
        ("padding at the end", patch(message(b"SGI1", [(1, 0, b"{}")]), 39, b"\1"), "padding"),
    ]
    return {"valid": valid, "malformed": [
        {"name": name, "kind": "init", "hex": data.hex(), "fault": fault} for name, data, fault in bad]}


def effects():
    """All against the description in the file, for a batch of 3 records and a timer behind them, with 2 distinct keys."""
    column = lambda name, kind, nullable: {"name": name, "type": kind, "nullable": nullable}
    description = {
        "abi": 1, "name": "example", "version": "1",
        "inputs": [{"name": "in", "columns": []}], "event_time": False, "timers": True,
        "outputs": [{"name": "kept", "kind": "extend", "columns": []},
                    {"name": "seen", "kind": "emit",
                     "columns": [column("n", "i64", False), column("note", "utf8", True)]},
                    {"name": "total", "kind": "per_key", "columns": []}],
        "tables": [{"name": "counts", "version": 1, "columns": [column("n", "u64", False)]}],
        "side_tables": [],
    }
    kept = lambda causes: (1, 0, frame(len(causes), [("u32", causes)]))
    seen = lambda causes, numbers, notes: (1, 1, frame(len(causes), [("u32", causes), ("i64", numbers), ("utf8", notes)]))
    change = lambda keys, values: (2, 0, frame(len(keys), [("u32", keys), ("binary", values)]))
    reject = lambda causes, reasons: (4, 0, frame(len(causes), [("u32", causes), ("utf8", reasons)]))
    keyed = lambda causes: (1, 2, frame(len(causes), [("u32", causes)]))
    timer = lambda causes, times, numbers, sets: (3, 0, frame(len(causes), [
        ("u32", causes), ("timestamp", times), ("u32", numbers), ("bool", sets)]))
    cases = [
        ("nothing", [], None),
        ("all at once", [kept(["0", "2"]), seen(["0", "0", "2"], ["1", "2", "3"], ["a", None, ""]),
                         change(["0", "1"], ["0100" + "01" * 8, None]), reject(["1"], ["no"])], None),
        ("a cause past the batch", [kept(["0", "4"])], "cause-range"),
        ("causes that descend", [kept(["1", "0"])], "cause-order"),
        ("a null cause", [kept(["0", None])], "column-null"),
        ("an unknown port", [(1, 3, frame(0, [("u32", [])]))], "section-unexpected"),
        ("a port without its columns", [(1, 1, frame(1, [("u32", ["0"])]))], "column-count"),
        ("a port with a column too many", [(1, 0, frame(1, [("u32", ["0"]), ("i64", ["1"])]))], "column-count"),
        ("no cause", [(1, 0, frame(1, [("i64", ["0"])]))], "column-type"),
        ("a column of another type",
         [(1, 1, frame(1, [("u32", ["0"]), ("u64", ["1"]), ("utf8", ["a"])]))], "column-type"),
        ("a null that was not declared", [seen(["0"], [None], ["a"])], "column-null"),
        ("a key past the batch", [change(["2"], [None])], "key-range"),
        ("a key twice", [change(["0", "0"], [None, None])], "key-order"),
        ("keys that descend", [change(["1", "0"], [None, None])], "key-order"),
        ("an unknown table", [(2, 1, frame(0, [("u32", []), ("binary", [])]))], "section-unexpected"),
        ("a state that is text", [(2, 0, frame(1, [("u32", ["0"]), ("utf8", ["a"])]))], "column-type"),
        ("timers", [timer(["0", "3", "3"], ["-1", "5", "5"], ["0", "1", "1"], [True, True, False])], None),
        ("no timers", [timer([], [], [], [])], None),
        ("a second list of timers", [(3, 1, timer([], [], [], [])[2])], "section-unexpected"),
        ("a timer of a cause past the batch", [timer(["4"], ["1"], ["0"], [True])], "cause-range"),
        ("timers of causes that descend", [timer(["1", "0"], ["1", "1"], ["0", "0"], [True, True])], "cause-order"),
        ("a timer without a time", [timer(["1"], [None], ["0"], [True])], "column-null"),
        ("a timer whose number is signed",
         [(3, 0, frame(1, [("u32", ["1"]), ("timestamp", ["1"]), ("i32", ["0"]), ("bool", [True])]))], "column-type"),
        ("a timer that may or may not be set", [timer(["1"], ["1"], ["0"], [None])], "column-null"),
        ("a timer with a column too few",
         [(3, 0, frame(1, [("u32", ["1"]), ("timestamp", ["1"]), ("u32", ["0"])]))], "column-count"),
        ("a timer causes a row of the key", [keyed(["1", "3"])], None),
        ("a timer causes a row that extends", [kept(["3"])], "cause-timer"),
        ("a timer is rejected", [reject(["3"], ["no"])], "cause-timer"),
        ("a reject past the batch", [reject(["4"], ["no"])], "cause-range"),
        ("a record rejected twice", [reject(["1", "1"], ["no", "no"])], "cause-order"),
        ("a reject without a reason", [reject(["1"], [None])], "column-null"),
        ("a second list of rejects",
         [(4, 1, frame(0, [("u32", []), ("utf8", [])]))], "section-unexpected"),
        ("a rejected record that causes output", [kept(["0", "1"]), reject(["1"], ["no"])], "rejected-cause"),
        ("a frame that is none", [(1, 0, b"SGN1")], "frame-short"),
    ]
    return {"description": description, "events": 4, "timers": [3], "keys": 2, "cases": [
        {"name": name, "hex": message(b"SGE1", sections).hex(), "fault": fault} for name, sections, fault in cases]}


def states():
    column = lambda name, kind, nullable, since=1: {"name": name, "type": kind, "nullable": nullable, "since": since}
    table = {"name": "example", "version": 2, "columns": [
        column("flag", "bool", False), column("n", "i32", True), column("x", "f64", False),
        column("text", "utf8", True), column("bytes", "binary", False),
        column("later", "u64", False, 2), column("last", "decimal128(10,2)", True, 2),
        {"name": "items", "type": "list", "nullable": False, "since": 2, "columns": [
            column("at", "timestamp", False), column("note", "utf8", True, 2)]}]}
    head = "01" + "01" + "feffffff" + "000000000000f83f" + "01" + "02000000" + "c3a9" + "01000000" + "ff"
    values = [True, "-2", "3ff8000000000000", "é", "ff"]
    number = "0700000000000000" + "01" + "2a" + "00" * 15
    item = "0500000000000000" + "01" + "01000000" + "41"
    tail = number + "17000000" + item + "0600000000000000" + "00"
    valid = [
        ("version 2", "0200" + head + tail, [*values, "7", "42", [["5", "A"], ["6", None]]]),
        ("version 2 with nulls",
         "0200" + "00" + "00" + "0000000000000000" + "00" + "00000000" + "00" * 8 + "00" + "00" * 4,
         [False, None, "0000000000000000", None, "", "0", None, []]),
        ("version 1: later columns are filled in", "0100" + head, [*values, "0", None, []]),
    ]
    bad = [
        ("nothing", "", "state-short"),
        ("one byte", "01", "state-short"),
        ("version 0", "0000" + head, "state-version"),
        ("version 3", "0300" + head + tail, "state-version"),
        ("version 2 without its columns", "0200" + head, "state-short"),
        ("version 1 with later columns", "0100" + head + tail, "state-trailing"),
        ("a byte too many", "0200" + head + tail + "00", "state-trailing"),
        ("a list that is longer than its value", "0200" + head + number + "18000000" + item, "state-short"),
        ("a list that ends amid an item", "0200" + head + number + "08000000" + "05" + "00" * 7, "state-short"),
        ("a list with half an item behind a whole one", "0200" + head + number + "0f000000" + item + "06", "state-short"),
        ("a presence of 2", "0200" + "01" + "02", "state-presence"),
        ("a bool of 2", "0200" + "02", "state-value"),
        ("a text of 4 GiB", "0200" + "00" + "00" + "00" * 8 + "01" + "ffffffff" + "41", "state-short"),
        ("a text that is not UTF-8", "0200" + "00" + "00" + "00" * 8 + "01" + "01000000" + "ff", "state-value"),
    ]
    return {"table": table,
            "valid": [{"name": name, "hex": data, "values": values} for name, data, values in valid],
            "malformed": [{"name": name, "hex": data, "fault": fault} for name, data, fault in bad]}


if __name__ == "__main__":
    for name, made in (("frames", frames()), ("messages", messages()), ("effects", effects()), ("states", states())):
        with open(f"{name}.json", "w", encoding="utf-8") as out:
            json.dump(made, out, indent=1, ensure_ascii=True)
            out.write("\n")
