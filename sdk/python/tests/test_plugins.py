"""Plugins of every kind, natively."""

import dataclasses
import struct
import typing
import unittest
from datetime import timedelta
from decimal import Decimal
from enum import Enum

from segno import *
from segno import observe
from segno.engine import Refused
from segno.testing import Harness
from segno.transform import Plan
from segno.wire import Unfit

SECOND = 1_000_000


@columns
class Everything:
    flag: bool | None
    small: I32 | None
    whole: int | None
    natural: U64 | None
    real: float | None
    text: str | None
    raw: bytes | None
    at: Timestamp | None
    day: Date | None
    price: Decimal128(38, 4) | None


@state(table="last")
class Last:
    flag: bool | None
    small: I32 | None
    whole: int | None
    natural: U64 | None
    real: float | None
    text: str | None
    raw: bytes | None
    at: Timestamp | None
    day: Date | None
    price: Decimal128(38, 4) | None


def everything(cls):
    return cls(
        True, -(1 << 31), -(1 << 63), (1 << 64) - 1, -0.0, "é\0", b"\xff", Timestamp((1 << 63) - 1), Date(-1),
        Decimal("-9999999999999999999999999999999999.9999"),
    )  # fmt: skip


def nothing(cls):
    return cls(*[None] * 10)


class Remember(Transform):
    before = Emit(Everything)
    last = Keyed(Last)

    def process(self, record: Everything) -> None:
        last = self.last.get()
        if last:
            self.before.push(Everything(*[getattr(last, one) for one in Last.__slots__]))
        if record.flag is None:
            self.last.clear()
        else:
            self.last.set(Last(*[getattr(record, one) for one in Everything.__slots__]))


class Values(unittest.TestCase):
    def test_every_type_goes_through_state_and_comes_back(self):
        plugin = Harness(Remember)
        for record in (everything, nothing, everything, everything):
            plugin.push(record(Everything), key="a")
        given = plugin.run()
        self.assertEqual([row.row for row in given.rows()], [everything(Everything)] * 2)
        self.assertEqual(given.causes(), [1, 3])
        self.assertEqual(str(given.rows()[0].real), "-0.0")
        self.assertEqual(plugin.state("last", "a"), everything(Last))
        plugin.push(nothing(Everything), key="a")
        plugin.run()
        self.assertIsNone(plugin.state("last", "a"))

    def test_decimals_are_exact_or_refused(self):
        plugin = Harness(Remember)
        for price in (Decimal("0.00001"), Decimal("1e40"), Decimal("NaN"), 1):
            record = nothing(Everything)
            record.flag, record.price = True, price
            plugin.push(record, key="a")
            with self.assertRaises(Unfit):
                plugin.run()

    def test_instants_and_days_know_their_calendar(self):
        self.assertEqual(str(Timestamp(-1)), "1969-12-31T23:59:59.999999Z")
        self.assertEqual(str(Timestamp(1_583_020_799_000_001)), "2020-02-29T23:59:59.000001Z")
        self.assertEqual(Date(-(1 << 31)).civil(), (-5877641, 6, 23))
        self.assertEqual(Timestamp((1 << 63) - 1).after(timedelta(days=1)), (1 << 63) - 1)
        self.assertEqual(Timestamp(-1).floor(10), -10)


@config
class Limit:
    most: int
    ratios: list[float] | None = None


class Mood(Enum):
    GOOD = "good"
    BAD = "bad"


@config
class Settings:
    limits: list[Limit]
    names: dict[str, U64]
    mood: Mood = Mood.GOOD
    quiet: bool = False


class Configured(Transform):
    def __init__(self, config: Settings):
        self.config = config

    def process(self, record: Everything) -> None:
        pass


