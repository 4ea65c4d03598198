"""What an author writes a plugin with: the class, its ports, its keyed state, its timers, its side tables.

Owns: these, and reading from a class what the plugin's description says. Does not own: how batches run through it
(`engine`), windows (`window`).

Invariant: what is declared in a class is bound anew for each instance; nothing of one instance reaches another.
"""

import copy
import inspect
import typing

from . import wire
from .records import Shape, StateShape, columns, converted, shape_of
from .types import Timestamp


class Reject(Exception):
    """Rejects the current record: it causes no output, and goes the way of the step's `on_error`; what it changed of state and
    timers stays. The text is the reason."""


class Timer(typing.NamedTuple):
    """A timer that fires."""

    #: The time that it was set for.
    time: Timestamp
    #: The number that it was set with: a plugin that has several kinds of timers tells them apart by it.
    number: int


# Ports -----------------------------------------------------------------------------------------------------------------


@columns
class _Nothing:
    pass


class Port:
    """An output of the plugin, declared in its class; its name is that of the attribute."""

    kind = ""

    def __init__(self, row: type | None = None, *, name: str | None = None):
        self.name = name
        self.shape: Shape = shape_of(row or _Nothing)
        self._bind(lambda: 0)

    def __set_name__(self, _, attribute: str):
        self.name = self.name or attribute

    def _bind(self, event) -> None:
        self._event = event
        self.causes: list[int] = []
        self.rows: list[list] = []
        #: The call has one event. That of a record that is rejected for an error always has.
        self.alone = False

    def _add(self, values: list) -> None:
        if self.alone:
            # Here an error has the author's line. Else columns are written when the batch is over, which is faster.
            self._frame([0], [values])
        self.causes.append(self._event())
        self.rows.append(values)

    def push(self, row) -> None:
        """Gives a row. Raises an error when it is not of the port's class, or a field is not of its type."""
        values = self.shape.plain(row)
        self.shape.check_nulls(values)
        self._add(values)

    def describe(self) -> dict:
        return {"name": self.name, "kind": self.kind, "columns": self.shape.specs()}

    def write(self) -> bytes:
        return self._frame(self.causes, self.rows)

    def _frame(self, causes: list[int], rows: list[list]) -> bytes:
        fields = self.shape.columns
        values = list(zip(*rows)) if fields else []
        frame = [("cause", wire.U32, causes)]
        frame += [(one.name, one.kind, list(column)) for one, column in zip(fields, values)]
        return wire.write_frame(len(causes), frame)


class Extend(Port):
    """Rows that are the record that caused them, followed by these columns."""

    kind = "extend"


class Keep(Extend):
    """Records as they came: a filter."""

    def __init__(self, *, name: str | None = None):
        super().__init__(name=name)

    def keep(self) -> None:
        """Gives the current record."""
        self._add([])


class Emit(Port):
    """Rows with these columns only."""

    kind = "emit"


class PerKey(Port):
    """Rows that are the key, followed by these columns."""

    kind = "per_key"


# Timers ----------------------------------------------------------------------------------------------------------------


class Timers:
    """Timers of the current key, and the watermark. For plugins that have `on_timer`."""

    def __init__(self, event, enabled: bool):
        self._event, self._enabled = event, enabled
        self._seen: int | None = None
        self.changes: list[tuple] = []

    def _check(self) -> None:
        if not self._enabled:
            raise TypeError("a plugin that uses timers or the watermark has a method `on_timer`")

    @property
    def watermark(self) -> Timestamp | None:
        """The event time up to which everything has come, but for what is late; nothing before the first record."""
        self._check()
        return None if self._seen is None else Timestamp(self._seen)

    def reached(self, time: Timestamp) -> bool:
        """Whether the watermark has reached a time: nothing before it will come but what is late."""
        self._check()
        return self._seen is not None and self._seen >= time

    def set(self, time: Timestamp, number: int = 0) -> None:
        """Sets a timer of the current key. It fires once, when the watermark reaches `time`; when that has passed, as soon as
        the watermark moves. Key, time and number (0 to 2^32-1) are its identity: setting one that waits changes nothing."""
        self._change(time, number, True)

    def delete(self, time: Timestamp, number: int = 0) -> None:
        """Deletes a timer of the current key, if it waits."""
        self._change(time, number, False)

    def _change(self, time: Timestamp, number: int, set_: bool) -> None:
        self._check()
        if not isinstance(time, int) or not isinstance(number, int) or not 0 <= number < 1 << 32:
            raise TypeError(f"a timer has a Timestamp and a number from 0 to 2^32-1, not {time!r} and {number!r}")
        self.changes.append((self._event(), time, number, set_))

    def write(self) -> bytes:
        causes, times, numbers, sets = map(list, zip(*self.changes))
        frame = [("cause", wire.U32, causes), ("time", wire.TIMESTAMP, times), ("number", wire.U32, numbers), ("set", wire.BOOL, sets)]
        return wire.write_frame(len(causes), frame)


