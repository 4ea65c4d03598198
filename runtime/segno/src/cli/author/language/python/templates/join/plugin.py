"""Joins orders with their payments, for each key of the pipeline: each pair when the later of both comes; an order that nobody
paid in time alone, when no payment can come any more."""

from datetime import timedelta

from segno import ConfigError, EventTime, Keyed, Late, PerKey, Reject, Timer, Timestamp, Transform, U64, columns, config, plugin, state


@columns
class Event:
    """The columns that the plugin reads: an order has a total, a payment what was paid."""

    total_cents: int | None
    paid_cents: int | None
    at: EventTime


@columns
class Paid:
    total_cents: int
    paid_cents: int | None


@state
class Order:
    """What is kept of an order while payments may come."""

    event_time: Timestamp
    matched: bool
    total_cents: int


@state
class Payment:
    """What is kept of a payment while its order may come late."""

    event_time: Timestamp
    matched: bool
    paid_cents: int


@state(table="interval_join")
class Waiting:
    """What waits for its other side, in the order of event times."""

    left: list[Order]
    right: list[Payment]


@config
class Settings:
    """`config:` of the step."""

    minutes: U64 = 60
    """The time within which an order is paid."""


@plugin
class Join(Transform):
    out = PerKey(Paid)
    waiting = Keyed(Waiting)

    def __init__(self, config: Settings):
        if not 1 <= config.minutes <= 1_000_000:
            raise ConfigError("config.minutes: 1 to 1000000 is expected")
        self.time = timedelta(minutes=config.minutes)

    def process(self, event: Event) -> None:
        # A record of the same time as the watermark is not late.
        if self.timers.reached(event.at.after(1)):
            raise Late(event.at.after(1))
        match event.total_cents, event.paid_cents:
            case total_cents, None if total_cents is not None:
                self.add_order(Order(event.at, False, total_cents))
            case None, paid_cents if paid_cents is not None:
                self.add_payment(Payment(event.at, False, paid_cents))
            case None, None:
                raise Reject("neither an order nor a payment")
            case _:
                raise Reject("an order and a payment at once")

    def add_order(self, order: Order) -> None:
        waiting = self.waiting.or_insert(lambda: Waiting([], []))
        for payment in waiting.right:
            if order.event_time <= payment.event_time <= order.event_time.after(self.time):
                order.matched = True
                self.out.push(Paid(order.total_cents, payment.paid_cents))
        insert(waiting.left, order)
        self.timers.set(self.order_ends(order))

    def add_payment(self, payment: Payment) -> None:
        waiting = self.waiting.or_insert(lambda: Waiting([], []))
        for order in waiting.left:
            if order.event_time <= payment.event_time <= order.event_time.after(self.time):
                order.matched = payment.matched = True
                self.out.push(Paid(order.total_cents, payment.paid_cents))
        insert(waiting.right, payment)
        self.timers.set(self.payment_ends(payment))

    def on_timer(self, timer: Timer) -> None:
        waiting = self.waiting.get()
        if waiting is None:
            return
        for order in waiting.left:
            if self.timers.reached(self.order_ends(order)) and not order.matched:
                self.out.push(Paid(order.total_cents, None))
        waiting.left = [order for order in waiting.left if not self.timers.reached(self.order_ends(order))]
        waiting.right = [payment for payment in waiting.right if not self.timers.reached(self.payment_ends(payment))]
        if not waiting.left and not waiting.right:
            self.waiting.clear()

    def order_ends(self, order: Order) -> Timestamp:
        """From here on a payment is too late for it."""
        return order.event_time.after(self.time).after(1)

    def payment_ends(self, payment: Payment) -> Timestamp:
        """From here on its order would be late."""
        return payment.event_time.after(1)


def insert(waiting: list, record) -> None:
    """By event time; behind those of the same."""
    at = len(waiting)
    while at and waiting[at - 1].event_time > record.event_time:
        at -= 1
    waiting.insert(at, record)
