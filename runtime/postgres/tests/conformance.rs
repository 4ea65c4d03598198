//! The rules of a sink, for tables with and without a key.

use crate::lab::Database;
use segno_conformance::sink::{ExactlyOnce, Fixture, schema};
use segno_core::Code;
use segno_core::sink::Sink;
use segno_postgres::PostgresSink;

/// A table; with a key, every row of the rules has one of its own.
struct Rows<const KEY: bool>(Database);

impl<const KEY: bool> Fixture for Rows<KEY> {
    fn new() -> Self {
        Rows(Database::new())
    }

    fn open(&self, _shard: &str) -> Box<dyn Sink> {
        let key: &[&str] = if KEY { &["id"] } else { &[] };
        Box::new(PostgresSink::open("out", &self.0.spec("rows", key, true), &schema()).expect("a sink"))
    }

    /// A table has no order; without a key its rows say where they came from.
    fn visible(&self) -> Vec<i64> {
        let connection = &self.0.connection;
        if connection.one("SELECT to_regclass('rows') IS NULL") == "t" {
            return Vec::new();
        }
        let order = if KEY { "ctid" } else { "segno_offset, segno_index" };
        let rows = connection.rows(&format!("SELECT id FROM rows ORDER BY {order}"));
        rows.into_iter().map(|row| row[0].parse().expect("a number")).collect()
    }
}

impl<const KEY: bool> ExactlyOnce for Rows<KEY> {
    const OVERTAKEN: Option<Code> = Some(Code::OwnershipLost);
}

mod table_without_a_key {
    segno_conformance::sink_rules!(super::Rows<false>);
    segno_conformance::exactly_once_rules!(super::Rows<false>);
    segno_conformance::marked_sink_rules!(super::Rows<false>);
}

mod table_with_a_key {
    segno_conformance::sink_rules!(super::Rows<true>);
    segno_conformance::exactly_once_rules!(super::Rows<true>);
    segno_conformance::marked_sink_rules!(super::Rows<true>);
}
