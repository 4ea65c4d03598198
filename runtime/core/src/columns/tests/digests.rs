//! Digests: independent of batching and blocks, sensitive to everything else, and the fixture that is kept for ever.

use super::{Cell, batch, columns, fixture, fixture_cell, sliced};
use crate::columns::ColumnType;
use crate::columns::digest::{Finished, RowsDigest, changes_digest};
use arrow_array::RecordBatch;
use proptest::prelude::*;

fn digest(batches: &[RecordBatch], block_rows: usize) -> Finished {
    let mut digest = RowsDigest::with_block_rows(block_rows);
    for batch in batches {
        digest.update(batch);
    }
    digest.finish()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn rows_that_are_written_together_have_the_bytes_of_each_alone(columns in columns(250..600), block in 64usize..300) {
        let whole = batch(&columns);
        let alone: Vec<RecordBatch> = (0..whole.num_rows()).map(|row| whole.slice(row, 1)).collect();
        prop_assert_eq!(digest(std::slice::from_ref(&whole), block), digest(&alone, block));
        prop_assert_eq!(digest(&[whole], usize::MAX), digest(&alone, usize::MAX));
    }
}

proptest! {
    #[test]
    fn batching_slicing_and_blocks_do_not_change_a_digest(columns in columns(1..40), cut in any::<prop::sample::Index>(),
            skip in 0usize..10, block in 1usize..10) {
        let whole = batch(&columns);
        let cut = cut.index(whole.num_rows());
        let wanted = digest(std::slice::from_ref(&whole), block);
        let parts = [whole.slice(0, cut), whole.slice(cut, 0), whole.slice(cut, whole.num_rows() - cut)];
        prop_assert_eq!(&digest(&parts, block), &wanted);
        let arrays = columns.iter().map(|(ty, cells)| sliced(*ty, cells, skip)).collect();
        let other = RecordBatch::try_new(whole.schema(), arrays).unwrap();
        prop_assert_eq!(&digest(&[other], block), &wanted);
        prop_assert_eq!(&digest(std::slice::from_ref(&whole), usize::MAX).digest, &wanted.digest);
        prop_assert_eq!(wanted.blocks.len(), whole.num_rows().div_ceil(block));
    }

    #[test]
    fn a_block_digest_tells_which_block_differs(mut columns in columns(8..9), row in 0usize..8) {
        let before = digest(&[batch(&columns)], 3);
        let (ty, cells) = &mut columns[0];
        cells[row] = if cells[row] == Cell::Null { other_value(*ty) } else { Cell::Null };
        let after = digest(&[batch(&columns)], 3);
        prop_assert_ne!(&after.digest, &before.digest);
        for block in 0..3 {
            prop_assert_eq!(before.blocks[block] != after.blocks[block], block == row / 3);
        }
    }

    #[test]
    fn different_rows_have_different_digests(a in columns(1..4), cells in prop::collection::vec(any::<prop::sample::Index>(), 2)) {
        // The same columns with two rows exchanged: equal digests exactly when the rows are equal.
        let rows = a[0].1.len();
        let (x, y) = (cells[0].index(rows), cells[1].index(rows));
        let mut b = a.clone();
        for (_, cells) in &mut b {
            cells.swap(x, y);
        }
        let same = a.iter().zip(&b).all(|(a, b)| a.1.iter().zip(&b.1).all(|(a, b)| match (a, b) {
            // Not canonical here: a digest is over bits.
            (Cell::Float(a), Cell::Float(b)) => a.to_bits() == b.to_bits(),
            (a, b) => a == b,
        }));
        prop_assert_eq!(digest(&[batch(&a)], usize::MAX) == digest(&[batch(&b)], usize::MAX), same);
    }
}

fn other_value(ty: ColumnType) -> Cell {
    match ty {
        ColumnType::Utf8 | ColumnType::Binary => Cell::Bytes(Vec::new()),
        ColumnType::F64 => Cell::Float(0.0),
        _ => Cell::Int(0),
    }
}

