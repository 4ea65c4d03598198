"""Adds the city of the airport to a flight, from a side table; flights of airports that are not in it go to a port of their own."""

from segno import Extend, Keep, Table, Transform, columns, count, plugin, table


@columns
class Flight:
    origin: str


@columns
class City:
    city: str


@table(key="code")
class Airport:
    code: str
    city: str


@plugin
class Enrich(Transform):
    out = Extend(City)
    unknown = Keep()

    def __init__(self, airports: Table[Airport]):
        self.airports = airports

    def process(self, flight: Flight) -> None:
        airport = self.airports.get(flight.origin)
        if airport is None:
            count("unknown_airports")
            self.unknown.keep()
        else:
            self.out.push(City(airport.city))
