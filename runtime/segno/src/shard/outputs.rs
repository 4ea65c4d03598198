//! What an executed epoch gives to its sinks: rows, their schema, and where each row came from.
//!
//! Owns: putting together the rows of every sink, the dead letters as one more of them, and lineage for those that
//! want it. Does not own: the rows (`execute`), staging and publishing (`commit`).
//!
//! Invariant: a function of (program, input, executed), so a re-executed epoch gives the same outputs.

use super::epoch::EpochInput;
use super::execute::Executed;
use super::program::Program;
use super::step::StreamRows;
use arrow_array::RecordBatch;
use segno_core::columns::Schema;
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
}

impl Output {
    pub fn rows(&self, epoch: u64) -> SinkRows<'_> {
        SinkRows {
            epoch,
            schema: &self.schema,
            batch: &self.batch,
            written: self.written,
            lineage: self.lineage.as_ref(),
        }
    }
}

/// One for each sink of the graph, in its order, then the dead letters, if there are any.
pub fn outputs(
    program: &Program,
    input: &EpochInput,
    executed: &Executed,
    wants_lineage: impl Fn(&str) -> bool,
) -> Vec<Output> {
    let mut outputs: Vec<Output> = executed
        .sinks
        .iter()
        .zip(&program.graph.sinks)
        .map(|(output, sink)| Output {
            name: output.name.clone(),
            schema: sink.schema.clone(),
            batch: output.rows.batch.clone(),
            written: sink.written,
            lineage: wants_lineage(&output.name).then(|| of_rows(program, input, &output.rows)),
        })
        .collect();
    if !executed.dead_letters.is_empty() {
        outputs.push(Output {
            name: DEAD_LETTER_SINK.to_owned(),
            written: dead_letter_schema().columns.len(),
            schema: dead_letter_schema(),
            batch: dead_letter_batch(&executed.dead_letters),
            lineage: wants_lineage(DEAD_LETTER_SINK).then(|| of_letters(&executed.dead_letters)),
        });
    }
    outputs
}

/// Rows that one record caused stand together, so counting gives their places.
fn index_after(rows: &[RowOrigin], partition: u32, offset: u64) -> u32 {
    match rows.last() {
        Some(last) if (last.partition, last.offset) == (partition, offset) => last.index + 1,
        _ => 0,
    }
}

fn of_rows(program: &Program, input: &EpochInput, rows: &StreamRows) -> Lineage {
    let mut lineage = Lineage::default();
    let mut known: Vec<(u32, u32)> = Vec::new();
    lineage.rows.reserve_exact(rows.batch.num_rows());
    for row in 0..rows.batch.num_rows() {
        let cause = rows.origin_row(row) as usize;
        let origin = input.origin(cause);
        let number = (origin.source, origin.partition);
        let partition = known.iter().rposition(|one| *one == number).unwrap_or_else(|| {
            known.push(number);
            let source = program.source_names[origin.source as usize].clone();
            lineage.partitions.push((source, input.partition_name(origin.source, origin.partition)));
            known.len() - 1
        }) as u32;
        let index = index_after(&lineage.rows, partition, origin.offset);
        let time = input.times.get(cause).copied();
        lineage.rows.push(RowOrigin { partition, offset: origin.offset, index, time });
    }
    lineage
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
