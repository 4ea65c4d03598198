"""Windows of event time: tumbling and sliding ones.

Owns: which windows there are, what is kept for each, and their results. Does not own: timers (`transform`), when they fire
(the host). Session windows and other operators are in the Rust SDK.

Invariant: a window takes the records from its start up to its end, without the end. Its result is given once when the
watermark reaches the end, and again for each instant at which late records that are allowed changed it.
"""

import dataclasses
import typing
from datetime import timedelta
from math import gcd

from . import observe
from .records import StateShape, shape_of
from .transform import Keyed, Reject, Timer
from .types import Timestamp, micros

_END, _EARLY, _UPDATE = range(3)


class Window(typing.NamedTuple):
    """A span of event time; the end is not part of it."""

    start: Timestamp
    end: Timestamp


class Fired(typing.NamedTuple):
    """The result of a window."""

    window: Window
    #: `early`: before its end, more may come; `on_time`: its end is reached; `update`: late records changed it.
    kind: typing.Literal["early", "on_time", "update"]
    value: typing.Any


class Late(Reject):
    """A record is late: the watermark has reached the end of the last window that it belongs to.

    Not caught, it rejects the record; caught, the record may go to a port of late records.
    """

    def __init__(self, end: Timestamp):
        observe.count("late_records")
        super().__init__(f"the record is late: what it belongs to ended at {end}, which the watermark has reached")
        self.end = end


@dataclasses.dataclass(slots=True)
class _Pane:
    """One window, or one slice of several."""

    start: Timestamp
    end: Timestamp
    #: It has changed since its last result.
    changed: bool
    #: Its end was reached.
    closed: bool
    #: The plain values of before the event; what the event has of them, if it asked.
    kept: list | None
    value: typing.Any = None


class _PaneShape(StateShape):
    """A pane as state: its own fields, then those of its value."""

    def __init__(self, value: StateShape):
        @dataclasses.dataclass(slots=True)
        class Head:
            start: Timestamp
            end: Timestamp
            changed: bool
            closed: bool

        super().__init__(Head, "window", 1)
        self.version, self.value = value.version, value
        self.head = len(self.fields)
        self.wire = self.wire + value.wire

    def state_specs(self):
        return super().state_specs() + self.value.state_specs()

    def to_plain(self, pane):
        return [pane.start, pane.end, pane.changed, pane.closed, *pane.kept]

    def of_plain(self, values):
        start, end, changed, closed, *rest = values
        return _Pane(Timestamp(start), Timestamp(end), changed, closed, rest)


class _PanesShape(StateShape):
    """The open windows of a key: a table of its own, named `windows`."""

    def __init__(self, value: StateShape):
        self.pane, self.table, self.version = _PaneShape(value), "windows", value.version
        from .wire import StateColumn

        self.wire = (StateColumn("windows", None, False, 1, self.pane.wire),)

    def state_specs(self):
        return [{"name": "windows", "type": "list", "nullable": False, "columns": self.pane.state_specs()}]

    def write(self, panes):
        return super().write([[self.pane.to_plain(pane) for pane in panes]])

    def of_plain(self, values):
        return [self.pane.of_plain(pane) for pane in values[0]]


class Panes(Keyed):
    """The open windows of each key, and what is kept for each window: declared in the class of the plugin, `panes =
    Panes(Sum)`, and handed to `Tumbling` or `Sliding`. `Sum` is a class with `@state` whose fields have defaults."""

    def __init__(self, kept: type):
        self._first = kept
        super().__init__(_PanesShape(shape_of(kept)))

    def _enter(self, key: int) -> None:
        super()._enter(key)
        #: The panes whose values the author has.
        self._given: list = []

    def _leave(self) -> None:
        # Of the list and the panes in it an author sees nothing: they stay from one event to the next.
        for pane in self._given:
            pane.kept, pane.value = self.shape.pane.value.kept(pane.value), None

    def clear(self) -> None:
        """Forgets the windows of the key."""
        self._kept[self.key] = None

    def set(self, value) -> None:
        raise TypeError("windows are changed through Tumbling or Sliding; clear() forgets those of the key")

    or_insert = or_default = set

    def get(self) -> list | None:
        """The panes of the key, by their starts."""
        if self.key not in self._kept:
            found = self._found()
            self._kept[self.key] = None if found is None else self.shape.of_plain(found)
        return self._kept[self.key]

    def value(self, pane: _Pane):
        """What is kept for a window, to be changed in place."""
        if pane.value is None:
            pane.value = self._first() if pane.kept is None else self.shape.pane.value.of_plain(pane.kept)
            self._given.append(pane)
        return pane.value

    def copy(self, pane: _Pane):
        """What is kept for a window, as an object of its own."""
        shape = self.shape.pane.value
        return shape.of_plain(pane.kept if pane.value is None else shape.kept(pane.value))

    def at(self, start: Timestamp, end: Timestamp, closed: bool):
        panes = self.get()
        if panes is None:
            panes = self._kept[self.key] = []
        at = len(panes)
        while at and panes[at - 1].start > start:
            at -= 1
        new = not (at and panes[at - 1].start == start)
        if new:
            panes.insert(at, _Pane(start, end, False, closed, None))
        return panes[at if new else at - 1], new

    def let_go(self, over) -> list:
        panes = self.get()
        if panes is None:
            return []
        panes[:] = [pane for pane in panes if not over(pane)]
        if not panes:
            self.clear()
        return panes


