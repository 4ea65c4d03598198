"""Keeps the orders that are worth at least what the pipeline's configuration says."""

from segno import Keep, Reject, Transform, columns, config, plugin


@columns
class Order:
    """The columns that the plugin reads."""

    quantity: int
    price_cents: int


@config
class Settings:
    """`config:` of the step."""

    min_cents: int


@plugin
class Large(Transform):
    out = Keep()

    def __init__(self, config: Settings):
        self.config = config

    def process(self, order: Order) -> None:
        if order.quantity <= 0:
            raise Reject(f"a quantity of {order.quantity}")
        if order.quantity * order.price_cents >= self.config.min_cents:
            self.out.keep()