class Configuration(unittest.TestCase):
    def refused(self, found):
        with self.assertRaises(Refused) as raised:
            Harness(Configured, found)
        return str(raised.exception)

    def test_a_wrong_setting_is_named_with_its_place(self):
        good = {"limits": [{"most": 1}], "names": {}}
        Harness(Configured, good | {"mood": "bad", "quiet": True})
        for change, said in [
            ({"limts": []}, "config.limts: unknown field; did you mean `limits`?"),
            ({"xyz": 1}, "config.xyz: unknown field; known are limits, names, mood, quiet"),
            ({"limits": [{"most": 1}, {"most": "2"}]}, "config.limits[1].most: a whole number is expected, not a string"),
            ({"limits": [{"most": 1.5}]}, "config.limits[0].most: a whole number is expected, not 1.5"),
            ({"limits": [{"most": 1 << 63}]}, f"config.limits[0].most: {1 << 63} is not between {-(1 << 63)} and {(1 << 63) - 1}"),
            ({"names": {"a": -1}}, f"config.names.a: -1 is not between 0 and {(1 << 64) - 1}"),
            ({"limits": [{}]}, "config.limits[0].most: is missing"),
            ({"mood": "god"}, "config.mood: unknown value `god`; did you mean `good`?"),
            ({"quiet": 1}, "config.quiet: true or false is expected, not 1"),
            ({"names": None}, "config.names: an object is expected, not null"),
        ]:
            self.assertEqual(self.refused(good | change), said)

    def test_a_plugin_without_configuration_takes_none(self):
        with self.assertRaisesRegex(Refused, "config.a: unknown field; this plugin has no configuration"):
            Harness(Remember, {"a": 1})


@table(key="code")
class Airport:
    code: str
    city: str | None


@columns
class Flight:
    origin: typing.Annotated[str, Named("leg.origin")]


@columns
class Enriched:
    city: str | None


class Enrich(Transform):
    out = Extend(Enriched)

    def __init__(self, airports: Table[Airport]):
        self.airports = airports

    def process(self, flight: Flight) -> None:
        airport = self.airports.get(flight.origin)
        if airport is None:
            raise Reject(f"`{flight.origin}` is not in the table of airports")
        self.out.push(Enriched(airport.city))


class SideTables(unittest.TestCase):
    rows = [Airport("ATL", "Atlanta"), Airport("XXX", None)]

    def test_rows_are_found_by_their_key(self):
        plugin = Harness(Enrich, tables={"airport": self.rows})
        for origin in ("XXX", "nowhere", "ATL"):
            plugin.push(Flight(origin))
        given = plugin.run()
        self.assertEqual([row.city for row in given.rows()], [None, "Atlanta"])
        self.assertEqual(given.rejects, [(1, "`nowhere` is not in the table of airports")])

    def test_a_key_is_unique(self):
        with self.assertRaisesRegex(Refused, "side table `airport`: rows 0 and 2 have the same `code`; a key is unique"):
            Harness(Enrich, tables={"airport": [*self.rows, self.rows[0]]})

    def test_a_column_may_have_another_name_than_its_field(self):
        self.assertEqual(Plan(Enrich).description()["inputs"][0]["columns"][0]["name"], "leg.origin")


@columns
class Reading:
    value: int
    at: EventTime


@columns
class Sum:
    start: Timestamp
    kind: str
    total: int


@state
class Total:
    total: int = 0

    def merge(self, other):
        self.total += other.total


class Tumbled(Transform):
    sums = PerKey(Sum)
    late = Keep()
    panes = Panes(Total)
    windows = property(lambda self: Tumbling(self.panes, timedelta(seconds=10), allowed_lateness=5 * SECOND))

    def process(self, reading: Reading) -> None:
        try:
            self.windows.add(reading.at).total += reading.value
        except Late:
            self.late.keep()

    def on_timer(self, timer: Timer) -> None:
        for fired in self.windows.fire(timer):
            self.sums.push(Sum(fired.window.start, fired.kind, fired.value.total))


class Slid(Tumbled):
    windows = property(lambda self: Sliding(self.panes, 10 * SECOND, 5 * SECOND))


