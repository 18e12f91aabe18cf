//! The parts of one table of one process by their names.
//!
//! A recorder adds parts and merges them while a reader lists them, so that one listing may show what was never there
//! at once. Names never change what they stand for: a part that was opened is known for good, and listing again costs
//! little.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::layout::{self, PART_ENDING, ProcessId};
use crate::part::Part;
use crate::table::Table;

/// What opens a part: [`Part::open`] or [`Part::peek`].
type Open = fn(&Path, Table) -> Result<Part>;

/// How often parts may come or go between two listings. A recorder seals at most some forty a second, and opening those
/// that are new takes milliseconds.
const MAX_LISTINGS: u32 = 100;

/// Parts that were listed and opened, superseded ones among them.
#[derive(Debug)]
pub struct PartCatalog {
    run: PathBuf,
    table: Table,
    id: ProcessId,
    open: Open,
    parts: BTreeMap<PathBuf, Part>,
}

impl PartCatalog {
    /// Of a process's `table`; nothing is listed yet.
    #[must_use]
    pub fn new(run: &Path, table: Table, id: ProcessId, open: Open) -> Self {
        Self { run: run.to_owned(), table, id, open, parts: BTreeMap::new() }
    }

    /// Lists again and again until nothing has come or gone since the listing before.
    ///
    /// One listing is not enough even if every part of it can be opened: a folder is read in pieces, and a merge in
    /// between may have put the merged part into a piece that was read already and taken its inputs out of one that was
    /// not. The next listing shows the merged part.
    pub fn settle(&mut self) -> Result<()> {
        for _ in 0..MAX_LISTINGS {
            if self.refresh()? {
                return Ok(());
            }
        }
        Err(Error::Unsettled { path: self.run.join(self.table.name()) })
    }

    /// The newest chunk that a part begins with, by the names alone.
    pub fn newest_first_chunk(run: &Path, table: Table, id: ProcessId) -> Result<Option<u64>> {
        let stem = layout::part_stem(table, id);
        let paths = Self::new(run, table, id, Part::peek).list()?;
        let names = paths.iter().filter_map(|path| Some(path.file_name()?.to_string_lossy()));
        Ok(names.filter_map(|name| layout::first_chunk(&stem, &name)).max())
    }

    /// Lists once, and opens what is new; true if that is nothing, and nothing has gone.
    pub fn refresh(&mut self) -> Result<bool> {
        let paths = self.list()?;
        let before = self.parts.len();
        self.parts.retain(|path, _| paths.contains(path));
        let mut is_same = self.parts.len() == before;
        for path in paths {
            if self.parts.contains_key(&path) {
                continue;
            }
            is_same = false;
            match (self.open)(&path, self.table) {
                Ok(part) => {
                    self.parts.insert(path, part);
                }
                // Merged away since the folder was listed: the next listing has the merged part.
                Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(is_same)
    }

    fn list(&self) -> Result<HashSet<PathBuf>> {
        let table_folder = self.run.join(self.table.name());
        let folders = layout::part_folders(&self.run, self.table, self.id);
        let stem = format!("{}-", layout::part_stem(self.table, self.id));
        let mut paths = HashSet::new();
        for folder in folders.map_err(Error::io("listing", table_folder))? {
            list(&folder, &stem, &mut paths)?;
        }
        Ok(paths)
    }

    /// The parts that count, in the order of what they consumed.
    #[must_use]
    pub fn current(&self) -> Vec<&Part> {
        let superseded = self.superseded_names();
        let mut parts: Vec<&Part> =
            self.parts.values().filter(|part| !superseded.contains(part.name().as_str())).collect();
        parts.sort_by_key(|part| part.consumed);
        parts
    }

    /// The parts that another one supersedes: a merge was cut off before it could remove them.
    #[must_use]
    pub fn superseded(&self) -> Vec<&Part> {
        let superseded = self.superseded_names();
        self.parts.values().filter(|part| superseded.contains(part.name().as_str())).collect()
    }

    fn superseded_names(&self) -> HashSet<&str> {
        self.parts.values().flat_map(|part| &part.supersedes).map(String::as_str).collect()
    }
}

fn list(folder: &Path, stem: &str, paths: &mut HashSet<PathBuf>) -> Result<()> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(Error::io("listing", folder))?,
    };
    for entry in entries {
        let path = entry.map_err(Error::io("listing", folder))?.path();
        let named = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(stem.as_bytes()));
        if named && path.extension().is_some_and(|ending| ending == PART_ENDING) {
            paths.insert(path);
        }
    }
    Ok(())
}
