"""Write plugins for Segno in Python.

A plugin is a class: it declares its ports and its keyed state, and handles one record at a time. Segno runs it in a
sandbox, over batches, and gives it nothing that a replay could not give it again.

    from segno import Extend, Reject, Transform, columns, plugin

    @columns
    class Order:
        quantity: int
        price_cents: int

    @columns
    class Priced:
        total_cents: int

    @plugin
    class Price(Transform):
        out = Extend(Priced)

        def process(self, order: Order) -> None:
            if order.quantity <= 0:
                raise Reject(f"a quantity of {order.quantity}")
            self.out.push(Priced(order.quantity * order.price_cents))

`segno build` makes a component of it; `segno.testing` runs it without one.
"""

from .settings import ConfigError, config
from .observe import count, debug, info, log, warn
from .records import columns, state, table
from .transform import ConfigRefused, Emit, Extend, Keep, Keyed, PerKey, Reject, Table, Timer, Timers, Transform
from .types import I32, I64, U64, Date, Decimal128, EventTime, Named, Since, Timestamp
from .window import Fired, Late, Panes, Sliding, Tumbling, Window

_plugins: list[type] = []


def plugin(cls):
    """Makes a class the plugin of its project; there is one."""
    _plugins.append(cls)
    return cls


__all__ = [
    "ConfigError", "ConfigRefused", "Date", "Decimal128", "Emit", "EventTime", "Extend", "Fired", "I32", "I64", "Keep", "Keyed",
    "Late", "Named", "Panes", "PerKey", "Reject", "Since", "Sliding", "Table", "Timer", "Timers", "Timestamp", "Transform",
    "Tumbling", "U64", "Window", "columns", "config", "count", "debug", "info", "log", "plugin", "state", "table", "warn",
]  # fmt: skip