class _Windows:
    def __init__(self, panes: Panes, size, allowed_lateness, early_every, timer_number):
        if micros(size) <= 0:
            raise ValueError("the size of a window is longer than nothing")
        self.panes, self.size = panes, micros(size)
        self.lateness = micros(allowed_lateness)
        self.early = micros(early_every) if early_every is not None else None
        self.number = timer_number

    @property
    def _timers(self):
        return self.panes.timers

    def _over(self, end: Timestamp) -> bool:
        return self._timers.reached(end.after(self.lateness))

    def _next_early(self, time: Timestamp) -> Timestamp:
        return time.floor(self.early).after(self.early)

    def _set_early(self, time: Timestamp, end: Timestamp) -> None:
        if self.early is not None and (following := self._next_early(time)) < end:
            self._timers.set(following, self.number + _EARLY)

    def _now(self, timer: Timer) -> Timestamp:
        # A timer that a late record set fires late itself.
        watermark = self._timers.watermark
        return timer.time if watermark is None else max(watermark, timer.time)

    @staticmethod
    def _counted(fired: list) -> list:
        updates = sum(one.kind == "update" for one in fired)
        for name, number in (("windows", len(fired) - updates), ("window_updates", updates)):
            if number:
                observe.count(name, number)
        return fired


class Tumbling(_Windows):
    """Windows of one size, one after the other, aligned to 1970. Each record belongs to one of them.

    `offset`: windows start so much after the multiples of their size. `allowed_lateness`: a window is kept for so long after
    its end; late records change it, and each change gives its result again. `early_every`: the result of a window that has
    changed is given at every multiple of this event time, before it ends. `timer_number`: the first of the three numbers of
    its timers, for plugins that have others. Durations are `timedelta`, or `int` microseconds.
    """

    def __init__(
        self,
        panes: Panes,
        size: timedelta | int,
        *,
        offset: timedelta | int = 0,
        allowed_lateness: timedelta | int = 0,
        early_every: timedelta | int | None = None,
        timer_number: int = 0,
    ):
        super().__init__(panes, size, allowed_lateness, early_every, timer_number)
        self.offset = micros(offset) % self.size

    def window(self, time: Timestamp) -> Window:
        """The window of an event time."""
        start = time.after(-self.offset).floor(self.size).after(self.offset)
        return Window(start, start.after(self.size))

    def add(self, time: Timestamp):
        """What is kept for the window of a record, to be changed in place. Raises `Late` when the window is closed, and the
        time of its late records is over."""
        window = self.window(time)
        over = self._timers.reached(window.end)
        if over and self._over(window.end):
            raise Late(window.end)
        pane, new = self.panes.at(window.start, window.end, over)
        if new:
            if self.lateness > 0:
                self._timers.set(window.end.after(self.lateness), self.number)
            self._set_early(time, window.end)
        if new or (over and not pane.changed):
            self._timers.set(window.end, self.number)
        pane.changed = True
        return self.panes.value(pane)

    def fire(self, timer: Timer) -> list[Fired]:
        """The results that a timer gives; none for timers of other numbers."""
        panes = self.panes.get()
        kind = timer.number - self.number
        if panes is None:
            return []
        if kind == _EARLY:
            return self._fire_early(panes, timer)
        if kind != _END:
            return []
        fired = []
        for pane in panes:
            # An early result changes nothing about the one on time.
            if pane.end == timer.time and (pane.changed or not pane.closed):
                kind_of = "update" if pane.closed else "on_time"
                fired.append(Fired(Window(pane.start, pane.end), kind_of, self.panes.copy(pane)))
                pane.changed = False
            pane.closed = pane.closed or self._timers.reached(pane.end)
        self.panes.let_go(lambda pane: self._over(pane.end))
        return self._counted(fired)

    def _fire_early(self, panes: list, timer: Timer) -> list[Fired]:
        now, fired = self._now(timer), []
        for pane in panes:
            if not pane.closed and pane.changed and pane.end > now:
                pane.changed = False
                fired.append(Fired(Window(pane.start, pane.end), "early", self.panes.copy(pane)))
        if self.early is not None and any(not pane.closed and pane.end > now for pane in panes):
            self._timers.set(self._next_early(now), self.number + _EARLY)
        return fired


