//! From paths to the processes that their files are recordings of.

use std::path::{Path, PathBuf};

use super::input::Input;
use super::kind::{Kind, kind};
use super::process::ForeignProcess;
use super::{kineto, memory_timeline, nvidia_smi, snapshot};
use crate::error::{Error, Result};
use tidegauge_schemas::layout::ProcessId;

/// Patterns as the shell's, expanded where nothing has that very name; in the order of the names.
///
/// # Errors
/// If a pattern matches nothing, or is none.
pub fn expand(paths: &[&Path]) -> Result<Vec<PathBuf>> {
    let mut expanded = Vec::new();
    for path in paths {
        let is_pattern = path.to_str().is_some_and(|text| text.contains(['*', '?', '[']));
        if path.exists() || !is_pattern {
            expanded.push((*path).to_owned());
            continue;
        }
        let matched = glob::glob(&path.to_string_lossy())
            .map_err(|error| Error::Pattern { reason: error.to_string(), path: (*path).to_owned() })?;
        let before = expanded.len();
        // What cannot be read is said when it is opened.
        expanded.extend(matched.map(|entry| entry.unwrap_or_else(|error| error.path().to_owned())));
        if expanded.len() == before {
            return Err(Error::Pattern {
                reason: "nothing has such a name".to_owned(),
                path: (*path).to_owned(),
            });
        }
    }
    // A file that is named twice is one recording.
    let mut seen = std::collections::HashSet::new();
    expanded.retain(|path| seen.insert(path.canonicalize().unwrap_or_else(|_| path.clone())));
    Ok(expanded)
}

/// Reads recordings of one run, one or more processes in each file. Ranks are those that the files tell, else those in
/// their names.
///
/// # Errors
/// If a file cannot be read or is of no known kind.
pub fn open(paths: &[PathBuf]) -> Result<Vec<ForeignProcess>> {
    let mut processes: Vec<ForeignProcess> = Vec::new();
    for path in paths {
        let id = ProcessId { rank: rank_in_name(path).unwrap_or(0), process: 0 };
        for mut process in read(&mut Input::open(path)?, id)? {
            let mut id = process.id;
            while processes.iter().any(|other| other.id == id) {
                id.process += 1;
            }
            process.set_id(id);
            processes.push(process);
        }
    }
    processes.sort_by_key(|process| process.id);
    Ok(processes)
}

/// Reads a recording; `id` is given to its process unless the content tells another rank.
///
/// # Errors
/// If it cannot be read or is of no known kind.
pub fn read(input: &mut Input, id: ProcessId) -> Result<Vec<ForeignProcess>> {
    let found = kind(input.peek()?);
    match found.map_err(|reason| Error::UnknownKind { reason, path: input.path.clone() })? {
        Kind::SnapshotPickle => snapshot::read_pickle(input, id),
        Kind::SnapshotJson => snapshot::read_json(input, id),
        Kind::MemoryTimeline => memory_timeline::read(input, id),
        Kind::NvidiaSmi => nvidia_smi::read(input, id),
        Kind::ChromeTrace => kineto::read(input, id),
    }
}

/// The number after `rank` in a file's name, else in that of the nearest folder: `rank0_memory_snapshot.pickle`,
/// `rank00003.json`, `trace_8_rank_1.json`, `rank=7/snapshot.pickle`.
fn rank_in_name(path: &Path) -> Option<u32> {
    path.ancestors()
        .filter_map(Path::file_name)
        .find_map(|name| rank_in(&name.to_string_lossy().to_lowercase()))
}

fn rank_in(name: &str) -> Option<u32> {
    let mut numbers = name.match_indices("rank").filter_map(|(at, word)| {
        let rest = name[at + word.len()..].trim_start_matches(['_', '-', '.', '=']);
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        rest[..digits].parse().ok()
    });
    numbers.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_found_in_names() {
        let cases = [
            ("rank0_memory_snapshot.pickle", Some(0)),
            ("dir/rank00003.pt.trace.json", Some(3)),
            ("trace_8_rank_1.json.gz", Some(1)),
            ("Rank-12.pickle", Some(12)),
            ("rank=7/snapshot.pickle", Some(7)),
            ("rank=7/rank=2/rank1.pickle", Some(1)),
            ("frank.pickle", None),
            ("snapshot.pickle", None),
        ];
        for (path, rank) in cases {
            assert_eq!(rank_in_name(Path::new(path)), rank, "{path}");
        }
    }
}
