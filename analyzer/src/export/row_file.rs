//! Rows, batch by batch, as CSV, JSON or Parquet: the same names and values in each.
//!
//! Null is an empty field, `null`, null. Times are RFC 3339 with nanoseconds as text, a timestamp in Parquet. In JSON a row
//! is a line.

use std::io::Write;
use std::path::Path;

use arrow::array::{Array, AsArray as _, RecordBatch};
use arrow::datatypes::{
    DataType, Float64Type, Int16Type, Int32Type, Int64Type, SchemaRef, TimeUnit, TimestampNanosecondType,
    UInt32Type, UInt64Type,
};
use tidegauge_schemas::parquet_file::ParquetFile;

use crate::error::{Error, Result};

/// Form of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowFormat {
    /// RFC 4180, with a line of names.
    Csv,
    /// An array of flat objects.
    Json,
    /// Parquet.
    Parquet,
}

/// A file being written.
pub(super) enum RowFile<'a, W: Write + Send> {
    Csv { out: W, path: &'a Path },
    Json { out: W, path: &'a Path, is_first: bool },
    Parquet(Box<ParquetFile<W>>),
}

impl<'a, W: Write + Send> RowFile<'a, W> {
    /// Begins a file with these columns; `path` is what errors call it.
    pub(super) fn create(mut out: W, format: RowFormat, schema: &SchemaRef, path: &'a Path) -> Result<Self> {
        match format {
            RowFormat::Csv => {
                let mut line = String::new();
                for (at, field) in schema.fields().iter().enumerate() {
                    line.push_str(if at == 0 { "" } else { "," });
                    push_field(&mut line, field.name());
                }
                writeln!(out, "{line}").map_err(Error::io("writing", path))?;
                Ok(Self::Csv { out, path })
            }
            RowFormat::Json => {
                out.write_all(b"[").map_err(Error::io("writing", path))?;
                Ok(Self::Json { out, path, is_first: true })
            }
            RowFormat::Parquet => {
                let file = ParquetFile::create(out, schema.clone(), path)?;
                Ok(Self::Parquet(Box::new(file)))
            }
        }
    }

    /// Adds rows.
    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        match self {
            Self::Csv { out, path } => {
                let columns: Vec<Values<'_>> = batch.columns().iter().map(|column| values(column)).collect();
                let mut lines = String::new();
                for row in 0..batch.num_rows() {
                    for (at, column) in columns.iter().enumerate() {
                        lines.push_str(if at == 0 { "" } else { "," });
                        column.push_csv(&mut lines, row);
                    }
                    lines.push('\n');
                }
                out.write_all(lines.as_bytes()).map_err(Error::io("writing", path))
            }
            Self::Json { out, path, is_first } => {
                let keys: Vec<String> = batch
                    .schema()
                    .fields()
                    .iter()
                    .map(|field| serde_json::Value::from(field.name().as_str()).to_string())
                    .collect();
                let columns: Vec<Values<'_>> = batch.columns().iter().map(|column| values(column)).collect();
                let mut lines = String::new();
                for row in 0..batch.num_rows() {
                    lines.push_str(if std::mem::take(is_first) { "\n  {" } else { ",\n  {" });
                    for (at, (key, column)) in keys.iter().zip(&columns).enumerate() {
                        lines.push_str(if at == 0 { "" } else { "," });
                        lines.push_str(key);
                        lines.push(':');
                        column.push_json(&mut lines, row);
                    }
                    lines.push('}');
                }
                out.write_all(lines.as_bytes()).map_err(Error::io("writing", path))
            }
            Self::Parquet(file) => Ok(file.write(batch)?),
        }
    }

    /// Ends the file.
    pub(super) fn finish(self) -> Result<()> {
        let (mut out, end, path) = match self {
            Self::Csv { out, path } => (out, "", path),
            Self::Json { out, path, is_first } => (out, if is_first { "]\n" } else { "\n]\n" }, path),
            Self::Parquet(file) => return Ok(file.finish().map(drop)?),
        };
        out.write_all(end.as_bytes()).and_then(|()| out.flush()).map_err(Error::io("writing", path))
    }
}

/// A column whose type is looked at once for a batch.
struct Values<'a> {
    array: &'a dyn Array,
    push: fn(&dyn Array, usize, &mut Pushed<'_>),
}

/// Where a value goes, and as what.
struct Pushed<'a> {
    out: &'a mut String,
    is_json: bool,
}

