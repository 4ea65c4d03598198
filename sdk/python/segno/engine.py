"""Running a plugin over messages: open a batch, hand over its records and timers, write the answer.

Owns: the order of events, and what of it reaches the answer. Does not own: how messages arrive (`guest` in the sandbox,
`testing` natively).

Invariants: an answer is canonical. Nothing is kept from one batch to the next but the instance itself.
"""

import itertools
import json

from . import observe, settings, wire
from .records import converted
from .transform import ConfigRefused, Plan, Reject, StateUnreadable, Timer, load_table
from .types import Timestamp


class Refused(Exception):
    """`init` refuses its configuration or its side tables; or a batch as a whole cannot be processed."""


class Engine:
    """One instance of a plugin, with exactly the three entry points that its component exports."""

    def __init__(self, plan: Plan):
        self.plan = plan
        self.event = 0
        self.instance = None
        #: The author's method that runs, or ran last: what it left behind is looked at when it is over.
        self.entry = None

    def describe(self) -> bytes:
        return json.dumps(self.plan.description()).encode()

    def init(self, message) -> None:
        """Makes the instance. Raises `Refused` with what is to be shown to the author of the pipeline."""
        sections = wire.read_message(wire.INIT, memoryview(message))
        plan = self.plan
        try:
            config = settings.read(plan.config, bytes(sections.get((1, 0), b"{}")))
            tables = {}
            for at, (parameter, row) in enumerate(plan.side_tables.items()):
                if (2, at) not in sections:
                    raise ConfigRefused(f"side table `{row.__segno_table__[0]}` is missing")
                tables[parameter] = load_table(row, sections[2, at])
            self.instance = plan.instance(config, tables, lambda: self.event)
        except (settings.ConfigError, ConfigRefused) as error:
            raise Refused(str(error)) from None

    def process(self, message) -> bytes:
        """Takes a batch message and gives an effects message. Raises `Refused` where nothing is about one record; what else
        is raised is the plugin's mistake."""
        observe.drop_counts()
        sections = wire.read_message(wire.BATCH, memoryview(message))
        plan, instance = self.plan, self.instance
        rows, values = wire.read_frame(sections[1, 0])
        ports = [getattr(instance, attribute) for attribute in plan.ports]
        tables = [getattr(instance, attribute) for attribute in plan.tables]
        timers = instance.timers
        due = _Due(sections) if plan.has_timers else None
        for port in ports:
            port.causes, port.rows = [], []
            port.alone = rows + (len(due.timers) if due else 0) == 1
        timers.changes, timers._seen = [], None
        keys = wire.read_frame(sections[2, 0])[1][0] if tables else None
        for at, table in enumerate(tables):
            table._load(wire.read_frame(sections[3, at])[1][0])

        rejects: list[tuple[int, str]] = []
        try:
            records = self._records(sections, rows, values)
            process = self.entry = instance.process
            for row, record in enumerate(records):
                if due:
                    for fired in due.before(row, timers):
                        self._fire(instance, tables, *fired)
                    due.reach(row, timers)
                    self.event = row + due.taken
                else:
                    self.event = row
                for table in tables:
                    table._enter(keys[row])
                marks = [len(port.causes) for port in ports]
                try:
                    given = process(record)
                    if given is not None:
                        raise _given_back("process", given)
                except Reject as reject:
                    for port, mark in zip(ports, marks):
                        del port.causes[mark:], port.rows[mark:]
                    rejects.append((self.event, str(reject)))
                for table in tables:
                    table._leave()
            if due:
                for fired in due.before(rows, timers):
                    self._fire(instance, tables, *fired)
            answer = self._answer(ports, tables, timers, rejects)
        except StateUnreadable as error:
            raise Refused(str(error)) from None
        observe.flush_counts()
        return answer

    def _records(self, sections, rows: int, values):
        shape = self.plan.input
        arguments = [converted(one.kind, column) for one, column in zip(shape.columns, values)]
        if self.plan.event_time:
            times = list(map(Timestamp, wire.read_frame(sections[5, 0])[1][0]))
            at = next(at for at, one in enumerate(shape.fields) if one.event_time)
            arguments.insert(at, times)
        if not arguments:
            return (shape.cls() for _ in range(rows))
        return map(shape.cls, *arguments)

    def _fire(self, instance, tables, event: int, key: int, timer: Timer) -> None:
        self.event = event
        for table in tables:
            table._enter(key)
        self.entry = instance.on_timer
        try:
            given = instance.on_timer(timer)
            if given is not None:
                raise _given_back("on_timer", given)
        except Reject as reject:
            raise RuntimeError(f"a timer is no record that could be rejected: {reject}") from reject
        for table in tables:
            table._leave()
        self.entry = instance.process

    @staticmethod
    def _answer(ports, tables, timers, rejects) -> bytes:
        sections = [(1, at, port.write()) for at, port in enumerate(ports) if port.causes]
        for at, table in enumerate(tables):
            changed = table.changed()
            if changed:
                keys, values = map(list, zip(*changed))
                sections.append((2, at, wire.write_frame(len(keys), [("key", wire.U32, keys), ("value", wire.BINARY, values)])))
        if timers.changes:
            sections.append((3, 0, timers.write()))
        if rejects:
            causes, reasons = map(list, zip(*rejects))
            sections.append((4, 0, wire.write_frame(len(causes), [("cause", wire.U32, causes), ("reason", wire.UTF8, reasons)])))
        return wire.write_message(wire.EFFECTS, sections)


def _given_back(name: str, given) -> TypeError:
    """What a method gives back would be lost, and what a generator or a coroutine would do never happens."""
    return TypeError(f"`{name}` gives back {type(given).__name__}: rows go through ports, as in self.out.push(row); is there a `yield` or an `async` in it?")


class _Due:
    """The due timers and watermarks of a batch, taken one after the other."""

    def __init__(self, sections):
        empty = [[], [], [], [], []]
        self.timers = list(zip(*wire.read_frame(sections[4, 0])[1] if (4, 0) in sections else empty))
        self.moves = list(zip(*wire.read_frame(sections[6, 0])[1]))
        self.taken = self._moved = 0

    def before(self, row: int, timers):
        """The timers that fire before a record, each with the watermark that it sees."""
        while self.taken < len(self.timers) and self.timers[self.taken][0] <= row:
            _, key, time, number, watermark = self.timers[self.taken]
            event = row + self.taken
            self.taken += 1
            timers._seen = watermark
            yield event, key, Timer(Timestamp(time), number)

    def reach(self, row: int, timers) -> None:
        """Moves the watermark to where it is from a record on."""
        for at, watermark in itertools.islice(self.moves, self._moved, None):
            if at > row:
                break
            timers._seen = watermark
            self._moved += 1
