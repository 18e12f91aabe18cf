//! Peaks that the recorder counted where the trace keeps not all events.

use std::collections::BTreeMap;

use tidegauge_schemas::metrics;

use crate::replay::{Observed, Observer, Window};

/// The highest of a device's counted peaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CountedPeak {
    pub(super) bytes: i64,
    /// End of the step that it was in, nanoseconds since 1970.
    pub(super) time_nanos: i64,
    pub(super) step: Option<i64>,
}

/// Observes them, by device.
#[derive(Debug)]
pub(super) struct CountedPeaks {
    window: Window,
    step: Option<i64>,
    pub(super) peaks: BTreeMap<i16, CountedPeak>,
}

impl CountedPeaks {
    pub(super) const fn new(window: Window) -> Self {
        Self { window, step: None, peaks: BTreeMap::new() }
    }
}

impl Observer for CountedPeaks {
    #[inline]
    fn observe(&mut self, observed: &Observed<'_>) {
        match observed {
            Observed::Checkpoint { row, .. } => self.step = row.step,
            Observed::Sample(row)
                if row.metric == metrics::PEAK_ALLOCATED.name && self.window.contains(row.time_nanos) =>
            {
                let counted =
                    CountedPeak { bytes: row.value as i64, time_nanos: row.time_nanos, step: self.step };
                let peak = self.peaks.entry(row.device).or_insert(counted);
                if peak.bytes < counted.bytes {
                    *peak = counted;
                }
            }
            _ => {}
        }
    }
}
