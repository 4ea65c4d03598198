//! Values that are never shown: columns that the pipeline file hides, columns whose names speak of secrets, values of secret
//! variables.
//!
//! Owns: which these are, and what stands for them. Does not own: who is shown what.
//!
//! Invariant: equal texts and numbers become equal ones, and different ones different ones nearly always, as long as the process
//! runs, so that keys stay keys; what stands for a value tells nothing about it, since it depends on a number that leaves this
//! process nowhere.

use arrow_array::types::Decimal128Type;
use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, Float64Array, Int32Array, Int64Array, PrimitiveArray, RecordBatch,
    StringArray, TimestampMicrosecondArray, UInt32Array, UInt64Array,
};
use arrow_schema::{DataType, Field, Schema};
use segno_core::columns::json::row_to_json;
use segno_core::pipeline::Pipeline;
use segno_core::pipeline::variables::{mask, mask_text};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, LazyLock};

/// A column is hidden when its name contains one of these, in whatever case.
pub const WORDS: [&str; 5] = ["secret", "token", "password", "passwd", "credential"];
/// What stands for a number is less.
const NUMBERS: u64 = 1_000_000;

static HASH: LazyLock<RandomState> = LazyLock::new(RandomState::new);

#[derive(Clone, Debug, Default)]
pub struct Hidden {
    columns: Vec<String>,
    /// Values of secret variables.
    values: Vec<String>,
}

impl Hidden {
    pub fn of(pipeline: &Pipeline) -> Hidden {
        Hidden { columns: pipeline.mask.clone(), values: pipeline.secrets.clone() }
    }

    pub fn hides(&self, column: &str) -> bool {
        let name = column.to_lowercase();
        self.columns.iter().any(|one| one == column) || WORDS.iter().any(|word| name.contains(word))
    }

    /// A row as JSON. `None`: it cannot be shown without what is hidden.
    pub fn row(&self, rows: &RecordBatch, row: usize) -> Option<String> {
        let one = rows.slice(row, 1);
        let fields = rows.schema_ref().fields().iter();
        let columns = fields.zip(one.columns()).map(|(field, column)| match self.hides(field.name()) {
            true => stand_in(column),
            false => Some(Arc::clone(column)),
        });
        let shown = RecordBatch::try_new(rows.schema(), columns.collect::<Option<_>>()?).ok()?;
        let text = String::from_utf8(row_to_json(&shown, 0)).ok()?;
        if mask_text(&text, &self.values).is_none() {
            return Some(text);
        }
        // In a value of its own and not in the text: a number becomes text.
        let mut value = serde_json::from_str(&text).ok()?;
        mask(&mut value, &self.values);
        Some(value.to_string())
    }

    /// What a plugin says that sees nothing hidden but, by its configuration, the values of secret variables.
    pub fn said(&self, text: &str) -> String {
        mask_text(text, &self.values).unwrap_or_else(|| text.to_owned())
    }

    /// What stands for a key.
    pub fn stand_in_of(&self, key: &[u8]) -> String {
        format!("hidden-{:016x}", HASH.hash_one(key))
    }
}

