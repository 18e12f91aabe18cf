//! Where units lie on the axis that growth is counted along: by their numbers.

/// A number that is this many times as far from the last as the one before was is no count: a run that was resumed.
const LONGEST_GAP: i64 = 10;

/// Numbers count units, also those that nobody recorded; where they begin again or leap, as a resumed run's do, it goes on
/// by the gap before.
#[derive(Debug, Default)]
pub(in crate::analysis) struct UnitAxis {
    /// x, number and the gap before it of the last.
    last: Option<(f64, i64, i64)>,
}

impl UnitAxis {
    /// x of the next unit.
    pub(in crate::analysis) fn next(&mut self, number: Option<i64>) -> f64 {
        let (x, number, gap) = match (self.last, number) {
            (None, number) => (number.unwrap_or(0) as f64, number.unwrap_or(0), 0),
            (Some((x, last, gap)), number) => {
                let difference = number.map_or(1, |number| number.saturating_sub(last));
                let is_count = difference > 0 && (gap == 0 || difference <= LONGEST_GAP.saturating_mul(gap));
                let gap = if is_count { difference } else { gap.max(1) };
                (x + gap as f64, number.unwrap_or(last.saturating_add(1)), gap)
            }
        };
        self.last = Some((x, number, gap));
        x
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_count_unless_they_begin_again_or_leap() {
        let x = |numbers: &[Option<i64>]| -> Vec<f64> {
            let mut axis = UnitAxis::default();
            numbers.iter().map(|number| axis.next(*number)).collect()
        };
        assert_eq!(x(&[Some(5), Some(6), Some(8)]), [5.0, 6.0, 8.0], "one was left out");
        assert_eq!(x(&[Some(0), Some(100), Some(200)]), [0.0, 100.0, 200.0], "every hundredth was recorded");
        assert_eq!(x(&[Some(0), Some(1), Some(2), Some(0), Some(1)]), [0.0, 1.0, 2.0, 3.0, 4.0], "by epoch");
        assert_eq!(x(&[Some(1), Some(2), Some(9000), Some(9001)]), [1.0, 2.0, 3.0, 4.0], "resumed");
        assert_eq!(x(&[None, None, None]), [0.0, 1.0, 2.0]);
        assert_eq!(x(&[Some(i64::MIN), Some(i64::MAX), Some(0)]).len(), 3, "absurd numbers do no harm");
    }
}
