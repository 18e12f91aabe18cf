//! One alert that is being watched, with its state on each device and process.

use std::time::Duration;

use super::alert::{Alert, Growth};
use super::crossing::Crossing;
use super::growth::SlopeWindow;
use super::latch::{Latch, Rule};
use super::watch::Observation;

/// Devices and processes that one alert is watched on at once.
pub(super) const MOST_STATES: usize = 1024;
/// When there are that many, what was not observed for so long gives way: its process has ended.
const STALE_NANOS: u64 = 60_000_000_000;

/// An alert and where it stands.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) alert: Alert,
    index: usize,
    rule: Rule,
    /// Sorted by device and pid.
    states: Vec<State>,
    /// Where totals that `%` is of are kept.
    pub(super) total: Option<usize>,
    /// Readings that had no place.
    pub(super) ignored: u64,
    pub(super) was_observed: bool,
    pub(super) was_evaluated: bool,
}

/// An alert's state on one device or process.
#[derive(Debug)]
struct State {
    device: i16,
    pid: Option<u32>,
    observed_nanos: u64,
    latch: Latch,
    /// Of `growth`.
    window: Option<SlopeWindow>,
    /// The newest reading since the last step.
    since_step: Option<f64>,
}

impl Watched {
    pub(super) fn new(alert: Alert, index: usize, total: Option<usize>) -> Self {
        let rule = Rule::of(&alert);
        let states = Vec::new();
        Self { alert, index, rule, states, total, ignored: 0, was_observed: false, was_evaluated: false }
    }

    /// Takes a reading of its metric.
    pub(super) fn observe(
        &mut self,
        observation: &Observation<'_>,
        total: Option<f64>,
        scratch: &mut Vec<f64>,
    ) -> Option<Crossing> {
        if self.alert.device.is_some_and(|device| device != observation.device) {
            return None;
        }
        self.was_observed = true;
        let at = self.state(observation)?;
        let state = self.states.get_mut(at)?;
        let now_nanos = observation.monotonic_nanos;
        state.observed_nanos = now_nanos;
        let value = match (self.alert.growth, &mut state.window) {
            (Some(Growth::PerTime { unit, .. }), Some(window)) => {
                let is_taken = window.push(now_nanos, observation.value);
                let slope = is_taken.then(|| window.slope(scratch)).flatten()?;
                slope * unit.nanos() as f64
            }
            (Some(_), _) => {
                state.since_step = Some(observation.value);
                return None;
            }
            (None, _) => observation.value,
        };
        self.evaluate(at, now_nanos, value, total)
    }

    /// A step has ended: what grows per step is looked at.
    pub(super) fn step_ended(
        &mut self,
        steps: u64,
        now_nanos: u64,
        total_of: impl Fn(usize, i16) -> Option<f64>,
        scratch: &mut Vec<f64>,
        out: &mut Vec<Crossing>,
    ) {
        if !matches!(self.alert.growth, Some(Growth::PerStep { .. })) {
            return;
        }
        for at in 0..self.states.len() {
            let Some(state) = self.states.get_mut(at) else { return };
            let device = state.device;
            // A step without a reading is no point: the reading before says nothing of it.
            let Some(value) = state.since_step.take() else { continue };
            let Some(window) = &mut state.window else { continue };
            let Some(slope) = window.push(steps, value).then(|| window.slope(scratch)).flatten() else {
                continue;
            };
            let total = self.total.and_then(|total| total_of(total, device));
            out.extend(self.evaluate(at, now_nanos, slope, total));
        }
    }

    fn evaluate(&mut self, at: usize, now_nanos: u64, value: f64, total: Option<f64>) -> Option<Crossing> {
        let threshold = self.alert.threshold(total)?;
        self.was_evaluated = true;
        let state = self.states.get_mut(at)?;
        let kind = state.latch.update(self.rule, now_nanos, value, threshold)?;
        let (alert, device, pid) = (self.index, state.device, state.pid);
        Some(Crossing { alert, device, pid, kind, value, threshold, total })
    }

    /// Of all that grows.
    #[cfg(test)]
    pub(super) fn capacities(&self) -> Vec<usize> {
        let windows = self.states.iter().filter_map(|state| state.window.as_ref());
        std::iter::once(self.states.capacity()).chain(windows.map(SlopeWindow::capacity)).collect()
    }

    /// Where the state of that device and process is; made if there is room.
    fn state(&mut self, observation: &Observation<'_>) -> Option<usize> {
        let key = (observation.device, observation.pid);
        let place = self.states.binary_search_by_key(&key, |state| (state.device, state.pid));
        let Err(mut at) = place else { return place.ok() };
        if self.states.len() >= MOST_STATES {
            let Some(stale) = self.stalest(observation.monotonic_nanos) else {
                self.ignored += 1;
                return None;
            };
            self.states.remove(stale);
            at -= usize::from(stale < at);
        }
        let state = State {
            device: observation.device,
            pid: observation.pid,
            observed_nanos: observation.monotonic_nanos,
            latch: Latch::default(),
            window: self.alert.growth.map(|growth| SlopeWindow::new(span(growth))),
            since_step: None,
        };
        self.states.insert(at, state);
        Some(at)
    }

    fn stalest(&self, now_nanos: u64) -> Option<usize> {
        let (at, state) = self.states.iter().enumerate().min_by_key(|(_, state)| state.observed_nanos)?;
        (now_nanos.saturating_sub(state.observed_nanos) > STALE_NANOS).then_some(at)
    }
}

/// From the first point of the window to the last.
fn span(growth: Growth) -> u64 {
    match growth {
        // The ends of the last N steps: from the first of them to the last it is one less.
        Growth::PerStep { steps } => u64::from(steps.saturating_sub(1)),
        Growth::PerTime { window, .. } => nanos(window),
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
