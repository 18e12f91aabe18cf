//! A time axis: its unit, and where it counts from.

use super::canvas;

/// A plot that begins so many times later than it is long counts from its own beginning: of numbers such as 10100.25 and
/// 10100.5 nobody sees how far they are apart.
const LATE: i64 = 20;

/// Times as what is written along the axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct TimeAxis {
    /// What counts as 0, nanoseconds since 1970.
    zero_nanos: i64,
    /// From the start of the recording to it.
    since_start_nanos: i64,
    unit: (&'static str, f64),
}

impl TimeAxis {
    /// Of a plot from `start_nanos` to `end_nanos` of a recording that began at `origin_nanos`.
    pub(super) fn new(origin_nanos: i64, start_nanos: i64, end_nanos: i64) -> Self {
        let span_nanos = (end_nanos - start_nanos).max(1);
        let offset_nanos = start_nanos - origin_nanos;
        let since_start_nanos = if offset_nanos >= LATE.saturating_mul(span_nanos) {
            // A round number, so that it is written in few digits, and what is added to it as well.
            let mut round = 1i64;
            while round < span_nanos {
                round *= 10;
            }
            offset_nanos - offset_nanos % round
        } else {
            0
        };
        Self {
            zero_nanos: origin_nanos + since_start_nanos,
            since_start_nanos,
            unit: canvas::time_unit(span_nanos),
        }
    }

    /// A time on it.
    pub(super) fn at(&self, time_nanos: i64) -> f64 {
        (time_nanos - self.zero_nanos) as f64 / self.unit.1
    }

    /// What it is, with its unit.
    pub(super) fn title(&self) -> String {
        let unit = self.unit.0;
        match self.since_start_nanos {
            0 => format!("time since the start of the recording ({unit})"),
            since => format!("time since {} after the start ({unit})", exactly(since)),
        }
    }
}

/// A duration with all of its digits.
fn exactly(nanos: i64) -> String {
    let (seconds, below) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
    let digits = |seconds: i64| {
        let text = format!("{seconds}.{below:09}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    match seconds {
        0..600 => format!("{} s", digits(seconds)),
        600..36_000 => format!("{} min {} s", seconds / 60, digits(seconds % 60)),
        _ => format!("{} h {} min {} s", seconds / 3600, seconds / 60 % 60, digits(seconds % 60)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_short_plot_counts_from_its_own_beginning() {
        let axis = TimeAxis::new(5, 5 + 10_100_370_000, 5 + 10_103_370_000);
        assert_eq!(axis.title(), "time since 10.1 s after the start (ms)");
        assert_eq!((axis.at(5 + 10_100_370_000), axis.at(5 + 10_101_000_000)), (0.37, 1.0));
    }

    #[test]
    fn others_count_from_the_start() {
        for (start, end) in [(0, 0), (0, 1_000_000), (10_000_000, 12_000_000)] {
            let axis = TimeAxis::new(7, 7 + start, 7 + end);
            assert!(axis.title().starts_with("time since the start of the recording"), "{start}");
            assert_eq!(axis.at(7), 0.0);
        }
    }

    #[test]
    fn nothing_is_rounded_away() {
        assert_eq!(exactly(12_345_000), "0.012345 s");
        assert_eq!(exactly(725_000_000_000), "12 min 5 s");
        assert_eq!(exactly(86_399_500_000_000), "23 h 59 min 59.5 s");
    }
}
