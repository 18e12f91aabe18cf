//! Merges parts of a long run, so that they stay few. Runs on a thread of its own and is in nobody's way: it copies
//! through a small buffer, leaves the disk the space that recording may need, ends within a column chunk when recording
//! does, and when it fails, tries again much later.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tidegauge_schemas::journal::Counter;
use tidegauge_schemas::layout;
use tidegauge_schemas::merge::{PreparedMerge, remove_superseded};
use tidegauge_schemas::part::{Part, Range};
use tidegauge_schemas::part_catalog::PartCatalog;
use tidegauge_schemas::part_target::PartTarget;
use tidegauge_schemas::rows::SlotRows;
use tidegauge_schemas::string_rows::STRING_TABLES;
use tidegauge_schemas::trace_lock::{Busy, TraceLock};
use tidegauge_schemas::{Error, Result, Table};

use crate::journal::Journal;
use crate::journal::open::Open;
use crate::merge_policy::{Size, choose};

/// After a failed attempt, the next one; after each further one, twice as long.
const MIN_RETRY: Duration = Duration::from_secs(10);
const MAX_RETRY: Duration = Duration::from_secs(600);
/// How often it is asked whether the readers have gone that a merge waits for.
const LOCK_POLL: Duration = Duration::from_millis(20);
/// Space is looked at again after so many bytes.
const SPACE_EVERY_BYTES: u64 = 16 << 20;
/// The least that a merge leaves free on the disk, whatever the journal may need.
const MIN_RESERVE_BYTES: u64 = 256 << 20;

/// The state of merging.
#[derive(Debug)]
pub(crate) struct Merger {
    journal: &'static Journal,
    target: PartTarget,
    /// Space that is left to the journal and to parts.
    reserve_bytes: u64,
    catalogs: Vec<(Table, PartCatalog)>,
    /// Parts that cannot be merged: damaged on disk since they were written.
    unmergeable: HashSet<PathBuf>,
    /// What was open when there was last nothing to do.
    seen: Open,
    failures: u64,
    last_failure: Option<String>,
    retry: Duration,
    retry_at: Option<Instant>,
}

impl Merger {
    /// Of the parts in `target`; the journal may grow to `journal_cap_bytes`.
    pub(crate) fn new(journal: &'static Journal, target: PartTarget, journal_cap_bytes: u64) -> Self {
        let tables = SlotRows::TABLES.into_iter().chain(STRING_TABLES);
        let catalog = |table| (table, PartCatalog::new(&target.run, table, target.id, Part::peek));
        Self {
            journal,
            catalogs: tables.map(catalog).collect(),
            target,
            reserve_bytes: journal_cap_bytes.max(MIN_RESERVE_BYTES),
            unmergeable: HashSet::new(),
            seen: Open::default(),
            failures: 0,
            last_failure: None,
            retry: MIN_RETRY,
            retry_at: None,
        }
    }

    /// Merges until there is nothing left to merge, or `goes_on` says no. Called again and again.
    pub(crate) fn advance(&mut self, goes_on: &dyn Fn() -> bool) {
        if self.retry_at.is_some_and(|at| Instant::now() < at) {
            return;
        }
        // Before parts are listed: what is open now may be sealed by then, never the other way round.
        let open = self.journal.open.get();
        if open == self.seen {
            return;
        }
        match self.merge_all(&open, goes_on) {
            Ok(()) => {
                self.seen = open;
                (self.retry, self.retry_at) = (MIN_RETRY, None);
            }
            Err(failure) => {
                self.failures += 1;
                self.last_failure = Some(failure.to_string());
                self.retry_at = Some(Instant::now() + self.retry);
                self.retry = (self.retry * 2).min(MAX_RETRY);
            }
        }
    }

    /// A line for `process.json`, if merging has failed.
    pub(crate) fn note(&self) -> Option<String> {
        let last = self.last_failure.as_ref()?;
        let times = self.failures;
        Some(format!(
            "parts could not be merged ({times} times, the last: {last}); they are more, and nothing is lost"
        ))
    }

    fn merge_all(&mut self, open: &Open, goes_on: &dyn Fn() -> bool) -> Result<()> {
        let mut is_done = false;
        while !is_done && goes_on() {
            is_done = true;
            // One of each table in turn: no table waits for another one's backlog.
            for at in 0..self.catalogs.len() {
                is_done &= !self.merge_one(at, open, goes_on)?;
            }
        }
        Ok(())
    }

