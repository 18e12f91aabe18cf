//! Merging parts of a closed trace, as a recorder does while it runs.

use std::ops::Range;
use std::path::{Path, PathBuf};

use tidegauge_schemas::layout::{self, ProcessId};
use tidegauge_schemas::merge::PreparedMerge;
use tidegauge_schemas::part::Part;
use tidegauge_schemas::part_catalog::PartCatalog;
use tidegauge_schemas::{Result, Table};

/// The parts of a process's table that count.
///
/// # Errors
/// If they cannot be listed or opened.
pub fn parts(run: &Path, table: Table, id: ProcessId) -> Result<Vec<Part>> {
    let mut catalog = PartCatalog::new(run, table, id, Part::open);
    catalog.settle()?;
    Ok(catalog.current().into_iter().cloned().collect())
}

/// Merges parts number `range`, which nothing is missing between, into one; its path.
///
/// # Errors
/// If it cannot be done.
pub fn merge(run: &Path, table: Table, id: ProcessId, range: Range<usize>) -> Result<Option<PathBuf>> {
    let parts = parts(run, table, id)?;
    let stem = layout::part_stem(table, id);
    let prepared = PreparedMerge::prepare(&parts[range], &stem, "built", |_| true)?;
    prepared.map(PreparedMerge::publish).transpose()
}

/// Merges the parts of every table, `at_once` neighbours at a time, until each has one.
///
/// # Errors
/// If it cannot be done.
pub fn merge_all(run: &Path, id: ProcessId, at_once: usize) -> Result<()> {
    for table in Table::ALL {
        loop {
            let count = parts(run, table, id)?.len();
            if merge(run, table, id, 0..count.min(at_once))?.is_none() {
                break;
            }
        }
    }
    Ok(())
}
