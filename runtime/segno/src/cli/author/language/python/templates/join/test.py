import unittest

from segno import Timestamp
from segno.testing import Harness
from {{module}} import Event, Join


class JoinTest(unittest.TestCase):
    def test_an_order_that_nobody_paid_is_given_alone(self):
        plugin = Harness(Join)
        for order, minute, total, paid in (("a", 0, 900, None), ("b", 1, 500, None), ("a", 60, None, 900)):
            at = Timestamp.from_millis(minute * 60_000)
            plugin.push(Event(total_cents=total, paid_cents=paid, at=at), key=order)
        given = plugin.run_to_end()
        self.assertEqual([(row.total_cents, row.paid_cents) for row in given.port("out")], [(900, 900), (500, None)])
