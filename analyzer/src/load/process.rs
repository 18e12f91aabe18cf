//! One process of what the user pointed at: of a trace, or of a recording that another tool made.

use arrow::array::RecordBatch;
use tidegauge_schemas::layout::ProcessId;
use tidegauge_schemas::part::Part;
use tidegauge_schemas::process::{Ended, Losses, ProcessInfo};
use tidegauge_schemas::retention::{Retention, Windows};
use tidegauge_schemas::{Operator, ProcessTrace, Table};

use crate::error::{Error, Result};
use crate::foreign::{ForeignProcess, NO_CLOCK};

/// A process, opened.
#[derive(Debug)]
pub struct Process {
    /// Which one.
    pub id: ProcessId,
    /// What it says of itself; none if a trace's `process.json` is missing or damaged.
    pub info: Option<ProcessInfo>,
    /// How it ended.
    pub ended: Ended,
    recording: Recording,
}

#[derive(Debug)]
enum Recording {
    Trace(Box<ProcessTrace>),
    Foreign(Box<ForeignProcess>),
}

impl From<ProcessTrace> for Process {
    fn from(trace: ProcessTrace) -> Self {
        Self {
            id: trace.id,
            info: trace.info.clone(),
            ended: trace.ended,
            recording: Recording::Trace(Box::new(trace)),
        }
    }
}

impl From<ForeignProcess> for Process {
    fn from(foreign: ForeignProcess) -> Self {
        Self {
            id: foreign.id,
            info: Some(foreign.description()),
            ended: Ended::Unknown,
            recording: Recording::Foreign(Box::new(foreign)),
        }
    }
}

impl Process {
    /// The recording of another tool that it was read from; none for a trace.
    #[must_use]
    pub fn foreign(&self) -> Option<&ForeignProcess> {
        match &self.recording {
            Recording::Foreign(foreign) => Some(foreign),
            Recording::Trace(_) => None,
        }
    }

    /// The trace that it is of; none for a recording of another tool.
    #[must_use]
    pub fn trace(&self) -> Option<&ProcessTrace> {
        match &self.recording {
            Recording::Trace(trace) => Some(trace),
            Recording::Foreign(_) => None,
        }
    }

    /// Whether times are known. Without them rows are a microsecond apart, in their order.
    #[must_use]
    pub fn has_times(&self) -> bool {
        self.info.as_ref().is_none_or(|info| info.clock_source != NO_CLOCK)
    }

    /// What could not be recorded, as far as is known.
    #[must_use]
    pub fn losses(&self) -> Losses {
        match &self.recording {
            Recording::Trace(trace) => trace.losses(),
            Recording::Foreign(foreign) => foreign.info.losses,
        }
    }

    /// Which part of the program the recording of another tool covers, in sentences.
    #[must_use]
    pub fn coverage(&self) -> &[String] {
        self.info.as_ref().map_or(&[], |info| &info.coverage)
    }

    /// The profiler's operators, where the recording of another tool had them.
    #[must_use]
    pub fn operators(&self) -> Option<&[Operator]> {
        self.info.as_ref()?.operators.as_deref()
    }

    /// The sealed parts of a table; none of a recording of another tool.
    #[must_use]
    pub fn parts(&self, table: Table) -> &[Part] {
        self.trace().map_or(&[], |trace| trace.parts(table))
    }

    /// All rows of a table in the order of `seq`, the named columns at least, batch by batch.
    pub fn batches<'a>(
        &'a self,
        table: Table,
        columns: &'a [&'a str],
    ) -> Box<dyn Iterator<Item = Result<RecordBatch>> + 'a> {
        match &self.recording {
            Recording::Trace(trace) => {
                Box::new(trace.batches(table, columns).map(|batch| batch.map_err(Error::from)))
            }
            Recording::Foreign(foreign) => Box::new(foreign.batches(table).map(Ok)),
        }
    }

    /// The rows of a table that are in none of its [`Self::parts`].
    pub fn unsealed_batches(&self, table: Table) -> Box<dyn Iterator<Item = Result<RecordBatch>> + '_> {
        match &self.recording {
            Recording::Trace(trace) => {
                Box::new(trace.unsealed_batches(table).map(|batch| batch.map_err(Error::from)))
            }
            Recording::Foreign(foreign) => Box::new(foreign.batches(table).map(Ok)),
        }
    }

    /// What the user should know before believing the figures: damage, losses, an unclean end, gaps.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        match &self.recording {
            Recording::Trace(trace) => trace_warnings(trace),
            Recording::Foreign(foreign) => {
                // As of its import.
                let mut warnings = loss_warnings(self.id, foreign.info.losses, 0);
                warnings.extend(foreign.info.notes.iter().map(|note| format!("{}: {note}", self.id)));
                warnings
            }
        }
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

fn loss_warnings(id: ProcessId, losses: Losses, missing_records: u64) -> Vec<String> {
    let counted = [
        (losses.dropped_records, "records were dropped because the journal was full or could not grow"),
        (losses.uncommitted_records, "records had been begun and not finished when their thread ended"),
        (losses.damaged_records, "records are damaged on disk and left out"),
        (losses.overflowed_names, "names did not fit into the string table and show as <overflow>"),
        (losses.failed_seals, "attempts to write a part failed (disk full, folder gone?)"),
        (losses.skipped_samples, "samples could not be taken"),
        (missing_records, "records are in no part: parts were removed, or lost"),
    ];
    let said = counted.into_iter().filter(|(count, _)| *count > 0);
    said.map(|(count, what)| format!("{id}: {count} {what}")).collect()
}

fn trace_warnings(process: &ProcessTrace) -> Vec<String> {
    let mut warnings: Vec<String> = process.damage.iter().map(ToString::to_string).collect();
    warnings.extend(loss_warnings(process.id, process.losses(), process.missing_records()));
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
