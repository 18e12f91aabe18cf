//! What was allocated at most in each phase of the steps, by batch size.

use std::collections::{BTreeMap, BTreeSet};

use tidegauge_schemas::{CheckpointKind, EventKind};

use crate::replay::{DeviceSpan, Observed, Observer, Window};

/// Highest by phase, a value for each of the replay's devices.
type Highs = BTreeMap<String, Vec<i64>>;

/// Observes phases and the steps that they are in. Memory grows with the number of batch sizes.
#[derive(Debug)]
pub(super) struct PhaseHighs {
    window: Window,
    /// Of the phases that ended since the last step did.
    open: Highs,
    /// Of the first complete step.
    first: Option<(Option<i64>, Highs)>,
    by_size: BTreeMap<Option<i64>, Highs>,
    steps: usize,
    /// When memory last ran out.
    last_oom_nanos: Option<i64>,
    /// Whether it ran out in the window.
    pub(super) has_oom: bool,
    /// Steps in which it did, by begin and number: what they would have taken is not known.
    pub(super) oom_steps: BTreeSet<(i64, i64)>,
}

impl PhaseHighs {
    pub(super) const fn new(window: Window) -> Self {
        Self {
            window,
            open: Highs::new(),
            first: None,
            by_size: BTreeMap::new(),
            steps: 0,
            last_oom_nanos: None,
            has_oom: false,
            oom_steps: BTreeSet::new(),
        }
    }

    fn ran_out(&mut self, time_nanos: i64) {
        self.last_oom_nanos = self.last_oom_nanos.max(Some(time_nanos));
        self.has_oom |= self.window.contains(time_nanos);
    }

    /// On one of the replay's devices, in the settled steps of that batch size.
    pub(super) fn of(&self, device_index: usize, batch_size: Option<i64>) -> BTreeMap<String, i64> {
        let first = self.first.as_ref().filter(|(size, _)| {
            // As the steps themselves: the first counts where there are not enough.
            self.steps < super::SETTLED_STEPS && *size == batch_size
        });
        let mut found = BTreeMap::new();
        for highs in self.by_size.get(&batch_size).into_iter().chain(first.map(|(_, highs)| highs)) {
            for (phase, devices) in highs {
                if let Some(bytes) = devices.get(device_index) {
                    let high = found.entry(phase.clone()).or_insert(*bytes);
                    *high = (*high).max(*bytes);
                }
            }
        }
        found
    }
}

fn raise(highs: &mut Highs, phase: String, devices: impl Iterator<Item = i64>) {
    let known = highs.entry(phase).or_default();
    for (at, bytes) in devices.enumerate() {
        match known.get_mut(at) {
            Some(high) => *high = bytes.max(*high),
            None => known.push(bytes),
        }
    }
}

impl Observer for PhaseHighs {
    fn observe(&mut self, observed: &Observed<'_>) {
        match observed {
            Observed::Event { event, .. } if event.kind == Some(EventKind::Oom) => {
                self.ran_out(event.time_nanos);
            }
            Observed::Checkpoint { row, .. } if row.kind == Some(CheckpointKind::Oom) => {
                self.ran_out(row.time_nanos);
            }
            Observed::Phase(phase) if phase.step.is_some() && phase.is_complete => {
                let highs = phase.devices.iter().map(|span: &DeviceSpan| span.high_bytes);
                raise(&mut self.open, phase.name.clone(), highs);
            }
            Observed::Step { step, .. } => {
                let ended = std::mem::take(&mut self.open);
                if self.last_oom_nanos.is_some_and(|nanos| nanos >= step.begin_nanos) {
                    self.oom_steps.insert((step.begin_nanos, step.step));
                    return;
                }
                if !step.is_complete || !self.window.contains(step.end_nanos) {
                    return;
                }
                self.steps += 1;
                if self.steps == 1 {
                    self.first = Some((step.batch_size, ended));
                    return;
                }
                let known = self.by_size.entry(step.batch_size).or_default();
                for (phase, devices) in ended {
                    raise(known, phase, devices.into_iter());
                }
            }
            _ => {}
        }
    }
}
