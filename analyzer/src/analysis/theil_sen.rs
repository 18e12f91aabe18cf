//! A robust line through points: the median of the slopes between all pairs, its confidence interval, and whether there
//! is a trend at all.
//!
//! H. Theil (1950) took the median; P. K. Sen, *Estimates of the regression coefficient based on Kendall's tau*,
//! J. Am. Stat. Assoc. 63 (1968), the interval. Nearly three points in ten may lie anywhere before the median moves with
//! them. Both take the points' errors as independent of each other, which memory's are not always: a verdict needs more.

use statrs::function::erf::erfc;

/// More points are thinned out: the slopes of so many are 44,850.
const MOST_POINTS: usize = 300;
/// Fewer points have no interval.
const FEWEST_POINTS: usize = 3;
/// 97.5 % of a normal distribution lie below: two-sided 95 %.
const NORMAL_QUANTILE: f64 = 1.959_963_984_540_054;

/// A line y = slope · x + intercept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TheilSen {
    /// Median of the slopes between all pairs of points that differ in x.
    pub slope: f64,
    /// Median of y − slope · x.
    pub intercept: f64,
    /// Lower end of the slope's 95 % confidence interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Probability of so strong a trend, up or down, among points without any: Mann and Kendall's test, two-sided.
    pub p_value: f64,
    /// Points that it was made of, after thinning.
    pub points: usize,
}

impl TheilSen {
    /// The line through points in the order of x; `None` for fewer than three, or where all have one x.
    ///
    /// With n points and S = Σ sign(yⱼ − yᵢ) over pairs i < j, the variance of S where there is no trend is
    /// [n(n−1)(2n+5) − Σ t(t−1)(2t+5)] / 18, the sum over groups of t equal values (Kendall, *Rank Correlation Methods*).
    /// Of N slopes in order, the interval is from that number (N − 1.96 √var) / 2 to the one after number (N + 1.96 √var) / 2; the test
    /// takes (|S| − 1) / √var as normal.
    ///
    /// More than 300 points are cut into 300 runs of neighbours, each of which counts with its medians: taking every k-th
    /// point would see a slow wave where a fast one is.
    #[must_use]
    pub fn of(points: &[(f64, f64)]) -> Option<Self> {
        let points = thinned(points, MOST_POINTS);
        let count = points.len();
        if count < FEWEST_POINTS {
            return None;
        }
        let mut slopes = Vec::with_capacity(count * (count - 1) / 2);
        let mut s = 0i64;
        for (at, (x, y)) in points.iter().enumerate() {
            for (later_x, later_y) in &points[at + 1..] {
                if later_x > x {
                    slopes.push((later_y - y) / (later_x - x));
                    s += i64::from(later_y > y) - i64::from(later_y < y);
                }
            }
        }
        slopes.sort_unstable_by(f64::total_cmp);
        let slope = sorted_median(&slopes)?;
        let variance = variance_of_s(&points);
        let reach = NORMAL_QUANTILE * variance.sqrt();
        let number = slopes.len() as f64;
        let last = slopes.len() - 1;
        // Counted from 1 it is the M-th slope from below, and the M-th from above.
        let low = ((number - reach) / 2.0).round().max(1.0) as usize - 1;
        let high = ((number + reach) / 2.0).round() as usize;
        let distance = (s.abs() - 1).max(0) as f64;
        let p_value =
            if variance > 0.0 { erfc(distance / variance.sqrt() / std::f64::consts::SQRT_2) } else { 1.0 };
        Some(Self {
            slope,
            intercept: median(points.iter().map(|(x, y)| y - slope * x).collect())?,
            low: slopes[low.min(last)],
            high: slopes[high.min(last)],
            p_value,
            points: count,
        })
    }

    /// Its y at x.
    #[must_use]
    pub fn at(&self, x: f64) -> f64 {
        self.slope * x + self.intercept
    }
}

/// The middle value, of an even number the mean of the two in the middle; `None` without any.
pub(super) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    sorted_median(&values)
}

fn sorted_median(values: &[f64]) -> Option<f64> {
    let upper = *values.get(values.len() / 2)?;
    Some((values[(values.len() - 1) / 2] + upper) / 2.0)
}

/// At most so many points: medians of runs of neighbours that are as long as each other, but for one point.
fn thinned(points: &[(f64, f64)], most: usize) -> Vec<(f64, f64)> {
    if points.len() <= most {
        return points.to_vec();
    }
    let run = |number: usize| {
        let run = &points[number * points.len() / most..(number + 1) * points.len() / most];
        let of = |value: fn(&(f64, f64)) -> f64| median(run.iter().map(value).collect());
        Some((of(|point| point.0)?, of(|point| point.1)?))
    };
    (0..most).filter_map(run).collect()
}

