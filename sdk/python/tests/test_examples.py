"""The examples do what they say."""

import importlib.util
import unittest
from pathlib import Path

from segno import Timestamp
from segno.testing import Harness


def example(name: str):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parent.parent / "examples" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Examples(unittest.TestCase):
    def test_count_remembers_the_order_before(self):
        count = example("count")
        plugin = Harness(count.Count)
        for key, quantity in (("ann", 2), ("bob", 5), ("ann", 3)):
            plugin.push(count.Order(quantity), key=key)
        self.assertEqual([(row.orders, row.before) for row in plugin.run().rows()], [(1, None), (1, None), (2, 2)])

    def test_hourly_gives_an_hour_when_it_is_over(self):
        hourly = example("hourly")
        plugin = Harness(hourly.Hourly)
        for minute in (5, 50, 70, 10):
            plugin.push(hourly.Order(1, Timestamp.from_millis(minute * 60_000)), key="ann")
        given = plugin.run_to_end()
        self.assertEqual([(str(row.start)[11:16], row.orders) for row in given.port("hours")], [("00:00", 2), ("01:00", 1)])
        self.assertEqual([(one.cause, one.reason) for one in given.rejects], [(3, "the hour is over")])
        self.assertIsNone(plugin.state("open", "ann"))

    def test_enrich_keeps_what_it_does_not_know(self):
        enrich = example("enrich")
        plugin = Harness(enrich.Enrich, tables={"airport": [enrich.Airport("DTW", "Detroit")]})
        plugin.push(enrich.Flight("DTW"))
        plugin.push(enrich.Flight("XYZ"))
        given = plugin.run()
        self.assertEqual([row.city for row in given.port("out")], ["Detroit"])
        self.assertEqual([row.cause for row in given.port("unknown")], [1])


if __name__ == "__main__":
    unittest.main()
