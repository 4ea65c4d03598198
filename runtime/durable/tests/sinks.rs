//! The rules of a sink, for files, standard output and the sink that keeps nothing.

use segno_conformance::sink::{ExactlyOnce, Fixture};
use segno_core::Code;
use segno_core::pipeline::SinkFormat;
use segno_core::sink::Sink;
use segno_durable::sink::{Blackhole, Files, Stdout};
use std::sync::{Arc, Mutex};

fn ids(lines: &str) -> Vec<i64> {
    let id = |line| serde_json::from_str::<serde_json::Value>(line).expect("JSON")["id"].as_i64().expect("an id");
    lines.lines().map(id).collect()
}

mod files {
    use super::*;

    pub struct Folder(tempfile::TempDir);

    impl Fixture for Folder {
        fn new() -> Folder {
            Folder(tempfile::tempdir().expect("a folder"))
        }

        fn open(&self, shard: &str) -> Box<dyn Sink> {
            Box::new(Files::open("out", shard, self.0.path(), SinkFormat::Json).expect("a sink"))
        }

        fn visible(&self) -> Vec<i64> {
            let entries = std::fs::read_dir(self.0.path()).into_iter().flatten().flatten().map(|entry| entry.path());
            let mut paths: Vec<_> = entries.filter(|path| path.is_file()).collect();
            paths.sort();
            ids(&paths.iter().map(|path| std::fs::read_to_string(path).expect("a file")).collect::<String>())
        }
    }

    impl ExactlyOnce for Folder {
        /// The journal takes no entry of it; what it had staged is gone.
        const OVERTAKEN: Option<Code> = Some(Code::OutputLost);
    }

    segno_conformance::sink_rules!(Folder);
    segno_conformance::exactly_once_rules!(Folder);
}

mod stdout {
    use super::*;

    #[derive(Clone)]
    struct Pipe(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("nobody panicked").write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    pub struct Printed(Pipe);

    impl Fixture for Printed {
        fn new() -> Printed {
            Printed(Pipe(Arc::default()))
        }

        fn open(&self, _shard: &str) -> Box<dyn Sink> {
            Box::new(Stdout::writing_to("console", SinkFormat::Json, self.0.clone()))
        }

        fn visible(&self) -> Vec<i64> {
            let printed = self.0.0.lock().expect("nobody panicked");
            ids(std::str::from_utf8(&printed).expect("text"))
        }
    }

    segno_conformance::sink_rules!(Printed);
}

mod blackhole {
    use super::*;

    pub struct Nothing;

    impl Fixture for Nothing {
        fn new() -> Nothing {
            Nothing
        }

        fn open(&self, _shard: &str) -> Box<dyn Sink> {
            Box::new(Blackhole::new("none"))
        }

        fn visible(&self) -> Vec<i64> {
            Vec::new()
        }

        fn keeps(&self) -> bool {
            false
        }
    }

    impl ExactlyOnce for Nothing {
        const OVERTAKEN: Option<Code> = None;
    }

    segno_conformance::sink_rules!(Nothing);
    segno_conformance::exactly_once_rules!(Nothing);
}
