//! Steps of many ranks next to each other, by number: who holds the most, who the least, who is the slowest.

use std::collections::BTreeMap;

use tidegauge_schemas::layout::ProcessId;

use super::step_table::StepRow;

/// A figure and whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OfRank {
    /// Bytes, or nanoseconds.
    pub value: i64,
    /// The process.
    pub process: ProcessId,
}

/// A step over all ranks that have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AlignedStep {
    /// Its number.
    pub step: i64,
    /// Ranks that have it.
    pub ranks: usize,
    /// Of the peaks of allocated on the ranks' worst devices, the highest.
    pub highest: Option<OfRank>,
    /// And the lowest.
    pub lowest: Option<OfRank>,
    /// Whose step took the longest.
    pub slowest: OfRank,
    /// And the shortest.
    pub fastest: OfRank,
}

/// The steps of several processes, by number.
#[must_use]
pub fn aligned_steps(processes: &[(ProcessId, &[StepRow])], shows: impl Fn(i16) -> bool) -> Vec<AlignedStep> {
    let mut steps: BTreeMap<i64, AlignedStep> = BTreeMap::new();
    for (process, rows) in processes {
        for (step, (peak_bytes, nanos)) in own_steps(rows, &shows) {
            let of = |value: i64| OfRank { value, process: *process };
            let peak = peak_bytes.map(of);
            let aligned = steps.entry(step).or_insert(AlignedStep {
                step,
                ranks: 0,
                highest: peak,
                lowest: peak,
                slowest: of(nanos),
                fastest: of(nanos),
            });
            aligned.ranks += 1;
            if let Some(peak) = peak {
                let higher = |best: &OfRank| best.value >= peak.value;
                aligned.highest = aligned.highest.filter(higher).or(Some(peak));
                let lower = |best: &OfRank| best.value <= peak.value;
                aligned.lowest = aligned.lowest.filter(lower).or(Some(peak));
            }
            if nanos > aligned.slowest.value {
                aligned.slowest = of(nanos);
            }
            if nanos < aligned.fastest.value {
                aligned.fastest = of(nanos);
            }
        }
    }
    steps.into_values().collect()
}

/// The complete steps of one process: the peak on its worst device, and how long it took. A step has a row for each device.
pub(super) fn own_steps(rows: &[StepRow], shows: impl Fn(i16) -> bool) -> BTreeMap<i64, (Option<i64>, i64)> {
    let mut own: BTreeMap<i64, (Option<i64>, i64)> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.is_complete && row.device.is_none_or(&shows)) {
        let (peak, nanos) = own.entry(row.step).or_insert((None, row.duration_nanos));
        *peak = (*peak).max(row.peak_bytes);
        *nanos = (*nanos).max(row.duration_nanos);
    }
    own
}
