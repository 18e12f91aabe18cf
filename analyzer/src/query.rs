//! `tidegauge query`: polars SQL over the tables of a trace.
//!
//! Sealed parts are scanned lazily, so a filter or an aggregate over a large trace does not load it; rows that are
//! still in a journal are read through the same door as everything else and appended. `steps` and `phases` are derived
//! by a replay, and only when the query names them.

use arrow::array::{Array as _, AsArray as _, RecordBatch};
use arrow::datatypes::{
    Float64Type, Int16Type, Int32Type, Int64Type, TimestampNanosecondType, UInt32Type, UInt64Type,
};
use polars::prelude::*;
use polars::sql::SQLContext;
use tidegauge_schemas::layout::ProcessId;
use tidegauge_schemas::{Column as TraceColumn, ColumnType, Table};

use crate::analysis::{PhaseTable, StepTable};
use crate::error::{Error, Result};
use crate::load::{Process, Source};
use crate::render::{self, Cell};
use crate::replay::{Window, replay};

/// Names of the derived tables.
const STEPS: &str = "steps";
const PHASES: &str = "phases";

/// The first `top` rows of the result of `sql` over the selected processes; every table has the columns `rank` and `process` too.
///
/// # Errors
/// If the trace cannot be read or the query is refused.
pub fn query(source: &Source, sql: &str, top: Option<usize>) -> Result<DataFrame> {
    let mut context = SQLContext::new();
    for table in Table::ALL {
        context.register(table.name(), scan(source, table)?);
    }
    // A replay for a query that does not ask for it would be wasted; a name inside a string only costs time.
    let names = sql.to_lowercase();
    if names.contains(STEPS) {
        context.register(STEPS, derived(source, steps)?);
    }
    if names.contains(PHASES) {
        context.register(PHASES, derived(source, phases)?);
    }
    let failed = |source| Error::Query { source };
    let limited = |frame: LazyFrame| match top {
        Some(rows) => frame.limit(rows as IdxSize),
        None => frame,
    };
    context.execute(sql).and_then(|frame| limited(frame).collect()).map_err(failed)
}

fn scan(source: &Source, table: Table) -> Result<LazyFrame> {
    let failed = |source| Error::Query { source };
    let mut frames =
        vec![with_process(empty(table).map_err(failed)?.lazy(), ProcessId { rank: 0, process: 0 })];
    for process in &source.processes {
        if !process.parts(table).is_empty() {
            frames.push(with_process(scan_parts(process, table).map_err(failed)?, process.id));
        }
        for batch in process.unsealed_batches(table) {
            let batch = batch?;
            frames.push(with_process(frame(&batch, table).map_err(failed)?.lazy(), process.id));
        }
    }
    concat(frames, UnionArgs::default()).map_err(failed)
}

fn scan_parts(process: &Process, table: Table) -> PolarsResult<LazyFrame> {
    let paths: PolarsResult<Vec<PlRefPath>> =
        process.parts(table).iter().map(|part| PlRefPath::try_from_path(&part.path)).collect();
    // Rank and process are added by hand, so that rows of a journal have them too.
    let hive_options = HiveOptions { enabled: Some(false), ..HiveOptions::default() };
    let arguments = ScanArgsParquet { glob: false, hive_options, ..ScanArgsParquet::default() };
    LazyFrame::scan_parquet_files(paths?.into(), arguments)
}

fn with_process(frame: LazyFrame, id: ProcessId) -> LazyFrame {
    frame.with_columns([lit(id.rank).alias("rank"), lit(id.process).alias("process")])
}

fn empty(table: Table) -> PolarsResult<DataFrame> {
    frame(&RecordBatch::new_empty(table.schema()), table)
}

/// An Arrow batch as a frame with the types that the scanned parts have.
fn frame(batch: &RecordBatch, table: Table) -> PolarsResult<DataFrame> {
    let columns: PolarsResult<Vec<Column>> =
        table.columns().iter().zip(batch.columns()).map(|(column, array)| series(column, array)).collect();
    DataFrame::new(batch.num_rows(), columns?)
}

