//! Phases by name: how often, how long, and what allocated did inside.

use std::collections::HashMap;

use crate::replay::{EndedPhase, Observed, Observer, Outcome, Window};

/// All phases of one name on one device.
#[derive(Debug, Clone, PartialEq)]
pub struct PhaseRow {
    /// Name, as the program gave it.
    pub phase: String,
    /// −1 the host, 0… accelerators.
    pub device: i16,
    /// How often it ended.
    pub count: u64,
    /// Mean of (allocated at the end − at the begin).
    pub mean_delta_bytes: i64,
    /// The largest such difference, up or down, with its sign.
    pub max_delta_bytes: i64,
    /// Highest allocated inside any of them.
    pub peak_bytes: i64,
    /// Step of that peak.
    pub peak_step: Option<i64>,
    /// Mean over them of (highest allocated inside − allocated at the begin).
    pub mean_rise_bytes: i64,
    /// Time in all of them.
    pub total_nanos: i64,
    /// Mean time in one.
    pub mean_nanos: i64,
}

#[derive(Debug, Default)]
struct Total {
    count: u64,
    delta_bytes: i128,
    max_delta_bytes: i64,
    peak_bytes: i64,
    peak_step: Option<i64>,
    rise_bytes: i128,
    nanos: i128,
}

/// Observes phases.
#[derive(Debug)]
pub struct PhaseTable {
    window: Window,
    /// In the order in which names first ended, which for a training loop is the order of the loop.
    order: Vec<String>,
    totals: HashMap<String, Vec<Total>>,
}

impl PhaseTable {
    /// Of the phases that end inside of `window`.
    #[must_use]
    pub fn new(window: Window) -> Self {
        Self { window, order: Vec::new(), totals: HashMap::new() }
    }

    fn add(&mut self, phase: &EndedPhase) {
        // What the trace's end cut off would distort the means.
        if !phase.is_complete || !self.window.contains(phase.end_nanos) {
            return;
        }
        if !self.totals.contains_key(&phase.name) {
            self.order.push(phase.name.clone());
        }
        let totals = self.totals.entry(phase.name.clone()).or_default();
        totals.resize_with(totals.len().max(phase.devices.len()), Total::default);
        for (total, span) in totals.iter_mut().zip(&phase.devices) {
            let delta_bytes = span.end_bytes - span.start_bytes;
            total.count += 1;
            total.delta_bytes += i128::from(delta_bytes);
            if delta_bytes.abs() > total.max_delta_bytes.abs() {
                total.max_delta_bytes = delta_bytes;
            }
            if span.high_bytes > total.peak_bytes {
                total.peak_bytes = span.high_bytes;
                total.peak_step = phase.step;
            }
            total.rise_bytes += i128::from(span.high_bytes - span.start_bytes);
            total.nanos += i128::from(phase.end_nanos - phase.begin_nanos);
        }
    }

    /// The rows, by device, then in the order of the loop.
    #[must_use]
    pub fn finish(self, outcome: &Outcome) -> Vec<PhaseRow> {
        let mut rows = Vec::new();
        for name in &self.order {
            for (total, device) in self.totals[name].iter().zip(&outcome.devices) {
                let mean =
                    |sum: i128| if total.count == 0 { 0 } else { (sum / i128::from(total.count)) as i64 };
                rows.push(PhaseRow {
                    phase: name.clone(),
                    device: device.device,
                    count: total.count,
                    mean_delta_bytes: mean(total.delta_bytes),
                    max_delta_bytes: total.max_delta_bytes,
                    peak_bytes: total.peak_bytes,
                    peak_step: total.peak_step,
                    mean_rise_bytes: mean(total.rise_bytes),
                    total_nanos: total.nanos as i64,
                    mean_nanos: mean(total.nanos),
                });
            }
        }
        rows.sort_by_key(|row| row.device);
        rows
    }
}

impl Observer for PhaseTable {
    fn observe(&mut self, observed: &Observed<'_>) {
        if let Observed::Phase(phase) = observed {
            self.add(phase);
        }
    }
}
