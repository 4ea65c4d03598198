"""Adds the total of an order, after the discount of the pipeline's configuration."""

from segno import ConfigError, Extend, Reject, Transform, columns, config, plugin


@columns
class Order:
    """The columns that the plugin reads."""

    quantity: int
    price_cents: int


@columns
class Priced:
    """The columns that it adds."""

    total_cents: int


@config
class Settings:
    """`config:` of the step."""

    discount_percent: int = 0


@plugin
class Price(Transform):
    out = Extend(Priced)

    def __init__(self, config: Settings):
        if not 0 <= config.discount_percent <= 100:
            raise ConfigError("config.discount_percent: 0 to 100 is expected")
        self.config = config

    def process(self, order: Order) -> None:
        if order.quantity <= 0:
            raise Reject(f"a quantity of {order.quantity}")
        full = order.quantity * order.price_cents
        self.out.push(Priced(total_cents=full - full * self.config.discount_percent // 100))
