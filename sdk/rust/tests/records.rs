//! Records in, rows out.

use segno_sdk::prelude::*;
use segno_sdk::testing::Values;
use segno_sdk::{Engine, SINGLE_PORT};

#[derive(Input)]
struct Everything<'a> {
    flag: bool,
    small: i32,
    #[segno(name = "bid.price")]
    price: i64,
    count: u64,
    ratio: f64,
    text: &'a str,
    bytes: &'a [u8],
    time: Timestamp,
    day: Date,
    amount: Decimal<12, 2>,
    maybe_flag: Option<bool>,
    maybe_small: Option<i32>,
    maybe_text: Option<&'a str>,
    maybe_bytes: Option<&'a [u8]>,
    maybe_amount: Option<Decimal<12, 2>>,
    owned: String,
    owned_bytes: Vec<u8>,
}

#[derive(Output)]
struct Echo<'a> {
    flag: bool,
    small: i32,
    #[segno(name = "bid.price")]
    price: i64,
    count: u64,
    ratio: f64,
    text: &'a str,
    bytes: &'a [u8],
    time: Timestamp,
    day: Date,
    amount: Decimal<12, 2>,
    maybe_flag: Option<bool>,
    maybe_small: Option<i32>,
    maybe_text: Option<&'a str>,
    maybe_bytes: Option<&'a [u8]>,
    maybe_amount: Option<Decimal<12, 2>>,
    owned: String,
    owned_bytes: Vec<u8>,
}

struct EchoAll;

impl Transform for EchoAll {
    type Config = ();
    type Tables = ();
    type Input<'a> = Everything<'a>;
    type Output = Emit<Echo<'static>>;
    type State = ();

    fn init(_: (), _: ()) -> Result<Self, String> {
        Ok(Self)
    }

    fn process(&mut self, it: Everything<'_>, ctx: &mut Context<'_, Self>) -> Outcome {
        ctx.out.push(Echo {
            flag: it.flag,
            small: it.small,
            price: it.price,
            count: it.count,
            ratio: it.ratio,
            text: it.text,
            bytes: it.bytes,
            time: it.time,
            day: it.day,
            amount: it.amount,
            maybe_flag: it.maybe_flag,
            maybe_small: it.maybe_small,
            maybe_text: it.maybe_text,
            maybe_bytes: it.maybe_bytes,
            maybe_amount: it.maybe_amount,
            owned: it.owned,
            owned_bytes: it.owned_bytes,
        });
        Ok(())
    }
}

segno_sdk::plugin!(EchoAll);

#[test]
fn every_type_goes_through() {
    let amount = Decimal::<12, 2>::from_unscaled(-99).unwrap();
    let row = |number: i64, some: bool| {
        row! {
            "flag": number % 2 == 0, "small": i32::MIN, "bid.price": i64::MAX - number, "count": u64::MAX, "ratio": 0.1,
            "text": format!("é{number}"), "bytes": vec![0, 255], "time": Timestamp::from_micros(-number),
            "day": Date::from_days(-1), "amount": amount, "maybe_flag": some.then_some(true),
            "maybe_small": some.then_some(7), "maybe_text": some.then_some("😀"), "maybe_bytes": some.then_some(vec![1_u8]),
            "maybe_amount": some.then_some(amount), "owned": "o", "owned_bytes": vec![9_u8],
        }
    };
    let mut echo = Harness::<EchoAll>::new("{}").unwrap();
    let rows: Vec<_> = (0..20).map(|number| row(number, number % 3 == 0)).collect();
    for row in &rows {
        echo.push(row.clone());
    }
    let result = echo.run();
    assert_eq!(result.rows().len(), rows.len());
    for (out, row) in result.rows().iter().zip(&rows) {
        assert_eq!(**out, *row);
    }
    assert_eq!(result.rows()[1].get("maybe_text"), Some(&Values::Null));
}

#[test]
fn a_nan_leaves_as_the_canonical_one() {
    let mut echo = Harness::<EchoAll>::new("{}").unwrap();
    let amount = Decimal::<12, 2>::default();
    echo.push(row! {
        "flag": true, "small": 0, "bid.price": 0, "count": 0, "ratio": f64::from_bits(0xfff8_0000_0000_0001), "text": "",
        "bytes": vec![], "time": Timestamp::default(), "day": Date::default(), "amount": amount, "owned": "",
        "owned_bytes": vec![],
    });
    assert_eq!(
        echo.run().rows()[0].f64("ratio").to_bits(),
        0x7ff8_0000_0000_0000
    );
}

#[derive(Input)]
struct Number<'a> {
    n: i64,
    word: &'a str,
}

#[derive(Input)]
struct Timed<'a> {
    n: i64,
    #[segno(event_time)]
    time: Timestamp,
    word: &'a str,
}

#[derive(Output)]
struct Word<'a> {
    word: &'a str,
    copy: Option<String>,
}

#[derive(Output)]
struct Twice {
    twice: i64,
}

#[derive(Outputs)]
struct Ports {
    words: Emit<Word<'static>>,
    #[segno(name = "even")]
    kept: Keep,
    twice: Extend<Twice>,
}

struct Fan;

impl Transform for Fan {
    type Config = ();
    type Tables = ();
    type Input<'a> = Timed<'a>;
    type Output = Ports;
    type State = ();

    fn init(_: (), _: ()) -> Result<Self, String> {
        Ok(Self)
    }

