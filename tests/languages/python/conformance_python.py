"""The conformance component in Python. `tests/languages/README.md` says what each behaviour does. Tests only.

Owns: what is described, and which behaviour is chosen. Does not own: what is expected of it.

Invariant: the behaviour is chosen by the configuration and by nothing else.
"""

import decimal
import math
from dataclasses import field
from decimal import Decimal
from enum import Enum
from typing import Annotated

import segno
from segno import (
    I32, U64, ConfigRefused, Date, Decimal128, Emit, EventTime, Extend, Keep, Keyed, Late, Panes, PerKey, Reject, Since, Sliding, Table,
    Timer, Timestamp, Transform, Tumbling, columns, config, plugin, state, table,
)  # fmt: skip

SECOND = 1_000_000
TIMERS = 100


def i64(number: int) -> int:
    """Wraps as 64-bit integers do."""
    return (number + (1 << 63)) % (1 << 64) - (1 << 63)


@columns
class Record:
    id: int
    flag: bool | None
    narrow: I32 | None
    wide: int | None
    count: U64 | None
    ratio: float | None
    text: str | None
    data: bytes | None
    at: Timestamp | None
    day: Date | None
    amount: Decimal128(38, 10) | None
    time: EventTime


KEPT = ("flag", "narrow", "wide", "count", "ratio", "text", "data", "at", "day", "amount")


@columns
class Noted:
    note: str
    number: int | None


@columns
class Echo:
    id: int
    flag: bool | None
    narrow: I32 | None
    wide: int | None
    count: U64 | None
    ratio: float | None
    text: str | None
    data: bytes | None
    at: Timestamp | None
    day: Date | None
    amount: Decimal128(38, 10) | None

    @classmethod
    def of(cls, id, given):
        return cls(id, *[getattr(given, name) for name in KEPT])


@columns
class Computed:
    id: int
    sum: int | None = None
    product: int | None = None
    quotient: int | None = None
    rest: int | None = None
    turned: U64 | None = None
    third: float | None = None
    total: float | None = None
    root: float | None = None
    nan: bool | None = None
    doubled: Decimal128(38, 10) | None = None
    cut: Decimal128(38, 2) | None = None
    year: I32 | None = None
    month: I32 | None = None
    dom: I32 | None = None
    hour: I32 | None = None
    date_text: str | None = None
    instant_text: str | None = None


@columns
class Row:
    what: str
    id: int
    number: int | None = None
    total: U64 | None = None
    sum: float | None = None
    start: Timestamp | None = None
    end: Timestamp | None = None


@state
class Recent:
    id: int
    text: str | None


@state(version=2)
class Memory:
    records: U64 = 0
    flag: bool | None = None
    narrow: I32 | None = None
    wide: int | None = None
    count: U64 | None = None
    ratio: float | None = None
    text: str | None = None
    data: bytes | None = None
    at: Timestamp | None = None
    day: Date | None = None
    amount: Decimal128(38, 10) | None = None
    recent: list[Recent] = field(default_factory=list)
    seen: Annotated[Timestamp | None, Since(2)] = None
    sure: Annotated[bool, Since(2)] = False


@state
class Sum:
    total: U64 = 0
    sum: int = 0
    ratio: float = 0.0

    def merge(self, other):
        self.total += other.total
        self.sum = i64(self.sum + other.sum)
        self.ratio += other.ratio


@table(name="cities", key="code")
class City:
    code: str
    name: str | None
    people: U64 | None
    capital: bool
    founded: Date | None


Behaviour = Enum(
    "Behaviour",
    {
        name.upper(): name
        for name in (
            "echo arithmetic reject ports remember timers tumbling sliding side configuration observe order failing".split()
        )
    },
)


@config
class WindowSettings:
    """In seconds."""

    size: int
    slide: int | None = None
    lateness: int = 0
    early: int | None = None

    def __str__(self):
        shown = ["-" if one is None else str(one) for one in (self.size, self.slide, self.lateness, self.early)]
        return "/".join(shown)


