"""Frames, messages and state values: what crosses the boundary, as wit/frame.md of Segno's repository specifies it.

Owns: the layout. Does not own: what a column means to a plugin (`engine`), the types of fields (`types`).

Invariants: what is written is canonical. What is read comes from the host, which writes well-formed frames and checks
every answer: readers trust it, and raise some exception on anything else. A value of a column is a plain Python value:
`bool`, `int`, `float`, `str`, `bytes`; an instant is an `int` of microseconds, a day an `int` of days, a decimal the `int`
of its digits; `None` is null.
"""

import math
import struct
import sys
from array import array
from itertools import accumulate, chain
from typing import NamedTuple

if sys.byteorder != "little":
    raise ImportError("segno needs a little-endian machine")


class ColumnType(NamedTuple):
    """A type of wit/frame.md."""

    name: str
    tag: int
    #: Letter of `struct` and `array` for types that have one.
    letter: str | None = None
    precision: int = 0
    scale: int = 0

    def __str__(self):
        return f"{self.name}({self.precision},{self.scale})" if self.precision else self.name


BOOL = ColumnType("bool", 1)
I32 = ColumnType("i32", 2, "i")
I64 = ColumnType("i64", 3, "q")
U64 = ColumnType("u64", 4, "Q")
F64 = ColumnType("f64", 5, "d")
UTF8 = ColumnType("utf8", 6)
BINARY = ColumnType("binary", 7)
TIMESTAMP = ColumnType("timestamp", 8, "q")
DATE = ColumnType("date", 9, "i")
DECIMAL_TAG = 10
U32 = ColumnType("u32", 11, "I")

SIMPLE = {one.name: one for one in (BOOL, I32, I64, U64, F64, UTF8, BINARY, TIMESTAMP, DATE, U32)}
_BY_TAG = {one.tag: one for one in SIMPLE.values()}
_ZEROS = {"i": 0, "q": 0, "Q": 0, "I": 0, "d": 0.0}


def decimal128(precision: int, scale: int) -> ColumnType:
    """`precision` digits at most, of which `scale` stand behind the point."""
    if not 1 <= precision <= 38 or abs(scale) > precision:
        raise ValueError(f"decimal128({precision},{scale}): 1 to 38 digits, of which at most all are behind the point")
    return ColumnType("decimal128", DECIMAL_TAG, None, precision, scale)


_FRAME = struct.Struct("<4sHHII")
_DESCRIPTOR = struct.Struct("<BBBbIIIII")
_MESSAGE = struct.Struct("<4sHHII")
_SECTION = struct.Struct("<HHIII")
_PAIR = struct.Struct("<Qq")
_BITS = [tuple(bool(byte >> bit & 1) for bit in range(8)) for byte in range(256)]


def _aligned(length: int) -> int:
    return (length + 7) & ~7


def _bits(view, count: int) -> list:
    return list(chain.from_iterable(map(_BITS.__getitem__, view)))[:count]


