"""The shared vectors of wit/vectors: read, and written again to the same bytes."""

import json
import struct
import unittest
from pathlib import Path

from segno import wire

VECTORS = Path(__file__).resolve().parents[3] / "wit" / "vectors"


def vectors(name):
    return json.loads((VECTORS / f"{name}.json").read_text())


def kind_of(text):
    if text.startswith("decimal128("):
        return wire.decimal128(*map(int, text[len("decimal128(") : -1].split(",")))
    return wire.SIMPLE[text]


def value_of(kind, text):
    if text is None or kind is wire.BOOL or kind is wire.UTF8:
        return text
    if kind is wire.BINARY:
        return bytes.fromhex(text)
    if kind is wire.F64:
        return struct.unpack("<d", struct.pack("<Q", int(text, 16)))[0]
    return int(text)


def shown(values):
    """Floats by their bits: two NaNs are the same value here."""
    if isinstance(values, (list, tuple)):
        return [shown(value) for value in values]
    return struct.pack("<d", values) if isinstance(values, float) else values


class Frames(unittest.TestCase):
    def test_a_frame_gives_its_values_and_is_written_to_the_same_bytes(self):
        cases = vectors("frames")["valid"]
        self.assertGreater(len(cases), 5)
        for case in cases:
            with self.subTest(case["name"]):
                raw = bytes.fromhex(case["hex"])
                kinds = [kind_of(column["type"]) for column in case["columns"]]
                wanted = [[value_of(kind, value) for value in column["values"]] for kind, column in zip(kinds, case["columns"])]
                rows, columns = wire.read_frame(memoryview(raw))
                self.assertEqual(rows, case["rows"])
                self.assertEqual(shown(columns), shown(wanted))
                self.assertEqual(wire.frame_types(raw), kinds)
                written = wire.write_frame(rows, [("c", kind, values) for kind, values in zip(kinds, columns)])
                self.assertEqual(written.hex(), raw.hex())

    def test_every_nan_is_the_canonical_one(self):
        other = struct.unpack("<d", struct.pack("<Q", 0xFFF4000000000001))[0]
        written = wire.write_frame(1, [("x", wire.F64, [other])])
        self.assertEqual(written[-8:], struct.pack("<Q", 0x7FF8000000000000))

    def test_a_value_that_does_not_fit_is_named(self):
        for kind, value in [
            (wire.I32, 1 << 31),
            (wire.I64, 1.5),
            (wire.U64, -1),
            (wire.UTF8, b"x"),
            (wire.UTF8, "\ud800"),
            (wire.BINARY, "x"),
            (wire.BOOL, 1),
            (wire.F64, "1"),
            (wire.decimal128(3, 1), 1000),
        ]:
            with self.subTest(str(kind)), self.assertRaisesRegex(wire.Unfit, "column c: .* is no " + kind.name):
                wire.write_frame(2, [("c", kind, [None, value])])


class Messages(unittest.TestCase):
    def test_a_message_gives_its_sections_and_is_written_to_the_same_bytes(self):
        magics = {"batch": wire.BATCH, "effects": wire.EFFECTS, "init": wire.INIT}
        for case in vectors("messages")["valid"]:
            with self.subTest(case["name"]):
                raw = bytes.fromhex(case["hex"])
                found = wire.read_message(magics[case["kind"]], memoryview(raw))
                wanted = [(one["kind"], one["index"], bytes.fromhex(one["hex"])) for one in case["sections"]]
                self.assertEqual([(*place, bytes(body)) for place, body in found.items()], wanted)
                self.assertEqual(wire.write_message(magics[case["kind"]], wanted).hex(), raw.hex())


def table_columns(columns):
    return tuple(
        wire.StateColumn(
            one["name"],
            None if one["type"] == "list" else kind_of(one["type"]),
            one["nullable"],
            one["since"],
            table_columns(one.get("columns", [])),
        )
        for one in columns
    )


def state_of(columns, values):
    return [
        [tuple(state_of(column.items, item)) for item in value] if column.kind is None else value_of(column.kind, value)
        for column, value in zip(columns, values)
    ]


class States(unittest.TestCase):
    table = vectors("states")["table"]
    columns = table_columns(table["columns"])

    def test_a_state_value_gives_its_columns_and_is_written_to_the_same_bytes(self):
        for case in vectors("states")["valid"]:
            with self.subTest(case["name"]):
                raw = bytes.fromhex(case["hex"])
                values = wire.read_state(self.table["version"], self.columns, raw)
                self.assertEqual(shown(values), shown(state_of(self.columns, case["values"])))
                if raw[0] == self.table["version"]:
                    self.assertEqual(wire.write_state(raw[0], self.columns, values).hex(), raw.hex())

    def test_a_damaged_state_value_is_refused_for_its_fault(self):
        for case in vectors("states")["malformed"]:
            with self.subTest(case["name"]), self.assertRaisesRegex(ValueError, case["fault"]):
                wire.read_state(self.table["version"], self.columns, bytes.fromhex(case["hex"]))


if __name__ == "__main__":
    unittest.main()