    fn process(&mut self, it: Timed<'_>, ctx: &mut Context<'_, Self>) -> Outcome {
        for part in it.word.split(' ') {
            ctx.out.words.push(Word {
                word: part,
                copy: (it.n > 1).then(|| part.to_uppercase()),
            });
        }
        if it.n % 2 == 0 {
            ctx.out.kept.keep();
        }
        ctx.out.twice.push(Twice {
            twice: it.n.saturating_mul(2),
        });
        if it.n < 0 {
            return Err("negative".into());
        }
        let Some(_) = it.n.checked_mul(1000) else {
            reject!("{} is too large", it.n);
        };
        if it.time.hour() == 23 {
            log!(Level::Warn, "late: {}", it.n);
            count("late", 1);
        }
        count("all", 1);
        Ok(())
    }
}

impl segno_sdk::Plugin for Fan {
    const NAME: &'static str = "fan";
    const VERSION: &'static str = "1.2.3";
}

#[test]
fn a_rejected_record_takes_back_all_that_it_caused() {
    let mut fan = Harness::<Fan>::new("{}").unwrap();
    let noon = Timestamp::from_micros(12 * 3_600_000_000);
    let late = Timestamp::from_micros(-1);
    for (n, word, time) in [
        (1, "a bb", noon),
        (-2, "x y z", noon),
        (i64::MAX / 2 * 2, "far", noon),
        (2, "c a bb", late),
        (4, "", noon),
    ] {
        fan.push(row! { "n": n, "word": word }.at(time));
    }
    let result = fan.run();
    let words: Vec<_> = result
        .port("words")
        .iter()
        .map(|row| (row.cause, row.text("word")))
        .collect();
    assert_eq!(
        words,
        [(0, "a"), (0, "bb"), (3, "c"), (3, "a"), (3, "bb"), (4, "")]
    );
    assert!(result.port("words")[0].is_null("copy"));
    assert_eq!(result.port("words")[4].text("copy"), "BB");
    let even: Vec<_> = result.port("even").iter().map(|row| row.cause).collect();
    assert_eq!(even, [3, 4]);
    let twice: Vec<_> = result
        .port("twice")
        .iter()
        .map(|row| row.i64("twice"))
        .collect();
    assert_eq!(twice, [2, 4, 8]);
    let rejects: Vec<_> = result
        .rejects
        .iter()
        .map(|reject| (reject.cause, &*reject.reason))
        .collect();
    assert_eq!(
        rejects,
        [(1, "negative"), (2, "9223372036854775806 is too large")]
    );
    assert_eq!(result.logs, [(Level::Warn, "late: 2".to_owned())]);
    assert_eq!(result.counts["all"], 3);
    assert_eq!(result.counts["late"], 1);
}

#[test]
fn a_description_is_what_the_host_expects() {
    assert_eq!(
        Engine::<Fan>::describe(),
        concat!(
            r#"{"abi":1,"name":"fan","version":"1.2.3","inputs":[{"name":"in","columns":["#,
            r#"{"name":"n","type":"i64","nullable":false},{"name":"word","type":"utf8","nullable":false}]}],"#,
            r#""event_time":true,"outputs":[{"name":"words","kind":"emit","columns":["#,
            r#"{"name":"word","type":"utf8","nullable":false},{"name":"copy","type":"utf8","nullable":true}]},"#,
            r#"{"name":"even","kind":"extend","columns":[]},"#,
            r#"{"name":"twice","kind":"extend","columns":[{"name":"twice","type":"i64","nullable":false}]}],"#,
            r#""tables":[],"side_tables":[]}"#
        )
    );
    let echo = Engine::<EchoAll>::description();
    assert_eq!(echo.outputs[0].name, SINGLE_PORT);
    assert_eq!(echo.name, "segno-sdk");
    assert_eq!(
        echo.inputs[0].columns[9].kind.to_string(),
        "decimal128(12,2)"
    );
    assert_eq!(echo.inputs[0].columns[2].name, "bid.price");
}

/// Remembers the record before: what no plugin may do.
struct Remembers(i64);

impl Transform for Remembers {
    type Config = ();
    type Tables = ();
    type Input<'a> = Number<'a>;
    type Output = Emit<Twice>;
    type State = ();

    fn init(_: (), _: ()) -> Result<Self, String> {
        Ok(Self(0))
    }

    fn process(&mut self, it: Number<'_>, ctx: &mut Context<'_, Self>) -> Outcome {
        ctx.out.push(Twice { twice: self.0 });
        self.0 = it.n + it.word.len() as i64;
        Ok(())
    }
}

impl segno_sdk::Plugin for Remembers {
    const NAME: &'static str = "remembers";
    const VERSION: &'static str = "1";
}

#[test]
#[should_panic = "the result depends on how batches are cut"]
fn a_plugin_that_remembers_between_records_is_found_out() {
    let mut remembers = Harness::<Remembers>::new("{}").unwrap();
    remembers.push(row! { "n": 1, "word": "" });
    remembers.push(row! { "n": 2, "word": "" });
    remembers.run();
}

#[test]
fn a_malformed_batch_is_an_error_and_not_a_panic() {
    let init = {
        let mut out = Vec::new();
        segno_wire::MessageWriter::begin(&mut out, segno_wire::MessageKind::Init, 0)
            .finish()
            .unwrap();
        out
    };
    let mut engine = Engine::<Remembers>::init(&init).unwrap();
    assert_eq!(
        engine.process(b"").unwrap_err(),
        "malformed batch: the message is shorter than its header and section table"
    );
    let mut empty = Vec::new();
    segno_wire::MessageWriter::begin(&mut empty, segno_wire::MessageKind::Batch, 0)
        .finish()
        .unwrap();
    assert_eq!(
        engine.process(&empty).unwrap_err(),
        "malformed message, section 1.0: a required section is missing (section 1.0)"
    );
    assert!(Engine::<Remembers>::init(b"").is_err());
}
