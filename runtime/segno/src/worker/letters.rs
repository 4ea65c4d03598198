//! Reading dead letters back, as they were written.
//!
//! Owns: which files they are in, and their order. Does not own: what a letter holds (`segno_core::sink::DeadLetter`), topics
//! (`segno_kafka::letters`).
//!
//! Invariants: letters of committed epochs only, each once. Every letter says the epoch in which the record was rejected
//! and, where there are several, the shard.

use segno_core::pipeline::{Pipeline, SinkFormat, SinkKind, SinkSpec};
use segno_core::sink::record_id;
use segno_core::{Code, Error, Result};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

/// Hands over each letter of a shard, or of all of them, until `visit` says false. Those of one shard in files come in the order
/// of their epochs.
pub fn letters(pipeline: &Pipeline, shard: Option<u32>, visit: &mut dyn FnMut(Value) -> bool) -> Result<()> {
    let not_kept = |why: &str| {
        Error::new(Code::NotKept, format!("dead letters cannot be read back: {why}"))
            .with_help("write dlq: { files: ./dead-letters } to keep them as JSON lines, or dlq: { kafka: … } to keep them in a topic")
    };
    let Some(dlq) = &pipeline.dlq else { return Err(not_kept("the pipeline has no dlq")) };
    match &dlq.kind {
        SinkKind::Files { path, format: SinkFormat::Json } => in_files(dlq, &pipeline.path(path), shard, visit),
        SinkKind::Files { .. } => Err(not_kept("they are not written as json")),
        SinkKind::Kafka(kafka) => segno_kafka::letters(kafka, &pipeline.tenant, &pipeline.name, &mut |letter| {
            shard.is_some_and(|shard| letter["shard"] != shard) || visit(letter)
        }),
        _ => Err(not_kept("dlq is neither files nor a topic")),
    }
}

/// A published file of dead letters, as its name says.
struct File {
    /// Its number, where there are several.
    shard: Option<u32>,
    epoch: u64,
    path: PathBuf,
}

/// The published files of the dead letters, by shard and epoch.
fn files(dlq: &SinkSpec, folder: &Path) -> Result<Vec<File>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            return Err(Error::new(Code::FileUnreadable, format!("{} cannot be read", folder.display())).with_cause(error));
        }
    };
    let prefix = format!("{}-", dlq.name);
    let named = |path: PathBuf| {
        let name = path.file_name()?.to_str()?.strip_prefix(&prefix)?.strip_suffix(".jsonl")?;
        let (of, epoch) = name.rsplit_once('-')?;
        Some(File { shard: of.parse().ok(), epoch: epoch.parse().ok()?, path })
    };
    let mut files: Vec<File> = entries.flatten().filter_map(|entry| named(entry.path())).collect();
    files.sort_by_key(|file| (file.shard, file.epoch));
    Ok(files)
}

fn in_files(dlq: &SinkSpec, folder: &Path, wanted: Option<u32>, visit: &mut dyn FnMut(Value) -> bool) -> Result<()> {
    for File { shard, epoch, path } in files(dlq, folder)? {
        if wanted.is_some() && shard != wanted {
            continue;
        }
        let failed = |error: std::io::Error| {
            Error::new(Code::FileUnreadable, format!("{} cannot be read", path.display())).with_cause(error)
        };
        for line in BufReader::new(std::fs::File::open(&path).map_err(failed)?).lines() {
            let line = line.map_err(failed)?;
            let mut letter: Value = serde_json::from_str(&line).map_err(|error| {
                Error::new(Code::FileUnreadable, format!("{} holds a line that is no dead letter", path.display())).with_cause(error)
            })?;
            if let Value::Object(fields) = &mut letter {
                fields.insert("epoch".to_owned(), json!(epoch));
                fields.extend(shard.map(|shard| ("shard".to_owned(), json!(shard))));
            }
            if !visit(letter) {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// The record of a letter, as the log and Kafka headers name it.
pub fn record(letter: &Value) -> String {
    record_id(&text(letter, "source"), &text(letter, "partition"), letter["offset"].as_u64().unwrap_or_default())
}

/// A field as text; `-` where it is null.
pub fn text(letter: &Value, field: &str) -> String {
    match &letter[field] {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn pipeline(folder: &Path, dlq: &str) -> Pipeline {
        let yaml = format!(
            "version: 1\nname: x\nsource: {{files: a, format: json}}\nsink: {{blackhole: }}\ndlq: {dlq}\ncheckpoint: {{store: \"s3://b\"}}\n"
        );
        Pipeline::parse(&folder.join("p.yaml"), &yaml, &|_| None).unwrap()
    }

    #[test]
    fn letters_come_in_the_order_of_their_epochs() {
        let folder = tempfile::tempdir().unwrap();
        let dead = folder.path().join("dead");
        std::fs::create_dir_all(dead.join(".segno-staging")).unwrap();
        let letter = |code: &str| format!("{{\"code\":\"{code}\",\"step\":null,\"reason\":\"r\"}}\n");
        std::fs::write(dead.join("dlq-single-000000000010.jsonl"), letter("D002")).unwrap();
        std::fs::write(dead.join("dlq-single-000000000009.jsonl"), letter("D001") + &letter("D003")).unwrap();
        std::fs::write(dead.join("other-single-000000000001.jsonl"), "not ours").unwrap();
        let mut found = Vec::new();
        letters(&pipeline(folder.path(), "{files: ./dead}"), None, &mut |letter| {
            found.push((text(&letter, "code"), letter["epoch"].as_u64().unwrap()));
            true
        })
        .unwrap();
        assert_eq!(found, [("D001".to_owned(), 9), ("D003".to_owned(), 9), ("D002".to_owned(), 10)]);
    }

    #[test]
    fn letters_that_were_not_kept_are_an_error() {
        let read = |dlq: &str| letters(&pipeline(Path::new("/nowhere"), dlq), None, &mut |_| true);
        for dlq in ["{blackhole: }", "{files: {path: a, format: csv}}"] {
            assert_eq!(read(dlq).unwrap_err().code(), Code::NotKept);
        }
        assert!(read("{files: ./none}").is_ok());
    }
}
