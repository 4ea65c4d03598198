import unittest

from segno.testing import Harness
from {{module}} import Order, Price


class PriceTest(unittest.TestCase):
    def test_a_discount_is_taken_off(self):
        plugin = Harness(Price, {"discount_percent": 10})
        plugin.push(Order(quantity=2, price_cents=450))
        self.assertEqual(plugin.run().rows()[0].total_cents, 810)
