//! Phases of runs that are described figure by figure.

use tidegauge_schemas::process::Ended;

use super::*;
use crate::analysis::{BatchSize, Measure, PeakFigure, Verdict, comparison};

fn varying(value: i64, deviation: i64) -> Varying {
    Varying { value, deviation: Some(deviation) }
}

fn phase(name: &str, peak_bytes: Varying, change_bytes: Varying) -> PhaseFigure {
    let memory = vec![PhaseMemoryFigure { device: 0, peak_bytes, change_bytes }];
    PhaseFigure { phase: name.to_owned(), count: 6, nanos: Some(varying(100, 1)), memory }
}

fn run(measure: Measure, phases: Vec<PhaseFigure>) -> RunFigures {
    let peak = PeakFigure {
        measure,
        device: if measure.is_allocated() { 0 } else { -1 },
        bytes: 100_000,
        step: None,
        phase: None,
        is_lower_bound: false,
        step_bytes: vec![100_000; 5],
        by_step: Vec::new(),
        holders: Vec::new(),
    };
    let process = ProcessFigures {
        id: ProcessId { rank: 0, process: 0 },
        ended: Ended::Clean,
        peaks: vec![peak],
        steps: 6,
        step_nanos: vec![100; 5],
        batch_size: BatchSize::Untold,
        final_loss: None,
        by_step: Vec::new(),
        phases,
        is_foreign: false,
        coverage: Vec::new(),
    };
    RunFigures { run: "run".into(), configured_batch_size: None, processes: vec![process] }
}

fn allocated(phases: Vec<PhaseFigure>) -> RunFigures {
    run(Measure::AcceleratorAllocated, phases)
}

fn compare_all(runs: &[RunFigures]) -> PhaseComparison {
    let names: Vec<String> = (0..runs.len()).map(|number| format!("run{number}")).collect();
    phase_comparison(runs, &comparison(runs, &names).rows)
}

fn verdicts(of: &ComparedPhase) -> (Option<Verdict>, Option<Verdict>) {
    (of.peak_bytes.and_then(|of| of.verdict), of.change_bytes.and_then(|of| of.verdict))
}

#[test]
fn a_difference_counts_where_the_bands_lie_apart() {
    let base = allocated(vec![phase("forward", varying(90_000, 300), varying(60_000, 200))]);
    let other = |peak, change| allocated(vec![phase("forward", varying(peak, 300), varying(change, 200))]);
    let found = compare_all(&[base, other(90_600, 60_400), other(90_601, 60_401), other(80_000, 50_000)]);
    let all: Vec<_> = found.rows.iter().skip(1).map(verdicts).collect();
    let (same, higher, lower) = (Some(Verdict::Same), Some(Verdict::Higher), Some(Verdict::Lower));
    assert_eq!(all, [(same, same), (higher, higher), (lower, lower)]);
    assert_eq!(found.rows[1].peak_bytes.unwrap().delta, Some(600));
    assert_eq!(found.rows[0].peak_bytes.unwrap().delta, None);
    assert!(found.notes.is_empty(), "{:?}", found.notes);
}

#[test]
fn a_change_of_nothing_has_the_jitter_of_the_memory_that_there_is() {
    let step = |change| allocated(vec![phase("optimizer", varying(90_000, 0), varying(change, 0))]);
    let found = compare_all(&[step(0), step(90), step(91)]);
    assert_eq!(found.rows[1].change_bytes.unwrap().verdict, Some(Verdict::Same));
    assert_eq!(found.rows[2].change_bytes.unwrap().verdict, Some(Verdict::Higher));
    assert_eq!(found.rows[2].change_bytes.unwrap().delta_share, None, "of nothing there is no share");
}

#[test]
fn phases_that_only_one_run_has_are_said_and_not_compared() {
    let of = |names: &[&str]| {
        allocated(names.iter().map(|name| phase(name, varying(1000, 0), varying(0, 0))).collect())
    };
    let found = compare_all(&[of(&["data", "forward", "eval"]), of(&["forward", "recompute"]), of(&[])]);
    let rows: Vec<(&str, &str)> =
        found.rows.iter().map(|row| (row.phase.as_str(), row.configuration.as_str())).collect();
    assert_eq!(rows, [("forward", "run0"), ("forward", "run1")]);
    assert_eq!(
        found.notes,
        [
            "`run2`: no phases are known, nothing is compared by phase",
            "`run1` has no phase data, eval, as the base has",
            "`run1` has a phase recompute, which the base has not"
        ]
    );
    assert_eq!(compare_all(&[of(&[]), of(&[])]), PhaseComparison::default());
}

#[test]
fn unlike_memory_is_not_compared_and_times_are() {
    let base = allocated(vec![phase("forward", varying(1000, 0), varying(0, 0))]);
    let other = run(Measure::Rss, vec![phase("forward", varying(5000, 0), varying(0, 0))]);
    let found = compare_all(&[base, other]);
    assert_eq!((found.rows[1].peak_bytes, found.rows[1].device), (None, None));
    assert_eq!(found.rows[1].nanos.unwrap().verdict, Some(Verdict::Same));
}
