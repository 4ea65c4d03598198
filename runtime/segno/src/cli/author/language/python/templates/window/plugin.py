"""Counts orders and adds up what they are worth in windows of event time, for each key of the pipeline; orders that come
too late go to a port of their own."""

from datetime import timedelta
from typing import Annotated

from segno import (
    U64, ConfigError, EventTime, Keep, Late, Named, Panes, PerKey, Reject, Timer, Timestamp, Transform, Tumbling, columns, config,
    plugin, state,
)  # fmt: skip


@columns
class Order:
    """The columns that the plugin reads."""

    quantity: int
    price_cents: int
    at: EventTime


@columns
class Window:
    """A window of a key. `from` is a word of Python's, so the field has another name than its column."""

    start: Annotated[Timestamp, Named("from")]
    orders: U64
    total_cents: int


@state
class Sum:
    """What is kept for each key and window."""

    orders: U64 = 0
    total_cents: int = 0


@config
class Settings:
    """`config:` of the step."""

    minutes: U64 = 60


@plugin
class Hourly(Transform):
    windows = PerKey(Window)
    late = Keep()
    """The order as it came."""
    panes = Panes(Sum)

    def __init__(self, config: Settings):
        if not 1 <= config.minutes <= 1_000_000:
            raise ConfigError("config.minutes: 1 to 1000000 is expected")
        self.tumbling = Tumbling(self.panes, timedelta(minutes=config.minutes))

    def process(self, order: Order) -> None:
        if order.quantity <= 0:
            raise Reject(f"a quantity of {order.quantity}")
        try:
            kept = self.tumbling.add(order.at)
        except Late:
            self.late.keep()
        else:
            kept.orders += 1
            kept.total_cents += order.quantity * order.price_cents

    def on_timer(self, timer: Timer) -> None:
        for fired in self.tumbling.fire(timer):
            self.windows.push(Window(fired.window.start, fired.value.orders, fired.value.total_cents))