fn series(column: &TraceColumn, array: &arrow::array::ArrayRef) -> PolarsResult<Column> {
    let name: PlSmallStr = column.name.into();
    Ok(match column.column_type {
        ColumnType::U64 => {
            UInt64Chunked::from_iter_options(name, array.as_primitive::<UInt64Type>().iter()).into_column()
        }
        ColumnType::I64 => {
            Int64Chunked::from_iter_options(name, array.as_primitive::<Int64Type>().iter()).into_column()
        }
        ColumnType::U32 => {
            UInt32Chunked::from_iter_options(name, array.as_primitive::<UInt32Type>().iter()).into_column()
        }
        ColumnType::I16 => {
            Int16Chunked::from_iter_options(name, array.as_primitive::<Int16Type>().iter()).into_column()
        }
        ColumnType::F64 => {
            Float64Chunked::from_iter_options(name, array.as_primitive::<Float64Type>().iter()).into_column()
        }
        ColumnType::Time => {
            let nanos = array.as_primitive::<TimestampNanosecondType>().iter();
            let nanos = Int64Chunked::from_iter_options(name, nanos).into_column();
            nanos.cast(&DataType::Datetime(TimeUnit::Nanoseconds, Some(TimeZone::UTC)))?
        }
        ColumnType::Text => {
            let dictionary = array.as_dictionary::<Int32Type>();
            let values = dictionary.values().as_string::<i32>();
            let keys = dictionary.keys();
            let texts = (0..array.len())
                .map(|row| keys.is_valid(row).then(|| values.value(keys.value(row) as usize)));
            StringChunked::from_iter_options(name, texts).into_column()
        }
        _ => {
            return Err(
                polars_err!(ComputeError: "column `{}` has a type that queries do not know", column.name),
            );
        }
    })
}

fn derived(source: &Source, rows: impl Fn(&Process) -> Result<render::Table>) -> Result<LazyFrame> {
    let failed = |source| Error::Query { source };
    let mut frames = Vec::new();
    for process in &source.processes {
        frames.push(with_process(table_frame(&rows(process)?).map_err(failed)?.lazy(), process.id));
    }
    concat(frames, UnionArgs { to_supertypes: true, ..UnionArgs::default() }).map_err(failed)
}

fn steps(process: &Process) -> Result<render::Table> {
    let mut steps = StepTable::new(Window::ALL);
    let outcome = replay(process, Window::ALL, &mut steps)?;
    Ok(render::steps_table(&steps.finish(&outcome), outcome.first_nanos()))
}

fn phases(process: &Process) -> Result<render::Table> {
    let mut phases = PhaseTable::new(Window::ALL);
    let outcome = replay(process, Window::ALL, &mut phases)?;
    Ok(render::phases_table(&phases.finish(&outcome)))
}

/// A rendered table as a frame; a column without any value is of no type.
fn table_frame(table: &render::Table) -> PolarsResult<DataFrame> {
    let column = |(at, column): (usize, &render::Column)| {
        let cells = || table.rows.iter().map(move |row| &row[at]);
        let name: PlSmallStr = column.key.as_str().into();
        let sample = cells().find(|cell| **cell != Cell::Unknown);
        match sample {
            Some(Cell::Text(_)) => {
                let texts = cells().map(|cell| match cell {
                    Cell::Text(text) => Some(text.as_str()),
                    _ => None,
                });
                StringChunked::from_iter_options(name, texts).into_column()
            }
            Some(Cell::Real(_) | Cell::Share(_)) => {
                let numbers = cells().map(|cell| match cell {
                    Cell::Real(number) | Cell::Share(number) => Some(*number),
                    _ => None,
                });
                Float64Chunked::from_iter_options(name, numbers).into_column()
            }
            Some(Cell::Flag(_)) => {
                let flags = cells().map(|cell| match cell {
                    Cell::Flag(flag) => Some(*flag),
                    _ => None,
                });
                BooleanChunked::from_iter_options(name, flags).into_column()
            }
            Some(_) => {
                let numbers = cells().map(|cell| match cell {
                    Cell::Count(number)
                    | Cell::Bytes(number)
                    | Cell::DeltaBytes(number)
                    | Cell::Nanos(number) => Some(*number),
                    _ => None,
                });
                Int64Chunked::from_iter_options(name, numbers).into_column()
            }
            None => Column::full_null(name, table.rows.len(), &DataType::Null),
        }
    };
    DataFrame::new(table.rows.len(), table.columns.iter().enumerate().map(column).collect())
}

/// A result as a table.
///
/// # Errors
/// If the frame has a column that cannot be shown.
pub fn result_table(frame: &DataFrame) -> Result<render::Table> {
    let names = frame.get_column_names();
    let columns: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), name.as_str())).collect();
    let mut table = render::Table::new(&columns);
    let row =
        |row: usize| frame.columns().iter().map(|column| column.get(row).map(|value| cell(&value))).collect();
    let rows: PolarsResult<Vec<Vec<Cell>>> = (0..frame.height()).map(row).collect();
    table.rows = rows.map_err(|source| Error::Query { source })?;
    Ok(table)
}

fn cell(value: &AnyValue<'_>) -> Cell {
    match value {
        AnyValue::Null => Cell::Unknown,
        AnyValue::Boolean(flag) => Cell::Flag(*flag),
        AnyValue::String(text) => Cell::Text((*text).to_owned()),
        AnyValue::StringOwned(text) => Cell::Text(text.to_string()),
        AnyValue::Float32(_) | AnyValue::Float64(_) => {
            value.extract::<f64>().map_or(Cell::Unknown, Cell::Real)
        }
        value if value.is_integer() => {
            value.extract::<i64>().map_or_else(|| Cell::Text(value.to_string()), Cell::Count)
        }
        value => Cell::Text(value.to_string()),
    }
}
