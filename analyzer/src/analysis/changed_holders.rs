//! Who holds more or less at the peak than in the base: by site, module, category, phase or size.

use std::collections::BTreeMap;

use super::categories::CategoryRules;
use super::comparison::ComparisonRow;
use super::live_moments::Moment;
use super::peaks::{Grouping, peaks};
use super::run_figures::RunFigures;
use crate::error::Result;
use crate::load::{Process, Source};
use crate::replay::Window;

/// Bytes alive at a run's peak, by site, category, …; `None` is for blocks without one.
pub type Held = BTreeMap<Option<String>, i64>;

/// One group's bytes in the base and in the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedHolder {
    /// Site, category, …; `None` where it is not known.
    pub key: Option<String>,
    /// Bytes alive at the base's peak.
    pub base_bytes: i64,
    /// And at those of the others, in their order.
    pub bytes: Vec<i64>,
}

impl ChangedHolder {
    /// What is different in each of the others.
    pub fn delta_bytes(&self) -> impl Iterator<Item = i64> {
        self.bytes.iter().map(|bytes| bytes - self.base_bytes)
    }

    fn largest_change(&self) -> i64 {
        self.delta_bytes().map(i64::abs).max().unwrap_or(0)
    }
}

/// All groups of a comparison.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChangedHolders {
    /// Name of the base.
    pub base: String,
    /// Names of the others whose allocations at the peak are known and can be compared with the base's.
    pub others: Vec<String>,
    /// The groups, those that changed most in any of the others first.
    pub rows: Vec<ChangedHolder>,
}

/// Bytes alive at the peak that a comparison shows of a run; `None` where that is no peak of allocated. By site, they
/// are known already; by anything else it takes two passes. `rules` are the user's own categories.
///
/// # Errors
/// If the trace cannot be read.
pub fn held_at_peak(
    source: &Source,
    figures: &RunFigures,
    row: &ComparisonRow,
    grouping: Grouping,
    rules: &CategoryRules,
    window_of: impl Fn(&Process) -> Result<Window>,
) -> Result<Option<Held>> {
    let Some(peak) = row.peak.as_ref().filter(|peak| peak.measure.is_allocated()) else { return Ok(None) };
    let mut held = Held::new();
    if grouping == Grouping::Site {
        let processes = figures.processes.iter().filter(|process| process.id == peak.process);
        let mut shown = processes.flat_map(|process| &process.peaks);
        let shown = shown.find(|of| of.measure == peak.measure && of.device == peak.device);
        for holder in shown.into_iter().flat_map(|peak| &peak.holders) {
            *held.entry(holder.site.clone()).or_default() += holder.bytes;
        }
    } else if let Some(process) = source.processes.iter().find(|process| process.id == peak.process) {
        let window = window_of(process)?;
        let found = peaks(process, Moment::Peak, window, grouping, rules, |device| device == peak.device)?;
        for group in found.into_iter().flat_map(|peaks| peaks.groups) {
            *held.entry(group.key).or_default() += group.bytes;
        }
    }
    Ok(Some(held))
}

/// Compares what is held with the first of `runs`, of which `held` tells, in the same order.
#[must_use]
pub fn changed_holders(runs: &[ComparisonRow], held: &[Option<Held>]) -> ChangedHolders {
    let mut all = runs.iter().zip(held);
    let Some((base, Some(of_base))) = all.next() else { return ChangedHolders::default() };
    let is_comparable = |row: &ComparisonRow| {
        row.peak.as_ref().map(|peak| peak.measure) == base.peak.as_ref().map(|peak| peak.measure)
    };
    let others: Vec<(&ComparisonRow, &Held)> = all
        .filter(|(row, _)| is_comparable(row))
        .filter_map(|(row, held)| Some((row, held.as_ref()?)))
        .collect();
    let mut keys: Vec<&Option<String>> =
        of_base.keys().chain(others.iter().flat_map(|(_, held)| held.keys())).collect();
    keys.sort_unstable();
    keys.dedup();
    let bytes = |held: &Held, key: &Option<String>| held.get(key).copied().unwrap_or(0);
    let row = |key: &Option<String>| ChangedHolder {
        key: key.clone(),
        base_bytes: bytes(of_base, key),
        bytes: others.iter().map(|(_, held)| bytes(held, key)).collect(),
    };
    let mut rows: Vec<ChangedHolder> = keys.into_iter().map(row).collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.largest_change()));
    ChangedHolders {
        base: base.configuration.clone(),
        others: others.iter().map(|(row, _)| row.configuration.clone()).collect(),
        rows,
    }
}

#[cfg(test)]
#[path = "changed_holders_tests.rs"]
mod tests;
