//! Comparing a re-executed epoch with its journal record, and naming the first record that differs.
//!
//! Owns: the comparison of digests and the search for the first differing block.
//! Does not own: re-execution (`recover`, `replay`).
//!
//! Invariant: every digest of the record is compared. A digest that the record lacks is a difference too, never skipped.

use super::epoch::EpochInput;
use super::execute::Executed;
use segno_core::Code;
use segno_core::persisted::{EpochRecord, ExpectWindow};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What the sidecar of an epoch holds: truncated digests per block of rows, by what they are of.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Detail {
    pub version: u32,
    pub epoch: u64,
    /// Rows per block: 64, or 1 with `replay_detail: row`.
    pub block_rows: u32,
    /// 16 hex digits per block, one string per stream (`step.port`, `sink:name`, `state:step`).
    pub blocks: BTreeMap<String, String>,
}

pub const DETAIL_VERSION: u32 = 1;

impl Detail {
    pub fn new(epoch: u64, block_rows: usize, blocks: &BTreeMap<String, Vec<u64>>) -> Detail {
        let text = |digests: &Vec<u64>| digests.iter().map(|digest| format!("{digest:016x}")).collect();
        Detail {
            version: DETAIL_VERSION,
            epoch,
            block_rows: block_rows as u32,
            blocks: blocks.iter().map(|(name, digests)| (name.clone(), text(digests))).collect(),
        }
    }
}

/// The first difference of an epoch.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    pub epoch: u64,
    /// `input`, `output`, `state`, or `rejections`.
    pub what: &'static str,
    /// Sink, step or partition.
    pub name: String,
    /// The step whose rows differ first, in the graph's order, where details were kept.
    pub step: Option<String>,
    /// The rows that hold the difference, as far as the kept digests tell.
    pub rows: Option<DifferingRows>,
    pub expected: String,
    pub found: String,
}

/// A block of rows that differs; the first record of the block is where it starts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DifferingRows {
    /// Rows of the stream, from 0 within the epoch.
    pub first: u64,
    pub count: u64,
    /// Where the first row of the block came from: source, partition, offset.
    pub origin: Option<(u32, String, u64)>,
}

/// Compares; `None` when the epoch is identical.
pub fn first_difference(
    record: &EpochRecord,
    input: &EpochInput,
    executed: &Executed,
    detail: Option<&Detail>,
) -> Option<Difference> {
    let difference = |what, name: &str, expected: &str, found: &str| Difference {
        epoch: record.epoch,
        what,
        name: name.to_owned(),
        step: None,
        rows: None,
        expected: expected.to_owned(),
        found: found.to_owned(),
    };
    for expected in &record.digests.input {
        let found = input.digests.iter().find(|d| (d.source, d.partition) == (expected.source, expected.partition));
        if found.map(|found| &found.digest) != Some(&expected.digest) {
            let name = input.partition_name(expected.source, expected.partition);
            return Some(difference("input", &name, &expected.digest, found.map_or("nothing", |f| &f.digest)));
        }
    }
    if record.digests.input.len() != input.digests.len() {
        return Some(difference("input", "partitions", &record.digests.input.len().to_string(), &input.digests.len().to_string()));
    }
    let located = |mut found: Difference, stream: &str| {
        locate(&mut found, stream, input, executed, detail);
        found
    };
    for (what, recorded, computed, prefix) in [
        ("state", &record.digests.state, &executed.digests.state, "state:"),
        ("output", &record.digests.output, &executed.digests.output, "sink:"),
    ] {
        for name in recorded.keys().chain(computed.keys().filter(|name| !recorded.contains_key(*name))) {
            let (expected, found) = (recorded.get(name), computed.get(name));
            if expected != found {
                let text = |digest: Option<&String>| digest.map_or("nothing".to_owned(), String::clone);
                return Some(located(difference(what, name, &text(expected), &text(found)), &format!("{prefix}{name}")));
            }
        }
    }
    if record.facts.lane_scripts != executed.scripts {
        return Some(difference("rejections", "calls", "the journalled calls", "other calls"));
    }
    None
}

/// Compares the windows of expectations.
pub fn first_window(record: &EpochRecord, again: &[ExpectWindow]) -> Option<Difference> {
    let shown = |window: &ExpectWindow| format!("{} of {} records", window.rejects, window.records);
    let (recorded, found) = record.expect_windows.iter().zip(again).find(|(recorded, found)| recorded != found)?;
    Some(Difference {
        epoch: record.epoch,
        what: "rejections",
        name: recorded.step.clone(),
        step: Some(recorded.step.clone()),
        rows: None,
        expected: shown(recorded),
        found: shown(found),
    })
}

/// Finds the first block that differs, first in the steps' ports in the graph's order, then in the stream itself.
fn locate(found: &mut Difference, stream: &str, input: &EpochInput, executed: &Executed, detail: Option<&Detail>) {
    let Some(detail) = detail else { return };
    let names = executed.stream_order.iter().map(String::as_str).chain([stream]);
    for name in names {
        let Some(computed) = executed.blocks.get(name) else { continue };
        let recorded = detail.blocks.get(name).map_or("", String::as_str);
        let blocks = (recorded.len() / 16).max(computed.len());
        let differs = |block: usize| {
            recorded.get(block * 16..block * 16 + 16)
                != computed.get(block).map(|digest| format!("{digest:016x}")).as_deref()
        };
        let Some(block) = (0..blocks).find(|&block| differs(block)) else { continue };
        found.step = name.split_once('.').map(|(step, _)| step.to_owned());
        let first = block as u64 * u64::from(detail.block_rows);
        let origin = executed.cause(name, first as usize).filter(|&cause| (cause as usize) < input.batch.num_rows()).map(|cause| {
            let origin = input.origin(cause as usize);
            (origin.source, input.partition_name(origin.source, origin.partition), origin.offset)
        });
        found.rows = Some(DifferingRows { first, count: u64::from(detail.block_rows), origin });
        return;
    }
}

impl Difference {
    /// Input that changed is the user's to put back; anything else is for an author to look at.
    pub fn code(&self) -> Code {
        if self.what == "input" { Code::InputChanged } else { Code::ReplayDiffers }
    }

    /// One sentence for people.
    pub fn describe(&self) -> String {
        let mut text = format!("epoch {}: {} of \"{}\" differs", self.epoch, self.what, self.name);
        if let Some(step) = &self.step {
            text.push_str(&format!(", first in step \"{step}\""));
        }
        if let Some(rows) = &self.rows {
            if rows.count == 1 {
                text.push_str(&format!(", row {}", rows.first));
            } else {
                text.push_str(&format!(", within rows {}..{}", rows.first, rows.first + rows.count));
            }
            if let Some((_, partition, offset)) = &rows.origin {
                let from = if rows.count == 1 { "record" } else { "records from" };
                text.push_str(&format!(" ({from} {partition} offset {offset})"));
            }
        }
        text.push_str(&format!(": recorded {}, now {}", self.expected, self.found));
        text
    }
}
