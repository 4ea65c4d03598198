import unittest

from segno.testing import Harness
from {{module}} import Large, Order


class LargeTest(unittest.TestCase):
    def test_a_small_order_is_left_out(self):
        plugin = Harness(Large, {"min_cents": 500})
        plugin.push(Order(quantity=1, price_cents=499))
        plugin.push(Order(quantity=1, price_cents=500))
        self.assertEqual(plugin.run().causes(), [1])
