//! Configurations and side tables: what is read, and how a mistake is told.

use std::collections::BTreeMap;

use segno_sdk::prelude::*;
use segno_sdk::testing::Row;

#[derive(Config, Debug, PartialEq)]
struct Settings {
    limit: i64,
    #[segno(default = 0.5)]
    ratio: f64,
    #[segno(default = "none")]
    label: String,
    #[segno(default)]
    strict: bool,
    mode: Option<Mode>,
    #[segno(default)]
    ranges: Vec<Range>,
    #[segno(default)]
    weights: BTreeMap<String, u32>,
    #[segno(name = "type", default)]
    kind: i32,
}

#[derive(Config, Debug, PartialEq)]
enum Mode {
    FirstOnly,
    #[segno(name = "every-one")]
    All,
}

#[derive(Config, Debug, PartialEq)]
struct Range {
    from: i32,
    to: Option<i32>,
}

#[derive(TableRow)]
struct City {
    #[segno(key)]
    code: i64,
    name: String,
    #[segno(name = "people")]
    population: Option<u64>,
}

#[derive(TableRow)]
#[segno(table = "notes")]
struct Note {
    text: String,
}

#[derive(Input)]
struct Visit {
    code: i64,
}

#[derive(Output)]
struct Answer<'a> {
    name: Option<&'a str>,
    population: Option<u64>,
    notes: u64,
    first_note: Option<&'a str>,
}

struct Guide {
    cities: Table<City>,
    notes: Table<Note>,
}

impl Transform for Guide {
    type Config = Settings;
    type Tables = (Table<City>, Table<Note>);
    type Input<'a> = Visit;
    type Output = Extend<Answer<'static>>;
    type State = ();

    fn init(settings: Settings, (cities, notes): Self::Tables) -> Result<Self, String> {
        if settings.limit < 0 {
            return Err(format!("{settings:?}"));
        }
        Ok(Self { cities, notes })
    }

    fn process(&mut self, visit: Visit, ctx: &mut Context<'_, Self>) -> Outcome {
        let city = self.cities.get(&visit.code);
        ctx.out.push(Answer {
            name: city.map(|city| &*city.name),
            population: city.and_then(|city| city.population),
            notes: self.notes.rows().len() as u64,
            first_note: self.notes.rows().first().map(|note| &*note.text),
        });
        Ok(())
    }
}

impl segno_sdk::Plugin for Guide {
    const NAME: &'static str = "guide";
    const VERSION: &'static str = "1";
}

fn cities() -> [Row; 2] {
    [
        row! { "code": 7, "name": "Ålesund", "people": 58_000_u64 },
        row! { "code": -1, "name": "Nowhere", "people": None::<u64> },
    ]
}

fn refused(config: &str) -> String {
    let setup = Harness::<Guide>::setup(config)
        .side_table("city", cities())
        .side_table("notes", []);
    setup
        .start()
        .err()
        .unwrap_or_else(|| panic!("accepted: {config}"))
}

#[test]
fn a_full_configuration_is_read_as_it_is_written() {
    let shown = refused(
        r#"{"limit": -1, "ratio": 2, "label": "a\u0041", "strict": true, "mode": "every-one", "type": 3,
            "ranges": [{"from": 1}, {"from": -2, "to": 3}], "weights": {"b": 1, "a": 4294967295}}"#,
    );
    assert_eq!(
        shown,
        r#"Settings { limit: -1, ratio: 2.0, label: "aA", strict: true, mode: Some(All), ranges: [Range { from: 1, to: None }, Range { from: -2, to: Some(3) }], weights: {"a": 4294967295, "b": 1}, kind: 3 }"#
    );
}

#[test]
fn what_is_left_out_has_its_default() {
    assert_eq!(
        refused(r#"{"limit": -1, "mode": null}"#),
        r#"Settings { limit: -1, ratio: 0.5, label: "none", strict: false, mode: None, ranges: [], weights: {}, kind: 0 }"#
    );
}

#[test]
fn a_mistake_is_told_with_its_place_and_the_way_out() {
    for (config, error) in [
        ("{}", "config.limit: is missing"),
        ("[]", "config: an object is expected, not a list"),
        (
            "{",
            "config: not valid JSON at byte 1: a name in quotes is expected",
        ),
        (
            r#"{"limit": 1, "limti": 2}"#,
            "config.limti: unknown field; did you mean `limit`?",
        ),
        (
            r#"{"limit": 1, "colour": 2}"#,
            "config.colour: unknown field; known are limit, ratio, label, strict, mode, ranges, weights, type",
        ),
        (
            r#"{"limit": "1"}"#,
            "config.limit: a whole number is expected, not a string",
        ),
        (
            r#"{"limit": 1.5}"#,
            "config.limit: a whole number is expected, not 1.5",
        ),
        (
            r#"{"limit": 9223372036854775808}"#,
            "config.limit: 9223372036854775808 is not between -9223372036854775808 and 9223372036854775807",
        ),
        (
            r#"{"limit": 1, "strict": 1}"#,
            "config.strict: true or false is expected, not 1",
        ),
        (
            r#"{"limit": 1, "mode": "first_ony"}"#,
            "config.mode: unknown value `first_ony`; did you mean `first_only`?",
        ),
        (
            r#"{"limit": 1, "mode": "last"}"#,
            "config.mode: unknown value `last`; it is one of first_only, every-one",
        ),
        (
            r#"{"limit": 1, "ranges": [{"from": 1}, {"to": 1}]}"#,
            "config.ranges[1].from: is missing",
        ),
        (
            r#"{"limit": 1, "ranges": [{"from": 1, "frm": 1}]}"#,
            "config.ranges[0].frm: unknown field; did you mean `from`?",
        ),
        (
            r#"{"limit": 1, "weights": {"a": -1}}"#,
            "config.weights.a: -1 is not between 0 and 4294967295",
        ),
        (
            r#"{"limit": 1, "limit": 1}"#,
            "config: not valid JSON at byte 20: a name occurs twice in one object",
        ),
    ] {
        assert_eq!(refused(config), error, "{config}");
    }
}

#[test]
fn side_tables_are_found_by_key_or_read_in_order() {
    let mut guide = Harness::<Guide>::setup(r#"{"limit": 1}"#)
        .side_table("city", cities())
        .side_table(
            "notes",
            [row! { "text": "first" }, row! { "text": "second" }],
        )
        .start()
        .unwrap();
    for code in [7, -1, 8] {
        guide.push(row! { "code": code });
    }
    let result = guide.run();
    let [known, poor, unknown] = result.rows() else {
        panic!("{result:?}")
    };
    assert_eq!(
        (known.text("name"), known.u64("population")),
        ("Ålesund", 58_000)
    );
    assert_eq!(poor.text("name"), "Nowhere");
    assert!(poor.is_null("population") && unknown.is_null("name"));
    assert_eq!(
        (unknown.u64("notes"), unknown.text("first_note")),
        (2, "first")
    );
}
