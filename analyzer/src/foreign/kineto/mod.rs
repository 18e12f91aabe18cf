//! Traces of PyTorch's profiler (Kineto), in the JSON of Chrome's trace viewer, plain or compressed.
//!
//! A file may be of many GB, most of which has nothing to do with memory. It is read event by event through a window, and
//! what is kept is packed: allocations, and times and names of the calls around them. Then the allocations are sorted by
//! time, each is given its site, the books of each device are made up, and the rows are put in order with steps and phases.

mod books;
mod cursor;
mod document;
mod event;
mod header;
mod nesting;
mod operator_table;
mod passes;
mod phases;
mod recording;
mod rows;
mod stacks;
mod stream;
mod texts;
mod warnings;

use tidegauge_schemas::layout::ProcessId;

use super::input::Input;
use super::process::ForeignProcess;
use crate::error::Result;

/// Reads a trace: a process for each that allocated.
///
/// # Errors
/// If the file cannot be read, is cut off, is no trace, or is one in which no allocations were recorded.
pub(super) fn read(input: &mut Input, id: ProcessId) -> Result<Vec<ForeignProcess>> {
    let recording = document::read(input)?;
    if recording.memory.is_empty() {
        let asked = match recording.header.has_profiled_memory {
            Some(true) => "and yet `profile_memory` is said to have been on",
            _ => "`profile_memory=True` was not set when it was profiled",
        };
        let unreadable = match recording.unreadable {
            0 => String::new(),
            count => format!(", besides {count} that lack a time or a size"),
        };
        return Err(input.error(
            "Kineto or Chrome trace",
            format!("it has no allocations (`[memory]` events){unreadable}: {asked}"),
        ));
    }
    Ok(rows::processes(recording, id))
}
