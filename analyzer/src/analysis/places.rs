//! Where the program was at an event: its step and phase, which are known once they have ended.

use crate::replay::{EndedPhase, EndedStep, Observed, Observer};

/// Observes phases and steps as they end. Memory grows with their number.
#[derive(Debug, Clone, Default)]
pub(super) struct Places {
    phases: Vec<EndedPhase>,
    pub(super) steps: Vec<EndedStep>,
}

impl Places {
    /// Puts phases in order, after the last of them has ended.
    pub(super) fn sort(&mut self) {
        // Of phases that begin together the outer one comes first, so that a search from the end finds the inner one.
        self.phases.sort_by_key(|phase| (phase.seqs.0, std::cmp::Reverse(phase.seqs.1)));
        self.steps.sort_by_key(|step| (step.seqs.0, std::cmp::Reverse(step.seqs.1)));
    }

    /// The innermost phase around a moment, nanoseconds since 1970.
    pub(super) fn phase_at(&self, time_nanos: i64) -> Option<&str> {
        let around = |phase: &&EndedPhase| phase.begin_nanos <= time_nanos && time_nanos <= phase.end_nanos;
        self.phases.iter().rev().find(around).map(|phase| phase.name.as_str())
    }

    /// The step around a moment, nanoseconds since 1970; of several the one that ended first.
    pub(super) fn step_at(&self, time_nanos: i64) -> Option<i64> {
        let around = |step: &&EndedStep| step.begin_nanos <= time_nanos && time_nanos <= step.end_nanos;
        self.steps.iter().filter(around).min_by_key(|step| step.seqs.1).map(|step| step.step)
    }

    /// The innermost phase around `seq`.
    pub(super) fn phase_of(&self, seq: u64) -> Option<&str> {
        let after = self.phases.partition_point(|phase| phase.seqs.0 < seq);
        let around = self.phases[..after].iter().rev().find(|phase| seq <= phase.seqs.1);
        around.map(|phase| phase.name.as_str())
    }

    /// The step around `seq`.
    pub(super) fn step_of(&self, seq: u64) -> Option<&EndedStep> {
        let after = self.steps.partition_point(|step| step.seqs.0 < seq);
        self.steps[..after].iter().rev().find(|step| seq <= step.seqs.1)
    }
}

impl Observer for Places {
    fn observe(&mut self, observed: &Observed<'_>) {
        match observed {
            Observed::Phase(phase) => {
                self.phases.push(EndedPhase { devices: Vec::new(), ..(*phase).clone() });
            }
            Observed::Step { step, .. } => self.steps.push((*step).clone()),
            _ => {}
        }
    }
}
