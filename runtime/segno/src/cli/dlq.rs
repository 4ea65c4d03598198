//! `segno dlq`: dead letters of a files sink.
//!
//! Reads the published files, which hold the letters of committed epochs only, in the order of the epochs.

use super::console::{Console, number, table};
use super::pipeline::read;
use super::{Outcome, PipelineFile, Shard};
use segno_core::pipeline::{Pipeline, SinkFormat, SinkKind};
use segno_core::{Code, Error, Result};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;

#[derive(clap::Subcommand)]
pub enum DlqCommand {
    /// Count dead letters by source, step and reason's code.
    List {
        #[command(flatten)]
        pipeline: PipelineFile,
        #[command(flatten)]
        shard: Shard,
    },
    /// Print dead letters with their reasons and original bytes.
    Show {
        #[command(flatten)]
        pipeline: PipelineFile,
        #[command(flatten)]
        shard: Shard,
        /// Only letters with this code, as in D001.
        #[arg(long, env = "SEGNO_CODE")]
        code: Option<String>,
        /// Only letters of this step.
        #[arg(long, env = "SEGNO_STEP")]
        step: Option<String>,
        /// The most letters to print; 0 for all.
        #[arg(long, env = "SEGNO_LIMIT", default_value_t = 20)]
        limit: u64,
    },
}

pub fn run(console: &Console, command: DlqCommand) -> Outcome {
    match command {
        DlqCommand::List { pipeline, shard } => list(console, &pipeline, &shard),
        DlqCommand::Show { pipeline, shard, code, step, limit } => {
            let wanted = |letter: &Value| {
                code.as_ref().is_none_or(|code| text(letter, "code").eq_ignore_ascii_case(code))
                    && step.as_ref().is_none_or(|step| text(letter, "step") == *step)
            };
            show(console, &pipeline, &shard, wanted, limit)
        }
    }
}

/// A published file of dead letters, as its name says.
#[derive(Debug)]
struct File {
    /// Its number, where there are several.
    shard: Option<u32>,
    epoch: u64,
    path: PathBuf,
}

/// The published files of the dead letters, by shard and epoch.
fn files(pipeline: &Pipeline, shard: &Shard) -> Result<Vec<File>> {
    let not_kept = |why: &str| {
        Error::new(Code::NotKept, format!("dead letters cannot be read back: {why}"))
            .with_help("write dlq: { files: ./dead-letters } to keep them as JSON lines")
    };
    let Some(dlq) = &pipeline.dlq else { return Err(not_kept("the pipeline has no dlq")) };
    let SinkKind::Files { path, format } = &dlq.kind else { return Err(not_kept("dlq is not a files sink")) };
    if *format != SinkFormat::Json {
        return Err(not_kept("they are not written as json"));
    }
    let folder = pipeline.path(path);
    let entries = match std::fs::read_dir(&folder) {
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
    files.retain(|file| shard.shard.is_none() || file.shard == shard.shard);
    files.sort_by_key(|file| (file.shard, file.epoch));
    Ok(files)
}

/// Hands over each letter with the shard and the epoch in its file's name, until `visit` says false.
fn letters(pipeline: &Pipeline, shard: &Shard, mut visit: impl FnMut(Value) -> bool) -> Result<()> {
    for File { shard, epoch, path } in files(pipeline, shard)? {
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

fn text(letter: &Value, field: &str) -> String {
    match &letter[field] {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn list(console: &Console, pipeline: &PipelineFile, shard: &Shard) -> Outcome {
    let pipeline = read(&pipeline.file)?;
    let mut groups: BTreeMap<(String, String, String), (u64, String)> = BTreeMap::new();
    letters(&pipeline, shard, |letter| {
        let group = (text(&letter, "code"), text(&letter, "step"), text(&letter, "source"));
        let entry = groups.entry(group).or_insert_with(|| (0, text(&letter, "reason")));
        entry.0 += 1;
        true
    })?;
    if console.is_json() {
        for ((code, step, source), (count, example)) in &groups {
            let step = (step != "-").then_some(step);
            console.json(&json!({"code": code, "step": step, "source": source, "count": count, "example": example}));
        }
        return Ok(0);
    }
    if groups.is_empty() {
        console.note("no dead letters");
        return Ok(0);
    }
    let mut rows = vec![["COUNT", "CODE", "STEP", "SOURCE", "FOR EXAMPLE"].map(str::to_owned).to_vec()];
    for ((code, step, source), (count, example)) in groups {
        rows.push(vec![number(count), code, step, source, example]);
    }
    console.bytes(table(&rows).as_bytes());
    Ok(0)
}

fn show(
    console: &Console,
    pipeline: &PipelineFile,
    shard: &Shard,
    wanted: impl Fn(&Value) -> bool,
    limit: u64,
) -> Outcome {
    let pipeline = read(&pipeline.file)?;
    let mut shown = 0;
    let mut more = false;
    letters(&pipeline, shard, |letter| {
        if !wanted(&letter) {
            return true;
        }
        if limit > 0 && shown == limit {
            more = true;
            return false;
        }
        shown += 1;
        console.result(|| describe(&letter), &letter);
        true
    })?;
    if more {
        console.note(&format!("more than {}; --limit 0 prints all", number(limit)));
    } else if shown == 0 {
        console.note("no dead letters");
    }
    Ok(0)
}

fn describe(letter: &Value) -> String {
    let mut head = format!("[{}] {}\n", text(letter, "code"), text(letter, "reason"));
    head.push_str(&format!(
        "  from   {} {} at offset {}, epoch {}\n",
        text(letter, "source"),
        text(letter, "partition"),
        text(letter, "offset"),
        text(letter, "epoch"),
    ));
    if !letter["step"].is_null() {
        head.push_str(&format!("  step   {}\n", text(letter, "step")));
    }
    if !letter["time"].is_null() {
        head.push_str(&format!("  time   {}\n", text(letter, "time")));
    }
    match (&letter["value"], &letter["value_base64"]) {
        (Value::Null, Value::Null) => {}
        // A terminal is not to be driven by what is in a bad record.
        (Value::String(value), _) => {
            let clean: String = value.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect();
            head.push_str(&format!("  bytes  {clean}\n"));
        }
        (_, base64) => head.push_str(&format!("  bytes  not UTF-8; base64 {}\n", base64.as_str().unwrap_or_default())),
    }
    head
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
        letters(&pipeline(folder.path(), "{files: ./dead}"), &Shard { shard: None }, |letter| {
            found.push((text(&letter, "code"), letter["epoch"].as_u64().unwrap()));
            true
        })
        .unwrap();
        assert_eq!(found, [("D001".to_owned(), 9), ("D003".to_owned(), 9), ("D002".to_owned(), 10)]);
    }

    #[test]
    fn letters_that_were_not_kept_are_an_error() {
        let folder = Path::new("/nowhere");
        for dlq in ["{blackhole: }", "{files: {path: a, format: csv}}"] {
            assert_eq!(files(&pipeline(folder, dlq), &Shard { shard: None }).unwrap_err().code(), Code::NotKept);
        }
        assert!(files(&pipeline(folder, "{files: ./none}"), &Shard { shard: None }).unwrap().is_empty());
    }

    #[test]
    fn control_characters_of_a_bad_record_are_not_printed() {
        let shown = describe(&json!({"code": "D001", "reason": "r", "value": "a\u{1b}[2Jb"}));
        assert!(!shown.contains('\u{1b}') && shown.contains("b"), "{shown}");
    }
}
