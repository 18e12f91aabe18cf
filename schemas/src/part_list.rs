//! The parts of one table of one process: which count, in which order, and that no row is there twice.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::layout::ProcessId;
use crate::part::{Part, Range};
use crate::part_catalog::PartCatalog;
use crate::string_rows::STRING_TABLES;
use crate::table::Table;

/// Parts in the order of what they consumed, superseded ones left out.
#[derive(Debug, Clone, Default)]
pub struct PartList {
    parts: Vec<Part>,
    superseded: Vec<PathBuf>,
}

impl PartList {
    /// Opens every part of a process's `table`; an absent folder has none.
    pub fn read(run: &Path, table: Table, id: ProcessId) -> Result<Self> {
        let mut catalog = PartCatalog::new(run, table, id, Part::open);
        catalog.settle()?;
        let parts: Vec<Part> = catalog.current().into_iter().cloned().collect();
        let superseded = catalog.superseded().into_iter().map(|part| part.path.clone()).collect();
        check(&parts)?;
        Ok(Self { parts, superseded })
    }

    /// Without the parts that begin after chunk `last`.
    #[must_use]
    pub fn up_to(mut self, last: Option<u64>) -> Self {
        self.parts.retain(|part| Some(part.consumed.first) <= last);
        self
    }

    /// The parts.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Files of parts that another one supersedes: a merge was cut off before it could remove them.
    #[must_use]
    pub fn superseded(&self) -> &[PathBuf] {
        &self.superseded
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

/// No row may be there twice.
fn check(parts: &[Part]) -> Result<()> {
    for pair in parts.windows(2) {
        let what = if STRING_TABLES.contains(&pair[0].table) { "strings" } else { "chunks" };
        check_apart(what, pair[0].consumed, pair[1].consumed, [&pair[0], &pair[1]])?;
    }
    // Samples bear the seq of their checkpoint, which may lie in the chunk before theirs; sites and modules that
    // were named with no record in between bear the same one.
    let mut by_seq: Vec<(Range, &Part)> = parts
        .iter()
        .filter(|part| part.table != Table::Samples && !STRING_TABLES.contains(&part.table))
        .filter_map(|part| Some((part.seq?, part)))
        .collect();
    by_seq.sort_by_key(|(seq, _)| *seq);
    for pair in by_seq.windows(2) {
        check_apart("seq", pair[0].0, pair[1].0, [pair[0].1, pair[1].1])?;
    }
    Ok(())
}

pub(crate) fn check_apart(what: &'static str, one: Range, two: Range, pair: [&Part; 2]) -> Result<()> {
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
