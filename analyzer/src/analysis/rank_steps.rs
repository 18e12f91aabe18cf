//! The peak of each step on each rank, and the rank that stands out of them.

use std::collections::BTreeMap;

use tidegauge_schemas::layout::ProcessId;

use super::aligned_steps::{OfRank, own_steps};
use super::step_table::StepRow;

/// A rank stands out if its highest peak is further from the median rank's than this many times as far as ranks
/// commonly are.
const TIMES_AS_FAR: i64 = 3;
/// And by more than this part of it: jitter of the allocation is none.
const FLOOR: f64 = 0.01;

/// The steps of one rank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RankPeaks {
    /// Whose they are.
    pub process: ProcessId,
    /// Highest allocated on its worst device, by step. Steps that it lacks, or of which nothing is known, are not there.
    pub peaks: BTreeMap<i64, i64>,
}

/// A rank that is not like the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StandingOut {
    /// Which one, and its highest peak.
    pub rank: OfRank,
    /// Half of the ranks have at most this as theirs.
    pub median_bytes: i64,
}

/// The steps of all ranks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RankSteps {
    /// By rank and number.
    pub ranks: Vec<RankPeaks>,
    /// All steps that any rank has, in order.
    pub steps: Vec<i64>,
    /// The highest peak, and its step.
    pub highest: Option<(i64, OfRank)>,
    /// The lowest.
    pub lowest: Option<(i64, OfRank)>,
    /// The rank that is not like the others; of several, that which is least.
    pub standing_out: Option<StandingOut>,
}

/// The peaks of several processes, in the order of these, on the devices that are shown.
#[must_use]
pub fn rank_steps(processes: &[(ProcessId, &[StepRow])], shows: impl Fn(i16) -> bool) -> RankSteps {
    let ranks: Vec<RankPeaks> = processes
        .iter()
        .map(|(process, rows)| {
            let own = own_steps(rows, &shows).into_iter();
            RankPeaks {
                process: *process,
                peaks: own.filter_map(|(step, (peak, _))| Some((step, peak?))).collect(),
            }
        })
        .collect();
    let mut steps: Vec<i64> = ranks.iter().flat_map(|rank| rank.peaks.keys().copied()).collect();
    steps.sort_unstable();
    steps.dedup();
    let all = || {
        let of = |rank: &RankPeaks, step: i64, value: i64| (step, OfRank { value, process: rank.process });
        ranks.iter().flat_map(move |rank| rank.peaks.iter().map(move |(step, bytes)| of(rank, *step, *bytes)))
    };
    // Of equals the first step of the first rank.
    let highest = all().min_by_key(|(_, of)| std::cmp::Reverse(of.value));
    let lowest = all().min_by_key(|(_, of)| of.value);
    let standing_out = standing_out(&ranks);
    RankSteps { ranks, steps, highest, lowest, standing_out }
}

/// With fewer than three ranks nobody says which of them is not like the others.
fn standing_out(ranks: &[RankPeaks]) -> Option<StandingOut> {
    let highest =
        |rank: &RankPeaks| Some(OfRank { value: *rank.peaks.values().max()?, process: rank.process });
    let highest: Vec<OfRank> = ranks.iter().filter_map(highest).collect();
    let median_bytes = median(highest.iter().map(|of| of.value))?;
    let distance = |of: &OfRank| (of.value - median_bytes).abs();
    let common = median(highest.iter().map(distance))?;
    let furthest = highest.iter().rev().max_by_key(|of| distance(of)).copied()?;
    let is_far = distance(&furthest) > common.saturating_mul(TIMES_AS_FAR)
        && distance(&furthest) as f64 > median_bytes as f64 * FLOOR;
    (highest.len() > 2 && is_far).then_some(StandingOut { rank: furthest, median_bytes })
}

fn median(values: impl Iterator<Item = i64>) -> Option<i64> {
    let mut values: Vec<i64> = values.collect();
    values.sort_unstable();
    values.get(values.len().checked_sub(1)? / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranks(highest: &[i64]) -> Vec<RankPeaks> {
        let rank = |(rank, bytes): (u32, &i64)| RankPeaks {
            process: ProcessId { rank, process: 0 },
            peaks: [(0, bytes / 2), (1, *bytes)].into(),
        };
        (0..).zip(highest).map(rank).collect()
    }

    #[test]
    fn a_rank_stands_out_that_is_much_further_off_than_ranks_are() {
        let of =
            |highest: &[i64]| standing_out(&ranks(highest)).map(|of| (of.rank.process.rank, of.median_bytes));
        assert_eq!(of(&[1000, 1010, 2000, 1005]), Some((2, 1005)));
        assert_eq!(of(&[1000, 1000, 300]), Some((2, 1000)), "one that has less, too");
        assert_eq!(of(&[1000, 1000, 1005]), None, "as good as the same");
        assert_eq!(of(&[100, 110, 120, 130, 140]), None, "each a little more than the one before");
        assert_eq!(of(&[100, 200]), None);
        assert_eq!(of(&[]), None);
    }
}
