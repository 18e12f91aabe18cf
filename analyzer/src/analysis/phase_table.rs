//! Phases by name: how often, how long, and what allocated did inside.

use std::collections::HashMap;

use crate::replay::{EndedPhase, Observed, Observer, Outcome, Window};

/// All phases of one name on one device.
#[derive(Debug, Clone, PartialEq)]
pub struct PhaseRow {
    /// Name, as the program gave it.
    pub phase: String,
    /// How often it ended; with a device, since that was first used.
    pub count: u64,
    /// What memory did; none where no allocation was recorded at all.
    pub memory: Option<PhaseMemory>,
    /// Time in all of them.
    pub total_nanos: i64,
    /// Mean time in one.
    pub mean_nanos: i64,
}

/// What memory of one device did in the phases of one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhaseMemory {
    /// −1 the host, 0… accelerators.
    pub device: i16,
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
}

impl PhaseRow {
    /// The device, if allocations were recorded.
    #[must_use]
    pub fn device(&self) -> Option<i16> {
        self.memory.as_ref().map(|memory| memory.device)
    }
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
    /// Count and time by name, also of phases before any device was used.
    times: HashMap<String, Total>,
}

impl PhaseTable {
    /// Of the phases that end inside of `window`.
    #[must_use]
    pub fn new(window: Window) -> Self {
        Self { window, order: Vec::new(), totals: HashMap::new(), times: HashMap::new() }
    }

    fn add(&mut self, phase: &EndedPhase) {
        // What the trace's end cut off would distort the means.
        if !phase.is_complete || !self.window.contains(phase.end_nanos) {
            return;
        }
        if !self.totals.contains_key(&phase.name) {
            self.order.push(phase.name.clone());
        }
        let nanos = i128::from(phase.end_nanos - phase.begin_nanos);
        let all = self.times.entry(phase.name.clone()).or_default();
        all.count += 1;
        all.nanos += nanos;
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
            total.nanos += nanos;
        }
    }

    /// The rows, by device, then in the order of the loop.
    #[must_use]
    pub fn finish(self, outcome: &Outcome) -> Vec<PhaseRow> {
        let mut rows = Vec::new();
        for name in &self.order {
            if outcome.devices.is_empty() {
                rows.push(self.times[name].row(name, None));
            }
            let totals = self.totals[name].iter().zip(&outcome.devices).filter(|(total, _)| total.count > 0);
            rows.extend(totals.map(|(total, device)| total.row(name, Some(device.device))));
        }
        rows.sort_by_key(PhaseRow::device);
        rows
    }
}

impl Total {
    fn row(&self, name: &str, device: Option<i16>) -> PhaseRow {
        let mean = |sum: i128| if self.count == 0 { 0 } else { (sum / i128::from(self.count)) as i64 };
        PhaseRow {
            phase: name.to_owned(),
            count: self.count,
            memory: device.map(|device| PhaseMemory {
                device,
                mean_delta_bytes: mean(self.delta_bytes),
                max_delta_bytes: self.max_delta_bytes,
                peak_bytes: self.peak_bytes,
                peak_step: self.peak_step,
                mean_rise_bytes: mean(self.rise_bytes),
            }),
            total_nanos: self.nanos as i64,
            mean_nanos: mean(self.nanos),
        }
    }
}

impl Observer for PhaseTable {
    #[inline]
    fn observe(&mut self, observed: &Observed<'_>) {
        if let Observed::Phase(phase) = observed {
            self.add(phase);
        }
    }
}
