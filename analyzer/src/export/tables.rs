//! `tidegauge export --to csv|json|parquet`: a table of the trace, or a result, with typed columns.
//!
//! Rows of the trace are streamed; memory does not grow with their number. Every row says of which rank and process it is.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray as _, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Int16Type, Schema, SchemaRef, TimestampNanosecondType};
use tidegauge_schemas::Table;
use tidegauge_schemas::layout::ProcessId;

pub use super::row_file::RowFormat;

use super::row_file::RowFile;
use super::typed_table::typed;
use crate::error::{Error, Result};
use crate::load::{Process, Source};
use crate::render;
use crate::replay::Window;

/// Which rows of a table.
#[derive(Debug, Clone, Copy)]
pub struct RowSelection {
    /// Only of this device; tables without devices have all rows.
    pub device: Option<i16>,
    /// At most so many.
    pub top: Option<usize>,
}

/// Writes rows of a table of the trace, of all selected processes, by process and `seq`; returns how many. `window_of`
/// tells the times of each process, `path` is what errors call `out`.
///
/// # Errors
/// If the trace cannot be read or the file not be written.
pub fn write_rows(
    source: &Source,
    table: Table,
    window_of: impl Fn(&Process) -> Result<Window>,
    selection: RowSelection,
    format: RowFormat,
    out: impl Write + Send,
    path: &Path,
) -> Result<u64> {
    let schema = with_process_fields(&table.schema());
    let columns: Vec<&str> = table.columns().iter().map(|column| column.name).collect();
    let mut file = RowFile::create(out, format, &schema, path)?;
    let mut left = selection.top.unwrap_or(usize::MAX);
    let mut written = 0;
    for process in &source.processes {
        let window = window_of(process)?;
        for batch in process.batches(table, &columns) {
            let batch = batch?;
            // Of what a journal gives, and of newer versions, only the columns that are known here.
            let known: Option<Vec<ArrayRef>> =
                columns.iter().map(|name| batch.column_by_name(name).cloned()).collect();
            let known = known.ok_or(Error::LostColumn { column: "seq" })?;
            let batch = with_process(&schema, known, batch.num_rows(), process.id)?;
            let batch = select(batch, window, selection.device)?;
            let batch = batch.slice(0, batch.num_rows().min(left));
            left -= batch.num_rows();
            written += batch.num_rows() as u64;
            file.write(&batch)?;
            if left == 0 {
                file.finish()?;
                return Ok(written);
            }
        }
    }
    file.finish()?;
    Ok(written)
}

/// Writes a result of several processes as one table; returns how many rows it has.
///
/// # Errors
/// If the file cannot be written.
pub fn write_results(
    results: &[(ProcessId, render::Table)],
    format: RowFormat,
    out: impl Write + Send,
    path: &Path,
) -> Result<u64> {
    let mut all: Option<render::Table> = None;
    for (id, table) in results {
        let mut table = table.clone();
        add_process(&mut table, *id);
        match &mut all {
            Some(all) => all.rows.append(&mut table.rows),
            None => all = Some(table),
        }
    }
    let batch = typed(&all.unwrap_or_else(|| render::Table::new(&[])))?;
    let mut file = RowFile::create(out, format, &batch.schema(), path)?;
    if batch.num_rows() > 0 {
        file.write(&batch)?;
    }
    file.finish()?;
    Ok(batch.num_rows() as u64)
}

/// Adds the columns `rank` and `process`, unless the table has them.
fn add_process(table: &mut render::Table, id: ProcessId) {
    if table.columns.iter().any(|column| column.key == "rank") {
        return;
    }
    for (key, number) in [("rank", id.rank), ("process", id.process)] {
        table.columns.push(render::Column { key: key.to_owned(), heading: key.to_owned() });
        table.rows.iter_mut().for_each(|row| row.push(render::Cell::Count(i64::from(number))));
    }
}

fn with_process_fields(schema: &SchemaRef) -> SchemaRef {
    let fields = schema.fields().iter().cloned();
    let added = ["rank", "process"].map(|name| Arc::new(Field::new(name, DataType::UInt32, false)));
    Arc::new(Schema::new(fields.chain(added).collect::<Vec<_>>()))
}

fn with_process(
    schema: &SchemaRef,
    mut columns: Vec<ArrayRef>,
    rows: usize,
    id: ProcessId,
) -> Result<RecordBatch> {
    for number in [id.rank, id.process] {
        columns.push(Arc::new(UInt32Array::from_value(number, rows)));
    }
    RecordBatch::try_new(Arc::clone(schema), columns).map_err(export_error)
}

/// The rows inside of the window, and of the device where the table has one.
fn select(batch: RecordBatch, window: Window, device: Option<i16>) -> Result<RecordBatch> {
    if window == Window::ALL && device.is_none() {
        return Ok(batch);
    }
    let times = batch.column_by_name("time").map(|times| times.as_primitive::<TimestampNanosecondType>());
    let devices = batch.column_by_name("device").map(|devices| devices.as_primitive::<Int16Type>());
    let is_selected = |row: usize| {
        let is_of_device = devices.zip(device).is_none_or(|(devices, device)| devices.value(row) == device);
        is_of_device && times.is_none_or(|times| window.contains(times.value(row)))
    };
    let selected: BooleanArray = (0..batch.num_rows()).map(|row| Some(is_selected(row))).collect();
    if selected.true_count() == batch.num_rows() {
        return Ok(batch);
    }
    filter_record_batch(&batch, &selected).map_err(export_error)
}

fn export_error(error: arrow::error::ArrowError) -> Error {
    Error::Export { reason: error.to_string() }
}
