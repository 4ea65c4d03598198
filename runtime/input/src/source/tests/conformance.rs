//! The rules of a source, for files of every format, files that grow, and the generator.

use super::*;
use crate::source::nexmark::NexmarkSource;
use ::parquet::arrow::ArrowWriter;
use ::parquet::file::properties::WriterProperties;
use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use segno_conformance::source::{Fixture, Growing};
use std::marker::PhantomData;
use std::sync::Arc;

/// What tells files of one format from those of others.
trait Shape {
    const FORMAT: FormatSpec;
    const GROWS: bool = false;

    /// The file's bytes; `first` is a digit of its first record.
    fn bytes(first: u8) -> Vec<u8>;

    fn records() -> Vec<String>;
}

struct OnFiles<S>(Folder, PhantomData<S>);

impl<S: Shape> OnFiles<S> {
    fn spec(&self) -> FilesSpec {
        FilesSpec { follow: S::GROWS, ..files(&self.0.path("in"), S::FORMAT) }
    }
}

impl<S: Shape> Fixture for OnFiles<S> {
    fn new() -> Self {
        let folder = Folder::new();
        folder.write("in", S::bytes(1));
        OnFiles(folder, PhantomData)
    }

    fn open(&self) -> Box<dyn Source> {
        open_source(&SourceSpec::Files(self.spec())).unwrap()
    }

    fn open_otherwise(&self) -> Box<dyn Source> {
        open_source(&SourceSpec::Files(FilesSpec { line_bytes_max: 500, ..self.spec() })).unwrap()
    }

    fn plan(&self) -> ReadPlan {
        plan(&[("a", ColumnType::I64, false), ("b.c", ColumnType::Utf8, true)])
    }

    fn records(&self) -> Vec<String> {
        S::records()
    }

    fn stops_at(&self) -> Option<u64> {
        S::GROWS.then(|| std::fs::metadata(self.0.path("in")).unwrap().len())
    }

    fn change(&mut self) -> Code {
        self.0.write("in", S::bytes(7));
        Code::SourceChanged
    }
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// Blank lines are no records.
fn lines(first: u8) -> Vec<u8> {
    format!(
        "{{\"a\":{first}}}\n\n \n{{\"a\":2,\"b\":{{\"c\":\"x\"}}}}\r\n{{\"a\":\n{{\"a\":4}}\n\n\n{{\"a\":5,\"b\":{{\"c\":\"y\\n\"}}}}\nno\n{{\"a\":7}}\n"
    )
    .into_bytes()
}

const LINES: [&str; 7] = ["1|null", "2|x", "D001", "4|null", "5|y\n", "D001", "7|null"];

mod lines_of_json {
    use super::*;

    pub struct Lines;

    impl Shape for Lines {
        const FORMAT: FormatSpec = FormatSpec::Json;

        fn bytes(first: u8) -> Vec<u8> {
            [lines(first), b"\n \n".to_vec()].concat()
        }

        fn records() -> Vec<String> {
            texts(&LINES)
        }
    }

    segno_conformance::source_rules!(OnFiles<Lines>);
}

mod growing_lines_of_json {
    use super::*;

    pub struct Lines;

    impl Shape for Lines {
        const FORMAT: FormatSpec = FormatSpec::Json;
        const GROWS: bool = true;

        fn bytes(first: u8) -> Vec<u8> {
            lines(first)
        }

        fn records() -> Vec<String> {
            texts(&LINES)
        }
    }

    impl Growing for OnFiles<Lines> {
        fn grow(&mut self) -> String {
            self.0.append("in", "\n{\"a\":99}\n");
            "99|null".to_owned()
        }
    }

    segno_conformance::source_rules!(OnFiles<Lines>);
    segno_conformance::growing_source_rules!(OnFiles<Lines>);
}

mod array_of_json {
    use super::*;

    pub struct Array;

    impl Shape for Array {
        const FORMAT: FormatSpec = FormatSpec::Json;

