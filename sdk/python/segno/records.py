"""Classes with fields: records that come in, rows that go out, values of state, configurations, rows of side tables.

Owns: the decorators, and what the boundary must know of a class. Does not own: the types of fields (`types`).

Invariant: a decorated class is a dataclass with slots; its fields are its columns, in their order.
"""

import dataclasses
import re
import typing

from . import wire
from .types import Field, exact, field, from_wire, number_of, to_wire


class Shape:
    """The columns of a class, and how its objects are made of plain values and the other way round."""

    #: What stands before `column` in errors.
    what = ""

    def __init__(self, cls):
        self.cls = cls
        hints = typing.get_type_hints(cls, include_extras=True)
        names = [one.name for one in dataclasses.fields(cls)]
        self.fields: list[Field] = [field(name, hints[name], cls.__name__) for name in names]
        self.columns = [one for one in self.fields if not one.event_time]
        # Bytes that can change are copied: those of when they were given count.
        self._to = [(at, convert) for at, one in enumerate(self.columns) if one.kind and (convert := to_wire(one.kind))]
        self._attributes = [one.attribute for one in self.columns]
        numbers = [(at, number_of(one.kind)) for at, one in enumerate(self.columns) if one.kind]
        self._numbers = [(at, number) for at, number in numbers if number]

    def specs(self) -> list[dict]:
        """The columns as a description has them."""
        return [{"name": one.name, "type": str(one.kind), "nullable": one.nullable} for one in self.columns]

    def plain(self, row) -> list:
        """The plain values of an object, in the order of the columns."""
        if type(row) is not self.cls:
            # Not by `repr`, which may hold an address.
            raise TypeError(f"an object of {self.cls.__name__} is expected, not of {type(row).__name__}")
        values = [getattr(row, attribute) for attribute in self._attributes]
        for at, number in self._numbers:
            if not isinstance(values[at], number):
                self._not_a_number(at, values[at])
        for at, convert in self._to:
            if values[at] is not None:
                try:
                    values[at] = convert(values[at])
                except wire.Unfit as error:
                    raise wire.Unfit(f"{self.what}column {self.columns[at].name}: {error}") from None
        return values

    def _not_a_number(self, at: int, value) -> None:
        # What only becomes a number when it is written may be another one by then.
        if value is not None:
            raise wire.Unfit(f"{self.what}column {self.columns[at].name}: {value!r} is no {self.columns[at].kind}")

    def check_nulls(self, values) -> None:
        for one, value in zip(self.columns, values):
            if value is None and not one.nullable:
                raise wire.Unfit(f"column {one.name}: None, and the column is not nullable")


def converted(kind: wire.ColumnType, values: list) -> list:
    """A column's plain values as those of its annotation."""
    convert = from_wire(kind)
    if convert is None:
        return values
    return [None if value is None else convert(value) for value in values]


def _dataclass(cls):
    made = dataclasses.dataclass(slots=True)(cls)
    made.__segno_shape__ = Shape(made)
    return made


def shape_of(cls) -> Shape:
    """What a decorator found out about a class."""
    shape = cls.__dict__.get("__segno_shape__")
    if shape is None:
        raise TypeError(f"{cls.__name__} has no decorator: @columns, @state, @table or @config")
    return shape


@typing.dataclass_transform()
def columns(cls):
    """A record that comes in, or a row that goes out."""
    made = _dataclass(cls)
    for one in made.__segno_shape__.columns:
        if one.kind is None:
            raise TypeError(f"{cls.__name__}.{one.attribute}: lists are for state")
    return made


