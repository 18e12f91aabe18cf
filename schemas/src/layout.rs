//! Where things lie in a trace folder.
//!
//! Table first, then Hive partitions, so that other readers open `RUN/TABLE` as it is.

use std::path::{Path, PathBuf};

use crate::Table;

/// File that makes a folder a trace.
pub const RUN_FILE: &str = "run.json";
/// Folder with a subfolder per process; the underscore keeps Hive readers out.
pub const PROCESS_FOLDER: &str = "_process";
/// What one process says of itself.
pub const PROCESS_FILE: &str = "process.json";
/// Folder of the journal, below the process folder.
pub const JOURNAL_FOLDER: &str = "journal";
/// Ending of parts.
pub const PART_ENDING: &str = "parquet";
/// Beginning of the name of a file that is being written; never read.
pub const TEMPORARY_PREFIX: &str = ".tmp-";

/// Rank and process number: which recorder of the run wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProcessId {
    /// Rank in the distributed job; 0 without one.
    pub rank: u32,
    /// Number of the process within the rank, claimed by `mkdir`.
    pub process: u32,
}

impl ProcessId {
    /// `rank=R/process=P`.
    #[must_use]
    pub fn relative(self) -> PathBuf {
        PathBuf::from(format!("rank={}", self.rank)).join(format!("process={}", self.process))
    }
}

impl std::fmt::Display for ProcessId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "rank {} process {}", self.rank, self.process)
    }
}

/// `RUN/run.json`.
#[must_use]
pub fn run_file(run: &Path) -> PathBuf {
    run.join(RUN_FILE)
}

/// `RUN/_process/rank=R/process=P`.
#[must_use]
pub fn process_folder(run: &Path, id: ProcessId) -> PathBuf {
    run.join(PROCESS_FOLDER).join(id.relative())
}

/// `RUN/TABLE/rank=R/process=P`.
#[must_use]
pub fn table_folder(run: &Path, table: Table, id: ProcessId) -> PathBuf {
    run.join(table.name()).join(id.relative())
}

/// Name of the part whose consumed range begins with `first`.
#[must_use]
pub fn part_name(first: u64) -> String {
    format!("part-{first:06}.{PART_ENDING}")
}

/// The number in a Hive partition folder `KEY=NUMBER`.
#[must_use]
pub fn partition_number(folder_name: &str, key: &str) -> Option<u32> {
    let number = folder_name.strip_prefix(key)?.strip_prefix('=')?.parse().ok()?;
    // "rank=+1" or "rank=007" would parse but is nobody's folder.
    (folder_name == format!("{key}={number}")).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partition_numbers_are_read_back_and_strangers_ignored() {
        assert_eq!(partition_number("rank=12", "rank"), Some(12));
        for name in ["rank=", "rank=x", "rank=+1", "rank=007", "process=1", ".DS_Store"] {
            assert_eq!(partition_number(name, "rank"), None, "{name}");
        }
    }

    #[test]
    fn paths_are_those_of_the_format() {
        let id = ProcessId { rank: 3, process: 1 };
        let folder = table_folder(Path::new("RUN"), Table::Events, id);
        assert_eq!(folder.join(part_name(7)), Path::new("RUN/events/rank=3/process=1/part-000007.parquet"));
    }
}
