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

    /// Step and phase around each of several moments, which are in order: what [`Self::step_at`] and [`Self::phase_at`]
    /// say, without a search for each of them.
    pub(super) fn at_each(&self, times: &[i64]) -> Vec<(Option<i64>, Option<&str>)> {
        let mut steps: Vec<&EndedStep> = self.steps.iter().collect();
        steps.sort_by_key(|step| step.seqs.1);
        let step_of = first_around(times, steps.iter().map(|step| (step.begin_nanos, step.end_nanos)));
        let phases = self.phases.iter().rev();
        let phase_of = first_around(times, phases.map(|phase| (phase.begin_nanos, phase.end_nanos)));
        let last = self.phases.len().wrapping_sub(1);
        let found = |(step, phase): (Option<usize>, Option<usize>)| {
            let phase = phase.map(|at| self.phases[last - at].name.as_str());
            (step.map(|at| steps[at].step), phase)
        };
        step_of.into_iter().zip(phase_of).map(found).collect()
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

/// Of each of `times`, which are in order, the number of the first stretch around it.
fn first_around(times: &[i64], stretches: impl Iterator<Item = (i64, i64)>) -> Vec<Option<usize>> {
    let mut first = vec![None; times.len()];
    // From each time the next one that has no stretch yet, as far as is known.
    let mut next: Vec<usize> = (0..=times.len()).collect();
    for (number, (begin_nanos, end_nanos)) in stretches.enumerate() {
        let mut at = vacant(&mut next, times.partition_point(|time| *time < begin_nanos));
        while times.get(at).is_some_and(|time| *time <= end_nanos) {
            first[at] = Some(number);
            next[at] = at + 1;
            at = vacant(&mut next, at);
        }
    }
    first
}

/// Follows `next` to its end, and shortens the way for those who come after.
fn vacant(next: &mut [usize], from: usize) -> usize {
    let mut at = from;
    while next[at] != at {
        next[at] = next[next[at]];
        at = next[at];
    }
    at
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

#[cfg(test)]
mod tests {
    use super::*;

    fn step((step, begin_nanos, end_nanos): (i64, i64, i64)) -> EndedStep {
        let seqs = (begin_nanos as u64, end_nanos as u64);
        EndedStep {
            step,
            epoch: None,
            thread: 1,
            begin_nanos,
            end_nanos,
            seqs,
            loss: None,
            batch_size: None,
            devices: Vec::new(),
            is_complete: true,
        }
    }

    fn phase((name, begin_nanos, end_nanos): (&str, i64, i64)) -> EndedPhase {
        EndedPhase {
            name: name.to_owned(),
            step: None,
            thread: 1,
            begin_nanos,
            end_nanos,
            seqs: (begin_nanos as u64, end_nanos as u64),
            devices: Vec::new(),
            is_complete: true,
        }
    }

    #[test]
    fn all_moments_at_once_are_each_of_them() {
        let mut places = Places {
            phases: [("a", 5, 90), ("b", 10, 20), ("c", 10, 40), ("d", 20, 30), ("e", 60, 60)]
                .map(phase)
                .into(),
            steps: [(1, 3, 30), (2, 30, 50), (3, 10, 70), (4, 69, 69)].map(step).into(),
        };
        places.sort();
        let times: Vec<i64> = (0..100).flat_map(|time| [time, time]).collect();
        let singly: Vec<_> =
            times.iter().map(|time| (places.step_at(*time), places.phase_at(*time))).collect();
        assert_eq!(places.at_each(&times), singly);
        assert_eq!(places.at_each(&[]), []);
        assert_eq!(Places::default().at_each(&[7]), [(None, None)]);
    }
}