# Keyed state -----------------------------------------------------------------------------------------------------------


_NOT_ASKED = object()


class Keyed:
    """One value for each key of the pipeline: `totals = Keyed(Total)`, where `Total` has `@state`.

    A value may be changed in place: what is there when a record is done is kept, and only what its fields say. Every record gets
    an object of its own: changes of one that is held on to are not kept.
    """

    timers: Timers

    def __init__(self, kept: type | StateShape):
        self.shape = kept if isinstance(kept, StateShape) else shape_of(kept)
        if not isinstance(self.shape, StateShape):
            raise TypeError(f"{self.shape.cls.__name__}: state is a class with @state")
        self._bind(None)

    def _bind(self, timers) -> None:
        self.timers = timers
        self._load([])

    def _load(self, raw: list) -> None:
        # Between events a value is plain values, as if it had been written and read, that nobody else has: what the next record
        # finds does not depend on which events share a call.
        self._raw, self._kept = raw, {}
        self._enter(0)

    def _enter(self, key: int) -> None:
        """An event of this key begins."""
        self.key = key
        self._value = _NOT_ASKED

    def _leave(self) -> None:
        """The event is over."""
        value = self._value
        if value is not _NOT_ASKED:
            self._kept[self.key] = None if value is None else self.shape.kept(value)

    def _found(self):
        """The plain values of before the event."""
        key = self.key
        if key in self._kept:
            return self._kept[key]
        raw = self._raw[key]
        try:
            return None if raw is None else self.shape.read(raw)
        except ValueError as error:
            raise StateUnreadable(
                f"the state of table `{self.shape.table}` cannot be read at version {self.shape.version}: {error}"
            ) from None

    def get(self):
        """The key's value, or `None` for a new key."""
        if self._value is _NOT_ASKED:
            found = self._found()
            self._value = None if found is None else self.shape.of_plain(found)
        return self._value

    def or_insert(self, first):
        """The key's value; made by `first()` for a new key."""
        value = self.get()
        if value is None:
            value = first()
            if value is None:
                raise TypeError("or_insert: a function that makes a value is expected, and it made None")
            self.set(value)
        return value

    def or_default(self):
        """The key's value; one whose fields have their defaults for a new key."""
        value = self.get()
        if value is None:
            value = self._value = self.shape.cls()
        return value

    def set(self, value) -> None:
        """Replaces the key's value."""
        self._value = value

    def clear(self) -> None:
        """Forgets the key."""
        self._value = None

    def describe(self) -> dict:
        return {"name": self.shape.table, "version": self.shape.version, "columns": self.shape.state_specs()}

    def changed(self) -> list[tuple]:
        """(key, new value or `None`) of what differs, in the order of keys."""
        changes = []
        for key in sorted(self._kept):
            kept = self._kept[key]
            after = None if kept is None else self.shape.write(kept)
            if after != self._raw[key]:
                changes.append((key, after))
        return changes


class StateUnreadable(Exception):
    """A value of a table that this version of the plugin cannot read: not about a record."""


# Side tables -----------------------------------------------------------------------------------------------------------

Row = typing.TypeVar("Row")


class Table(typing.Generic[Row]):
    """The rows of a side table, in the pipeline's order: a parameter of `__init__`, `airports: Table[Airport]`."""

    def __init__(self, rows: list[Row], by_key: dict):
        self.rows, self._by_key = rows, by_key

    def get(self, key) -> Row | None:
        """The row with this key."""
        return self._by_key.get(key)

    def __iter__(self):
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)


def load_table(row: type, view) -> Table:
    name, key = row.__segno_table__
    shape = shape_of(row)
    count, values = wire.read_frame(view)
    values = [converted(one.kind, column) for one, column in zip(shape.columns, values)]
    rows = list(map(row, *values)) if values else [row() for _ in range(count)]
    by_key: dict = {}
    if key is not None:
        for number, one in enumerate(rows):
            first = by_key.setdefault(getattr(one, key), number)
            if first != number:
                raise ConfigRefused(f"side table `{name}`: rows {first} and {number} have the same `{key}`; a key is unique")
        by_key = {found: rows[number] for found, number in by_key.items()}
    return Table(rows, by_key)


