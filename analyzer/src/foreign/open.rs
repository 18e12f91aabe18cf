//! From paths to the processes that their files are recordings of.

use std::path::{Path, PathBuf};

use super::input::Input;
use super::kineto;
use super::process::ForeignProcess;
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
        for mut process in read(path)? {
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

fn read(path: &Path) -> Result<Vec<ForeignProcess>> {
    let mut input = Input::open(path)?;
    let rank = rank_in_name(path).unwrap_or(0);
    let id = ProcessId { rank, process: 0 };
    let start = input.peek()?;
    let text = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start);
    if matches!(text.trim_ascii_start().first(), Some(b'{' | b'[')) {
        return kineto::read(&mut input, id);
    }
    let reason = if start.is_empty() { "it is empty" } else { "its content is of no kind that is known" };
    Err(Error::UnknownKind { reason: reason.to_owned(), path: path.to_owned() })
}

/// The number after `rank` in a file's name: `rank0_memory_snapshot.pickle`, `rank00003.json`, `trace_8_rank_1.json`.
fn rank_in_name(path: &Path) -> Option<u32> {
    let name = path.file_name()?.to_string_lossy().to_lowercase();
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
            ("rank=7/snapshot.pickle", None),
            ("frank.pickle", None),
            ("snapshot.pickle", None),
        ];
        for (path, rank) in cases {
            assert_eq!(rank_in_name(Path::new(path)), rank, "{path}");
        }
    }
}