class Sliding(_Windows):
    """Windows of one size that start at every slide, aligned to 1970. A record belongs to `size / slide` of them.

    Kept as slices whose width divides both: a record changes one slice, and a window is put together when it ends. So what
    is kept has a method `merge(self, other)`, which adds another part to it. Settings as for `Tumbling`.
    """

    def __init__(
        self,
        panes: Panes,
        size: timedelta | int,
        slide: timedelta | int,
        *,
        allowed_lateness: timedelta | int = 0,
        early_every: timedelta | int | None = None,
        timer_number: int = 0,
    ):
        super().__init__(panes, size, allowed_lateness, early_every, timer_number)
        self.slide = micros(slide)
        if not 0 < self.slide <= self.size:
            raise ValueError("the slide of a window is longer than nothing, and not longer than the window")
        self.slice = gcd(self.size, self.slide)

    def _last(self, time: Timestamp) -> Timestamp:
        """The end of the last window that holds an event time."""
        return time.floor(self.slide).after(self.size)

    def _next_end(self, time: Timestamp) -> Timestamp:
        """The end of the first window that ends after a time."""
        # Ends are `size` after multiples of the slide.
        shift = self.size % self.slide
        return time.after(-shift).floor(self.slide).after(self.slide + shift)

    def add(self, time: Timestamp):
        """What is kept for the slice of a record, to be changed in place. Raises `Late` when all windows of the record are
        closed, and the time of their late records is over."""
        last = self._last(time)
        if self._over(last):
            raise Late(last)
        start = time.floor(self.slice)
        first = self._next_end(start)
        over = self._timers.reached(first)
        pane, new = self.panes.at(start, start.after(self.slice), False)
        if new and not over:
            self._timers.set(first, self.number)
        if over and (new or not pane.changed):
            # Windows that were given, or were empty, are given again; the first that is open comes as it would have.
            end = first
            while end <= last:
                if not self._timers.reached(end):
                    self._timers.set(end, self.number)
                    break
                if not self._over(end):
                    self._timers.set(end, self.number + _UPDATE)
                end = end.after(self.slide)
            if new:
                self._timers.set(last.after(self.lateness), self.number)
        if new:
            self._set_early(time, last)
        pane.changed = True
        return self.panes.value(pane)

    def fire(self, timer: Timer) -> list[Fired]:
        """The results that a timer gives; none for timers of other numbers. Early results are those of the next window that
        ends."""
        panes = self.panes.get()
        kind = timer.number - self.number
        if panes is None:
            return []
        if kind == _EARLY:
            return self._fire_early(panes, timer)
        if kind not in (_END, _UPDATE):
            return []
        again, end = kind == _UPDATE, timer.time
        fired = []
        if self._next_end(end.after(-1)) == end:
            fired += self._put_together(panes, end, "update" if again else "on_time")
        for pane in panes:
            pane.changed = pane.changed and not (self._timers.reached(pane.end) and pane.end <= end)
        left = self.panes.let_go(lambda pane: self._over(self._last(pane.start)))
        if not again and left:
            # The timer goes on to the next window that holds something, then to where the last slice is let go.
            holding = [pane for pane in left if self._last(pane.start) > end]
            if holding:
                following = min(self._next_end(pane.start) for pane in holding)
                self._timers.set(max(following, end.after(self.slide)), self.number)
            else:
                for pane in left:
                    self._timers.set(self._last(pane.start).after(self.lateness), self.number)
        return self._counted(fired)

    def _fire_early(self, panes: list, timer: Timer) -> list[Fired]:
        now = self._now(timer)
        end = self._next_end(now)
        start = end.after(-self.size)
        fired = []
        if any(pane.changed and pane.start >= start and pane.end <= end for pane in panes):
            fired += self._put_together(panes, end, "early")
            for pane in panes:
                pane.changed = False
        if self.early is not None and any(self._last(pane.start) > now for pane in panes):
            self._timers.set(self._next_early(now), self.number + _EARLY)
        return fired

    def _put_together(self, panes: list, end: Timestamp, kind) -> list[Fired]:
        window = Window(end.after(-self.size), end)
        slices = [pane for pane in panes if pane.start >= window.start and pane.end <= window.end]
        if not slices:
            return []
        value = self.panes.copy(slices[0])
        for other in slices[1:]:
            value.merge(self.panes.copy(other))
        return [Fired(window, kind, value)]
