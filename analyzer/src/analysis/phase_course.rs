//! What each phase and each step changes, one by one: means hide whether something happens once or each time.

use std::collections::HashMap;

use crate::replay::{DeviceSpan, EndedPhase, Observed, Observer, Outcome, PhaseClass, Window};

/// Changes of allocated on one device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeviceCourse {
    /// From the begin to the end of each complete step.
    steps: Vec<i64>,
    /// When each forward begins.
    forward_starts: Vec<i64>,
    /// Over each complete phase.
    phases: HashMap<PhaseClass, Vec<i64>>,
}

impl DeviceCourse {
    /// What a step leaves once it goes as it always does; `None` of fewer than three. Without steps it lies between one
    /// forward and the next.
    #[must_use]
    pub fn steady_step_bytes(&self) -> Option<i64> {
        if self.steps.len() >= FEWEST_STEPS {
            return steady(&self.steps);
        }
        let between: Vec<i64> = self.forward_starts.windows(2).map(|pair| pair[1] - pair[0]).collect();
        if between.len() >= FEWEST_STEPS { steady(&between) } else { None }
    }

    /// What a phase of that class leaves once it goes as it always does, and how many there are.
    #[must_use]
    pub fn steady_phase_bytes(&self, class: PhaseClass) -> Option<(i64, usize)> {
        let changes = self.phases.get(&class)?;
        Some((steady(changes)?, changes.len()))
    }
}

/// Steps from which it can be told what they always do.
const FEWEST_STEPS: usize = 3;

/// The lower median of all but the first, which brings what stays: state, workspaces, caches. Every second change may
/// undo the one before, as where gradients accumulate over two steps: then the lower one has the word.
fn steady(changes: &[i64]) -> Option<i64> {
    let mut later = match changes {
        [] => return None,
        [only] => vec![*only],
        [_, later @ ..] => later.to_vec(),
    };
    later.sort_unstable();
    later.get((later.len() - 1) / 2).copied()
}

/// Observes steps and phases.
#[derive(Debug)]
pub struct PhaseCourse {
    window: Window,
    devices: Vec<DeviceCourse>,
}

impl PhaseCourse {
    /// Of what ends inside of `window`.
    #[must_use]
    pub fn new(window: Window) -> Self {
        Self { window, devices: Vec::new() }
    }

    /// By device.
    #[must_use]
    pub fn finish(self, outcome: &Outcome) -> HashMap<i16, DeviceCourse> {
        let numbers = outcome.devices.iter().map(|device| device.device);
        numbers.zip(self.devices).collect()
    }

    fn of(&mut self, spans: &[DeviceSpan]) -> impl Iterator<Item = &mut DeviceCourse> {
        self.devices.resize_with(self.devices.len().max(spans.len()), DeviceCourse::default);
        self.devices.iter_mut().take(spans.len())
    }

    fn phase(&mut self, phase: &EndedPhase) {
        let Some(class) = PhaseClass::of(&phase.name).filter(|_| phase.is_complete) else { return };
        for (course, span) in self.of(&phase.devices).zip(&phase.devices) {
            course.phases.entry(class).or_default().push(span.end_bytes - span.start_bytes);
            if class == PhaseClass::Forward {
                course.forward_starts.push(span.start_bytes);
            }
        }
    }
}

impl Observer for PhaseCourse {
    #[inline]
    fn observe(&mut self, observed: &Observed<'_>) {
        match observed {
            Observed::Phase(phase) if self.window.contains(phase.end_nanos) => self.phase(phase),
            Observed::Step { step, .. } if step.is_complete && self.window.contains(step.end_nanos) => {
                for (course, span) in self.of(&step.devices).zip(&step.devices) {
                    course.steps.push(span.end_bytes - span.start_bytes);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_once_or_is_undone_is_not_steady() {
        assert_eq!(steady(&[500, 0, 0, 0]), Some(0), "state comes with the first step");
        assert_eq!(steady(&[90, -90, 90, -90, 90]), Some(-90), "gradients accumulate over two");
        assert_eq!(steady(&[0, 80, 80, 81]), Some(80));
        assert_eq!((steady(&[7]), steady(&[])), (Some(7), None));
        let few = DeviceCourse { steps: vec![5, 5], ..DeviceCourse::default() };
        assert_eq!(few.steady_step_bytes(), None);
        let only_forwards = DeviceCourse { forward_starts: vec![0, 9, 14, 19], ..DeviceCourse::default() };
        assert_eq!(only_forwards.steady_step_bytes(), Some(5));
    }
}
