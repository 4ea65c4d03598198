import unittest

from segno import Timestamp
from segno.testing import Harness
from {{module}} import Hourly, Order


class HourlyTest(unittest.TestCase):
    def test_an_hour_has_its_orders(self):
        plugin = Harness(Hourly)
        for minute in (5, 50, 70):
            plugin.push(Order(quantity=1, price_cents=100, at=Timestamp.from_millis(minute * 60_000)), key="ann")
        given = plugin.run_to_end()
        self.assertEqual([row.orders for row in given.port("windows")], [2, 1])