#[test]
fn a_digest_of_many_rows_does_not_depend_on_blocks_or_batches() {
    // More bytes than are collected before hashing, so that every flush is crossed.
    let cells: Vec<Cell> = (0..40_000).map(|row| Cell::Bytes(vec![b'x'; row % 23])).collect();
    let numbers: Vec<Cell> = (0..40_000).map(|row| if row % 7 == 0 { Cell::Null } else { Cell::Int(row) }).collect();
    let whole = batch(&[(ColumnType::Utf8, cells), (ColumnType::I64, numbers)]);
    let wanted = digest(std::slice::from_ref(&whole), usize::MAX);
    for size in [999, 1024, 16_384] {
        let parts: Vec<_> = (0..40_000).step_by(size).map(|at| whole.slice(at, size.min(40_000 - at))).collect();
        for block in [1000, 39_999, 100_000] {
            let found = digest(&parts, block);
            assert_eq!(found.digest, wanted.digest);
            assert_eq!(found.blocks, digest(std::slice::from_ref(&whole), block).blocks);
        }
    }
}

#[test]
fn values_do_not_run_into_each_other() {
    let rows = |a: &str, b: &str| {
        let cell = |text: &str| vec![Cell::Bytes(text.as_bytes().to_vec())];
        digest(&[batch(&[(ColumnType::Utf8, cell(a)), (ColumnType::Utf8, cell(b))])], usize::MAX).digest
    };
    assert_ne!(rows("ab", "c"), rows("a", "bc"));
    let change = |key: &[u8], table, value: Option<&[u8]>| {
        changes_digest([(key, table, value)].into_iter(), usize::MAX).digest
    };
    let all = [
        change(b"k", 0, Some(b"v")), change(b"kv", 0, Some(b"")), change(b"k", 1, Some(b"v")), change(b"k", 0, None),
        change(b"k", 0, Some(b"")), change(b"", 0, Some(b"kv")),
    ];
    assert_eq!(all.iter().collect::<std::collections::BTreeSet<_>>().len(), all.len());
}

#[test]
fn the_fixture_of_digests_holds_for_ever() {
    let file = fixture(include_str!("../../../fixtures/digests.json"));
    let hex_blocks = |blocks: &[u64]| blocks.iter().map(|block| format!("{block:016x}")).collect::<Vec<_>>();
    let wanted_blocks = |case: &serde_json::Value| {
        case["blocks"].as_array().unwrap().iter().map(|block| block.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    for case in file["rows"].as_array().unwrap() {
        let columns: Vec<(ColumnType, Vec<Cell>)> = case["columns"].as_array().unwrap().iter().map(|column| {
            let ty: ColumnType = column["type"].as_str().unwrap().parse().unwrap();
            (ty, column["values"].as_array().unwrap().iter().map(|value| fixture_cell(ty, value)).collect())
        }).collect();
        let bytes = hex::decode(case["canonical"].as_str().unwrap()).unwrap();
        assert_eq!(blake3::hash(&bytes).to_hex().as_str(), case["digest"], "the fixture itself: {case}");
        let found = digest(&[batch(&columns)], case["block_rows"].as_u64().unwrap() as usize);
        assert_eq!(found.digest, case["digest"].as_str().unwrap(), "{case}");
        assert_eq!(hex_blocks(&found.blocks), wanted_blocks(case), "{case}");
    }
    for case in file["changes"].as_array().unwrap() {
        let unhex = |value: &serde_json::Value| value.as_str().map(|text| hex::decode(text).unwrap());
        let changes: Vec<_> = case["changes"].as_array().unwrap().iter()
            .map(|change| (unhex(&change["key"]).unwrap(), change["table"].as_u64().unwrap() as u16, unhex(&change["value"])))
            .collect();
        let Finished { digest, blocks } = changes_digest(
            changes.iter().map(|(key, table, value)| (key.as_slice(), *table, value.as_deref())),
            case["block_rows"].as_u64().unwrap() as usize,
        );
        assert_eq!(digest, case["digest"].as_str().unwrap(), "{case}");
        assert_eq!(hex_blocks(&blocks), wanted_blocks(case), "{case}");
    }
}
