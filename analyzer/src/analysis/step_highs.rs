//! What was reserved and resident at most within each step: what [`super::StepTable`] does not tell.

use tidegauge_schemas::CheckpointKind;

use crate::replay::{Observed, Observer};

/// The highest values within one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepHigh {
    /// Number of the step.
    pub step: i64,
    /// When it began, nanoseconds since 1970.
    pub begin_nanos: i64,
    /// Highest reserved by device, as far as it is known: −1 the host, 0… accelerators.
    pub reserved_bytes: Vec<(i16, i64)>,
    /// Highest of the samples of the resident size that fall into the step, the one read at its end included; `None`
    /// where none does.
    pub rss_bytes: Option<i64>,
}

/// Observes steps. Memory grows with their number.
#[derive(Debug, Default)]
pub struct StepHighs {
    open: Vec<StepHigh>,
    ended: Vec<StepHigh>,
    /// How many ended at the last checkpoint, and its `seq`, once it is told: samples that were read at it still belong
    /// to them.
    just_ended: (usize, Option<u64>),
}

impl StepHighs {
    /// The steps, in the order in which they ended.
    #[must_use]
    pub fn finish(self) -> Vec<StepHigh> {
        self.ended
    }
}

impl StepHigh {
    fn raise_reserved(&mut self, device: i16, bytes: i64) {
        match self.reserved_bytes.iter_mut().find(|(of, _)| *of == device) {
            Some((_, high)) => *high = bytes.max(*high),
            None => self.reserved_bytes.push((device, bytes)),
        }
    }
}

impl Observer for StepHighs {
    #[inline]
    fn observe(&mut self, observed: &Observed<'_>) {
        match observed {
            Observed::Event { device, .. } => {
                if let Some(bytes) = device.reserved_bytes {
                    self.open.iter_mut().for_each(|step| step.raise_reserved(device.device, bytes));
                }
            }
            Observed::Step { step, .. } => {
                let is_it = |open: &StepHigh| open.step == step.step && open.begin_nanos == step.begin_nanos;
                if let Some(at) = self.open.iter().rposition(is_it) {
                    self.ended.push(self.open.remove(at));
                    if self.just_ended.1.take().is_some() {
                        self.just_ended.0 = 0;
                    }
                    self.just_ended.0 += 1;
                }
            }
            Observed::Checkpoint { row, devices } => {
                // What ends with a checkpoint is told before it.
                if self.just_ended.1.replace(row.seq).is_some() {
                    self.just_ended.0 = 0;
                }
                if row.kind == Some(CheckpointKind::StepBegin) {
                    let reserved =
                        devices.iter().filter_map(|device| Some((device.device, device.reserved_bytes?)));
                    self.open.push(StepHigh {
                        step: row.step.unwrap_or(0),
                        begin_nanos: row.time_nanos,
                        reserved_bytes: reserved.collect(),
                        rss_bytes: None,
                    });
                }
            }
            Observed::Sample(sample) if sample.is_rss() => {
                let (count, end_seq) = self.just_ended;
                let first =
                    if end_seq == Some(sample.seq) { self.ended.len() - count } else { self.ended.len() };
                for step in self.open.iter_mut().chain(&mut self.ended[first..]) {
                    step.rss_bytes = step.rss_bytes.max(Some(sample.value as i64));
                }
            }
            Observed::Sample(_) | Observed::NodeSample(_) | Observed::Phase(_) => {}
        }
    }
}
