//! Adds to each flight the names, cities and states of its airports, and the hour of its departure.
//! It owns the lookup. The airports come from the pipeline, as the side table `airports`.
//! Invariant: an airport that the table does not have leaves its columns null, or rejects the flight, as configured;
//! it is never guessed.

use segno_sdk::prelude::*;

#[derive(Input)]
pub struct Flight<'a> {
    date: Timestamp,
    origin: &'a str,
    destination: &'a str,
}

#[derive(Output)]
pub struct Enriched<'a> {
    /// The hour of the day of the departure, UTC, 0 to 23.
    hour: i32,
    origin_name: Option<&'a str>,
    origin_city: Option<&'a str>,
    origin_state: Option<&'a str>,
    destination_name: Option<&'a str>,
    destination_city: Option<&'a str>,
    destination_state: Option<&'a str>,
}

#[derive(TableRow)]
#[segno(table = "airports")]
pub struct Airport {
    #[segno(key)]
    iata: String,
    name: String,
    city: Option<String>,
    state: Option<String>,
}

/// What to do with a flight from or to an airport that the table does not have.
#[derive(Config, Clone, Copy, PartialEq)]
pub enum Unknown {
    /// Leave the airport's columns null.
    Null,
    /// Reject the flight.
    Reject,
}

#[derive(Config)]
pub struct Settings {
    #[segno(default = Unknown::Null)]
    unknown_airport: Unknown,
}

pub struct Enrich {
    airports: Table<Airport>,
    settings: Settings,
}

impl Enrich {
    fn find(&self, code: &str) -> Result<Option<&Airport>, Reject> {
        match self.airports.get(code) {
            Some(airport) => Ok(Some(airport)),
            None if self.settings.unknown_airport == Unknown::Null => Ok(None),
            None => reject!("`{}` is not in the table of airports", code.escape_debug()),
        }
    }
}

impl Transform for Enrich {
    type Config = Settings;
    type Tables = Table<Airport>;
    type Input<'a> = Flight<'a>;
    type Output = Extend<Enriched<'static>>;
    type State = ();

    fn init(settings: Settings, airports: Table<Airport>) -> Result<Self, String> {
        if airports.rows().is_empty() {
            return Err(
                "side table `airports` is empty; every airport would be unknown".to_owned(),
            );
        }
        Ok(Self { airports, settings })
    }

    #[inline]
    fn process(&mut self, flight: Flight<'_>, ctx: &mut Context<'_, Self>) -> Outcome {
        let origin = self.find(flight.origin)?;
        let destination = self.find(flight.destination)?;
        if origin.is_none() || destination.is_none() {
            count("unknown_airports", 1);
        }
        ctx.out.push(Enriched {
            hour: i32::from(flight.date.hour()),
            origin_name: origin.map(|airport| &*airport.name),
            origin_city: origin.and_then(|airport| airport.city.as_deref()),
            origin_state: origin.and_then(|airport| airport.state.as_deref()),
            destination_name: destination.map(|airport| &*airport.name),
            destination_city: destination.and_then(|airport| airport.city.as_deref()),
            destination_state: destination.and_then(|airport| airport.state.as_deref()),
        });
        Ok(())
    }
}

segno_sdk::plugin!(Enrich);

#[cfg(test)]
mod tests {
    use segno_sdk::testing::{Row, Setup};

    use super::*;

    fn airport(iata: &str, name: &str, city: &str, state: Option<&str>) -> Row {
        row! { "iata": iata, "name": name, "city": city, "state": state }
    }

    fn setup(config: &str) -> Setup<Enrich> {
        Harness::<Enrich>::setup(config).side_table(
            "airports",
            [
                airport(
                    "ATL",
                    "William B Hartsfield-Atlanta Intl",
                    "Atlanta",
                    Some("GA"),
                ),
                airport("ROR", "Babelthoup/Koror", "", None),
            ],
        )
    }

    fn flight(origin: &str, destination: &str) -> Row {
        let date = Timestamp::from_micros((31 * 24 + 17) * 3_600_000_000 - 1);
        row! { "date": date, "origin": origin, "destination": destination }
    }

    #[test]
    fn airports_are_found_by_their_code() {
        let mut enrich = setup("{}").start().unwrap();
        enrich.push(flight("ATL", "ROR"));
        enrich.push(flight("XXX", "ATL"));
        let result = enrich.run();
        let [known, unknown] = result.rows() else {
            panic!("{result:?}")
        };
        assert_eq!(known.i64("hour"), 16);
        assert_eq!(known.text("origin_city"), "Atlanta");
        assert_eq!(known.text("origin_state"), "GA");
        assert_eq!(known.text("destination_name"), "Babelthoup/Koror");
        assert_eq!(known.text("destination_city"), "");
        assert!(known.is_null("destination_state"));
        assert!(unknown.is_null("origin_name") && unknown.is_null("origin_city"));
        assert_eq!(
            unknown.text("destination_name"),
            "William B Hartsfield-Atlanta Intl"
        );
        assert_eq!(result.counts["unknown_airports"], 1);
    }

    #[test]
    fn an_unknown_airport_rejects_the_flight_if_the_pipeline_says_so() {
        let mut enrich = setup(r#"{"unknown_airport": "reject"}"#).start().unwrap();
        enrich.push(flight("ATL", "X\nX"));
        let result = enrich.run();
        assert!(result.rows().is_empty());
        assert_eq!(
            result.rejects[0].reason,
            "`X\\nX` is not in the table of airports"
        );
    }

    #[test]
    fn a_table_that_cannot_be_used_is_refused() {
        let refused = |setup: Setup<Enrich>| setup.start().err().unwrap();
        assert_eq!(
            refused(Harness::<Enrich>::setup("{}")),
            "side table `airports` is missing"
        );
        assert_eq!(
            refused(setup("{}").side_table("airports", [])),
            "side table `airports` is empty; every airport would be unknown"
        );
        let twice = [
            airport("ATL", "a", "b", None),
            airport("ATL", "c", "d", None),
        ];
        assert_eq!(
            refused(setup("{}").side_table("airports", twice)),
            "side table `airports`: rows 0 and 1 have the same `iata`; a key is unique"
        );
        assert_eq!(
            refused(setup(r#"{"unknown_airport": "rejects"}"#)),
            "config.unknown_airport: unknown value `rejects`; did you mean `reject`?"
        );
    }
}
