//! What the user pointed at, and which processes of it are meant.

use std::path::{Path, PathBuf};

use tidegauge_schemas::process::Ended;
use tidegauge_schemas::retention::{Retention, Windows};
use tidegauge_schemas::{ProcessTrace, Trace};

use crate::error::{Error, Result};

/// Which part of a trace is looked at; `None` is all.
#[derive(Debug, Clone, Copy, Default)]
pub struct Selection {
    /// Rank.
    pub rank: Option<u32>,
    /// Process within the rank.
    pub process: Option<u32>,
    /// Device: −1 the host, 0… accelerators.
    pub device: Option<i16>,
    /// Nanoseconds since the trace's first record: what is before is replayed and not shown.
    pub start_nanos: Option<i64>,
    /// And what is after.
    pub end_nanos: Option<i64>,
}

impl Selection {
    /// Whether rows of that device are shown.
    #[must_use]
    pub fn shows_device(&self, device: i16) -> bool {
        self.device.is_none_or(|wanted| wanted == device)
    }
}

/// An opened trace with the processes that were selected.
#[derive(Debug)]
pub struct Source {
    /// The path as the user gave it.
    pub path: PathBuf,
    /// The trace.
    pub trace: Trace,
    /// Its processes, by rank and number; at least one.
    pub processes: Vec<ProcessTrace>,
}

impl Source {
    /// Opens the trace at `path`.
    ///
    /// # Errors
    /// If it is no trace, cannot be read, or has no process of that rank and number.
    pub fn open(path: &Path, selection: &Selection) -> Result<Self> {
        let trace = Trace::open(path)?;
        let selected = |id: &&tidegauge_schemas::layout::ProcessId| {
            selection.rank.is_none_or(|rank| rank == id.rank)
                && selection.process.is_none_or(|process| process == id.process)
        };
        let processes: Vec<ProcessTrace> = trace
            .processes()
            .iter()
            .filter(selected)
            .map(|&id| trace.process(id))
            .collect::<Result<_, _>>()?;
        if processes.is_empty() {
            let found = trace.processes().iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let found = if found.is_empty() { "none".to_owned() } else { found };
            return Err(Error::NoSuchProcess { found, path: path.to_owned() });
        }
        Ok(Self { path: path.to_owned(), trace, processes })
    }

    /// What the user should know before believing the figures: damage, losses, an unclean end.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        self.processes.iter().flat_map(process_warnings).collect()
    }
}

fn retention_warning(retention: Retention) -> Option<String> {
    match retention {
        Retention::All => None,
        Retention::Ring { records } => Some(format!(
            "a ring of {records} records was kept: allocations before it are known only as far as they were still alive"
        )),
        Retention::Windows(Windows { first, every }) => Some(format!(
            "allocations were kept of the first {first} steps of each epoch and of every {every}-th: between them, \
             curves are a lower bound, and peaks of steps are the recorder's own count"
        )),
    }
}

fn process_warnings(process: &ProcessTrace) -> Vec<String> {
    let mut warnings: Vec<String> = process.damage.iter().map(ToString::to_string).collect();
    let losses = process.losses();
    let counted = [
        (losses.dropped_records, "records were dropped because the journal was full or could not grow"),
        (losses.uncommitted_records, "records had been begun and not finished when their thread ended"),
        (losses.damaged_records, "records are damaged on disk and left out"),
        (losses.overflowed_names, "names did not fit into the string table and show as <overflow>"),
        (losses.failed_seals, "attempts to write a part failed (disk full, folder gone?)"),
        (losses.skipped_samples, "samples could not be taken"),
        (process.missing_records(), "records are in no part: parts were removed, or lost"),
    ];
    let said = counted.into_iter().filter(|(count, _)| *count > 0);
    warnings.extend(said.map(|(count, what)| format!("{}: {count} {what}", process.id)));
    let retention = process.info.as_ref().map(|info| info.retention).unwrap_or_default();
    warnings.extend(retention_warning(retention).map(|text| format!("{}: {text}", process.id)));
    if process.ended == Ended::Killed {
        warnings.push(format!(
            "{}: it ended without closing the trace; all that it had recorded is here",
            process.id
        ));
    }
    // In `process.json` it stands once the trace is closed.
    let is_closed = process.info.as_ref().is_some_and(|info| info.ended.is_some());
    let journal = process.journal().filter(|_| !is_closed);
    let clock_note = journal.and_then(|journal| journal.clock.step_note());
    warnings.extend(clock_note.map(|note| format!("{}: {note}", process.id)));
    if let Some(info) = &process.info {
        warnings.extend(info.notes.iter().map(|note| format!("{}: {note}", process.id)));
    }
    warnings
}
