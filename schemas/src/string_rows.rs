//! From strings of the journal to the tables that they are rows of: sites, and modules of the model.
//!
//! Such rows are few, and told once: so they lie in the strings file, where they survive the process like everything
//! else, and need no slot.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{Int64Type, UInt32Type, UInt64Type};
use serde_json::{Map, Value};

use crate::journal::{ClockMap, JournalString, StringTable, StringUse};
use crate::rows::{Column, OptionColumn, TextBuilder, TimeColumn, batch, times};
use crate::table::Table;

/// The tables whose rows are strings.
pub const STRING_TABLES: [Table; 2] = [Table::Sites, Table::Modules];

/// The rows of `table`, one of [`STRING_TABLES`], among the strings with these ascending ids.
#[must_use]
pub fn string_rows(
    table: Table,
    ids: impl Iterator<Item = u32>,
    strings: &StringTable,
    clock: &ClockMap,
) -> RecordBatch {
    let used = if table == Table::Modules { StringUse::Module } else { StringUse::Site };
    let of_table =
        ids.filter_map(|id| Some((id, strings.get(id)?))).filter(|(_, string)| string.used == used);
    match table {
        Table::Modules => module_rows(of_table, clock),
        _ => site_rows(of_table, clock),
    }
}

fn site_rows<'a>(strings: impl Iterator<Item = (u32, &'a JournalString)>, clock: &ClockMap) -> RecordBatch {
    let (mut seq, mut time) = (Column::<UInt64Type>::default(), TimeColumn::default());
    let mut site = Column::<UInt32Type>::default();
    let (mut name, mut stack) = (TextBuilder::default(), TextBuilder::default());
    for (id, string) in strings {
        let (first, rest) = match string.text.split_once('\n') {
            Some((first, rest)) => (first, Some(rest)),
            None => (string.text.as_str(), None),
        };
        seq.push(string.seq);
        time.push(clock.unix_nanos(string.ticks));
        site.push(id);
        name.append(Some(first));
        stack.append(rest);
    }
    let columns: Vec<ArrayRef> = vec![
        Arc::new(seq.finish()),
        times(&mut time),
        Arc::new(site.finish()),
        name.finish(),
        stack.finish(),
    ];
    batch(Table::Sites, columns)
}

/// What is not there, or of another type than the column, is unknown.
fn module_rows<'a>(strings: impl Iterator<Item = (u32, &'a JournalString)>, clock: &ClockMap) -> RecordBatch {
    const NUMBERS: [&str; 4] = ["parameters", "parameter_bytes", "buffers", "buffer_bytes"];
    const TEXTS: [&str; 4] = ["dtypes", "shapes", "inputs", "outputs"];
    let (mut seq, mut time) = (Column::<UInt64Type>::default(), TimeColumn::default());
    let (mut module, mut kind) = (TextBuilder::default(), TextBuilder::default());
    let mut numbers: [OptionColumn<Int64Type>; 4] = Default::default();
    let mut texts: [TextBuilder; 4] = Default::default();
    for (_, string) in strings {
        let row: Map<String, Value> = serde_json::from_str(&string.text).unwrap_or_default();
        seq.push(string.seq);
        time.push(clock.unix_nanos(string.ticks));
        module.append(Some(row.get("module").and_then(Value::as_str).unwrap_or_default()));
        kind.append(row.get("type").and_then(Value::as_str));
        for (column, key) in numbers.iter_mut().zip(NUMBERS) {
            column.push(row.get(key).and_then(Value::as_i64));
        }
        for (column, key) in texts.iter_mut().zip(TEXTS) {
            // Shapes are JSON within the text.
            let text = row.get(key).filter(|value| !value.is_null()).map(|value| match value {
                Value::String(text) => text.clone(),
                nested => nested.to_string(),
            });
            column.append(text.as_deref());
        }
    }
    let mut columns: Vec<ArrayRef> =
        vec![Arc::new(seq.finish()), times(&mut time), module.finish(), kind.finish()];
    columns.extend(numbers.iter_mut().map(|column| Arc::new(column.finish()) as ArrayRef));
    columns.extend(texts.iter_mut().map(TextBuilder::finish));
    batch(Table::Modules, columns)
}

#[cfg(test)]
mod tests {
    use arrow::array::Array as _;
    use arrow::array::cast::AsArray as _;

    use super::*;

    #[test]
    fn what_a_module_does_not_say_is_unknown() {
        let string =
            |text: &str| JournalString { used: StringUse::Module, seq: 3, ticks: 0, text: text.to_owned() };
        let whole = string(
            r#"{"module": "net.0", "type": "Linear", "parameters": 6, "parameter_bytes": 24, "buffers": 0,
                "buffer_bytes": 0, "dtypes": "float32", "shapes": {"weight": [2, 3]}, "inputs": [[4, 3]]}"#,
        );
        let cut = string(r#"{"module": "net.1", "type": "Lin"#);
        let clock = ClockMap::new(Vec::new());
        let rows = module_rows([(1, &whole), (2, &cut)].into_iter(), &clock);
        assert_eq!(rows.num_rows(), 2);
        let number = |name: &str, row: usize| {
            let column = rows.column_by_name(name).unwrap().as_primitive::<arrow::datatypes::Int64Type>();
            column.is_valid(row).then(|| column.value(row))
        };
        assert_eq!([number("parameter_bytes", 0), number("parameter_bytes", 1)], [Some(24), None]);
        assert_eq!(number("buffers", 0), Some(0));
        let text = |name: &str| {
            let column =
                arrow::compute::cast(rows.column_by_name(name).unwrap(), &arrow::datatypes::DataType::Utf8);
            let column = column.unwrap();
            let column = column.as_string::<i32>();
            column.is_valid(0).then(|| column.value(0).to_owned())
        };
        assert_eq!(text("shapes").as_deref(), Some(r#"{"weight":[2,3]}"#));
        assert_eq!(text("inputs").as_deref(), Some("[[4,3]]"));
        assert_eq!(text("outputs"), None);
    }
}
