//! torch.profiler's memory timelines: what `export_memory_timeline` writes, as `.raw.json.gz` and as `.json`.
//!
//! Both are a JSON list of lists and bear no name of their format; they are told apart by the second element. The raw
//! form has an entry `[time, action, bytes, category]` for each change of a storage, the other one
//! `[times, sizes by category]`, torch's own sum over it. Neither says of which device it is: it is shown as device 0.
//! Torch exports one device at a time, by default the first accelerator.

mod document;
mod raw_entries;
mod sizes;

use tidegauge_schemas::Category;
use tidegauge_schemas::layout::ProcessId;

use super::{ForeignProcess, Input};
use crate::error::Result;

/// What the file is called in errors.
const WHAT: &str = "torch.profiler memory timeline";
/// The device that it is shown as.
const DEVICE: i16 = 0;

/// Number of the category of storages that torch could not place; there are as many below it.
const UNPLACED: i64 = 7;

/// Whether content that begins so is a memory timeline: a list whose first element is a list of numbers.
pub(super) fn is_start_of(start: &[u8]) -> bool {
    let mut bytes = start.iter().copied().filter(|byte| !byte.is_ascii_whitespace());
    bytes.next() == Some(b'[')
        && bytes.next() == Some(b'[')
        && bytes.next().is_some_and(|byte| byte == b'-' || byte == b']' || byte.is_ascii_digit())
}

/// Reads a timeline in either form, from its beginning to its end.
///
/// # Errors
/// If it is not as torch writes it.
pub(super) fn read(input: &mut Input, id: ProcessId) -> Result<Vec<ForeignProcess>> {
    let mut process = ForeignProcess::new(id, "torch.profiler memory timeline");
    let read = document::read(input.reader(), &mut process);
    read.map_err(|error| input.error(WHAT, reason(&error)))?;
    process.coverage.push(
        "the steps in which torch.profiler was active; of what was alive before them, what they used or freed".to_owned(),
    );
    process.coverage.push("the file does not say of which device it is: it is shown as device 0".to_owned());
    Ok(vec![process])
}

fn reason(error: &serde_json::Error) -> String {
    match error.classify() {
        serde_json::error::Category::Eof => format!("it is cut off: {error}"),
        serde_json::error::Category::Io => format!("it cannot be read to its end: {error}"),
        _ => error.to_string(),
    }
}

/// What torch's number of a category stands for; `None` for one that this version does not know.
fn category(number: i64) -> Option<Category> {
    Some(match number {
        0 => Category::Parameter,
        1 => Category::OptimizerState,
        2 => Category::Input,
        3 => Category::Temporary,
        4 => Category::Activation,
        5 => Category::Gradient,
        6 => Category::AutogradDetail,
        UNPLACED => Category::Unknown,
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