    /// True if something was merged.
    fn merge_one(&mut self, at: usize, open: &Open, goes_on: &dyn Fn() -> bool) -> Result<bool> {
        let (table, catalog) = &mut self.catalogs[at];
        let table = *table;
        catalog.settle()?;
        let left_over: Vec<PathBuf> =
            catalog.superseded().into_iter().map(|part| part.path.clone()).collect();
        remove_superseded(&left_over)?;
        let Some(inputs) = candidates(&catalog.current(), table, open, &self.unmergeable) else {
            return Ok(false);
        };
        let input_bytes: u64 = inputs.iter().map(|part| part.bytes).sum();
        if !self.has_space(&inputs[0], input_bytes) || self.wait_for_readers(goes_on).is_none() {
            return Ok(false);
        }
        let stem = layout::part_stem(table, self.target.id);
        let mut checked_bytes = 0;
        let prepared = PreparedMerge::prepare(&inputs, &stem, &self.target.run_id, |written_bytes| {
            if written_bytes >= checked_bytes + SPACE_EVERY_BYTES {
                checked_bytes = written_bytes;
                // Others write to the disk as well.
                if !self.has_space(&inputs[0], input_bytes.saturating_sub(written_bytes)) {
                    return false;
                }
            }
            goes_on()
        });
        let prepared = match prepared {
            Ok(Some(prepared)) => prepared,
            Ok(None) => return Ok(false),
            Err(failure) => {
                if !matches!(failure, Error::Io { .. }) {
                    // Damage does not pass: these are left as they are, for whoever reads them to see.
                    self.unmergeable.extend(inputs.into_iter().map(|part| part.path));
                }
                return Err(failure);
            }
        };
        // A reader may take long, and the disk fill up meanwhile.
        let goes_on = || goes_on() && self.has_space(&inputs[0], 0);
        let Some(_lock) = self.wait_for_readers(&goes_on) else { return Ok(false) };
        let merged_bytes = prepared.bytes();
        prepared.publish()?;
        self.journal.control.count(Counter::MergedBytes, merged_bytes);
        Ok(true)
    }

    /// Whether the disk has room for so many bytes and for what recording may need. Where it does not say, it has not.
    fn has_space(&self, beside: &Part, bytes: u64) -> bool {
        let folder = beside.path.parent().unwrap_or(Path::new("."));
        let free = rustix::fs::statvfs(folder).map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
        free.is_ok_and(|free_bytes| free_bytes >= bytes.saturating_add(self.reserve_bytes))
    }

    /// The lock that keeps readers out, once no reader is left; `None` if recording ends before.
    fn wait_for_readers(&self, goes_on: &dyn Fn() -> bool) -> Option<Option<TraceLock>> {
        let home = layout::process_folder(&self.target.run, self.target.id);
        while goes_on() {
            match TraceLock::to_merge(&home) {
                Ok(lock) => return Some(lock),
                Err(Busy) => std::thread::park_timeout(LOCK_POLL),
            }
        }
        None
    }
}

/// The parts to merge next: neighbours between which nothing is open.
fn candidates(
    parts: &[&Part],
    table: Table,
    open: &Open,
    unmergeable: &HashSet<PathBuf>,
) -> Option<Vec<Part>> {
    let is_sealed = |range: Range| match table {
        Table::Sites | Table::Modules => open.are_strings_sealed(range),
        _ => open.are_chunks_sealed(range),
    };
    let belong_together = |one: &&Part, two: &&Part| {
        is_sealed(one.consumed.union(two.consumed))
            && one.path.parent() == two.path.parent()
            && !unmergeable.contains(&one.path)
            && !unmergeable.contains(&two.path)
    };
    parts.chunk_by(belong_together).find_map(|neighbours| {
        let size = |part: &&Part| Size { row_groups: part.row_groups, bytes: part.bytes };
        let range = choose(&neighbours.iter().map(size).collect::<Vec<_>>())?;
        Some(neighbours[range].iter().map(|&part| part.clone()).collect())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(first: u64, last: u64) -> Part {
        let consumed = Range { first, last };
        Part {
            path: PathBuf::from(format!("events/part-{first:06}.parquet")),
            table: Table::Events,
            rows: 1,
            row_groups: 1,
            bytes: 1 << 20,
            consumed,
            seq: Some(consumed),
            supersedes: Vec::new(),
        }
    }

    fn firsts(parts: &[Part], open: &Open, unmergeable: &HashSet<PathBuf>) -> Option<Vec<u64>> {
        let parts: Vec<&Part> = parts.iter().collect();
        let inputs = candidates(&parts, Table::Events, open, unmergeable)?;
        Some(inputs.iter().map(|part| part.consumed.first).collect())
    }

    #[test]
    fn only_neighbours_with_nothing_open_between_them_are_merged() {
        // Every eighth chunk is in no part.
        let parts: Vec<Part> = (0..25).map(|n| part(n * 8 + 1, n * 8 + 7)).collect();
        let ten_from = |from: u64| Some((from..from + 10).map(|n| n * 8 + 1).collect::<Vec<_>>());
        let none = HashSet::new();
        let mut open = Open { chunks_end: 200, ..Open::default() };
        assert_eq!(firsts(&parts, &open, &none), ten_from(0), "nothing was recorded there");
        open.aside = vec![40];
        assert_eq!(firsts(&parts[..14], &open, &none), None, "it was set aside, and divides");
        assert_eq!(firsts(&parts, &open, &none), ten_from(5));
        open.aside = vec![40, 104];
        assert_eq!(firsts(&parts[..22], &open, &none), None);
        assert_eq!(firsts(&parts, &open, &none), ten_from(13));
        // What the sealer is at is not touched, even if some of its tables have their parts.
        let mut open = Open { chunks_end: 79, ..Open::default() };
        assert_eq!(firsts(&parts, &open, &none), None);
        open.chunks_end = 80;
        assert_eq!(firsts(&parts, &open, &none), ten_from(0));
        // A part that is damaged stays where it is.
        let open = Open { chunks_end: 200, ..Open::default() };
        let damaged = HashSet::from([parts[4].path.clone()]);
        assert_eq!(firsts(&parts[..14], &open, &damaged), None);
    }
}