class ConfigRefused(Exception):
    """The plugin's `__init__` cannot work with what the pipeline gave it. The text is shown to the author of the pipeline."""


# The plugin ------------------------------------------------------------------------------------------------------------


class Transform:
    """A plugin. A class declares its ports and its tables, and has

    - `process(self, record: Order)`: called for each record; the class of the parameter, with `@columns`, says which
      columns are read;
    - `on_timer(self, timer: Timer)`, if it has timers;
    - `__init__(self, config: Settings, airports: Table[Airport])`, if it has a configuration (`@config`) or side tables
      (`@table`); each parameter may be left out.

    An instance serves one epoch of one lane: what has to last is keyed state, never a field of the instance.
    """

    timers: Timers

    def process(self, record) -> None:
        raise NotImplementedError

    def on_timer(self, timer: Timer) -> None:
        raise NotImplementedError


class Plan:
    """What a plugin's class says."""

    def __init__(self, cls: type[Transform], name: str = "plugin", version: str = "0"):
        self.cls, self.name, self.version = cls, name, version
        declared = {}
        for one in reversed(cls.__mro__):
            declared.update(vars(one))
        self.ports = {attribute: one for attribute, one in declared.items() if isinstance(one, Port)}
        self.tables = {attribute: one for attribute, one in declared.items() if isinstance(one, Keyed)}
        self.has_timers = cls.on_timer is not Transform.on_timer
        self.input = shape_of(self._record())
        times = [one for one in self.input.fields if one.event_time]
        self.event_time = bool(times)
        self.config, self.side_tables = None, {}
        self._parameters = []
        if cls.__init__ is not object.__init__:
            self._read_init()

    def _record(self) -> type:
        parameters = list(inspect.signature(self.cls.process).parameters)
        hint = typing.get_type_hints(self.cls.process).get(parameters[1]) if len(parameters) == 2 else None
        if hint is None or not isinstance(hint, type):
            raise TypeError(f"{self.cls.__name__}.process(self, record: Order): the parameter has a class with @columns")
        return hint

    def _read_init(self) -> None:
        hints = typing.get_type_hints(self.cls.__init__)
        for parameter in list(inspect.signature(self.cls.__init__).parameters)[1:]:
            hint = hints.get(parameter)
            if typing.get_origin(hint) is Table:
                row = typing.get_args(hint)[0]
                if not hasattr(row, "__segno_table__"):
                    raise TypeError(f"{self.cls.__name__}.__init__: {row.__name__} is no class with @table")
                self.side_tables[parameter] = row
            elif hasattr(hint, "__segno_config__") and self.config is None:
                self.config = hint
            else:
                raise TypeError(f"{self.cls.__name__}.__init__: {parameter} is a class with @config, or Table[a class with @table]")
            self._parameters.append(parameter)

    def description(self) -> dict:
        """As wit/frame.md has it."""
        sides = []
        for row in self.side_tables.values():
            name, key = row.__segno_table__
            side = {"name": name, "columns": shape_of(row).specs()}
            if key is not None:
                side["key"] = next(one.name for one in shape_of(row).columns if one.attribute == key)
            sides.append(side)
        return {
            "abi": 1,
            "name": self.name,
            "version": self.version,
            "inputs": [{"name": "in", "columns": self.input.specs()}],
            "event_time": self.event_time,
            "timers": self.has_timers,
            "outputs": [port.describe() for port in self.ports.values()],
            "tables": [table.describe() for table in self.tables.values()],
            "side_tables": sides,
        }

    def instance(self, config, tables: dict, event) -> Transform:
        """An instance whose ports, tables and timers are its own."""
        made = self.cls.__new__(self.cls)
        made.timers = Timers(event, self.has_timers)
        for attribute, port in self.ports.items():
            bound = copy.copy(port)
            bound._bind(event)
            setattr(made, attribute, bound)
        for attribute, table in self.tables.items():
            bound = copy.copy(table)
            bound._bind(made.timers)
            setattr(made, attribute, bound)
        arguments = {one: tables[one] if one in tables else config for one in self._parameters}
        made.__init__(**arguments)
        return made
