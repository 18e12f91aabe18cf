//! A trace folder.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::layout::{self, ProcessId};
use crate::process_trace::ProcessTrace;
use crate::run::RunInfo;
use crate::table::Table;

/// A trace whose `run.json` was read. Processes are opened one by one.
#[derive(Debug, Clone)]
pub struct Trace {
    /// The folder.
    pub path: PathBuf,
    /// Contents of `run.json`.
    pub info: RunInfo,
    processes: Vec<ProcessId>,
}

impl Trace {
    /// Opens the trace in folder `path`: checks that it is one, and of a version that is read.
    pub fn open(path: &Path) -> Result<Self> {
        let info = RunInfo::read(path)?;
        let mut processes = BTreeSet::new();
        let tables =
            Table::ALL.iter().filter(|table| **table != Table::NodeSamples).map(|table| table.name());
        for folder in tables.chain([layout::PROCESS_FOLDER]) {
            let folder = path.join(folder);
            for rank in partitions(&folder, "rank")? {
                for process in partitions(&folder.join(format!("rank={rank}")), "process")? {
                    processes.insert(ProcessId { rank, process });
                }
            }
        }
        Ok(Self { path: path.to_owned(), info, processes: processes.into_iter().collect() })
    }

    /// The recorded processes, by rank and number.
    #[must_use]
    pub fn processes(&self) -> &[ProcessId] {
        &self.processes
    }

    /// Opens one of them.
    pub fn process(&self, id: ProcessId) -> Result<ProcessTrace> {
        ProcessTrace::open(&self.path, id)
    }

    /// Reads every row of every table of every process, and fails at the first thing that is not as the format says;
    /// [`Self::process`] goes on where it can.
    pub fn validate(&self) -> Result<()> {
        for &id in &self.processes {
            let mut process = self.process(id)?;
            if !process.damage.is_empty() {
                return Err(process.damage.swap_remove(0));
            }
            for table in Table::ALL {
                let columns: Vec<&str> = table.columns().iter().map(|column| column.name).collect();
                for batch in process.batches(table, &columns) {
                    batch?;
                }
            }
        }
        Ok(())
    }
}

fn partitions(folder: &Path, key: &str) -> Result<Vec<u32>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(Error::io("listing", folder))?,
    };
    let mut numbers = Vec::new();
    for entry in entries {
        let name = entry.map_err(Error::io("listing", folder))?.file_name();
        numbers.extend(layout::partition_number(&name.to_string_lossy(), key));
    }
    Ok(numbers)
}
