//! One command over all processes of a run, one after another: as much memory as one of them takes.

use anyhow::Result;
use tidegauge_schemas::layout::ProcessId;

use super::arguments::Common;
use crate::load::{Process, Source};
use crate::render::Table;
use crate::replay::Outcome;

/// What came of each process.
#[derive(Debug)]
pub(super) struct EachProcess<T> {
    /// By rank and number.
    pub(super) results: Vec<(ProcessId, T)>,
}

/// Runs an analysis on each process that `common` means. Where one fails, it is said and the others go on; if all fail, the
/// first error is the result.
///
/// # Errors
/// That of the first process, if none can be analysed.
pub(super) fn each_process<T>(
    common: &Common,
    source: &Source,
    run: impl FnMut(&Process) -> Result<T>,
) -> Result<EachProcess<T>> {
    each_of(common, source, common.processes(source).into_iter(), run)
}

/// As [`each_process`], of processes that were chosen otherwise.
///
/// # Errors
/// That of the first process, if none can be analysed.
pub(super) fn each_of<'a, T>(
    common: &Common,
    source: &Source,
    processes: impl Iterator<Item = &'a Process>,
    mut run: impl FnMut(&Process) -> Result<T>,
) -> Result<EachProcess<T>> {
    let mut results = Vec::new();
    let mut first_error = None;
    for process in processes {
        match run(process) {
            Ok(result) => results.push((process.id, result)),
            Err(error) => {
                if first_error.is_some() || source.processes.len() > 1 {
                    let reason = super::output::describe(&error);
                    common.warn(&[format!("{}: left out, it cannot be read: {reason}", process.id)]);
                }
                first_error.get_or_insert(error);
            }
        }
    }
    match first_error {
        Some(error) if results.is_empty() => Err(error),
        _ => Ok(EachProcess { results }),
    }
}

impl<T> EachProcess<T> {
    /// Whether there is more than one to tell apart.
    pub(super) fn are_several(&self) -> bool {
        self.results.len() > 1
    }

    /// One table of all, with columns `rank` and `process` first.
    pub(super) fn table(&self, table_of: impl Fn(&T) -> Table) -> Table {
        let mut all: Option<Table> = None;
        for (id, result) in &self.results {
            let table = table_of(result).of_process(*id, self.are_several());
            match &mut all {
                Some(all) => all.append(table),
                None => all = Some(table),
            }
        }
        all.unwrap_or_else(|| Table::new(&[]))
    }
}

/// What is said of a replay besides its result, without the blocks that were alive at its end.
#[derive(Debug, Clone, Default)]
pub(super) struct Replayed {
    /// Devices of which there are allocations.
    pub(super) devices: Vec<i16>,
    /// When the recording began, nanoseconds since 1970.
    pub(super) first_nanos: i64,
    /// What did not add up.
    pub(super) warnings: Vec<String>,
}

impl From<Outcome> for Replayed {
    fn from(outcome: Outcome) -> Self {
        Self {
            devices: outcome.devices.iter().map(|device| device.device).collect(),
            first_nanos: outcome.first_nanos(),
            warnings: outcome.anomalies.warnings(),
        }
    }
}

/// Says what to know before believing the results of replays.
pub(super) fn warn_of_replays<'a>(
    common: &Common,
    source: &Source,
    replays: impl Iterator<Item = (ProcessId, &'a Replayed)>,
) {
    common.warn(&source.warnings());
    let are_several = source.processes.len() > 1;
    for (id, replayed) in replays {
        let name = |warning: &String| if are_several { format!("{id}: {warning}") } else { warning.clone() };
        common.warn(&replayed.warnings.iter().map(name).collect::<Vec<_>>());
    }
}
