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

/// `RUN/TABLE/rank=R/process=P`, where the tables of one process lie.
#[must_use]
pub fn table_folder(run: &Path, table: Table, id: ProcessId) -> PathBuf {
    run.join(table.name()).join(id.relative())
}

/// Folder of `node_samples` of the node `host`.
#[must_use]
pub fn node_folder(run: &Path, host: &str) -> PathBuf {
    // What the kernel lets a host be called need not be a folder's name.
    let host: String =
        host.chars().map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect();
    let name = if host.is_empty() { "unknown" } else { &host };
    run.join(Table::NodeSamples.name()).join(format!("host={name}"))
}

/// What the names of a process's parts begin with. Samples of a node lie in one folder, whichever process took them.
#[must_use]
pub fn part_stem(table: Table, id: ProcessId) -> String {
    match table {
        Table::NodeSamples => format!("part-r{}-p{}", id.rank, id.process),
        _ => "part".to_owned(),
    }
}

/// Name of the part with that stem whose consumed range begins with `first`.
#[must_use]
pub fn part_name(stem: &str, first: u64) -> String {
    format!("{stem}-{first:06}.{PART_ENDING}")
}

/// Name of the part that holds what several parts, from chunk `first` to chunk `last`, held. It is the name of no
/// other part: a name never changes what it stands for.
#[must_use]
pub fn merged_part_name(stem: &str, first: u64, last: u64) -> String {
    format!("{stem}-{first:06}-{last:06}.{PART_ENDING}")
}

/// The number of the first chunk in the part of that name.
#[must_use]
pub fn first_chunk(stem: &str, name: &str) -> Option<u64> {
    let numbers = name.strip_prefix(stem)?.strip_prefix('-')?.strip_suffix(PART_ENDING)?.strip_suffix('.')?;
    numbers.split('-').next()?.parse().ok()
}

/// The folders that parts of a process's table lie in, and the stem of their names. Only `node_samples` may have several
/// of them: one for each host name.
pub fn part_folders(run: &Path, table: Table, id: ProcessId) -> std::io::Result<Vec<PathBuf>> {
    if table != Table::NodeSamples {
        return Ok(vec![table_folder(run, table, id)]);
    }
    let entries = match std::fs::read_dir(run.join(table.name())) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut folders = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    folders.retain(|folder| folder.is_dir());
    folders.sort();
    Ok(folders)
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
        let name = part_name(&part_stem(Table::Events, id), 7);
        assert_eq!(folder.join(name), Path::new("RUN/events/rank=3/process=1/part-000007.parquet"));
        assert_eq!(first_chunk("part-r3-p1", &part_name("part-r3-p1", 70)), Some(70));
        assert_eq!(first_chunk("part", &merged_part_name("part", 7, 9)), Some(7));
        assert_eq!(first_chunk("part-r3-p1", "part-r3-p10-000007.parquet"), None);
        assert_eq!(merged_part_name("part", 7, 1_000_000), "part-000007-1000000.parquet");
        let node = node_folder(Path::new("RUN"), "a/../b");
        let name = part_name(&part_stem(Table::NodeSamples, id), 7);
        assert_eq!(node.join(name), Path::new("RUN/node_samples/host=a_.._b/part-r3-p1-000007.parquet"));
    }
}
