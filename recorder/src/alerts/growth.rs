//! How fast a metric grows: the median of the slopes between all pairs of points of a window (Theil and Sen).
//!
//! A spike bends the line of least squares; the median does not see it before nearly three points in ten are spikes.

use std::collections::VecDeque;

/// Fewer points say nothing: one spike among four would move the median.
pub(super) const FEWEST_POINTS: usize = 5;
/// More are thinned out while they come in, so that a slope costs 2016 divisions at most, some 15 µs, and a window 1 KiB.
const MOST_POINTS: usize = 64;

/// The newest points of one metric: of so many steps, or of so much time.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SlopeWindow {
    points: VecDeque<(u64, f64)>,
    /// From the first point to the last when the window is full: steps, or nanoseconds.
    span: u64,
    /// Points that come sooner after the one before are left out.
    least_gap: u64,
}

impl SlopeWindow {
    /// A window from whose first point to its last it is `span`.
    pub(super) fn new(span: u64) -> Self {
        // Of points so far apart no more than MOST_POINTS − 1 lie within the span, and one before it.
        let least_gap = span.div_ceil(MOST_POINTS as u64 - 2).max(1);
        Self { points: VecDeque::new(), span, least_gap }
    }

    /// Takes a point; false if it comes too soon after the last.
    pub(super) fn push(&mut self, at: u64, value: f64) -> bool {
        if self.points.back().is_some_and(|&(last, _)| at.saturating_sub(last) < self.least_gap) {
            return false;
        }
        self.points.push_back((at, value));
        // Where points are rare the window is longer than was asked for rather than empty.
        while self.points.len() > FEWEST_POINTS
            && self.points.get(1).is_some_and(|&(second, _)| at - second >= self.span)
        {
            self.points.pop_front();
        }
        true
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.points.capacity()
    }

    /// The median slope per unit of `at`, none before the window is full. `scratch` saves the heap.
    pub(super) fn slope(&self, scratch: &mut Vec<f64>) -> Option<f64> {
        let (&(first, _), &(last, _)) = (self.points.front()?, self.points.back()?);
        if self.points.len() < FEWEST_POINTS || last - first < self.span {
            return None;
        }
        scratch.clear();
        for (index, &(at, value)) in self.points.iter().enumerate() {
            let later = self.points.range(index + 1..);
            // Two values whose difference is no number cannot be told from each other by a slope.
            let slopes = later.map(|&(later_at, later_value)| (later_value - value) / (later_at - at) as f64);
            scratch.extend(slopes.filter(|slope| slope.is_finite()));
        }
        median(scratch)
    }
}

/// The middle value, or the mean of the two in the middle. Reorders.
fn median(values: &mut [f64]) -> Option<f64> {
    if values.is_empty() {
        return None;
    }
    let is_even = values.len().is_multiple_of(2);
    let (lower, &mut middle, _) = values.select_nth_unstable_by(values.len() / 2, f64::total_cmp);
    if !is_even {
        return Some(middle);
    }
    let below = lower.iter().copied().max_by(f64::total_cmp)?;
    Some(below / 2.0 + middle / 2.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All slopes, sorted; by the definition.
    fn naive(points: &[(u64, f64)]) -> f64 {
        let mut slopes = Vec::new();
        for (i, a) in points.iter().enumerate() {
            for b in &points[..i] {
                slopes.push((a.1 - b.1) / (a.0 as f64 - b.0 as f64));
            }
        }
        slopes.sort_by(f64::total_cmp);
        (slopes[(slopes.len() - 1) / 2] + slopes[slopes.len() / 2]) / 2.0
    }

    fn slope(points: &[(u64, f64)], span: u64) -> Option<f64> {
        let mut window = SlopeWindow::new(span);
        for &(at, value) in points {
            window.push(at, value);
        }
        window.slope(&mut Vec::new())
    }

    #[test]
    fn a_spike_is_not_growth() {
        for spike_at in 0..5 {
            let mut points: Vec<_> = (0..5).map(|step| (step, 100.0)).collect();
            points[spike_at].1 = 1e9;
            assert_eq!(slope(&points, 4), Some(0.0), "a spike at {spike_at}");
        }
        // Neither is a step up once: half of a window of twenty is on either side of it.
        let points: Vec<_> = (0..20).map(|step| (step, if step < 4 { 0.0 } else { 1e9 })).collect();
        assert_eq!(slope(&points, 19), Some(0.0));
    }

    #[test]
    fn nothing_is_said_before_the_window_is_full() {
        let points: Vec<_> = (0..20).map(|step| (step, 3.0 * step as f64)).collect();
        assert_eq!(slope(&points[..19], 19), None);
        assert_eq!(slope(&points, 19), Some(3.0));
        assert_eq!(slope(&points[..4], 1), None, "four points are too few, however short the window");
        assert_eq!(slope(&points[..5], 1), Some(3.0));
    }

    #[test]
    fn what_is_older_than_the_window_is_forgotten() {
        // Flat for long, then steep: over the last twenty only the steep part counts.
        let points: Vec<_> = (0..100).map(|step: u64| (step, step.saturating_sub(60) as f64 * 7.0)).collect();
        assert_eq!(slope(&points, 19), Some(7.0));
        let rare = [(0, 0.0), (100, 1.0), (200, 2.0), (300, 3.0), (400, 4.0), (500, 15.0)];
        assert_eq!(slope(&rare, 10), Some(naive(&rare[1..])), "the newest five are kept even so");
    }

    #[test]
    fn values_whose_difference_is_no_number_do_no_harm() {
        let points: Vec<_> =
            (0..6).map(|step| (step, if step % 2 == 0 { f64::MAX } else { f64::MIN })).collect();
        assert_eq!(slope(&points, 5), Some(0.0));
    }

    proptest! {
        #[test]
        fn it_is_what_the_definition_says(
            // Wide enough for the longest window that none of the points is left out.
            gaps in prop::collection::vec(10u64..40, 5..60),
            values in prop::collection::vec(-1e12f64..1e12, 60),
            span in 1u64..620,
        ) {
            let ats = gaps.iter().scan(0, |at, gap| { *at += gap; Some(*at) });
            let points: Vec<_> = ats.zip(values).collect();
            let mut window = SlopeWindow::new(span);
            for (index, &(at, value)) in points.iter().enumerate() {
                prop_assert!(window.push(at, value));
                let so_far = &points[..=index];
                // From the newest point that is so far back, or five.
                let start = so_far.iter().rposition(|point| at - point.0 >= span);
                let five = so_far.len().checked_sub(5);
                let expected = start.zip(five).map(|(start, five)| naive(&so_far[start.min(five)..]));
                match (window.slope(&mut Vec::new()), expected) {
                    (Some(found), Some(expected)) => {
                        prop_assert!((found - expected).abs() <= 1e-9 * expected.abs().max(1.0), "{found} {expected}");
                    }
                    (found, expected) => prop_assert_eq!(found, expected),
                }
            }
        }

        #[test]
        fn a_window_is_bounded_and_a_line_is_a_line_however_it_was_thinned(
            gaps in prop::collection::vec(0u64..200, 500..3000), span in 1u64..20_000, rate in -100f64..100.0,
        ) {
            let mut window = SlopeWindow::new(span);
            let mut at = 0;
            for gap in gaps {
                at += gap;
                window.push(at, at as f64 * rate);
                prop_assert!(window.points.len() <= MOST_POINTS, "{}", window.points.len());
            }
            if let Some(slope) = window.slope(&mut Vec::new()) {
                prop_assert!((slope - rate).abs() <= 1e-6 * rate.abs().max(1.0), "{slope} {rate}");
            }
        }
    }
}
