//! Whether what is left from one step to the next rises: a simple trend of the floor, allocated when a step begins.

/// Fewer steps than this tell no trend.
const MIN_STEPS: usize = 4;
/// Of the changes from step to step, so many rise where there is a trend.
const RISING_SHARE: f64 = 0.75;

/// A floor that rises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FloorGrowth {
    /// Steps that it is seen over.
    pub steps: usize,
    /// By how much the floor has risen over them.
    pub bytes: i64,
    /// By step.
    pub bytes_per_step: i64,
}

/// The growth over steps, given what was allocated at the start of each, the one that failed last. The first step, which
/// makes what stays (state of the optimizer, workspaces), is left out. `None` without a trend.
pub(super) fn floor_growth(floors: &[i64]) -> Option<FloorGrowth> {
    let settled = floors.get(2..).filter(|settled| settled.len() >= MIN_STEPS)?;
    let (first, last) = (settled.first()?, settled.last()?);
    let rising = settled.windows(2).filter(|pair| pair[1] > pair[0]).count();
    let changes = settled.len() - 1;
    let bytes = last - first;
    let is_trend = bytes > 0 && rising as f64 >= changes as f64 * RISING_SHARE;
    is_trend.then(|| FloorGrowth { steps: changes, bytes, bytes_per_step: bytes / changes as i64 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_floor_that_rises_is_told_from_a_warm_up_and_a_sawtooth() {
        let leak: Vec<i64> = (0..10).map(|step| 1000 + 50 * step).collect();
        assert_eq!(floor_growth(&leak), Some(FloorGrowth { steps: 7, bytes: 350, bytes_per_step: 50 }));
        assert_eq!(floor_growth(&[0, 500, 1000, 1000, 1000, 1000, 1000]), None);
        assert_eq!(floor_growth(&[9, 9, 1, 5, 1, 5, 1, 5]), None);
        assert_eq!(floor_growth(&[1, 2, 3, 4, 5]), None, "too short to say");
    }
}