def _pack_bits(flags) -> bytes:
    packed = 0
    for at, flag in enumerate(flags):
        if flag:
            packed |= 1 << at
    return packed.to_bytes((len(flags) + 7) // 8, "little")


def read_frame(view) -> tuple[int, list[list]]:
    """The number of rows, and the values of each column."""
    magic, version, width, rows, length = _FRAME.unpack_from(view, 0)
    if magic != b"SGN1" or version != 1 or length != len(view):
        raise ValueError("malformed frame")
    columns = []
    for at in range(width):
        tag, nullable, _, _, validity, offsets, data, size, _ = _DESCRIPTOR.unpack_from(view, 16 + 24 * at)
        values = _read_values(view, tag, rows, offsets, data, size)
        if nullable:
            valid = _bits(view[validity : validity + (rows + 7) // 8], rows)
            values = [value if is_valid else None for value, is_valid in zip(values, valid)]
        columns.append(values)
    return rows, columns


def frame_types(view) -> list[ColumnType]:
    """The types of a frame's columns."""
    width = _FRAME.unpack_from(view, 0)[2]
    found = []
    for at in range(width):
        tag, _, precision, scale, *_ = _DESCRIPTOR.unpack_from(view, 16 + 24 * at)
        found.append(decimal128(precision, scale) if tag == DECIMAL_TAG else _BY_TAG[tag])
    return found


def _read_values(view, tag: int, rows: int, offsets: int, data: int, size: int) -> list:
    bytes_of = view[data : data + size]
    if tag == DECIMAL_TAG:
        return [high << 64 | low for low, high in _PAIR.iter_unpack(bytes_of)]
    kind = _BY_TAG[tag]
    if kind.letter:
        return bytes_of.cast(kind.letter).tolist()
    if kind is BOOL:
        return _bits(bytes_of, rows)
    ends = view[offsets : offsets + 4 * (rows + 1)].cast("I").tolist()
    raw = bytes(bytes_of)
    if kind is BINARY:
        return [raw[start:end] for start, end in zip(ends, ends[1:])]
    text = raw.decode()
    if len(text) == len(raw):
        return [text[start:end] for start, end in zip(ends, ends[1:])]
    return [raw[start:end].decode() for start, end in zip(ends, ends[1:])]


class Unfit(Exception):
    """A value that its column cannot hold."""


def _unfit(name: str, kind: ColumnType, values, cause: Exception) -> Unfit:
    for value in values:
        try:
            if value is not None:
                _encode("", kind, [value])
        except Exception:
            return Unfit(f"column {name}: {value!r} is no {kind}")
    return Unfit(f"column {name}: {cause}")


def _encode(name: str, kind: ColumnType, values: list) -> tuple[bytes, bytes]:
    """Offsets and data of values without nulls."""
    if kind.letter:
        numbers = array(kind.letter, values)
        if kind.letter == "d":
            for at, value in enumerate(values):
                if value != value:
                    numbers[at] = math.nan
        return b"", numbers.tobytes()
    if kind is BOOL:
        if not all(value is True or value is False for value in values):
            raise TypeError("bool is expected")
        return b"", _pack_bits(values)
    if kind.tag == DECIMAL_TAG:
        bound = 10**kind.precision
        if not all(-bound < value < bound for value in values):
            raise OverflowError(f"more than {kind.precision} digits")
        return b"", b"".join(value.to_bytes(16, "little", signed=True) for value in values)
    if kind is UTF8:
        values = [value.encode() for value in values]
    elif not all(isinstance(value, (bytes, bytearray, memoryview)) for value in values):
        raise TypeError("bytes are expected")
    return array("I", chain((0,), accumulate(map(len, values)))).tobytes(), b"".join(values)


_NULL_SLOTS = {"bool": False, "utf8": "", "binary": b"", "decimal128": 0}


def write_frame(rows: int, columns) -> bytes:
    """A frame of (name, type, values); names are for errors only.

    Raises `Unfit` when a value is not of its column's type.
    """
    head = 16 + 24 * len(columns)
    parts = [b""]
    at = head

    def place(buffer: bytes) -> int:
        nonlocal at
        start = at
        padded = _aligned(len(buffer))
        parts.append(buffer)
        parts.append(bytes(padded - len(buffer)))
        at += padded
        return start

    descriptors = []
    for name, kind, values in columns:
        validity = 0
        if None in values:
            validity = place(_pack_bits([value is not None for value in values]))
            zero = _ZEROS[kind.letter] if kind.letter else _NULL_SLOTS[kind.name]
            values = [zero if value is None else value for value in values]
        try:
            offsets, data = _encode(name, kind, values)
        except (TypeError, ValueError, OverflowError, AttributeError) as error:
            raise _unfit(name, kind, values, error) from None
        where = place(offsets) if kind is UTF8 or kind is BINARY else 0
        descriptors.append(
            _DESCRIPTOR.pack(kind.tag, validity != 0, kind.precision, kind.scale, validity, where, place(data), len(data), 0)
        )
    parts[0] = _FRAME.pack(b"SGN1", 1, len(descriptors), rows, at) + b"".join(descriptors)
    return b"".join(parts)


BATCH, EFFECTS, INIT = b"SGB1", b"SGE1", b"SGI1"


def read_message(magic: bytes, view) -> dict:
    """Sections by (kind, index)."""
    found, version, count, length, _ = _MESSAGE.unpack_from(view, 0)
    if found != magic or version != 1 or length != len(view):
        raise ValueError("malformed message")
    sections = {}
    for at in range(count):
        kind, index, start, size, _ = _SECTION.unpack_from(view, 16 + 16 * at)
        sections[kind, index] = view[start : start + size]
    return sections


def write_message(magic: bytes, sections) -> bytes:
    """A message of (kind, index, bytes), in ascending order of kind and index."""
    at = 16 + 16 * len(sections)
    table, parts = [], []
    for kind, index, body in sections:
        table.append(_SECTION.pack(kind, index, at, len(body), 0))
        padded = _aligned(len(body))
        parts.append(body)
        parts.append(bytes(padded - len(body)))
        at += padded
    return b"".join([_MESSAGE.pack(magic, 1, len(table), at, 0), *table, *parts])


# State values ----------------------------------------------------------------------------------------------------------


class StateColumn(NamedTuple):
    """A column of a state table; a list of items has `items` and no `kind`."""

    name: str
    kind: ColumnType | None
    nullable: bool
    since: int
    items: tuple = ()


_LENGTH = struct.Struct("<I")
_FIXED = {letter: struct.Struct("<" + letter) for letter in "iqQId"}
_CANONICAL_NAN = struct.pack("<Q", 0x7FF8000000000000)


def write_state(version: int, columns, values) -> bytes:
    """The bytes of one state value; a list's values are a list of tuples.

    Raises `Unfit` when a value is not of its column's type.
    """
    out = bytearray(version.to_bytes(2, "little"))
    _write_row(out, columns, values)
    return bytes(out)


def _write_row(out: bytearray, columns, values) -> None:
    for column, value in zip(columns, values, strict=True):
        if column.kind is None:
            items = bytearray()
            try:
                for item in value:
                    _write_row(items, column.items, item)
            except Unfit as error:
                raise Unfit(f"list {column.name}: {error}") from None
            out += _LENGTH.pack(len(items))
            out += items
            continue
        if column.nullable:
            out.append(value is not None)
            if value is None:
                continue
        try:
            _write_value(out, column.kind, value)
        except (TypeError, ValueError, OverflowError, AttributeError, struct.error):
            raise Unfit(f"state column {column.name}: {value!r} is no {column.kind}") from None


def _write_value(out: bytearray, kind: ColumnType, value) -> None:
    if kind.letter:
        out += _CANONICAL_NAN if value != value else _FIXED[kind.letter].pack(value)
    elif kind is BOOL:
        if value is not True and value is not False:
            raise TypeError
        out.append(value)
    elif kind.tag == DECIMAL_TAG:
        if not -(10**kind.precision) < value < 10**kind.precision:
            raise OverflowError
        out += value.to_bytes(16, "little", signed=True)
    else:
        raw = value.encode() if kind is UTF8 else bytes(memoryview(value))
        out += _LENGTH.pack(len(raw))
        out += raw


def read_state(version: int, columns, view) -> list:
    """The values of one state value. What its version did not have is null, zero, false or empty.

    Raises `ValueError` where it is not one of a table of this version.
    """
    found = int.from_bytes(view[:2], "little")
    if len(view) < 2:
        raise ValueError("state-short")
    if not 1 <= found <= version:
        raise ValueError("state-version")
    values, at = _read_row(found, columns, view, 2)
    if at != len(view):
        raise ValueError("state-trailing")
    return values


def _take(view, at: int, size: int):
    if at + size > len(view):
        raise ValueError("state-short")
    return view[at : at + size]


def _read_row(version: int, columns, view, at: int) -> tuple[list, int]:
    values = []
    for column in columns:
        if column.since > version:
            values.append([] if column.kind is None else None if column.nullable else _zero(column.kind))
            continue
        if column.kind is None:
            size = _LENGTH.unpack(_take(view, at, 4))[0]
            inside, items, end = _take(view, at + 4, size), [], 0
            while end < size:
                item, end = _read_row(version, column.items, inside, end)
                items.append(tuple(item))
            values.append(items)
            at += 4 + size
            continue
        if column.nullable:
            present = _take(view, at, 1)[0]
            at += 1
            if present > 1:
                raise ValueError("state-presence")
            if not present:
                values.append(None)
                continue
        value, at = _read_value(column.kind, view, at)
        values.append(value)
    return values, at


def _zero(kind: ColumnType):
    return _ZEROS[kind.letter] if kind.letter else _NULL_SLOTS[kind.name]


def _read_value(kind: ColumnType, view, at: int):
    if kind.letter:
        packed = _FIXED[kind.letter]
        value = packed.unpack(_take(view, at, packed.size))[0]
        if value != value and bytes(_take(view, at, 8)) != _CANONICAL_NAN:
            raise ValueError("state-value")
        return value, at + packed.size
    if kind is BOOL:
        flag = _take(view, at, 1)[0]
        if flag > 1:
            raise ValueError("state-value")
        return flag == 1, at + 1
    if kind.tag == DECIMAL_TAG:
        value = int.from_bytes(_take(view, at, 16), "little", signed=True)
        if abs(value) >= 10**kind.precision:
            raise ValueError("state-value")
        return value, at + 16
    size = _LENGTH.unpack(_take(view, at, 4))[0]
    raw = bytes(_take(view, at + 4, size))
    if kind is UTF8:
        try:
            return raw.decode(), at + 4 + size
        except UnicodeDecodeError:
            raise ValueError("state-value") from None
    return raw, at + 4 + size
