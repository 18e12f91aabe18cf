//! Whether an alert is raised: hysteresis, and the time that a condition must hold.

use std::time::Duration;

use super::alert::{Alert, Operator};
use super::crossing::CrossingKind;

/// How far a value must have come back past the threshold, as a part of it, before the alert is over: a value that
/// flickers about the threshold is one alert.
pub(super) const CLEAR_MARGIN: f64 = 0.05;
/// The same for `growth`, whose slopes vary more: under half the threshold.
pub(super) const CLEAR_MARGIN_OF_GROWTH: f64 = 0.5;

/// When a latch closes and opens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rule {
    operator: Operator,
    margin: f64,
    hold_nanos: u64,
}

impl Rule {
    pub(super) fn of(alert: &Alert) -> Self {
        let margin = if alert.growth.is_some() { CLEAR_MARGIN_OF_GROWTH } else { CLEAR_MARGIN };
        let hold_nanos = alert.hold.as_ref().map_or(0, Duration::as_nanos);
        Self { operator: alert.operator, margin, hold_nanos: u64::try_from(hold_nanos).unwrap_or(u64::MAX) }
    }

    /// Whether the value has come back so far that the alert is over.
    fn is_over(self, value: f64, threshold: f64) -> bool {
        let margin = threshold.abs() * self.margin;
        let is_back = match self.operator {
            Operator::Above | Operator::AtLeast => value <= threshold - margin,
            Operator::Below | Operator::AtMost => value >= threshold + margin,
        };
        // With a threshold of 0 there is no margin, and what still holds is not over.
        is_back && !self.operator.holds(value, threshold)
    }
}

/// The state of one alert on one device or process.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Latch {
    is_raised: bool,
    /// Since when the condition has held without a gap.
    holds_since_nanos: Option<u64>,
}

impl Latch {
    /// Takes a value; what became of the alert, if that is another thing than before.
    pub(super) fn update(
        &mut self,
        rule: Rule,
        now_nanos: u64,
        value: f64,
        threshold: f64,
    ) -> Option<CrossingKind> {
        if self.is_raised {
            self.is_raised = !rule.is_over(value, threshold);
            return (!self.is_raised).then_some(CrossingKind::Cleared);
        }
        if !rule.operator.holds(value, threshold) {
            self.holds_since_nanos = None;
            return None;
        }
        let since_nanos = *self.holds_since_nanos.get_or_insert(now_nanos);
        if now_nanos.saturating_sub(since_nanos) < rule.hold_nanos {
            return None;
        }
        *self = Self { is_raised: true, holds_since_nanos: None };
        Some(CrossingKind::Raised)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// What a series of values, one a second, does: `+` raised, `-` cleared, `.` nothing.
    fn run(expression: &str, values: &[f64]) -> String {
        let alert: Alert = expression.parse().unwrap();
        let mut latch = Latch::default();
        let (rule, threshold) = (Rule::of(&alert), alert.threshold(None).unwrap());
        let crossings = values.iter().zip(0..).map(|(&value, second)| {
            match latch.update(rule, second * SECOND, value, threshold) {
                Some(CrossingKind::Raised) => '+',
                Some(CrossingKind::Cleared) => '-',
                None => '.',
            }
        });
        crossings.collect()
    }

    #[test]
    fn a_value_that_flickers_is_one_alert() {
        for (expression, values, crossings) in [
            (
                "gpu.utilization > 80%",
                &[80.0, 80.1, 79.9, 80.1, 76.1, 81.0, 76.0, 76.1, 80.1][..],
                ".+....-.+",
            ),
            ("gpu.utilization >= 80%", &[79.9, 80.0, 79.9, 76.0, 80.0], ".+.-+"),
            ("gpu.utilization < 20%", &[20.0, 19.9, 20.9, 19.0, 21.0, 20.0, 19.9], ".+..-.+"),
            ("gpu.utilization <= 20%", &[20.0, 20.9, 21.0, 20.0], "+.-+"),
            // Without a margin: what came back to the threshold itself is over.
            ("swap > 0", &[0.0, 1.0, 0.5, 0.0, 1.0], ".+.-+"),
            ("counter(x) < -10", &[-10.0, -10.1, -9.6, -9.5, -11.0], ".+.-+"),
            ("counter(x) > -10", &[-10.0, -9.0, -10.4, -10.5, -9.0], ".+.-+"),
            ("node.available growth < -100/min", &[-100.0, -101.0, -51.0, -50.0, -101.0], ".+.-+"),
            ("rss growth > 10/min", &[11.0, 5.1, 5.0, 11.0], "+.-+"),
            // It always holds, so that it is never over.
            ("counter(x) >= 0", &[0.0, 0.0, -0.1], "+.-"),
        ] {
            assert_eq!(run(expression, values), crossings, "{expression}");
        }
    }

    #[test]
    fn a_condition_must_hold_without_a_gap() {
        for (expression, values, crossings) in [
            ("cpu > 50 for 3s", &[51.0, 51.0, 51.0, 51.0, 51.0][..], "...+."),
            ("cpu > 50 for 3s", &[51.0, 51.0, 50.0, 51.0, 51.0, 51.0, 51.0], "......+"),
            ("cpu > 50 for 3s", &[51.0, 51.0, 51.0, 51.0, 0.0, 51.0, 51.0, 51.0, 51.0], "...+-...+"),
            ("cpu > 50 for 2500ms", &[51.0, 51.0, 51.0, 51.0], "...+"),
            ("cpu > 50", &[51.0], "+"),
        ] {
            assert_eq!(run(expression, values), crossings, "{expression} {values:?}");
        }
    }

    #[test]
    fn a_clock_that_steps_back_raises_nothing_early() {
        let alert: Alert = "cpu > 50 for 3s".parse().unwrap();
        let mut latch = Latch::default();
        for (now, expected) in [
            (10 * SECOND, None),
            (5 * SECOND, None),
            (12 * SECOND, None),
            (13 * SECOND, Some(CrossingKind::Raised)),
        ] {
            assert_eq!(latch.update(Rule::of(&alert), now, 60.0, 50.0), expected, "{now}");
        }
    }
}
