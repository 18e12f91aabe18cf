//! The parts of one table of one process: which count, in which order, and that no row is there twice.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::layout::{self, PART_ENDING, ProcessId};
use crate::part::{Part, Range};
use crate::table::Table;

/// Parts in the order of what they consumed, superseded ones left out.
#[derive(Debug, Clone, Default)]
pub struct PartList {
    parts: Vec<Part>,
}

impl PartList {
    /// Opens every part of a process's `table`; an absent folder has none.
    pub fn read(run: &Path, table: Table, id: ProcessId) -> Result<Self> {
        let table_folder = run.join(table.name());
        let folders = layout::part_folders(run, table, id).map_err(Error::io("listing", table_folder))?;
        let stem = format!("{}-", layout::part_stem(table, id));
        let mut paths = Vec::new();
        for folder in folders {
            paths.extend(part_paths(&folder, &stem)?);
        }
        paths.sort();
        let mut parts = Vec::with_capacity(paths.len());
        for path in paths {
            match Part::open(&path, table) {
                Ok(part) => parts.push(part),
                // Merged away since the folder was listed: the merged part holds its rows.
                Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Self::new(parts)
    }

    fn new(mut parts: Vec<Part>) -> Result<Self> {
        let superseded: HashSet<String> = parts.iter().flat_map(|part| part.supersedes.clone()).collect();
        parts.retain(|part| {
            !part.path.file_name().is_some_and(|name| superseded.contains(&*name.to_string_lossy()))
        });
        parts.sort_by_key(|part| part.consumed);
        for pair in parts.windows(2) {
            let what = if pair[0].table == Table::Sites { "strings" } else { "chunks" };
            check_apart(what, pair[0].consumed, pair[1].consumed, [&pair[0], &pair[1]])?;
        }
        // Samples bear the seq of their checkpoint, which may lie in the chunk before theirs; sites that were named
        // with no record in between bear the same one.
        let mut by_seq: Vec<(Range, &Part)> = parts
            .iter()
            .filter(|part| !matches!(part.table, Table::Samples | Table::Sites))
            .filter_map(|part| Some((part.seq?, part)))
            .collect();
        by_seq.sort_by_key(|(seq, _)| *seq);
        for pair in by_seq.windows(2) {
            check_apart("seq", pair[0].0, pair[1].0, [pair[0].1, pair[1].1])?;
        }
        Ok(Self { parts })
    }

    /// The parts.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Whether a part has consumed this number.
    #[must_use]
    pub fn consumed(&self, number: u64) -> bool {
        let after = self.parts.partition_point(|part| part.consumed.first <= number);
        after.checked_sub(1).is_some_and(|index| self.parts[index].consumed.contains(number))
    }

    /// Rows in all parts.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.parts.iter().map(|part| part.rows).sum()
    }
}

fn part_paths(folder: &Path, stem: &str) -> Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(Error::io("listing", folder))?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(Error::io("listing", folder))?.path();
        let named = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(stem.as_bytes()));
        if named && path.extension().is_some_and(|ending| ending == PART_ENDING) {
            paths.push(path);
        }
    }
    Ok(paths)
}

fn check_apart(what: &'static str, one: Range, two: Range, pair: [&Part; 2]) -> Result<()> {
    match one.intersection(two) {
        None => Ok(()),
        Some(both) => Err(Error::OverlappingParts {
            what,
            first: both.first,
            last: both.last,
            path: pair[0].path.clone(),
            other: pair[1].path.clone(),
        }),
    }
}
