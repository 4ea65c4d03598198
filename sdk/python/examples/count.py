"""Counts the orders of each customer, and tells what the order before was: keyed state, one of whose fields came with version 2."""

from typing import Annotated

from segno import U64, Extend, Keyed, Since, Transform, columns, plugin, state


@columns
class Order:
    quantity: int


@columns
class Counted:
    orders: U64
    before: int | None


@state(version=2)
class Stats:
    orders: U64 = 0
    last: Annotated[int | None, Since(2)] = None


@plugin
class Count(Transform):
    out = Extend(Counted)
    stats = Keyed(Stats)

    def process(self, order: Order) -> None:
        stats = self.stats.or_default()
        stats.orders += 1
        self.out.push(Counted(stats.orders, stats.last))
        stats.last = order.quantity
