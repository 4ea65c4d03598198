"""Test a plugin with plain `unittest` or `pytest`: no runtime, no sandbox, the same bytes.

    from segno.testing import Harness

    def test_a_discount_is_taken_off():
        plugin = Harness(Price, {"discount_percent": 10})
        plugin.push(Order(quantity=2, price_cents=450))
        assert plugin.run().rows()[0].total_cents == 810

Owns: making batches from records, keeping state and timers between them, and showing what came out. Does not own: the
semantics of a pipeline (merging, epochs, `on_error`).

Invariant: every run is done twice, in one batch and event by event, with a fresh instance for each batch; a plugin whose
result depends on how batches are cut fails here.
"""

import json
import typing

from . import observe, wire
from .engine import Engine
from .records import converted, shape_of
from .transform import Plan, Timer
from .types import Timestamp

_END = (1 << 63) - 1
#: The smallest step of the watermark, microseconds.
_TICK = 100_000
#: How many timers of one instant may set each other, and how many those of one key may set when the input has ended.
_CHAIN_MAX, _AT_THE_END_MAX = 1_000, 10_000


class OutputRow:
    """A row that came out: the fields of the port's class, and what caused it."""

    def __init__(self, cause: int, key: str, timer: Timer | None, row):
        #: The record that caused it, counted from the first one pushed for this run; for a row that a timer caused, the
        #: record before which it fired.
        self.cause = cause
        #: Of what caused it; empty for a plugin without keys.
        self.key = key
        #: That caused it.
        self.timer = timer
        self.row = row

    def __getattr__(self, name):
        return getattr(self.row, name)

    def __eq__(self, other):
        return isinstance(other, OutputRow) and vars(self) == vars(other)

    def __repr__(self):
        return f"{self.row!r} (cause {self.cause}, key {self.key!r}, {self.timer})"


class Rejected(typing.NamedTuple):
    cause: int
    reason: str


class Result:
    """What a run gave."""

    def __init__(self, ports):
        self._ports: dict[str, list[OutputRow]] = {name: [] for name in ports}
        self.rejects: list[Rejected] = []
        #: Timers that were set and deleted, in order: (key, `Timer`, whether it was set).
        self.timers: list[tuple[str, Timer, bool]] = []
        self.logs: list[tuple[int, str]] = []
        self.counts: dict[str, int] = {}

    def port(self, name: str) -> list[OutputRow]:
        """The rows of a port, in order."""
        return self._ports[name]

    def rows(self) -> list[OutputRow]:
        """The rows of the only port."""
        if len(self._ports) != 1:
            raise ValueError(f"the plugin has {len(self._ports)} ports: name one with `port`")
        return next(iter(self._ports.values()))

    def causes(self) -> list[int]:
        """The records that caused rows of the only port: what a filter keeps."""
        return [row.cause for row in self.rows()]

    def _outcome(self):
        return self._ports, self.rejects, self.timers


class _Event(typing.NamedTuple):
    row: int
    watermark: int | None
    #: (time, key, number) of a timer; `None` for a record.
    timer: tuple[int, str, int] | None = None