        fn bytes(first: u8) -> Vec<u8> {
            format!("[{{\"a\":{first}}},\n\n {{\"a\":2,\"b\":{{\"c\":\"x\"}}}},{{\"a\":}} , {{\"a\":4}},\n{{\"a\":5}},{{\"a\":6}}\n]\n").into_bytes()
        }

        fn records() -> Vec<String> {
            texts(&["1|null", "2|x", "D001", "4|null", "5|null", "6|null"])
        }
    }

    segno_conformance::source_rules!(OnFiles<Array>);
}

mod csv_rows {
    use super::*;

    pub struct Rows;

    impl Shape for Rows {
        const FORMAT: FormatSpec = FormatSpec::Csv { header: None, delimiter: b',' };

        fn bytes(first: u8) -> Vec<u8> {
            format!("a,b.c\n{first},\n\n2,\"x\n,y\"\r\n3\n4,z\n5,\"\"\n6,a,b\n7,w").into_bytes()
        }

        fn records() -> Vec<String> {
            texts(&["1|null", "2|x\n,y", "D012", "4|z", "5|", "D012", "7|w"])
        }
    }

    segno_conformance::source_rules!(OnFiles<Rows>);
}

mod parquet_rows {
    use super::*;

    pub struct Rows;

    impl Shape for Rows {
        const FORMAT: FormatSpec = FormatSpec::Parquet;

        fn bytes(first: u8) -> Vec<u8> {
            let numbers = (0..10).map(|n| (n != 3).then_some(if n == 0 { i64::from(first) } else { n + 1 }));
            let columns: [(&str, ArrayRef); 2] = [
                ("a", Arc::new(numbers.collect::<Int64Array>())),
                ("b.c", Arc::new((0..10).map(|n| (n % 2 == 0).then(|| format!("t{n}"))).collect::<StringArray>())),
            ];
            let batch = RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap();
            let properties = WriterProperties::builder().set_max_row_group_row_count(Some(4)).build();
            let mut bytes = Vec::new();
            let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
            writer.write(&batch).unwrap();
            writer.close().unwrap();
            bytes
        }

        fn records() -> Vec<String> {
            texts(&["1|t0", "2|null", "3|t2", "D008", "5|t4", "6|null", "7|t6", "8|null", "9|t8", "10|null"])
        }
    }

    segno_conformance::source_rules!(OnFiles<Rows>);
}

/// A generator of one kind of event, or of all.
struct Generator<const BIDS: bool>(NexmarkSpec);

impl<const BIDS: bool> Fixture for Generator<BIDS> {
    fn new() -> Self {
        let only = BIDS.then_some(NexmarkKind::Bid);
        Generator(NexmarkSpec { partitions: 2, only, ..NexmarkSpec::new("events", 7, Some(60)) })
    }

    fn open(&self) -> Box<dyn Source> {
        Box::new(NexmarkSource::open(&self.0).unwrap())
    }

    fn open_otherwise(&self) -> Box<dyn Source> {
        Box::new(NexmarkSource::open(&NexmarkSpec { events: Some(61), ..self.0.clone() }).unwrap())
    }

    fn plan(&self) -> ReadPlan {
        plan(&[("date_time", ColumnType::Timestamp, false), ("event_type", ColumnType::I32, false)])
    }

    fn records(&self) -> Vec<String> {
        // 100 µs after the one before; of fifty, one is a person (0), three are auctions (1), the others bids (2).
        let kind = |number: i64| match number % 50 {
            _ if BIDS => 2,
            0 => 0,
            1..=3 => 1,
            _ => 2,
        };
        (0..60).step_by(2).map(|number| format!("{}|{}", self.0.start_micros + 100 * number, kind(number))).collect()
    }

    fn stops_at(&self) -> Option<u64> {
        None
    }

    fn change(&mut self) -> Code {
        self.0.seed += 1;
        Code::SourceChanged
    }
}

mod all_events_of_nexmark {
    segno_conformance::source_rules!(super::Generator<false>);
}

mod bids_of_nexmark {
    segno_conformance::source_rules!(super::Generator<true>);
}
