"""The types of fields: how an annotation names a column's type, and the values that Python does not have.

Owns: annotations, instants, days, decimals. Does not own: their bytes (`wire`), which class has which fields (`records`).

| annotation | column | value |
|---|---|---|
| `bool` | `bool` | `bool` |
| `int`, `I64` | `i64` | `int`, -2^63 to 2^63-1 |
| `I32`, `U64` | `i32`, `u64` | `int` of that range |
| `float` | `f64` | `float`; every NaN becomes the canonical one |
| `str` | `utf8` | `str` without lone surrogates |
| `bytes` | `binary` | `bytes` |
| `Timestamp` | `timestamp` | microseconds since 1970-01-01T00:00:00 UTC |
| `Date` | `date` | days since 1970-01-01 |
| `Decimal128(p, s)` | `decimal128(p,s)` | `decimal.Decimal`, exact |
| `T | None` | nullable | the value, or `None` |
"""

import datetime
import types
import typing
from decimal import Decimal
from typing import Annotated

from . import wire

MICROS_PER_DAY = 86_400_000_000
_I64_MIN, _I64_MAX = -(1 << 63), (1 << 63) - 1


def _saturated(micros: int) -> int:
    return _I64_MIN if micros < _I64_MIN else _I64_MAX if micros > _I64_MAX else micros


def micros(duration: datetime.timedelta | int) -> int:
    """Microseconds of a duration; an `int` is microseconds already."""
    if isinstance(duration, int):
        return duration
    return duration // datetime.timedelta(microseconds=1)