@config
class Settings:
    behaviour: Behaviour
    limit: int = 100
    ratio: float = 0.5
    label: str = "none"
    strict: bool = False
    codes: list[str] = field(default_factory=list)
    window: WindowSettings | None = None


@plugin
class Conformance(Transform):
    kept = Keep()
    noted = Extend(Noted)
    echo = Emit(Echo)
    computed = Emit(Computed)
    result = PerKey(Row)
    memory = Keyed(Memory)
    panes = Panes(Sum)

    def __init__(self, config: Settings, cities: Table[City]):
        self.config, self.cities = config, cities
        self.behaviour = config.behaviour.value
        self.windows = self.windows_of(config.window) if self.behaviour in ("tumbling", "sliding") else None

    def windows_of(self, window):
        if window is None:
            raise ConfigRefused(f"behaviour `{self.behaviour}` needs config.window")
        if window.size <= 0:
            raise ConfigRefused(f"config.window.size is not positive: {window.size}")
        more = {
            "allowed_lateness": max(window.lateness, 0) * SECOND,
            "early_every": window.early * SECOND if window.early and window.early > 0 else None,
            "timer_number": TIMERS,
        }
        if self.behaviour == "tumbling":
            return Tumbling(self.panes, window.size * SECOND, **more)
        slide = window.size if window.slide is None else window.slide
        if not 1 <= slide <= window.size:
            raise ConfigRefused(f"config.window.slide is not from 1 to the size: {slide}")
        return Sliding(self.panes, window.size * SECOND, slide * SECOND, **more)

    def process(self, record: Record) -> None:
        getattr(self, "on_" + self.behaviour)(record)

    def seen(self) -> int:
        """One record or timer more; how many there are now."""
        memory = self.memory.or_default()
        memory.records += 1
        return memory.records

    def on_echo(self, record):
        self.echo.push(Echo.of(record.id, record))
        if record.flag:
            self.kept.keep()

    def on_arithmetic(self, record):
        self.computed.push(compute(record))

    def on_reject(self, record):
        self.seen()
        self.echo.push(Echo.of(record.id, record))
        if record.text is not None:
            raise Reject(record.text)
        self.kept.keep()

    def on_ports(self, record):
        numbers = range(record.narrow or 0)
        if record.flag is None:
            self.kept.keep()
        elif record.flag:
            for number in numbers:
                self.noted.push(Noted(record.text or "", number))
        else:
            self.echo.push(Echo.of(record.id, record))
            for number in numbers:
                self.result.push(Row("port", record.id, number, record.count, record.ratio, record.at))
            self.kept.keep()

    def on_remember(self, record):
        row = Row("", record.id)
        memory = self.memory.get()
        if record.text == "forget":
            self.memory.clear()
            row.what = "forgotten"
        elif record.text == "recall" and memory is None:
            row.what = "nothing"
        elif record.text == "recall":
            self.echo.push(Echo.of(record.id, memory))
            row.what, row.total, row.start = "recalled", memory.records, memory.seen
            row.number = memory.recent[-1].id if memory.recent else None
        else:
            memory = self.memory.or_default()
            for name in KEPT:
                value = getattr(record, name)
                if value is not None:
                    setattr(memory, name, value)
            memory.records += 1
            memory.recent = [*memory.recent, Recent(record.id, record.text)][-3:]
            memory.seen, memory.sure = record.time, record.flag is True
            row.what, row.number, row.total = "remembered", len(memory.recent), memory.records
        self.result.push(row)

    def on_timers(self, record):
        seen = self.seen()
        time = record.time if record.at is None else record.at
        number = (record.narrow or 0) % (1 << 32)
        self.result.push(Row("record", record.id, seen, start=record.time, end=self.timers.watermark))
        if record.text == "set":
            self.timers.set(time, number)
        elif record.text == "delete":
            self.timers.delete(time, number)
        elif record.text == "both":
            self.timers.set(time, number)
            self.timers.delete(time, number)
            self.timers.set(time, (number + 1) % (1 << 32))
        elif record.text == "reject":
            self.timers.set(time, number)
            raise Reject("set, then rejected")

    def on_tumbling(self, record):
        try:
            kept = self.windows.add(record.time)
        except Late as late:
            if self.config.strict:
                raise
            self.noted.push(Noted("late", int(late.end)))
        else:
            kept.merge(Sum(1, record.wide or 0, record.ratio or 0.0))

    on_sliding = on_tumbling

    def on_side(self, record):
        if record.text is None:
            self.noted.push(Noted(",".join(city.code for city in self.cities), len(self.cities)))
            return
        city = self.cities.get(record.text)
        if city is None:
            self.noted.push(Noted("unknown", None))
            return
        self.noted.push(Noted("?" if city.name is None else city.name, None if city.people is None else i64(city.people)))
        if city.founded is not None or city.capital:
            founded = None if city.founded is None else str(city.founded)
            self.computed.push(Computed(record.id, nan=city.capital, date_text=founded))

    def on_configuration(self, record):
        found = self.config
        what = (
            f"limit={found.limit} label={found.label} strict={str(found.strict).lower()} codes=[{','.join(found.codes)}] "
            f"window={'none' if found.window is None else found.window}"
        )
        self.result.push(Row(what, record.id, found.limit, len(found.codes), found.ratio))

    def on_observe(self, record):
        if record.text is not None:
            level = record.narrow if record.narrow in (0, 1, 3, 4) else 2
            segno.log(level, f"record {record.id}: {record.text}")
        segno.count("seen")
        segno.count("weight", record.count or 0)
        self.kept.keep()

    def on_order(self, record):
        words: dict[str, int] = {}
        for word in (record.text or "").split(" "):
            words[word] = words.get(word, 0) + 1
        self.noted.push(Noted(" ".join(f"{word}:{count}" for word, count in words.items()), len(words)))

    def on_failing(self, record):
        self.result.push(Row("record", record.id, self.seen()))
        if record.text == "panic":
            raise RuntimeError(f"told to fail at {record.id}")

    def on_timer(self, timer: Timer) -> None:
        if self.behaviour == "timers":
            self.fire(timer)
        elif self.windows:
            for number, fired in enumerate(self.windows.fire(timer)):
                value = fired.value
                self.result.push(
                    Row(fired.kind, number, value.sum, value.total, value.ratio, fired.window.start, fired.window.end)
                )

    def fire(self, timer: Timer) -> None:
        self.result.push(Row("timer", timer.number, self.seen(), start=timer.time, end=self.timers.watermark))
        if timer.number in (10, 11, 12):
            self.timers.set(timer.time.after(SECOND), timer.number + 1)
        elif timer.number == 20:
            self.timers.set(timer.time, 21)
        elif timer.number == 30:
            self.timers.delete(timer.time.after(SECOND), 0)
        elif timer.number == 40:
            self.memory.clear()


