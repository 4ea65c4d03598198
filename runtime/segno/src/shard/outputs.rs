//! What an executed epoch gives to its sinks: rows, their schema, and where each row came from.
//!
//! Owns: putting together the rows of every sink, the dead letters as one more of them, and lineage for those that
//! want it. Does not own: the rows (`execute`), staging and publishing (`commit`).
//!
//! Invariant: a function of (program, input, executed), so a re-executed epoch gives the same outputs.

use super::causes::Causes;
use super::epoch::EpochInput;
use super::execute::Executed;
use super::program::Program;
use super::step::StreamRows;
use arrow_array::RecordBatch;
use segno_core::columns::Schema;
use segno_core::protocol::writers::Told;
use segno_core::sink::{
    DEAD_LETTER_SINK, DeadLetter, Lineage, RowOrigin, SinkRows, dead_letter_batch, dead_letter_schema,
};

pub struct Output {
    /// Name of the sink.
    pub name: String,
    pub schema: Schema,
    pub batch: RecordBatch,
    pub written: usize,
    pub lineage: Option<Lineage>,
    pub told: Option<Told>,
}

impl Output {
    pub fn rows(&self, epoch: u64) -> SinkRows<'_> {
        SinkRows {
            epoch,
            schema: &self.schema,
            batch: &self.batch,
            written: self.written,
            lineage: self.lineage.as_ref(),
            told: self.told,
        }
    }
}

/// One for each sink of the graph, in its order, then the dead letters, if there are any.
pub fn outputs(
    program: &Program,
    input: &EpochInput,
    executed: &Executed,
    wants_lineage: impl Fn(&str) -> bool,
    announces: impl Fn(&str) -> bool,
) -> Vec<Output> {
    let told = told(input);
    let causes = Causes { input, fired: &executed.fired };
    let mut outputs: Vec<Output> = executed
        .sinks
        .iter()
        .zip(&program.graph.sinks)
        .map(|(output, sink)| Output {
            name: output.name.clone(),
            schema: sink.schema.clone(),
            batch: output.rows.batch.clone(),
            written: sink.written,
            lineage: wants_lineage(&output.name).then(|| of_rows(program, causes, &output.rows)),
            told: told.filter(|_| announces(&output.name)),
        })
        .collect();
    if !executed.dead_letters.is_empty() {
        outputs.push(Output {
            name: DEAD_LETTER_SINK.to_owned(),
            written: dead_letter_schema().columns.len(),
            schema: dead_letter_schema(),
            batch: dead_letter_batch(&executed.dead_letters),
            lineage: wants_lineage(DEAD_LETTER_SINK).then(|| of_letters(&executed.dead_letters)),
            told: None,
        });
    }
    outputs
}

/// How far event time is behind the epoch, where that is another thing than before it.
fn told(input: &EpochInput) -> Option<Told> {
    let before = Told { watermark: input.moves.before(), activity: input.from.activity };
    let behind = Told { watermark: input.moves.last(), activity: input.to.activity };
    (behind != before).then_some(behind)
}

/// Rows that one record caused stand together, so counting gives their places.
fn index_after(rows: &[RowOrigin], partition: u32, offset: u64) -> u32 {
    match rows.last() {
        Some(last) if (last.partition, last.offset) == (partition, offset) => last.index + 1,
        _ => 0,
    }
}

fn of_rows(program: &Program, causes: Causes<'_>, rows: &StreamRows) -> Lineage {
    let mut lineage = Lineage::default();
    // Partitions by their numbers, so that no name is made for each row.
    let mut known: Vec<((u32, u32), u32)> = Vec::new();
    lineage.rows.reserve_exact(rows.batch.num_rows());
    let mut names = Vec::new();
    for row in 0..rows.batch.num_rows() {
        let cause = rows.cause(row);
        let (partition, offset) = match causes.timer(cause) {
            Some(_) => {
                let origin = causes.origin(program, cause);
                (name(&mut names, (origin.source, origin.partition)), origin.offset)
            }
            None => {
                let origin = causes.input.origin(cause as usize);
                let number = (origin.source, origin.partition);
                let found = known.iter().rev().find(|(one, _)| *one == number).map(|(_, partition)| *partition);
                let partition = found.unwrap_or_else(|| {
                    let source = program.source_names[origin.source as usize].clone();
                    let partition = name(&mut names, (source, causes.input.partition_name(origin.source, origin.partition)));
                    known.push((number, partition));
                    partition
                });
                (partition, origin.offset)
            }
        };
        let index = index_after(&lineage.rows, partition, offset);
        lineage.rows.push(RowOrigin { partition, offset, index, time: causes.time(cause) });
    }
    lineage.partitions = names;
    lineage
}

/// The number of a name; neighbours often have the same one.
fn name(names: &mut Vec<(String, String)>, name: (String, String)) -> u32 {
    if names.last() != Some(&name) {
        names.push(name);
    }
    names.len() as u32 - 1
}

fn of_letters(letters: &[DeadLetter]) -> Lineage {
    let mut lineage = Lineage::default();
    for letter in letters {
        let name = (letter.source.clone(), letter.partition.clone());
        let partition = lineage.partitions.iter().position(|one| *one == name).unwrap_or_else(|| {
            lineage.partitions.push(name);
            lineage.partitions.len() - 1
        }) as u32;
        let index = index_after(&lineage.rows, partition, letter.offset);
        lineage.rows.push(RowOrigin { partition, offset: letter.offset, index, time: letter.time });
    }
    lineage
}
