//! What `nvidia-smi --query-gpu=… --format=csv` and `--query-compute-apps` write, once or again and again (`-l`, `-lms`).
//!
//! Columns come in any order, with units or without, and what a device does not tell is `[N/A]` and its like: such a cell
//! is no reading. A log may have been started again, so a header may stand anywhere, and may end anywhere. Rows that are
//! cut off or are messages of nvidia-smi are left out and counted; a cell that should be a number and is none is an error.

mod cell;
mod columns;
mod devices;
mod fields;
mod lines;
mod rows;

use tidegauge_schemas::layout::ProcessId;

use super::{ForeignProcess, Input};
use crate::error::Result;
use columns::Columns;
use lines::Lines;
use rows::Rows;

/// What the file is called in errors.
const WHAT: &str = "nvidia-smi CSV";
/// Lines in which a header, or a row without one, is looked for: messages may come before.
const FIRST_LINES: usize = 16;
/// UTF-16 with the byte order of all machines that have GPUs, as PowerShell's `>` writes.
const UTF_16_MARK: [u8; 2] = [0xff, 0xfe];

/// Whether content that begins so was written by nvidia-smi: it has a header of its columns, or cells with its units.
pub(super) fn is_start_of(start: &[u8]) -> bool {
    let start = &start[..start.len().min(16 << 10)];
    // Of UTF-16 the low bytes tell enough.
    let bytes: Vec<u8> = start.iter().copied().filter(|byte| *byte != 0).collect();
    let text = String::from_utf8_lossy(&bytes);
    text.lines().take(FIRST_LINES).any(|line| {
        let fields = fields::split(line.trim_start_matches('\u{feff}'));
        columns::is_distinctive_header(&fields) || cell::is_row_without_header(&fields)
    })
}

/// Reads a log from its beginning to its end.
///
/// # Errors
/// If it has no header or no row, or a cell is not what its column says.
pub(super) fn read(input: &mut Input, id: ProcessId) -> Result<Vec<ForeignProcess>> {
    if input.peek()?.starts_with(&UTF_16_MARK) {
        return Err(input.error(WHAT, "it is UTF-16, as PowerShell writes it: convert it to UTF-8"));
    }
    let mut process = ForeignProcess::new(id, "nvidia-smi CSV");
    let read = read_lines(&mut Lines::new(input.reader()), &mut process);
    read.map_err(|reason| input.error(WHAT, reason))?;
    Ok(vec![process])
}

fn read_lines(lines: &mut Lines<impl std::io::BufRead>, process: &mut ForeignProcess) -> Result<(), String> {
    let mut rows: Option<Rows<'_>> = None;
    let mut process = Some(process);
    let mut messages: Vec<(u64, String)> = Vec::new();
    while let Some(line) = lines.next()? {
        let fields = fields::split(&line.text);
        if fields.iter().all(|field| field.is_empty()) {
            continue;
        }
        match (&mut rows, Columns::of_header(&fields)) {
            (Some(rows), Some(columns)) => rows.begin_section(columns),
            (Some(rows), None) => rows.add(&line, &fields)?,
            (None, Some(columns)) => {
                let Some(process) = process.take() else { break };
                let mut begun = Rows::new(process, columns);
                messages.drain(..).for_each(|(number, text)| begun.leave_out(number, &text));
                rows = Some(begun);
            }
            (None, None) if messages.len() < FIRST_LINES && !cell::is_row_without_header(&fields) => {
                messages.push((line.number, line.text.to_string()));
            }
            (None, None) => return Err(without_header(line.number)),
        }
    }
    match rows {
        Some(rows) => rows.finish(),
        None => Err(without_header(1)),
    }
}

fn without_header(line: u64) -> String {
    format!(
        "line {line} is no header, and without one columns cannot be told apart: record without `noheader`, or put the \
         names that were given to --query-gpu before the first line, separated by commas"
    )
}

#[cfg(test)]
mod tests;
