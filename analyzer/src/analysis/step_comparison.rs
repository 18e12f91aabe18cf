//! Runs against a base, step by step: a step is compared with the one of the same number.

use std::collections::{BTreeMap, BTreeSet};

use super::comparison::{Compared, ComparisonRow, PEAK_FLOOR, TIME_FLOOR, compared, floor};
use super::run_figures::RunFigures;

/// A step of one run.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct StepOfRun {
    /// Highest memory, of what the comparison shows the peak of.
    pub peak_bytes: Option<Compared>,
    /// How long it took, nanoseconds.
    pub nanos: Option<Compared>,
    /// Its loss.
    pub loss: Option<f64>,
}

/// A step number, and what the runs did in it.
#[derive(Debug, Clone, PartialEq)]
pub struct ComparedStep {
    /// The number.
    pub step: i64,
    /// Run by run in the order of the comparison; `None` of a run that has no complete step of this number.
    pub runs: Vec<Option<StepOfRun>>,
}

impl ComparedStep {
    /// The largest difference of memory from the base, up or down; `None` where there is none to tell.
    #[must_use]
    pub fn largest_change_bytes(&self) -> Option<i64> {
        let deltas = self.runs.iter().flatten().filter_map(|of| of.peak_bytes?.delta);
        deltas.map(i64::abs).max()
    }
}

/// The steps that the base shares with others.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StepComparison {
    /// By number; those that the base and another run have.
    pub rows: Vec<ComparedStep>,
    /// What could not be aligned.
    pub notes: Vec<String>,
}

impl StepComparison {
    /// The `top` steps whose memory differs most, in their order; of equals the first.
    #[must_use]
    pub fn most_different(&self, top: usize) -> Vec<&ComparedStep> {
        let mut rows: Vec<&ComparedStep> = self.rows.iter().collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.largest_change_bytes()));
        rows.truncate(top);
        rows.sort_by_key(|row| row.step);
        rows
    }
}

/// Compares the steps of `runs`, of which `rows` are the comparison, with those of the first of them.
#[must_use]
pub fn step_comparison(runs: &[RunFigures], rows: &[ComparisonRow]) -> StepComparison {
    let mut notes = Vec::new();
    let mut of_runs: Vec<BTreeMap<i64, StepOfRun>> = Vec::new();
    for (run, row) in runs.iter().zip(rows) {
        let (steps, are_repeated) = steps_of(run, row);
        if are_repeated {
            notes.push(format!(
                "`{}` has several steps of one number: of each number the highest is compared",
                row.configuration
            ));
        }
        of_runs.push(steps);
    }
    let Some((base, others)) = of_runs.split_first() else { return StepComparison::default() };
    let measure = |at: usize| rows[at].peak.as_ref().map(|peak| peak.measure);
    let mut found = Vec::new();
    for (step, of_base) in base {
        if others.iter().all(|other| !other.contains_key(step)) {
            continue;
        }
        let against = |at: usize, own: &StepOfRun| {
            let base_bytes = of_base.peak_bytes.filter(|_| measure(at) == measure(0));
            let of = |own: Compared, base: Option<Compared>, share: f64| {
                compared(own.value, own.deviation, base, floor(base, share))
            };
            StepOfRun {
                peak_bytes: own.peak_bytes.map(|own| of(own, base_bytes, PEAK_FLOOR)),
                nanos: own.nanos.map(|own| of(own, of_base.nanos, TIME_FLOOR)),
                loss: own.loss,
            }
        };
        let others = others.iter().zip(1..).map(|(other, at)| other.get(step).map(|own| against(at, own)));
        found.push(ComparedStep {
            step: *step,
            runs: std::iter::once(Some(*of_base)).chain(others).collect(),
        });
    }
    for (other, row) in others.iter().zip(&rows[1..]) {
        let name = &row.configuration;
        let known: BTreeSet<&i64> = other.keys().collect();
        let missing = base.keys().filter(|step| !known.contains(step)).count();
        let own = known.iter().filter(|step| !base.contains_key(step)).count();
        match (known.is_empty(), missing, own) {
            (true, _, _) => notes.push(format!("`{name}` has no complete steps: nothing is compared by step")),
            (false, 0, 0) => {}
            (false, missing, own) => notes.push(format!(
                "`{name}` has {} steps; {missing} of the base's are not among them, and {own} are not among the base's",
                known.len()
            )),
        }
    }
    if base.is_empty() {
        notes.push("the base has no complete steps: nothing is compared by step".to_owned());
    }
    StepComparison { rows: found, notes }
}

/// The steps of a run by number, and whether a number occurs more than once.
fn steps_of(run: &RunFigures, row: &ComparisonRow) -> (BTreeMap<i64, StepOfRun>, bool) {
    let of = |id| run.processes.iter().find(move |process| process.id == id);
    let mut steps: BTreeMap<i64, StepOfRun> = BTreeMap::new();
    let mut are_repeated = false;
    let figure = |value, deviation| compared(value, deviation, None, 0);
    let time_deviation = row.step_nanos.and_then(|nanos| nanos.deviation);
    for step in row.steps_of.and_then(of).into_iter().flat_map(|process| &process.by_step) {
        are_repeated |= steps.contains_key(&step.step);
        let known = steps.entry(step.step).or_default();
        let longest = step.nanos.max(known.nanos.map(|nanos| nanos.value));
        known.nanos = longest.map(|nanos| figure(nanos, time_deviation));
        known.loss = step.loss.or(known.loss);
    }
    let Some(peak) = &row.peak else { return (steps, are_repeated) };
    let mut peaks = of(peak.process).into_iter().flat_map(|process| &process.peaks);
    let shown = peaks.find(|of| of.measure == peak.measure && of.device == peak.device);
    for (step, bytes) in shown.into_iter().flat_map(|of| &of.by_step) {
        let known = steps.entry(*step).or_default();
        let highest = known.peak_bytes.map_or(*bytes, |known| known.value.max(*bytes));
        known.peak_bytes = Some(figure(highest, peak.bytes.deviation));
    }
    (steps, are_repeated)
}

#[cfg(test)]
#[path = "step_comparison_tests.rs"]
mod tests;
