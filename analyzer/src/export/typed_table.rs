//! A result's table as typed columns.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};

use crate::error::{Error, Result};
use crate::render::{Cell, Table};

/// Columns of text; what a column that is unknown throughout would hold is told by its name.
const TEXTS: [&str; 12] = [
    "phase",
    "peak_phase",
    "curve",
    "site",
    "category",
    "module",
    "size",
    "name",
    "type",
    "kind",
    "stack",
    "key",
];
/// Columns of real numbers.
const REALS: [&str; 3] = ["loss", "share", "value"];

/// The rows under their keys: bytes, counts and nanoseconds are integers of 64 bits.
pub(super) fn typed(table: &Table) -> Result<RecordBatch> {
    let mut fields = Vec::new();
    let mut columns: Vec<ArrayRef> = Vec::new();
    for (at, column) in table.columns.iter().enumerate() {
        let cells = || table.rows.iter().map(move |row| &row[at]);
        let array: ArrayRef = match column_type(&column.key, cells().find(|cell| **cell != Cell::Unknown)) {
            DataType::Utf8 => Arc::new(cells().map(text).collect::<StringArray>()),
            DataType::Float64 => Arc::new(cells().map(real).collect::<Float64Array>()),
            DataType::Boolean => Arc::new(cells().map(flag).collect::<BooleanArray>()),
            _ => Arc::new(cells().map(integer).collect::<Int64Array>()),
        };
        fields.push(Field::new(&column.key, array.data_type().clone(), true));
        columns.push(array);
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
        .map_err(|error| Error::Export { reason: error.to_string() })
}

fn column_type(key: &str, sample: Option<&Cell>) -> DataType {
    match sample {
        Some(Cell::Text(_)) => DataType::Utf8,
        Some(Cell::Real(_) | Cell::Share(_) | Cell::DeltaShare(_)) => DataType::Float64,
        Some(Cell::Flag(_)) => DataType::Boolean,
        Some(_) => DataType::Int64,
        None if TEXTS.contains(&key) => DataType::Utf8,
        None if REALS.contains(&key) => DataType::Float64,
        None if key == "complete" => DataType::Boolean,
        None => DataType::Int64,
    }
}

fn text(cell: &Cell) -> Option<&str> {
    if let Cell::Text(text) = cell { Some(text) } else { None }
}

fn real(cell: &Cell) -> Option<f64> {
    match cell {
        Cell::Real(value) | Cell::Share(value) | Cell::DeltaShare(value) => Some(*value),
        _ => None,
    }
}

fn flag(cell: &Cell) -> Option<bool> {
    if let Cell::Flag(flag) = cell { Some(*flag) } else { None }
}

fn integer(cell: &Cell) -> Option<i64> {
    match cell {
        Cell::Count(number) | Cell::Bytes(number) | Cell::DeltaBytes(number) | Cell::Nanos(number) => {
            Some(*number)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_have_their_types_also_where_nothing_is_known() {
        let mut table = Table::new(&[
            ("phase", "P"),
            ("peak_bytes", "B"),
            ("loss", "L"),
            ("complete", "C"),
            ("step", "S"),
        ]);
        let types = |table: &Table| {
            let batch = typed(table).unwrap();
            batch.schema().fields().iter().map(|field| field.data_type().clone()).collect::<Vec<_>>()
        };
        let expected =
            [DataType::Utf8, DataType::Int64, DataType::Float64, DataType::Boolean, DataType::Int64];
        assert_eq!(types(&table), expected, "without rows");
        table.rows.push(vec![Cell::Unknown; 5]);
        assert_eq!(types(&table), expected, "with unknown ones");
        table.rows.push(vec![
            Cell::Text("forward".into()),
            Cell::Bytes(7),
            Cell::Real(0.5),
            Cell::Flag(true),
            Cell::Count(3),
        ]);
        assert_eq!(types(&table), expected, "with known ones");
        assert_eq!(
            typed(&table).unwrap().column(1).as_ref(),
            &Int64Array::from(vec![None, Some(7)]) as &dyn arrow::array::Array
        );
    }
}