impl Values<'_> {
    fn push_csv(&self, out: &mut String, row: usize) {
        if self.array.is_valid(row) {
            (self.push)(self.array, row, &mut Pushed { out, is_json: false });
        }
    }

    fn push_json(&self, out: &mut String, row: usize) {
        if self.array.is_valid(row) {
            (self.push)(self.array, row, &mut Pushed { out, is_json: true });
        } else {
            out.push_str("null");
        }
    }
}

impl Pushed<'_> {
    fn number(&mut self, number: impl std::fmt::Display) {
        use std::fmt::Write as _;
        // Writing to a string cannot fail.
        let _ = write!(self.out, "{number}");
    }

    fn real(&mut self, real: f64) {
        match serde_json::Number::from_f64(real).filter(|_| self.is_json) {
            Some(number) => self.number(number),
            // Infinite and undefined losses exist; JSON has no word for them.
            None if self.is_json => self.out.push_str("null"),
            None => self.number(real),
        }
    }

    fn text(&mut self, text: &str) {
        if self.is_json {
            self.number(serde_json::Value::from(text));
        } else {
            push_field(self.out, text);
        }
    }

    fn time(&mut self, nanos: i64) {
        // Every number of 64 bits is a time that jiff knows.
        let time = jiff::Timestamp::from_nanosecond(i128::from(nanos)).unwrap_or_default();
        self.number(format_args!("{0}{time:.9}{0}", if self.is_json { "\"" } else { "" }));
    }
}

fn push_field(out: &mut String, text: &str) {
    if text.contains([',', '"', '\n', '\r']) {
        out.push('"');
        out.push_str(&text.replace('"', "\"\""));
        out.push('"');
    } else {
        out.push_str(text);
    }
}

fn values(array: &dyn Array) -> Values<'_> {
    let push: fn(&dyn Array, usize, &mut Pushed<'_>) = match array.data_type() {
        DataType::UInt64 => |array, row, out| out.number(array.as_primitive::<UInt64Type>().value(row)),
        DataType::Int64 => |array, row, out| out.number(array.as_primitive::<Int64Type>().value(row)),
        DataType::UInt32 => |array, row, out| out.number(array.as_primitive::<UInt32Type>().value(row)),
        DataType::Int16 => |array, row, out| out.number(array.as_primitive::<Int16Type>().value(row)),
        DataType::Float64 => |array, row, out| out.real(array.as_primitive::<Float64Type>().value(row)),
        DataType::Boolean => |array, row, out| out.number(array.as_boolean().value(row)),
        DataType::Utf8 => |array, row, out| out.text(array.as_string::<i32>().value(row)),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            |array, row, out| out.time(array.as_primitive::<TimestampNanosecondType>().value(row))
        }
        // The one other type that a table has: text.
        _ => |array, row, out| {
            let text = array.as_dictionary::<Int32Type>();
            out.text(text.values().as_string::<i32>().value(text.keys().value(row) as usize));
        },
    };
    Values { array, push }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Float64Array, StringArray, TimestampNanosecondArray, UInt64Array};

    use super::*;

    fn text(format: RowFormat, rows: usize) -> String {
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("address", Arc::new(UInt64Array::from(vec![Some(u64::MAX), None]))),
            ("name", Arc::new(StringArray::from(vec![Some("a,\"b\"\n"), None]))),
            ("value", Arc::new(Float64Array::from(vec![0.1, f64::NAN]))),
            ("time", Arc::new(TimestampNanosecondArray::from(vec![1, -1]).with_timezone("UTC"))),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap().slice(0, rows);
        let mut out = Vec::new();
        let mut file = RowFile::create(&mut out, format, &batch.schema(), Path::new("x")).unwrap();
        if rows > 0 {
            file.write(&batch).unwrap();
        }
        file.finish().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn values_of_every_type_are_said_as_they_are() {
        let csv = "address,name,value,time\n\
                   18446744073709551615,\"a,\"\"b\"\"\n\",0.1,1970-01-01T00:00:00.000000001Z\n\
                   ,,NaN,1969-12-31T23:59:59.999999999Z\n";
        assert_eq!(text(RowFormat::Csv, 2), csv);
        let rows: serde_json::Value = serde_json::from_str(&text(RowFormat::Json, 2)).unwrap();
        let expected = serde_json::json!([
            {"address": u64::MAX, "name": "a,\"b\"\n", "value": 0.1, "time": "1970-01-01T00:00:00.000000001Z"},
            {"address": null, "name": null, "value": null, "time": "1969-12-31T23:59:59.999999999Z"},
        ]);
        assert_eq!(rows, expected);
    }

    #[test]
    fn without_rows_there_is_an_empty_array() {
        assert_eq!(text(RowFormat::Json, 0), "[]\n");
        assert_eq!(text(RowFormat::Csv, 0), "address,name,value,time\n");
    }
}