/// The one value of an array as JSON has it, without quotes.
fn text_of(array: &ArrayRef) -> String {
    let schema = Schema::new(vec![Field::new("", array.data_type().clone(), true)]);
    let Ok(rows) = RecordBatch::try_new(Arc::new(schema), vec![Arc::clone(array)]) else { return String::new() };
    match serde_json::from_slice::<serde_json::Value>(&row_to_json(&rows, 0)).ok().as_ref().and_then(|row| row.get("")) {
        Some(serde_json::Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
        None => String::new(),
    }
}

/// What stands for the one value of an array.
fn stand_in(array: &ArrayRef) -> Option<ArrayRef> {
    if array.is_null(0) {
        return Some(Arc::clone(array));
    }
    let hash = HASH.hash_one(text_of(array));
    let text = format!("hidden-{hash:016x}");
    let number = hash % NUMBERS;
    Some(match array.data_type() {
        DataType::Utf8 => Arc::new(StringArray::from(vec![text])),
        DataType::Binary => Arc::new(BinaryArray::from(vec![text.as_bytes()])),
        DataType::Int32 => Arc::new(Int32Array::from(vec![number as i32])),
        DataType::Int64 => Arc::new(Int64Array::from(vec![number as i64])),
        DataType::UInt32 => Arc::new(UInt32Array::from(vec![number as u32])),
        DataType::UInt64 => Arc::new(UInt64Array::from(vec![number])),
        DataType::Float64 => Arc::new(Float64Array::from(vec![number as f64])),
        DataType::Boolean => Arc::new(BooleanArray::from(vec![false])),
        DataType::Date32 => Arc::new(Date32Array::from(vec![0])),
        DataType::Timestamp(..) => Arc::new(TimestampMicrosecondArray::from(vec![0]).with_timezone("UTC")),
        DataType::Decimal128(precision, scale) => {
            let digits = 10_i128.checked_pow(u32::from(*precision)).unwrap_or(i128::MAX);
            let value = PrimitiveArray::<Decimal128Type>::from_value(i128::from(number) % digits, 1);
            Arc::new(value.with_precision_and_scale(*precision, *scale).ok()?)
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> RecordBatch {
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("id", Arc::new(Int64Array::from(vec![1, 2, 3]))),
            ("card", Arc::new(StringArray::from(vec![Some("4111-1111"), None, Some("4111-1111")]))),
            ("Api_Token", Arc::new(Int64Array::from(vec![77_777, 88_888, 77_777]))),
            ("note", Arc::new(StringArray::from(vec!["a", "pays with hunter22", "b"]))),
            ("born", Arc::new(Date32Array::from(vec![4_000, 5_000, 6_000]))),
            ("price", Arc::new(PrimitiveArray::<Decimal128Type>::from(vec![123, 456, 789]).with_precision_and_scale(3, 2).unwrap())),
        ];
        RecordBatch::try_from_iter(columns).unwrap()
    }

    fn hidden() -> Hidden {
        let columns = ["card", "born", "price"].map(str::to_owned).to_vec();
        Hidden { columns, values: vec!["hunter22".to_owned(), "3".to_owned()] }
    }

    #[test]
    fn hidden_columns_keep_their_types_and_which_rows_are_equal() {
        let shown: Vec<serde_json::Value> =
            (0..3).map(|row| serde_json::from_str(&hidden().row(&rows(), row).unwrap()).unwrap()).collect();
        assert_eq!(shown[0]["card"], shown[2]["card"]);
        assert!(shown[0]["card"].as_str().unwrap().starts_with("hidden-"));
        assert!(shown[1]["card"].is_null());
        assert_eq!(shown[0]["Api_Token"], shown[2]["Api_Token"]);
        assert_ne!(shown[0]["Api_Token"], shown[1]["Api_Token"]);
        assert!(shown[0]["Api_Token"].is_i64() || shown[0]["Api_Token"].is_u64());
        assert_eq!(shown[0]["born"], "1970-01-01");
        assert_eq!(shown[0]["id"], 1);
        let all = shown.iter().map(ToString::to_string).collect::<String>();
        for secret in ["4111", "77777", "88888", "1.23", "4.56", "7.89", "1980"] {
            assert!(!all.contains(secret), "{secret} in {all}");
        }
    }

    #[test]
    fn values_of_secret_variables_are_hidden_wherever_they_stand() {
        let shown: serde_json::Value = serde_json::from_str(&hidden().row(&rows(), 1).unwrap()).unwrap();
        assert_eq!(shown["note"], "pays with ********");
        let shown: serde_json::Value = serde_json::from_str(&hidden().row(&rows(), 2).unwrap()).unwrap();
        assert_eq!(shown["id"], segno_core::pipeline::variables::MASK);
    }

    #[test]
    fn what_a_plugin_says_has_no_value_of_a_secret_variable() {
        assert_eq!(hidden().said("the password hunter22 is short"), "the password ******** is short");
    }
}
