//! The largest size that fits.

use super::PlanPoint;
use super::peak_model::{PeakModel, PredictedPeak};

/// Multiples of this are shown next to powers of two.
const MULTIPLE: i64 = 8;
/// Powers of two shown at most.
const MAX_POWERS: usize = 12;

/// The largest size that fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Not even 1 does.
    Nothing,
    /// This one does, and the next one does not.
    Largest(i64),
    /// This one does; of larger ones nothing is predicted.
    AtLeast(i64),
}

/// A size, and what is predicted for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The size.
    pub x: i64,
    /// What is predicted.
    pub peak: PredictedPeak,
    /// Highest that was measured at it, if it was.
    pub measured_bytes: Option<i64>,
    /// Whether it is within the budget without the headroom: what was measured, else the upper end of the prediction.
    pub fits: bool,
}

impl Answer {
    /// The size.
    #[must_use]
    pub const fn largest(self) -> Option<i64> {
        match self {
            Self::Nothing => None,
            Self::Largest(x) | Self::AtLeast(x) => Some(x),
        }
    }

    pub(super) fn of(model: &PeakModel, points: &[PlanPoint], usable_bytes: i64) -> Self {
        let limit = model.limit();
        let fits = |x: i64| model.at(x as f64).upper_bytes() <= usable_bytes;
        let measured = |does_fit: bool| {
            let whole = points.iter().filter(|point| point.x.fract() == 0.0);
            whole.filter(move |point| (point.bytes <= usable_bytes) == does_fit).map(|point| point.x as i64)
        };
        // What was seen not to fit is not said to.
        let (too_large, fitted) = (measured(false).min(), measured(true).max());
        let predicted = if fits(limit) {
            Some(limit)
        } else {
            // The upper bound is convex: from where it fits up to the limit it is crossed once.
            let starts = points.iter().map(|point| point.x as i64).chain([1]);
            starts.filter(|start| *start >= 1 && fits(*start)).max().map(|start| {
                let (mut low, mut high) = (start, limit);
                while high - low > 1 {
                    let middle = low + (high - low) / 2;
                    if fits(middle) { low = middle } else { high = middle }
                }
                low
            })
        };
        let largest = predicted.max(fitted).map(|x| too_large.map_or(x, |large| x.min(large - 1)));
        match largest.filter(|x| *x >= 1) {
            None => Self::Nothing,
            Some(x) if x >= limit => Self::AtLeast(x),
            Some(x) => Self::Largest(x),
        }
    }

    /// Powers of two, what was measured, the answer and the largest multiple of eight up to it, and the next power of two.
    pub(super) fn candidates(
        self,
        model: &PeakModel,
        points: &[PlanPoint],
        usable_bytes: i64,
    ) -> Vec<Candidate> {
        let limit = model.limit();
        let answer = self.largest().unwrap_or(0);
        let powers: Vec<i64> = (0..62).map(|power| 1_i64 << power).collect();
        let up_to = powers.iter().filter(|power| **power <= answer).rev().take(MAX_POWERS);
        let next = powers.iter().find(|power| **power > answer && **power <= limit);
        let measured = points.iter().filter(|point| point.x.fract() == 0.0).map(|point| point.x as i64);
        let around = [answer, answer / MULTIPLE * MULTIPLE].into_iter().filter(|x| *x >= 1);
        let mut xs: Vec<i64> = up_to.chain(next).copied().chain(measured).chain(around).collect();
        xs.sort_unstable();
        xs.dedup();
        let candidate = |x: i64| {
            let peak = model.at(x as f64);
            let measured = points.iter().filter(|point| point.x == x as f64).map(|point| point.bytes).max();
            let fits = measured.unwrap_or_else(|| peak.upper_bytes()) <= usable_bytes;
            Candidate { x, peak, measured_bytes: measured, fits }
        };
        xs.into_iter().map(candidate).collect()
    }
}
