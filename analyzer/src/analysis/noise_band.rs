//! The middle of a run's readings, one for each step, and how far they lie from it: what a difference between two runs
//! has to exceed before it means something.

/// Fewer readings than this say nothing of how much they vary.
const MIN_READINGS: usize = 3;

/// Median and median absolute deviation: a few slow steps move neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoiseBand {
    /// Median of the readings.
    pub(super) median: i64,
    /// Median distance of the readings from it; `None` for fewer than three.
    pub(super) deviation: Option<i64>,
}

impl NoiseBand {
    /// Of these readings; `None` without any.
    pub(super) fn of(readings: &[i64]) -> Option<Self> {
        let median = median(readings.to_vec())?;
        let distances = readings.iter().map(|reading| (reading - median).abs()).collect();
        Some(Self { median, deviation: median_of_enough(distances) })
    }
}

/// Mean and mean absolute deviation, of figures whose mean is told: an outlier that moves the mean widens the band.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MeanBand {
    /// Mean of the readings.
    pub(super) mean: i64,
    /// Mean distance of the readings from it; `None` for fewer than three.
    pub(super) deviation: Option<i64>,
}

impl MeanBand {
    /// Of these readings; `None` without any.
    pub(super) fn of(readings: &[i64]) -> Option<Self> {
        let mean = mean(readings)?;
        let distances: Vec<i64> = readings.iter().map(|reading| (reading - mean).abs()).collect();
        let deviation = if readings.len() < MIN_READINGS { None } else { self::mean(&distances) };
        Some(Self { mean, deviation })
    }
}

fn mean(values: &[i64]) -> Option<i64> {
    let count = i128::try_from(values.len()).ok().filter(|count| *count > 0)?;
    i64::try_from(values.iter().map(|value| i128::from(*value)).sum::<i128>() / count).ok()
}

/// The readings without the first, which pays for warming up, where there are at least three.
pub(super) fn settled(readings: &[i64]) -> &[i64] {
    if readings.len() >= 3 { &readings[1..] } else { readings }
}

fn median_of_enough(values: Vec<i64>) -> Option<i64> {
    if values.len() < MIN_READINGS { None } else { median(values) }
}

/// The middle value; of an even number of values the mean of the two in the middle.
fn median(mut values: Vec<i64>) -> Option<i64> {
    values.sort_unstable();
    let upper = *values.get(values.len() / 2)?;
    let lower = values[(values.len() - 1) / 2];
    Some(lower + (upper - lower) / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_outliers_move_neither_median_nor_deviation() {
        let band = NoiseBand::of(&[10, 12, 11, 9, 10, 5000]).unwrap();
        assert_eq!(band, NoiseBand { median: 10, deviation: Some(1) });
        assert_eq!(NoiseBand::of(&[4, 10]).unwrap(), NoiseBand { median: 7, deviation: None });
        assert_eq!(NoiseBand::of(&[]), None);
    }

    #[test]
    fn an_outlier_that_moves_a_mean_widens_its_band() {
        assert_eq!(MeanBand::of(&[0, 0, 0, 100]), Some(MeanBand { mean: 25, deviation: Some(37) }));
        assert_eq!(MeanBand::of(&[-4, 2]), Some(MeanBand { mean: -1, deviation: None }));
        assert_eq!(MeanBand::of(&[]), None);
    }

    #[test]
    fn the_first_of_three_is_left_out_and_of_two_is_not() {
        assert_eq!(settled(&[9, 1, 1]), &[1, 1]);
        assert_eq!(settled(&[9, 1]), &[9, 1]);
        assert_eq!(settled(&[]), &[] as &[i64]);
    }
}
