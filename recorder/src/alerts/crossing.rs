//! That an alert was raised or is over, and the line that says so.

use std::fmt;

use super::alert::Alert;
use super::unit::{Amount, Dimension};

/// What became of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CrossingKind {
    /// The threshold was crossed.
    Raised,
    /// The value has come back, past the margin.
    Cleared,
}

/// An alert was raised, or is over.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Crossing {
    /// Which alert: its place in the list that the watch was made with.
    pub(crate) alert: usize,
    /// The device; −1 the host.
    pub(crate) device: i16,
    /// The process, if the metric is of one.
    pub(crate) pid: Option<u32>,
    /// What became of it.
    pub(crate) kind: CrossingKind,
    /// The reading, in the unit of the metric; of `growth` the slope, per what the expression says.
    pub(crate) value: f64,
    /// The threshold, in the same unit.
    pub(crate) threshold: f64,
    /// The total that the metric is a part of, where it is known.
    pub(crate) total: Option<f64>,
}

impl Crossing {
    /// What the row of the trace is called: the alert in its canonical form, about this device.
    pub(crate) fn name(&self, alert: &Alert) -> String {
        alert.on_device(self.device).to_string()
    }

    /// The one line for the log: `alert: gpu[0].used > 90%: 74.2 GiB of 79.2 GiB (93.7 %)`.
    pub(crate) fn line(&self, alert: &Alert) -> String {
        let what = match self.kind {
            CrossingKind::Raised => "alert",
            CrossingKind::Cleared => "alert is over",
        };
        let pid = self.pid.map(|pid| format!(", pid {pid}")).unwrap_or_default();
        format!("{what}: {}: {}{pid}", self.name(alert), self.amount(alert))
    }

    fn amount(&self, alert: &Alert) -> impl fmt::Display {
        let dimension = alert.dimension();
        let rate = alert.growth.map_or("", |growth| growth.rate());
        let value = Amount(self.value, dimension);
        match self.total {
            None => format!("{value}{rate}"),
            Some(total) => {
                let percent = Amount(self.value / total * 100.0, Dimension::Percent);
                format!("{value}{rate} of {} ({percent}{rate})", Amount(total, dimension))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_says_it() {
        const GIB: f64 = 1073741824.0;
        let bare = Crossing {
            alert: 0,
            device: -1,
            pid: None,
            kind: CrossingKind::Raised,
            value: 74.2 * GIB,
            threshold: 0.0,
            total: None,
        };
        let of_gpu = Crossing { device: 0, total: Some(79.2 * GIB), ..bare };
        for (expression, crossing, line) in [
            ("gpu.used > 90%", of_gpu, "alert: gpu[0].used > 90%: 74.2 GiB of 79.2 GiB (93.7 %)"),
            (
                "gpu.used>70gib",
                Crossing { kind: CrossingKind::Cleared, value: GIB, ..of_gpu },
                "alert is over: gpu[0].used > 70GiB: 1.0 GiB of 79.2 GiB (1.3 %)",
            ),
            ("rss > 40GiB", bare, "alert: rss > 40GiB: 74.2 GiB"),
            (
                "rss.process > 40GB",
                Crossing { pid: Some(17), ..bare },
                "alert: rss.process > 40GB: 74.2 GiB, pid 17",
            ),
            (
                "allocated growth > 5MiB/step",
                Crossing { value: 6.5 * 1048576.0, ..bare },
                "alert: allocated[host] growth > 5MiB/step over 20: 6.5 MiB/step",
            ),
            (
                "gpu.used growth > 1%/min for 1min",
                Crossing { value: 0.792 * GIB, ..of_gpu },
                "alert: gpu[0].used growth > 1%/min over 10min for 1min: 811.0 MiB/min of 79.2 GiB (1.0 %/min)",
            ),
            (
                "gpu.temperature >= 83C",
                Crossing { device: 3, value: 84.0, ..bare },
                "alert: gpu[3].temperature >= 83C: 84.0 C",
            ),
            ("counter(queue) > 10", Crossing { value: 11.0, ..bare }, "alert: counter(queue) > 10: 11"),
            (
                "counter(queue) > 1KiB",
                Crossing { value: 2048.0, ..bare },
                "alert: counter(queue) > 1KiB: 2.0 KiB",
            ),
        ] {
            assert_eq!(crossing.line(&expression.parse().unwrap()), line);
        }
    }
}
