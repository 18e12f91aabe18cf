//! By how much memory grows from step to step.

use crate::analysis::TheilSen;

/// Fewer steps say nothing of growth.
const MIN_STEPS: usize = 5;

/// The robust slope of what is allocated at the ends of steps, by their numbers: a few steps that are unlike the others do
/// not move it. The first tenth of the steps warms up and is left out. `None` for too few steps.
pub(super) fn growth_per_step(ends: &[(f64, f64)]) -> Option<f64> {
    let settled = &ends[(ends.len() / 10).max(1).min(ends.len())..];
    if settled.len() < MIN_STEPS {
        return None;
    }
    TheilSen::of(settled).map(|line| line.slope)
}

#[cfg(test)]
mod tests {
    fn growth_per_step(end_bytes: &[i64]) -> Option<f64> {
        let points: Vec<(f64, f64)> =
            (0u32..).map(f64::from).zip(end_bytes.iter().map(|bytes| *bytes as f64)).collect();
        super::growth_per_step(&points)
    }

    #[test]
    fn a_leak_is_its_rate_and_a_sawtooth_is_none() {
        let leak: Vec<i64> = (0..200).map(|step| 1_000_000 + 4096 * step + step % 3).collect();
        let rate = growth_per_step(&leak).unwrap();
        assert!((rate - 4096.0).abs() < 1.0, "{rate}");
        let mut with_spikes = leak;
        with_spikes.iter_mut().step_by(7).for_each(|bytes| *bytes += 1 << 30);
        let rate = growth_per_step(&with_spikes).unwrap();
        assert!((rate - 4096.0).abs() < 500.0, "{rate}");
        let sawtooth: Vec<i64> = (0..500).map(|step| step % 10 * 1000).collect();
        assert!(growth_per_step(&sawtooth).unwrap().abs() < 10.0);
        let warm: Vec<i64> = (0..100).map(|step| 1000 * step.min(8)).collect();
        assert_eq!(growth_per_step(&warm), Some(0.0));
    }

    #[test]
    fn few_steps_say_nothing() {
        for count in 0..6 {
            assert_eq!(growth_per_step(&vec![7; count]), None, "{count}");
        }
        assert_eq!(growth_per_step(&[7; 6]), Some(0.0));
        assert!(
            growth_per_step(&(0..100_000).collect::<Vec<_>>()).is_some_and(|rate| (rate - 1.0).abs() < 1e-9)
        );
    }
}
