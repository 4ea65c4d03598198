"""Counts the orders of each customer by hours of event time, with a timer at the end of each hour: what windows do, by hand."""

from dataclasses import field
from datetime import timedelta

from segno import U64, EventTime, Keyed, PerKey, Reject, Timer, Timestamp, Transform, columns, plugin, state

HOUR = timedelta(hours=1)


@columns
class Order:
    quantity: int
    at: EventTime


@columns
class Hour:
    start: Timestamp
    orders: U64


@state
class Slot:
    start: Timestamp
    orders: U64


@state
class Open:
    slots: list[Slot] = field(default_factory=list)


@plugin
class Hourly(Transform):
    hours = PerKey(Hour)
    open = Keyed(Open)

    def process(self, order: Order) -> None:
        start = order.at.floor(HOUR)
        if self.timers.reached(start.after(HOUR)):
            raise Reject("the hour is over")
        slots = self.open.or_default().slots
        slot = next((slot for slot in slots if slot.start == start), None)
        if slot is None:
            slot = Slot(start, 0)
            slots.append(slot)
            self.timers.set(start.after(HOUR))
        slot.orders += 1

    def on_timer(self, timer: Timer) -> None:
        open = self.open.or_default()
        for slot in open.slots:
            if slot.start.after(HOUR) == timer.time:
                self.hours.push(Hour(slot.start, slot.orders))
        open.slots = [slot for slot in open.slots if slot.start.after(HOUR) != timer.time]
        if not open.slots:
            self.open.clear()
