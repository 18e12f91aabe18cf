//! Steps of runs that are described figure by figure.

use tidegauge_schemas::layout::ProcessId;
use tidegauge_schemas::process::Ended;

use super::*;
use crate::analysis::{BatchSize, Measure, PeakFigure, ProcessFigures, StepFigure, Verdict, comparison};

/// A run whose steps have these numbers and highs.
fn run(steps: &[(i64, i64)]) -> RunFigures {
    let bytes: Vec<i64> = steps.iter().map(|(_, bytes)| *bytes).collect();
    let peak = PeakFigure {
        measure: Measure::AcceleratorAllocated,
        device: 0,
        bytes: bytes.iter().copied().max().unwrap_or(1),
        step: None,
        phase: None,
        is_lower_bound: false,
        step_bytes: bytes,
        by_step: steps.to_vec(),
        holders: Vec::new(),
    };
    let figure = |(step, bytes): &(i64, i64)| StepFigure { step: *step, nanos: Some(*bytes), loss: None };
    let process = ProcessFigures {
        id: ProcessId { rank: 0, process: 0 },
        ended: Ended::Clean,
        peaks: vec![peak],
        steps: steps.len(),
        step_nanos: Vec::new(),
        batch_size: BatchSize::Untold,
        final_loss: None,
        by_step: steps.iter().map(figure).collect(),
        phases: Vec::new(),
        is_foreign: false,
        coverage: Vec::new(),
    };
    RunFigures { run: "run".into(), configured_batch_size: None, processes: vec![process] }
}

fn compare_all(runs: &[RunFigures]) -> StepComparison {
    let names: Vec<String> = (0..runs.len()).map(|number| format!("run{number}")).collect();
    step_comparison(runs, &comparison(runs, &names).rows)
}

#[test]
fn steps_are_aligned_by_number_and_not_by_order() {
    let found = compare_all(&[run(&[(0, 100), (1, 110), (2, 120)]), run(&[(1, 115), (2, 90), (7, 1)])]);
    let deltas: Vec<_> = found
        .rows
        .iter()
        .map(|row| (row.step, row.runs[1].and_then(|of| of.peak_bytes).and_then(|bytes| bytes.delta)))
        .collect();
    assert_eq!(deltas, [(1, Some(5)), (2, Some(-30))]);
    let shown: Vec<i64> = found.most_different(1).iter().map(|row| row.step).collect();
    assert_eq!(shown, [2], "down counts as much as up");
    assert_eq!(found.rows[1].runs[0].unwrap().peak_bytes.unwrap().delta, None);
    assert_eq!(
        found.notes,
        ["`run1` has 3 steps; 1 of the base's are not among them, and 1 are not among the base's"]
    );
}

#[test]
fn a_step_that_only_some_runs_have_is_unknown_in_the_others() {
    let found = compare_all(&[run(&[(0, 10), (1, 10)]), run(&[(0, 10)]), run(&[(1, 12)]), run(&[])]);
    let known: Vec<Vec<bool>> =
        found.rows.iter().map(|row| row.runs.iter().map(Option::is_some).collect()).collect();
    assert_eq!(known, [[true, true, false, false], [true, false, true, false]]);
    assert!(
        found.notes.iter().any(|note| note == "`run3` has no complete steps: nothing is compared by step")
    );
    let found = compare_all(&[run(&[]), run(&[(0, 1)])]);
    assert!(found.rows.is_empty());
    assert!(
        found.notes.iter().any(|note| note.contains("the base has no complete steps")),
        "{:?}",
        found.notes
    );
}

#[test]
fn of_a_number_that_comes_twice_the_highest_is_compared() {
    let found = compare_all(&[run(&[(0, 10), (0, 30), (0, 20)]), run(&[(0, 30)])]);
    let base = found.rows[0].runs[0].unwrap();
    assert_eq!((base.peak_bytes.unwrap().value, base.nanos.unwrap().value), (30, 30));
    assert!(found.notes[0].contains("several steps of one number"), "{:?}", found.notes);
}

#[test]
fn noise_is_that_of_the_run_and_not_of_the_step() {
    let base = run(&[(0, 100_000), (1, 101_000), (2, 99_000), (3, 100_000)]);
    let found = compare_all(&[base.clone(), run(&[(0, 100_500), (1, 100_500), (2, 100_500), (3, 109_000)])]);
    let verdicts: Vec<Verdict> =
        found.rows.iter().map(|row| row.runs[1].unwrap().peak_bytes.unwrap().verdict.unwrap()).collect();
    assert_eq!(verdicts, [Verdict::Same, Verdict::Same, Verdict::Higher, Verdict::Higher]);
    let found = compare_all(&[base, run(&[(0, 9)])]);
    assert_eq!(found.rows[0].runs[1].unwrap().peak_bytes.unwrap().verdict, None, "one step says of no noise");
}