class Harness:
    """Runs a plugin over records.

    `config` is the step's `config:`; `tables` the rows of side tables by name; `watermark_delay` how late records may come,
    in microseconds. Raises `segno.engine.Refused` with what the host would show to the author of the pipeline.
    """

    def __init__(self, plugin: type, config: dict | None = None, tables: dict[str, list] | None = None, watermark_delay: int = 0):
        self._plan = Plan(plugin)
        self._delay = watermark_delay
        sections = [(1, 0, json.dumps(config or {}).encode())]
        for at, row in enumerate(self._plan.side_tables.values()):
            name, shape = row.__segno_table__[0], shape_of(row)
            rows = [shape.plain(one) for one in (tables or {}).get(name, [])]
            columns = list(zip(*rows)) or [[] for _ in shape.columns]
            frame = [(one.name, one.kind, list(values)) for one, values in zip(shape.columns, columns)]
            sections.append((2, at, wire.write_frame(len(rows), frame)))
        self._init = wire.write_message(wire.INIT, sections)
        self._engine()
        self._pushed: list[tuple] = []
        self._states: dict[str, list] = {}
        #: Timers by (time, key, number), with how many of one instant set each other before.
        self._waiting: dict[tuple[int, str, int], int] = {}
        self._watermark: int | None = None

    def _engine(self) -> Engine:
        engine = Engine(self._plan)
        engine.init(self._init)
        return engine

    def push(self, record, *, key: str = "") -> None:
        """Adds a record to the next run: an object of the plugin's class of records. `key` is what the pipeline's `key:`
        would give."""
        self._pushed.append((record, key))

    def run(self) -> Result:
        """Processes what was pushed since the last run. State and timers stay for the next one. Timers fire as the records'
        event times move the watermark."""
        return self._run(None)

    def run_to(self, time: Timestamp) -> Result:
        """As `run`; then the watermark moves to `time`, and what is due fires."""
        return self._run(time)

    def run_to_end(self) -> Result:
        """As `run`; then the input ends, and every timer fires."""
        return self._run(_END)

    def timers(self, key: str = "") -> list[Timer]:
        """The timers of a key that wait, in the order of their times."""
        return [Timer(Timestamp(time), number) for time, of, number in sorted(self._waiting) if of == key]

    def state(self, table: str, key: str = ""):
        """The value of a key in a table, or `None`."""
        tables = list(self._plan.tables.values())
        at = next(at for at, one in enumerate(tables) if one.shape.table == table)
        raw = self._states.get(key, [None] * len(tables))[at]
        return None if raw is None else tables[at].shape.decode(raw)

    def _run(self, until: int | None) -> Result:
        records, self._pushed = self._pushed, []
        before = {key: list(values) for key, values in self._states.items()}
        single = Result(port.name for port in self._plan.ports.values())
        events = self._event_by_event(records, until, single)
        single_states, self._states = self._states, before
        result = Result(port.name for port in self._plan.ports.values())
        if events:
            self._call(records, events, result)
        if result._outcome() != single._outcome() or single_states != self._states:
            raise AssertionError(
                "the result depends on how batches are cut: does the plugin keep something from one record to the next outside "
                f"its state?\n   in one batch: {result._outcome()}\nrecord by record: {single._outcome()}"
            )
        return result

    def _event_by_event(self, records, until: int | None, result: Result) -> list[_Event]:
        events: list[_Event] = []
        event_time = next((one.attribute for one in self._plan.input.fields if one.event_time), None)
        for row, (record, _) in enumerate(records):
            if self._plan.has_timers and event_time:
                time = max(getattr(record, event_time) - self._delay, -(1 << 63))
                self._move(max(time // _TICK * _TICK, -(1 << 63)), records, row, result, events)
            self._one(_Event(row, self._watermark), records, result, events)
        if until is not None:
            self._move(until, records, len(records), result, events)
        return events

    def _move(self, to: int, records, row: int, result: Result, events) -> None:
        """Moves the watermark before a record; what is due fires: in the order of the watermark that they see, those that no
        timer of this instant set first, then of (time, key, number)."""
        if self._watermark is not None and self._watermark >= to:
            return
        seen = -(1 << 63) if self._watermark is None else self._watermark
        at_the_end: dict[str, int] = {}
        while True:
            due = [(max(one[0], seen), chain, one) for one, chain in self._waiting.items() if one[0] <= to]
            if not due:
                break
            seen, chain, timer = min(due)
            del self._waiting[timer]
            self._one(_Event(row, seen, timer), records, result, events, chain, at_the_end if to == _END else None)
        self._watermark = to

    def _one(self, event: _Event, records, result: Result, events, chain: int | None = None, at_the_end: dict[str, int] | None = None) -> None:
        """`chain`: of the timer that fires; `at_the_end`: how many timers the timers of each key have set since the input ended."""
        asked = len(result.timers)
        self._call(records, [event], result)
        for key, timer, is_set in result.timers[asked:]:
            one = (int(timer.time), key, timer.number)
            if not is_set:
                self._waiting.pop(one, None)
                continue
            if one in self._waiting:
                continue
            # Due at once: after those of this instant that no timer set.
            self._waiting[one] = chain + 1 if chain is not None and timer.time <= event.watermark else 0
            if self._waiting[one] > _CHAIN_MAX:
                raise AssertionError(f"timers set each other {_CHAIN_MAX} times at one instant: set the next one for a later time (P028)")
            if at_the_end is not None:
                at_the_end[key] = at_the_end.get(key, 0) + 1
                if at_the_end[key] > _AT_THE_END_MAX:
                    raise AssertionError(
                        f"the input has ended, and timers of the key {key!r} go on setting others, {_AT_THE_END_MAX} so far: set the "
                        "next one only while something waits for it (P028)"
                    )
        events.append(event)

    def _call(self, records, events: list[_Event], result: Result) -> None:
        """One call on a fresh instance, as the runtime makes for each epoch."""
        plan, tables = self._plan, len(self._plan.tables)
        rows = [event.row for event in events if event.timer is None]
        keys: list[str] = []
        of_key = {}
        for event in events:
            key = records[event.row][1] if event.timer is None else event.timer[1]
            if key not in of_key:
                of_key[key] = len(keys)
                keys.append(key)
        shape = plan.input
        plain = list(zip(*(shape.plain(records[row][0]) for row in rows))) or [[] for _ in shape.columns]
        sections = [(1, 0, wire.write_frame(len(rows), [(c.name, c.kind, list(v)) for c, v in zip(shape.columns, plain)]))]
        if tables or plan.has_timers or any(port.kind == "per_key" for port in plan.ports.values()):
            sections.append((2, 0, wire.write_frame(len(rows), [("key", wire.U32, [of_key[records[row][1]] for row in rows])])))
        for at in range(tables):
            values = [self._states.get(key, [None] * tables)[at] for key in keys]
            sections.append((3, at, wire.write_frame(len(keys), [("state", wire.BINARY, values)])))
        fired, moves, seen = [], [], 0
        for event in events:
            if event.timer is not None:
                time, key, number = event.timer
                fired.append((seen, of_key[key], time, number, event.watermark))
            else:
                if event.watermark is not None and (not moves or moves[-1][1] != event.watermark):
                    moves.append((seen, event.watermark))
                seen += 1
        if fired:
            kinds = (wire.U32, wire.U32, wire.TIMESTAMP, wire.U32, wire.TIMESTAMP)
            sections.append((4, 0, wire.write_frame(len(fired), [("", k, list(v)) for k, v in zip(kinds, zip(*fired))])))
        if plan.event_time:
            attribute = next(one.attribute for one in shape.fields if one.event_time)
            times = [getattr(records[row][0], attribute) for row in rows]
            sections.append((5, 0, wire.write_frame(len(rows), [("time", wire.TIMESTAMP, times)])))
        if plan.has_timers:
            at, to = zip(*moves) if moves else ((), ())
            sections.append((6, 0, wire.write_frame(len(moves), [("row", wire.U32, list(at)), ("watermark", wire.TIMESTAMP, list(to))])))
        self._take(self._observed(wire.write_message(wire.BATCH, sections), result), records, events, keys, result)

    def _observed(self, batch: bytes, result: Result) -> bytes:
        def add(name, delta):
            result.counts[name] = result.counts.get(name, 0) + delta

        engine = self._engine()
        before = observe.send_log, observe.send_count
        observe.send_log, observe.send_count = lambda level, message: result.logs.append((level, message)), add
        try:
            return engine.process(batch)
        finally:
            observe.send_log, observe.send_count = before

    def _take(self, answer: bytes, records, events, keys, result: Result) -> None:
        effects = wire.read_message(wire.EFFECTS, memoryview(answer))
        places, following = [], events[0].row if events else 0
        for event in events:
            if event.timer is None:
                following = event.row + 1
                places.append((event.row, records[event.row][1], None))
            else:
                time, key, number = event.timer
                places.append((following, key, Timer(Timestamp(time), number)))
        for at, port in enumerate(self._plan.ports.values()):
            if (1, at) not in effects:
                continue
            _, (causes, *values) = wire.read_frame(effects[1, at])
            values = [converted(one.kind, column) for one, column in zip(port.shape.columns, values)]
            for cause, *row in zip(causes, *values):
                result._ports[port.name].append(OutputRow(*places[cause], port.shape.cls(*row)))
        if (3, 0) in effects:
            for cause, time, number, is_set in zip(*wire.read_frame(effects[3, 0])[1]):
                result.timers.append((places[cause][1], Timer(Timestamp(time), number), is_set))
        if (4, 0) in effects:
            result.rejects += [Rejected(places[cause][0], reason) for cause, reason in zip(*wire.read_frame(effects[4, 0])[1])]
        tables = len(self._plan.tables)
        for at in range(tables):
            if (2, at) in effects:
                for key, value in zip(*wire.read_frame(effects[2, at])[1]):
                    values = self._states.setdefault(keys[key], [None] * tables)
                    values[at] = value
                    if not any(value is not None for value in values):
                        del self._states[keys[key]]
