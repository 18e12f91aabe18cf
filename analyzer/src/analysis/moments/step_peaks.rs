//! The peak of every step, by the rules of `peaks --step`: what was highest between the times of its checkpoints, what was
//! there when it began included.

use rustc_hash::FxHashMap;
use tidegauge_schemas::CheckpointKind;

use crate::error::Result;
use crate::load::{Process, Rows};
use crate::replay::Window;

/// The time that a step took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StepWindow {
    pub(super) step: i64,
    /// By the checkpoint, whatever part of the trace is shown.
    pub(super) begin_nanos: i64,
    pub(super) window: Window,
    /// The latest end of this one and of those before it.
    latest_end_nanos: i64,
}

/// The steps that are shown, in the order of their beginnings. A number that comes again is a further step; the first one
/// of a number is that of [`crate::analysis::step_window`].
///
/// # Errors
/// If the trace cannot be read.
pub(super) fn step_windows(process: &Process, shown: Window) -> Result<Vec<StepWindow>> {
    let mut steps: Vec<StepWindow> = Vec::new();
    // Whether it is open, by number.
    let mut known: FxHashMap<i64, Option<usize>> = FxHashMap::default();
    for row in Rows::new(process).checkpoints() {
        let row = row?;
        let is_end = match row.kind {
            Some(CheckpointKind::StepBegin) => false,
            Some(CheckpointKind::StepEnd) => true,
            _ => continue,
        };
        let Some(step) = row.step else { continue };
        let at = match known.get(&step) {
            Some(Some(at)) => *at,
            // An end without a beginning, of a step that there was.
            Some(None) if is_end => continue,
            _ => {
                let window = Window { start_nanos: row.time_nanos, end_nanos: i64::MAX };
                let begin_nanos = row.time_nanos;
                steps.push(StepWindow { step, begin_nanos, window, latest_end_nanos: 0 });
                steps.len() - 1
            }
        };
        known.insert(step, (!is_end).then_some(at));
        if is_end {
            steps[at].window.end_nanos = row.time_nanos;
        }
    }
    for step in &mut steps {
        step.window.start_nanos = step.window.start_nanos.max(shown.start_nanos);
        step.window.end_nanos = step.window.end_nanos.min(shown.end_nanos);
    }
    steps.retain(|step| step.window.start_nanos <= step.window.end_nanos);
    steps.sort_by_key(|step| step.window.start_nanos);
    let mut latest_end_nanos = i64::MIN;
    for step in &mut steps {
        latest_end_nanos = latest_end_nanos.max(step.window.end_nanos);
        step.latest_end_nanos = latest_end_nanos;
    }
    Ok(steps)
}

/// The highest moment of a stretch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct High {
    pub(super) bytes: i64,
    /// `seq` of the event that reached it first; `None` where there was none up to then.
    pub(super) seq: Option<u64>,
    /// `None` where it is what there was at the beginning.
    pub(super) time_nanos: Option<i64>,
}

/// Follows one device.
#[derive(Debug, Default)]
pub(super) struct StepPeaks {
    /// Of those steps that began up to the last event.
    highs: Vec<High>,
    /// Numbers of those among them that were not over at it.
    open: Vec<usize>,
    soonest_end_nanos: i64,
    last_nanos: i64,
    last: High,
}

impl StepPeaks {
    /// After an event; `bytes` is what is allocated now.
    #[inline]
    pub(super) fn event(&mut self, steps: &[StepWindow], seq: u64, time_nanos: i64, bytes: i64) {
        if time_nanos < self.last_nanos {
            self.step_back(steps, time_nanos);
        } else if time_nanos > self.soonest_end_nanos && !self.open.is_empty() {
            self.open.retain(|at| steps[*at].window.end_nanos >= time_nanos);
            self.find_soonest(steps);
        }
        self.last_nanos = time_nanos;
        while let Some(step) =
            steps.get(self.highs.len()).filter(|step| step.window.start_nanos <= time_nanos)
        {
            if step.window.end_nanos >= time_nanos {
                self.open.push(self.highs.len());
                self.soonest_end_nanos = match self.open.len() {
                    1 => step.window.end_nanos,
                    _ => self.soonest_end_nanos.min(step.window.end_nanos),
                };
            }
            self.highs.push(self.last);
        }
        for at in &self.open {
            let high = &mut self.highs[*at];
            if bytes > high.bytes {
                *high = High { bytes, seq: Some(seq), time_nanos: Some(time_nanos) };
            }
        }
        self.last = High { bytes, seq: Some(seq), time_nanos: None };
    }

    /// Threads' times may step back a little against each other. What lies before a step's beginning is before the step,
    /// whatever came since: the step begins anew. One that was over goes on.
    #[cold]
    fn step_back(&mut self, steps: &[StepWindow], time_nanos: i64) {
        let begun = steps[..self.highs.len()].partition_point(|step| step.window.start_nanos <= time_nanos);
        self.highs.truncate(begun);
        let may_be_open = (0..begun).rev().take_while(|at| steps[*at].latest_end_nanos >= time_nanos);
        self.open = may_be_open.filter(|at| steps[*at].window.end_nanos >= time_nanos).collect();
        self.find_soonest(steps);
    }

    fn find_soonest(&mut self, steps: &[StepWindow]) {
        let ends = self.open.iter().map(|at| steps[*at].window.end_nanos);
        self.soonest_end_nanos = ends.min().unwrap_or(i64::MAX);
    }

    /// By step, in the order of the windows. A step in which the device had no event and after which it had none has what
    /// was there.
    pub(super) fn highs(&self, steps: &[StepWindow]) -> Vec<High> {
        let mut highs = self.highs.clone();
        highs.resize(steps.len(), self.last);
        highs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(number: i64, start_nanos: i64, end_nanos: i64, latest_end_nanos: i64) -> StepWindow {
        let window = Window { start_nanos, end_nanos };
        StepWindow { step: number, begin_nanos: start_nanos, window, latest_end_nanos }
    }

    /// By the rules of the replay: for each step a pass of its own.
    fn naive(step: StepWindow, events: &[(i64, i64)]) -> High {
        let mut high = High::default();
        for (seq, &(time_nanos, bytes)) in (0..).zip(events) {
            if time_nanos <= step.window.end_nanos && bytes > high.bytes {
                high = High { bytes, seq: Some(seq), time_nanos: Some(time_nanos) };
            }
            if time_nanos < step.window.start_nanos {
                high = High { bytes, seq: Some(seq), time_nanos: None };
            }
        }
        high
    }

    #[test]
    fn times_that_step_back_change_no_peak() {
        let steps = [step(1, 10, 20, 20), step(2, 15, 60, 60), step(3, 21, 30, 60), step(4, 70, 80, 80)];
        let mut state = 7u64;
        let mut next = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((state >> 33) % below) as i64
        };
        for _ in 0..2000 {
            let events: Vec<(i64, i64)> =
                (0..next(25)).map(|at| (at * 5 + next(30) - 10, next(50))).collect();
            let mut peaks = StepPeaks::default();
            for (seq, &(time_nanos, bytes)) in (0..).zip(&events) {
                peaks.event(&steps, seq, time_nanos, bytes);
            }
            let expected: Vec<High> = steps.iter().map(|step| naive(*step, &events)).collect();
            assert_eq!(peaks.highs(&steps), expected, "{events:?}");
        }
    }
}