class Date(int):
    """A day: days since 1970-01-01, -2^31 to 2^31-1."""

    __slots__ = ()

    def civil(self) -> tuple[int, int, int]:
        """Year, month (1 to 12) and day (1 to 31) in the Gregorian calendar, for every day there is."""
        # Howard Hinnant's days-to-civil: eras of 400 years that start on the first of March.
        era, day_of_era = divmod(int(self) + 719_468, 146_097)
        year = (day_of_era - day_of_era // 1460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
        day_of_year = day_of_era - (365 * year + year // 4 - year // 100)
        month = (5 * day_of_year + 2) // 153
        day = day_of_year - (153 * month + 2) // 5 + 1
        month = month + 3 if month < 10 else month - 9
        return year + era * 400 + (month <= 2), month, day

    def __str__(self) -> str:
        year, month, day = self.civil()
        return f"{year:04}-{month:02}-{day:02}"

    __repr__ = __str__


class Timestamp(int):
    """An instant: microseconds since 1970-01-01T00:00:00 UTC, -2^63 to 2^63-1."""

    __slots__ = ()

    @classmethod
    def from_millis(cls, millis: int) -> "Timestamp":
        return cls(_saturated(millis * 1000))

    @property
    def micros(self) -> int:
        return int(self)

    def after(self, duration: datetime.timedelta | int) -> "Timestamp":
        """The instant that is so much later (microseconds, or a `timedelta`); at the ends of time it stays there."""
        return Timestamp(_saturated(int(self) + micros(duration)))

    def floor(self, width: datetime.timedelta | int) -> "Timestamp":
        """The start of the window of this width that holds the instant; windows are aligned to 1970."""
        wide = micros(width)
        return Timestamp(_saturated(int(self) // wide * wide))

    def date(self) -> Date:
        """The day in UTC."""
        return Date(int(self) // MICROS_PER_DAY)

    @property
    def hour(self) -> int:
        """The hour of the day in UTC, 0 to 23."""
        return int(self) % MICROS_PER_DAY // 3_600_000_000

    @property
    def minute(self) -> int:
        return int(self) % 3_600_000_000 // 60_000_000

    @property
    def second(self) -> int:
        return int(self) % 60_000_000 // 1_000_000

    @property
    def microsecond(self) -> int:
        return int(self) % 1_000_000

    def __str__(self) -> str:
        return f"{self.date()}T{self.hour:02}:{self.minute:02}:{self.second:02}.{self.microsecond:06}Z"

    __repr__ = __str__


I32 = Annotated[int, wire.I32]
I64 = Annotated[int, wire.I64]
U64 = Annotated[int, wire.U64]


def Decimal128(precision: int, scale: int):
    """The annotation of exact decimals: `price: Decimal128(10, 2)`."""
    return Annotated[Decimal, wire.decimal128(precision, scale)]


class Named(typing.NamedTuple):
    """The name of a column where it is no name of Python: `price: Annotated[int, Named("bid.price")]`."""

    name: str


class Since(typing.NamedTuple):
    """The version of its table that brought a field of state: `last: Annotated[Timestamp | None, Since(2)]`."""

    version: int


class _EventTime:
    pass


#: The event time of a record: no column of the plugin, but what the pipeline calls `time:`.
EventTime = Annotated[Timestamp, _EventTime]

_PLAIN = {
    bool: wire.BOOL,
    int: wire.I64,
    float: wire.F64,
    str: wire.UTF8,
    bytes: wire.BINARY,
    Timestamp: wire.TIMESTAMP,
    Date: wire.DATE,
}


class Field(typing.NamedTuple):
    """What an annotation says."""

    #: In Python.
    attribute: str
    #: Of the column.
    name: str
    #: `None`: the event time, or a list of `item`.
    kind: wire.ColumnType | None
    nullable: bool
    since: int
    event_time: bool
    item: type | None


def field(attribute: str, hint, where: str) -> Field:
    """Reads an annotation; raises `TypeError` where it is none of the table above."""
    kind, name, since, event_time, item = None, attribute, 1, False, None
    nullable = False
    # Annotations stand around and within an optional type.
    while True:
        origin = typing.get_origin(hint)
        if origin is Annotated:
            for note in hint.__metadata__:
                if isinstance(note, wire.ColumnType):
                    kind = note
                elif isinstance(note, Named):
                    name = note.name
                elif isinstance(note, Since):
                    since = note.version
                elif note is _EventTime:
                    event_time = True
            hint = hint.__origin__
        elif origin in (typing.Union, types.UnionType):
            some = [one for one in typing.get_args(hint) if one is not type(None)]
            if len(some) != 1:
                raise TypeError(f"{where}.{attribute}: a column has one type, and is nullable with `| None`")
            hint, nullable = some[0], True
        else:
            break
    if typing.get_origin(hint) is list:
        if nullable:
            raise TypeError(f"{where}.{attribute}: a list is not nullable; it may be empty")
        item = typing.get_args(hint)[0]
    elif kind is None and not event_time:
        if hint not in _PLAIN:
            raise TypeError(f"{where}.{attribute}: {hint!r} is no type of a column; see segno.types")
        kind = _PLAIN[hint]
    return Field(attribute, name, kind, nullable, since, event_time, item)


_RANGES = {wire.I32: (-(1 << 31), (1 << 31) - 1), wire.U64: (0, (1 << 64) - 1), wire.DATE: (-(1 << 31), (1 << 31) - 1)}


def exact(one: Field, items):
    """What tells whether a plain value of a field is what is read when it is written: of its type and no other, and in its range.
    `items`: of a list, the class of state that it holds."""
    kind = one.kind
    if items is not None:

        def is_exact(value) -> bool:
            return all(map(items.is_exact, value))

    elif kind is wire.UTF8:

        def is_exact(value) -> bool:
            return type(value) is str and value.isascii()

    elif kind is wire.F64:

        def is_exact(value) -> bool:
            # A NaN may have other bits than the canonical one.
            return type(value) is float and value == value

    elif kind in (wire.BOOL, wire.BINARY):
        of = bool if kind is wire.BOOL else bytes

        def is_exact(value) -> bool:
            return type(value) is of

    else:
        of = {wire.TIMESTAMP: Timestamp, wire.DATE: Date}.get(kind, int)
        if kind.tag == wire.DECIMAL_TAG:
            most = 10**kind.precision - 1
            least = -most
        else:
            least, most = _RANGES.get(kind, (_I64_MIN, _I64_MAX))

        def is_exact(value) -> bool:
            # A time that was just read is an `int` yet.
            return (type(value) is of or type(value) is int) and least <= value <= most

    if one.nullable:
        return lambda value: value is None or is_exact(value)
    return is_exact


def number_of(kind: wire.ColumnType):
    """What the numbers of a column are instances of; `None`: it has no numbers, or makes them of other objects."""
    if kind is wire.F64:
        return (int, float)
    return int if kind in (wire.I32, wire.I64, wire.U64, wire.TIMESTAMP, wire.DATE) else None


def from_wire(kind: wire.ColumnType):
    """What turns a column's plain values into those of its annotation; `None`: nothing has to be done."""
    if kind is wire.TIMESTAMP:
        return Timestamp
    if kind is wire.DATE:
        return Date
    if kind.tag == wire.DECIMAL_TAG:
        return lambda digits: _decimal(digits, kind.scale)
    return None


def to_wire(kind: wire.ColumnType):
    """The way back; `None`: nothing has to be done."""
    if kind.tag == wire.DECIMAL_TAG:
        return lambda value: _digits(value, kind)
    if kind is wire.BINARY:
        return lambda value: bytes(value) if isinstance(value, (bytearray, memoryview)) else value
    return None


def _decimal(digits: int, scale: int) -> Decimal:
    # Not by arithmetic: that rounds to the context's digits.
    return Decimal((digits < 0, tuple(map(int, str(abs(digits)))), -scale))


def _digits(value: Decimal, kind: wire.ColumnType) -> int:
    if not isinstance(value, Decimal) or not value.is_finite():
        raise wire.Unfit(f"{value!r} is no {kind}")
    sign, digits, exponent = value.as_tuple()
    number = int("".join(map(str, digits)) or "0")
    shift = exponent + kind.scale
    if shift >= 0:
        # A bound, so that 1E+999999 is no number of a million digits.
        if number and shift > 40:
            raise wire.Unfit(f"{value!r} is no {kind}")
        number *= 10 ** min(shift, 40)
    else:
        number, rest = divmod(number, 10 ** min(-shift, len(digits) + 1))
        if rest:
            raise wire.Unfit(f"{value!r} is no {kind}: it has more digits behind the point; round it")
    if number >= 10**kind.precision:
        raise wire.Unfit(f"{value!r} is no {kind}: it has more digits than that")
    return -number if sign else number