class Windows(unittest.TestCase):
    def given(self, plugin, seconds):
        plugin = Harness(plugin)
        for at, value in seconds:
            plugin.push(Reading(value, Timestamp(at * SECOND)), key="a")
        given = plugin.run_to_end()
        return [(row.start // SECOND, row.kind, row.total) for row in given.port("sums")], given

    def test_a_tumbling_window_is_given_on_time_and_again_for_what_is_late(self):
        sums, given = self.given(Tumbled, [(0, 1), (9, 2), (10, 4), (9, 8), (16, 16), (9, 32)])
        self.assertEqual(sums, [(0, "on_time", 3), (0, "update", 11), (10, "on_time", 20)])
        self.assertEqual([row.cause for row in given.port("late")], [5])
        self.assertEqual(given.counts, {"windows": 2, "window_updates": 1, "late_records": 1})

    def test_a_sliding_window_is_put_together_of_slices(self):
        sums, _ = self.given(Slid, [(1, 1), (6, 2), (12, 4)])
        self.assertEqual(sums, [(-5, "on_time", 1), (0, "on_time", 3), (5, "on_time", 6), (10, "on_time", 4)])


class Again(Transform):
    """Each timer sets another one, `later` after its own time."""

    out = PerKey(Sum)

    def process(self, reading: Reading) -> None:
        self.timers.set(reading.at)

    def on_timer(self, timer: Timer) -> None:
        self.timers.set(timer.time + self.later)


class AgainAtOnce(Again):
    later = 0


class AgainLater(Again):
    later = SECOND


class TimersWithoutEnd(unittest.TestCase):
    def test_timers_that_set_others_without_end_are_an_error(self):
        for plugin, said in [(AgainAtOnce, "1000 times at one instant.*P028"), (AgainLater, "the key 'a' go on setting others, 10000 so far.*P028")]:
            plugin = Harness(plugin)
            plugin.push(Reading(1, Timestamp(SECOND)), key="a")
            with self.assertRaisesRegex(AssertionError, said):
                plugin.run_to_end()


class Forgetful(Transform):
    """Keeps something in a field, which a batch has and the next has not."""

    out = Emit(Sum)

    def __init__(self):
        self.total = 0

    def process(self, record: Flight) -> None:
        self.total += 1
        observe.count("seen")
        self.out.push(Sum(Timestamp(0), "x", self.total))


class Mistakes(unittest.TestCase):
    def test_rows_that_are_given_back_and_not_pushed_are_no_silence(self):
        @columns
        class Nothing:
            pass

        class Yields(Transform):
            def process(self, record: Nothing):
                yield record

        class Returns(Transform):
            def process(self, record: Nothing):
                return [record]

        class Waits(Transform):
            async def process(self, record: Nothing):
                pass

        for plugin in (Yields, Returns, Waits):
            harness = Harness(plugin)
            harness.push(Nothing())
            with self.assertRaisesRegex(TypeError, "`process` gives back .*: rows go through ports"):
                harness.run()

    def test_what_is_kept_outside_of_state_is_found(self):
        plugin = Harness(Forgetful)
        plugin.push(Flight("a"))
        plugin.push(Flight("b"))
        with self.assertRaisesRegex(AssertionError, "depends on how batches are cut"):
            plugin.run()

    def test_a_value_of_state_is_of_its_type_for_the_next_record_whatever_was_put_there(self):
        @columns
        class Number:
            n: int

        @columns
        class Text:
            text: str

        @state
        class Item:
            n: int

        @state
        class Seen:
            ratio: float = 0.0
            whole: int = 0
            price: Decimal128(10, 2) = Decimal(0)
            at: Timestamp = Timestamp(0)
            items: list[Item] = dataclasses.field(default_factory=list)

        @state
        class Beside:
            items: list[Item] = dataclasses.field(default_factory=list)

        class Plugin(Transform):
            out = Emit(Text)
            seen = Keyed(Seen)
            beside = Keyed(Beside)

            def process(self, record: Number) -> None:
                seen, beside = self.seen.or_default(), self.beside.or_default()
                kept = [seen.ratio, seen.whole, seen.price, type(seen.at).__name__, seen.items, beside.items]
                self.out.push(Text(repr(kept).replace("Item", "")))
                seen.ratio, seen.whole, seen.price, seen.at = 3, True, Decimal("1.5"), 7
                one = Item(record.n)
                # One item twice, and one list in two values.
                seen.items = [one, one]
                beside.items = seen.items
                if record.n == 1:
                    beside.items[0].n = 9

        for cut in (1, 3):
            plugin = Harness(Plugin)
            texts = []
            for n in range(3):
                plugin.push(Number(n), key="a")
                if (n + 1) % cut == 0:
                    texts += [row.row.text for row in plugin.run().rows()]
            self.assertIn("[3.0, 1, Decimal('1.50'), 'Timestamp', [", texts[1])
            self.assertEqual(texts[2].count("n=9"), 4, texts[2])

    def test_an_object_that_is_held_on_to_is_the_record_s_that_asked_for_it(self):
        @columns
        class Number:
            n: int

        @columns
        class Reading:
            n: int
            at: EventTime

        @state
        class Item:
            n: int

        @state
        class Flat:
            n: int = 0

            def __post_init__(self):
                self.n += 1

        @state
        class Deep:
            items: list[Item] = dataclasses.field(default_factory=list)

        class Plugin(Transform):
            out = Emit(Number)
            flat = Keyed(Flat)
            deep = Keyed(Deep)
            panes = Panes(Flat)

            def __init__(self):
                self.windows = Tumbling(self.panes, 10 * SECOND)
                self.held = []

            def process(self, record: Reading) -> None:
                for flat, deep, pane in self.held:
                    flat.n = pane.n = 100
                    deep.items.append(Item(100))
                flat, deep, pane = self.flat.or_default(), self.deep.or_default(), self.windows.add(record.at)
                deep.items.append(Item(record.n))
                self.held.append((flat, deep, pane))
                self.out.push(Number(flat.n * 10_000 + pane.n * 100 + sum(one.n for one in deep.items)))

            def on_timer(self, timer: Timer) -> None:
                for fired in self.windows.fire(timer):
                    self.out.push(Number(fired.value.n))

        given = []
        for cut in (1, 2, 6):
            plugin = Harness(Plugin)
            rows = []
            for n in range(6):
                plugin.push(Reading(n, Timestamp(n)), key="ab"[n % 2])
                if (n + 1) % cut == 0:
                    rows += [row.row.n for row in plugin.run().rows()]
            rows += [row.row.n for row in plugin.run_to_end().rows()]
            given.append(rows)
        # `__post_init__` runs for each object that is made.
        self.assertEqual(given[0][:6], [10100, 10101, 20202, 20204, 30306, 30309])
        self.assertEqual(given, [given[0]] * 3)

    def test_parts_of_a_window_stay_what_they_are_whatever_its_merge_and_its_results_do(self):
        @columns
        class Reading:
            n: int
            at: EventTime

        @columns
        class Text:
            text: str

        @state
        class Item:
            n: int

        @state
        class Sum:
            items: list[Item] = dataclasses.field(default_factory=list)

            def merge(self, other):
                if self.items:
                    self.items.extend(other.items)
                else:
                    self.items = other.items
                other.items.append(Item(1000))

        class Plugin(Transform):
            out = Emit(Text)
            panes = Panes(Sum)
            windows = property(lambda self: Sliding(self.panes, 30 * SECOND, 10 * SECOND))

            def process(self, reading: Reading) -> None:
                self.windows.add(reading.at).items.append(Item(reading.n))

            def on_timer(self, timer: Timer) -> None:
                for fired in self.windows.fire(timer):
                    self.out.push(Text(repr([one.n for one in fired.value.items])))
                    for one in fired.value.items:
                        one.n += 100

        plugin = Harness(Plugin)
        for n in range(3):
            plugin.push(Reading(n, Timestamp(10 * SECOND * n)), key="a")
        texts = [row.row.text for row in plugin.run_to_end().rows()]
        self.assertEqual(texts, ["[0]", "[0, 1]", "[0, 1, 2]", "[1, 2]", "[2]"])

        class Clears(Plugin):
            def process(self, reading: Reading) -> None:
                self.windows.add(reading.at).items.append(Item(reading.n))
                self.panes.clear()

        plugin = Harness(Clears)
        plugin.push(Reading(1, Timestamp(0)), key="a")
        self.assertEqual(plugin.run_to_end().rows(), [])

    def test_what_is_given_wrongly_is_refused_where_it_is_given(self):
        @columns
        class Number:
            n: int

        @state
        class Kept:
            n: int = 0

        class Index:
            def __index__(self):
                return 1

        class Plugin(Transform):
            out = Emit(Number)
            kept = Keyed(Kept)

            def process(self, number: Number) -> None:
                wrong[number.n](self)

            def on_timer(self, timer: Timer) -> None:
                pass

        wrong = [
            lambda plugin: plugin.out.push(Number(Index())),
            lambda plugin: plugin.kept.or_insert(lambda: None),
            lambda plugin: plugin.kept.set(Kept(Index())),
            lambda plugin: plugin.timers.set(None),
            lambda plugin: plugin.timers.set(1.5),
            lambda plugin: plugin.timers.set(Timestamp(1), -1),
            lambda plugin: observe.count("x", -1),
            lambda plugin: observe.count("x", 1.5),
        ]
        for at in range(len(wrong)):
            harness = Harness(Plugin)
            harness.push(Number(at), key="a")
            harness.push(Number(at), key="a")
            with self.assertRaises((TypeError, Unfit), msg=str(at)):
                harness.run()

    def test_bytes_are_those_of_when_they_were_given_and_a_nan_is_the_canonical_one(self):
        @columns
        class Number:
            n: int

        @columns
        class Given:
            raw: bytes
            text: str

        @state
        class Kept:
            real: float = 0.0

        scratch = bytearray(b"-")

        class Plugin(Transform):
            out = Emit(Given)
            kept = Keyed(Kept)

            def process(self, record: Number) -> None:
                kept = self.kept.or_default()
                scratch[0] = 48 + record.n
                self.out.push(Given(scratch, struct.pack(">d", kept.real).hex()))
                kept.real = struct.unpack(">d", bytes.fromhex("fff8000000000123"))[0]

        plugin = Harness(Plugin)
        for n in range(3):
            plugin.push(Number(n), key="a")
        rows = [row.row for row in plugin.run().rows()]
        self.assertEqual([row.raw for row in rows], [b"0", b"1", b"2"])
        self.assertEqual([row.text for row in rows], ["0000000000000000", "7ff8000000000000", "7ff8000000000000"])

    def test_what_no_state_holds_is_an_error_of_the_record_that_put_it_there(self):
        @columns
        class Number:
            n: int

        @state
        class Kept:
            n: int

        class Plugin(Transform):
            out = Keep()
            kept = Keyed(Kept)

            def process(self, record: Number) -> None:
                self.kept.set(Kept(record.n if record.n else 1 << 63))
                self.out.keep()

        plugin = Harness(Plugin)
        for n in (1, 0, 2):
            plugin.push(Number(n), key="a")
        with self.assertRaisesRegex(Unfit, "state column n: 9223372036854775808 is no i64"):
            plugin.run()

    def test_what_is_wrong_in_an_item_names_its_list(self):
        @state
        class Item:
            n: int

        @state
        class Kept:
            items: list[Item] = dataclasses.field(default_factory=list)

        class Plugin(Transform):
            out = Keep()
            kept = Keyed(Kept)

            def process(self, record: Flight) -> None:
                self.kept.set(Kept([Item("x")]))
                self.out.keep()

        plugin = Harness(Plugin)
        plugin.push(Flight("a"), key="a")
        with self.assertRaisesRegex(Unfit, "list items: state column n: 'x' is no i64"):
            plugin.run()

    def test_a_row_of_another_class_or_with_none_is_refused(self):
        class Wrong(Transform):
            out = Emit(Sum)

            def process(self, record: Flight) -> None:
                self.out.push(Enriched(None) if record.origin == "class" else Sum(Timestamp(0), None, 1))

        for origin, said in (("class", "an object of Sum is expected, not of Enriched"), ("none", "column kind: None, and the column is not nullable")):
            plugin = Harness(Wrong)
            plugin.push(Flight(origin))
            with self.assertRaisesRegex((TypeError, Unfit), said):
                plugin.run()

    def test_timers_want_a_method(self):
        class Silent(Transform):
            def process(self, record: Flight) -> None:
                self.timers.set(Timestamp(0))

        plugin = Harness(Silent)
        plugin.push(Flight("a"))
        with self.assertRaisesRegex(TypeError, "on_timer"):
            plugin.run()

    def test_a_type_that_no_column_has_is_named_where_the_class_is_made(self):
        with self.assertRaisesRegex(TypeError, "Odd.what: .*complex.* is no type of a column"):

            @columns
            class Odd:
                what: complex

    def test_fields_of_state_are_appended(self):
        with self.assertRaisesRegex(TypeError, "Counts.b: fields are appended"):

            @state(version=2)
            class Counts:
                a: typing.Annotated[int, Since(2)]
                b: int


class Upgrades(unittest.TestCase):
    def test_a_value_of_an_older_version_gets_what_it_lacks(self):
        @state(table="t")
        class One:
            count: U64

        @state(table="t", version=2)
        class Two:
            count: U64
            last: typing.Annotated[Timestamp | None, Since(2)]
            texts: typing.Annotated[list[One], Since(2)]

        raw = One.__segno_shape__.encode(One(7))
        self.assertEqual(Two.__segno_shape__.decode(raw), Two(7, None, []))


if __name__ == "__main__":
    unittest.main()
