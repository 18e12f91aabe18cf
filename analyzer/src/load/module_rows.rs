//! The rows of table `modules`: for each module the one that its last step had.

use std::collections::HashMap;

use arrow::array::{Array as _, AsArray as _, DictionaryArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type};
use tidegauge_schemas::Table;

use super::process::Process;
use crate::error::{Error, Result};

/// A module as it was recorded. What was not is `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ModuleRow {
    pub(crate) path: String,
    pub(crate) class: Option<String>,
    pub(crate) parameters: Option<i64>,
    pub(crate) parameter_bytes: Option<i64>,
    pub(crate) buffers: Option<i64>,
    pub(crate) buffer_bytes: Option<i64>,
    /// The first floating type of its tensors, by name.
    pub(crate) dtypes: Vec<String>,
    /// Of its parameters.
    pub(crate) shapes: Vec<Vec<i64>>,
    /// Of what it was called with; `None`: it was not called.
    pub(crate) inputs: Option<Vec<Vec<i64>>>,
    pub(crate) outputs: Option<Vec<Vec<i64>>>,
}

impl ModuleRow {
    /// Bytes of the tensors that it was called with, were they of the type of its parameters, else of 32 bits.
    pub(crate) fn input_bytes(&self) -> Option<i64> {
        let element_bytes = match self.dtypes.first().map(String::as_str) {
            Some("float64" | "complex64") => 8,
            Some("float16" | "bfloat16") => 2,
            _ => 4,
        };
        let elements =
            |shape: &Vec<i64>| shape.iter().try_fold(1i64, |product, size| product.checked_mul(*size));
        let mut bytes = 0i64;
        for shape in self.inputs.as_ref()? {
            bytes = bytes.checked_add(elements(shape)?.checked_mul(element_bytes)?)?;
        }
        Some(bytes)
    }
}

const COLUMNS: [&str; 10] = [
    "module",
    "type",
    "parameters",
    "parameter_bytes",
    "buffers",
    "buffer_bytes",
    "dtypes",
    "shapes",
    "inputs",
    "outputs",
];

/// The modules in the order in which their calls first ended. Of the shapes of a module those with `batch` samples
/// count, else its last.
pub(crate) fn module_rows(process: &Process, batch: Option<i64>) -> Result<Vec<ModuleRow>> {
    let mut rows: Vec<ModuleRow> = Vec::new();
    let mut known: HashMap<String, usize> = HashMap::new();
    for read in process.batches(Table::Modules, &COLUMNS) {
        for row in rows_of(&read?)? {
            let Some(&at) = known.get(&row.path) else {
                known.insert(row.path.clone(), rows.len());
                rows.push(row);
                continue;
            };
            let has_batch = |row: &ModuleRow| {
                let first = row.inputs.iter().flatten().next();
                batch.is_some() && first.and_then(|shape| shape.first().copied()) == batch
            };
            if has_batch(&row) || !has_batch(&rows[at]) {
                rows[at] = row;
            }
        }
    }
    Ok(rows)
}

fn rows_of(batch: &RecordBatch) -> Result<Vec<ModuleRow>> {
    let column = |column: &'static str| batch.column_by_name(column).ok_or(Error::LostColumn { column });
    let numbers = |name: &'static str| {
        let values = column(name)?.as_primitive::<Int64Type>().clone();
        Ok::<_, Error>(move |row: usize| values.is_valid(row).then(|| values.value(row)))
    };
    let texts = |name: &'static str| {
        let values = column(name)?.as_dictionary::<Int32Type>().clone();
        Ok::<_, Error>(move |row: usize| text(&values, row))
    };
    let (path, class) = (texts("module")?, texts("type")?);
    let (parameters, parameter_bytes) = (numbers("parameters")?, numbers("parameter_bytes")?);
    let (buffers, buffer_bytes) = (numbers("buffers")?, numbers("buffer_bytes")?);
    let (dtypes, shapes) = (texts("dtypes")?, texts("shapes")?);
    let (inputs, outputs) = (texts("inputs")?, texts("outputs")?);
    let row = |row: usize| ModuleRow {
        path: path(row).unwrap_or_default(),
        class: class(row),
        parameters: parameters(row),
        parameter_bytes: parameter_bytes(row),
        buffers: buffers(row),
        buffer_bytes: buffer_bytes(row),
        dtypes: dtypes(row).map(|names| names.split(',').map(str::to_owned).collect()).unwrap_or_default(),
        shapes: shapes(row).map(|text| named_shapes(&text)).unwrap_or_default(),
        inputs: inputs(row).map(|text| serde_json::from_str(&text).unwrap_or_default()),
        outputs: outputs(row).map(|text| serde_json::from_str(&text).unwrap_or_default()),
    };
    Ok((0..batch.num_rows()).map(row).collect())
}

fn text(texts: &DictionaryArray<Int32Type>, row: usize) -> Option<String> {
    let value = |row: usize| texts.values().as_string::<i32>().value(texts.keys().value(row) as usize);
    texts.keys().is_valid(row).then(|| value(row).to_owned())
}

fn named_shapes(text: &str) -> Vec<Vec<i64>> {
    let named: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).unwrap_or_default();
    named.into_iter().filter_map(|(_, shape)| serde_json::from_value(shape).ok()).collect()
}