def snake_case(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


class StateShape(Shape):
    """A class of state, and of what it holds lists of."""

    what = "state "

    def __init__(self, cls, table: str, version: int):
        super().__init__(cls)
        self.table, self.version = table, version
        newest = 1
        for one in self.fields:
            if one.event_time:
                raise TypeError(f"{cls.__name__}.{one.attribute}: event times are for records; keep a Timestamp")
            if not newest <= one.since <= version:
                raise TypeError(
                    f"{cls.__name__}.{one.attribute}: fields are appended: Since is between that of the field before "
                    f"({newest}) and the class's version ({version})"
                )
            newest = one.since
        self.items = [shape_of(one.item) if one.item else None for one in self.fields]
        self._lists = [(at, items) for at, items in enumerate(self.items) if items]
        self._from = [(at, convert) for at, one in enumerate(self.fields) if one.kind and (convert := from_wire(one.kind))]
        self._exact = [exact(one, items) for one, items in zip(self.fields, self.items)]
        self.wire = tuple(
            wire.StateColumn(one.name, one.kind, one.nullable, one.since, items.wire if items else ())
            for one, items in zip(self.fields, self.items)
        )

    def state_specs(self) -> list[dict]:
        specs = []
        for one, items in zip(self.fields, self.items):
            spec = {"name": one.name, "type": "list" if items else str(one.kind), "nullable": one.nullable}
            if one.since > 1:
                spec["since"] = one.since
            if items:
                spec["columns"] = items.state_specs()
            specs.append(spec)
        return specs

    def to_plain(self, value) -> list:
        values = self.plain(value)
        for at, items in self._lists:
            if not hasattr(values[at], "__iter__"):
                raise wire.Unfit(f"state column {self.fields[at].name}: a list is expected, not {values[at]!r}")
            try:
                values[at] = [items.to_plain(item) for item in values[at]]
            except wire.Unfit as error:
                raise wire.Unfit(f"list {self.fields[at].name}: {error}") from None
        for one, plain in zip(self.fields, values):
            if plain is None and not one.nullable:
                raise wire.Unfit(f"state column {one.name}: None, and the column is not nullable")
        return values

    def of_plain(self, values):
        """An object that nobody has yet."""
        values = list(values)
        for at, items in self._lists:
            values[at] = [items.of_plain(item) for item in values[at]]
        for at, convert in self._from:
            if values[at] is not None:
                values[at] = convert(values[at])
        return self.cls(*values)

    def is_exact(self, values: list) -> bool:
        """Whether plain values are those that are read when they are written."""
        for is_exact, value in zip(self._exact, values):
            if not is_exact(value):
                return False
        return True

    def kept(self, value) -> list:
        """The plain values that are read when an object has been written."""
        values = self.to_plain(value)
        return values if self.is_exact(values) else self.read(self.write(values))

    def write(self, values: list) -> bytes:
        return wire.write_state(self.version, self.wire, values)

    def read(self, raw) -> list:
        """Raises `ValueError` where the bytes are no value of this version."""
        return wire.read_state(self.version, self.wire, raw)

    def encode(self, value) -> bytes:
        return self.write(self.to_plain(value))

    def decode(self, raw):
        return self.of_plain(self.read(raw))


@typing.dataclass_transform()
def state(cls=None, *, table: str | None = None, version: int = 1):
    """A value kept for each key, or an item of a list in one: `deliveries: list[Delivery]`.

    `table` is the table's name; the class's, in small letters with `_`, if not given. `version` grows when fields are
    appended, each of them `Annotated[..., Since(version)]`.
    """

    def decorate(cls):
        made = dataclasses.dataclass(slots=True)(cls)
        made.__segno_shape__ = StateShape(made, table or snake_case(cls.__name__), version)
        return made

    return decorate if cls is None else decorate(cls)


@typing.dataclass_transform()
def table(cls=None, *, name: str | None = None, key: str | None = None):
    """A row of a side table, which the pipeline hands over; `key` is the field by which rows are found."""

    def decorate(cls):
        made = _dataclass(cls)
        shape = made.__segno_shape__
        made.__segno_table__ = (name or snake_case(cls.__name__), key)
        if key is not None:
            found = [one for one in shape.columns if one.attribute == key]
            if not found or found[0].nullable:
                raise TypeError(f"{cls.__name__}: the key is a field that is not nullable, not {key!r}")
        return made

    return decorate if cls is None else decorate(cls)