fn variance_of_s(points: &[(f64, f64)]) -> f64 {
    let pairs = |count: f64| count * (count - 1.0) * (2.0 * count + 5.0);
    let ties = |value: fn(&(f64, f64)) -> f64| {
        let mut values: Vec<f64> = points.iter().map(value).collect();
        values.sort_unstable_by(f64::total_cmp);
        values.chunk_by(|one, two| one == two).map(|equal| pairs(equal.len() as f64)).sum::<f64>()
    };
    (pairs(points.len() as f64) - ties(|point| point.0) - ties(|point| point.1)).max(0.0) / 18.0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Straight from the definition, without a sort of slopes in place.
    fn naive_slope(points: &[(f64, f64)]) -> f64 {
        let mut slopes: Vec<f64> = Vec::new();
        for (i, one) in points.iter().enumerate() {
            for (j, two) in points.iter().enumerate() {
                if i < j && one.0 != two.0 {
                    slopes.push((two.1 - one.1) / (two.0 - one.0));
                }
            }
        }
        slopes.sort_by(f64::total_cmp);
        let count = slopes.len();
        if count % 2 == 1 { slopes[count / 2] } else { (slopes[count / 2 - 1] + slopes[count / 2]) / 2.0 }
    }

    #[test]
    fn it_is_what_scipy_says() {
        // scipy.stats.theilslopes(y, x, 0.95), and kendalltau's sign count.
        let y = [3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0, 5.0, 3.0, 5.0, 8.0, 9.0, 7.0];
        let points: Vec<(f64, f64)> = (0..).map(f64::from).zip(y).collect();
        let line = TheilSen::of(&points).unwrap();
        let close =
            |found: f64, expected: f64| assert!((found - expected).abs() < 1e-9, "{found} {expected}");
        close(line.slope, SCIPY.0);
        close(line.low, SCIPY.1);
        close(line.high, SCIPY.2);
        close(line.p_value, SCIPY.3);
    }
    const SCIPY: (f64, f64, f64, f64) =
        (0.444_444_444_444_444_4, 0.125, 0.727_272_727_272_727_3, 0.020_200_365_358_799_755);

    #[test]
    fn a_quarter_of_spikes_moves_it_little() {
        let spiked = |x: i32| if x % 4 == 1 { 1e12 } else { 7.0 * f64::from(x) + 3.0 };
        let points: Vec<(f64, f64)> = (0..120).map(|x| (f64::from(x), spiked(x))).collect();
        let line = TheilSen::of(&points).unwrap();
        assert!((line.slope - 7.0).abs() < 1e-9, "{line:?}");
        assert!((line.at(50.0) - 353.0).abs() < 1e-6, "{line:?}");
    }

    #[test]
    fn thinning_sees_no_slow_wave_where_a_fast_one_is() {
        // Every 10th of 3000 points of a wave of 10.01 would be a ramp.
        let points: Vec<(f64, f64)> =
            (0..3000).map(|x| (f64::from(x), (f64::from(x) / 10.01).fract())).collect();
        let line = TheilSen::of(&points).unwrap();
        assert!(line.slope * 3000.0 < 0.05, "{line:?}");
        assert_eq!(line.points, 300);
    }

    #[test]
    fn too_few_points_have_no_line() {
        assert_eq!(TheilSen::of(&[(0.0, 1.0), (1.0, 2.0)]), None);
        assert_eq!(TheilSen::of(&[(1.0, 1.0), (1.0, 2.0), (1.0, 3.0)]), None, "a wall");
        let flat = TheilSen::of(&[(0.0, 5.0), (1.0, 5.0), (2.0, 5.0)]).unwrap();
        assert_eq!((flat.slope, flat.low, flat.high, flat.p_value), (0.0, 0.0, 0.0, 1.0));
    }

    proptest! {
        #[test]
        fn it_is_the_median_of_all_slopes(y in prop::collection::vec(-1000i32..1000, 3..60), gap in 1u32..9) {
            let points: Vec<(f64, f64)> =
                y.iter().zip(0u32..).map(|(y, x)| (f64::from(x * gap), f64::from(*y))).collect();
            let line = TheilSen::of(&points).unwrap();
            prop_assert_eq!(line.slope, naive_slope(&points));
            prop_assert!(line.low <= line.slope && line.slope <= line.high);
            // Turned over in time it falls as it rose, just as surely.
            let turned: Vec<(f64, f64)> = points.iter().rev().map(|(x, y)| (-x, *y)).collect();
            let other = TheilSen::of(&turned).unwrap();
            prop_assert!((line.slope + other.slope).abs() < 1e-9);
            prop_assert!((line.p_value - other.p_value).abs() < 1e-12);
        }

        #[test]
        fn the_interval_holds_the_true_slope(seed in any::<u64>(), slope in -50i32..50) {
            // 95 % each; that it misses by more than its own width again is one in many thousands.
            let mut state = seed | 1;
            let mut noise = || { state ^= state << 13; state ^= state >> 7; state ^= state << 17; (state % 2001) as f64 - 1000.0 };
            let points: Vec<(f64, f64)> =
                (0..100).map(|x| (f64::from(x), f64::from(slope * x) + noise())).collect();
            let line = TheilSen::of(&points).unwrap();
            let width = line.high - line.low;
            prop_assert!(line.low - width < f64::from(slope) && f64::from(slope) < line.high + width, "{:?}", line);
        }
    }
}