def compute(record: Record) -> Computed:
    row = Computed(record.id)
    wide, narrow, ratio, amount = record.wide, record.narrow, record.ratio, record.amount
    if wide is not None and narrow is not None:
        row.sum, row.product = i64(wide + narrow), i64(wide * narrow)
        if narrow != 0:
            quotient = abs(wide) // abs(narrow) * (1 if (wide < 0) == (narrow < 0) else -1)
            row.quotient, row.rest = i64(quotient), wide - quotient * narrow
    if record.count is not None:
        row.turned = (record.count * 3 + 1) % (1 << 64)
    if ratio is not None:
        row.third = ratio / 3.0
        if wide is not None:
            row.total = ratio + 0.1 + float(wide)
        row.root = math.sqrt(ratio) if ratio >= 0 or ratio != ratio else math.nan
        row.nan = row.root != row.root
    if amount is not None:
        doubled = amount * 2
        row.doubled = doubled if abs(doubled) < Decimal(10) ** 28 else None
        row.cut = amount.quantize(Decimal("0.01"), decimal.ROUND_DOWN)
    if record.day is not None:
        row.year, row.month, row.dom = record.day.civil()
        row.date_text = str(record.day)
    if record.at is not None:
        row.hour, row.instant_text = record.at.hour, str(record.at)
    return row
