//! Comparisons of runs that are described figure by figure.

use super::*;

/// A process with nothing known of it, to be filled in.
fn process(rank: u32) -> ProcessFigures {
    ProcessFigures {
        id: ProcessId { rank, process: 0 },
        ended: Ended::Clean,
        peaks: Vec::new(),
        steps: 0,
        step_nanos: Vec::new(),
        batch_size: BatchSize::Untold,
        final_loss: None,
        by_step: Vec::new(),
        phases: Vec::new(),
        is_foreign: false,
        coverage: Vec::new(),
    }
}

fn peak(measure: Measure, device: i16, bytes: i64) -> PeakFigure {
    PeakFigure {
        measure,
        device,
        bytes,
        step: Some(3),
        phase: Some("backward".into()),
        is_lower_bound: false,
        step_bytes: vec![bytes; 5],
        by_step: Vec::new(),
        holders: Vec::new(),
    }
}

fn host(bytes: i64) -> PeakFigure {
    peak(Measure::HostAllocated, -1, bytes)
}

fn accelerator(device: i16, bytes: i64) -> PeakFigure {
    peak(Measure::AcceleratorAllocated, device, bytes)
}

fn rss(bytes: i64) -> PeakFigure {
    PeakFigure { is_lower_bound: true, ..peak(Measure::Rss, -1, bytes) }
}

fn with_peaks<const N: usize>(rank: u32, peaks: [PeakFigure; N]) -> ProcessFigures {
    ProcessFigures { peaks: peaks.into(), ..process(rank) }
}

fn with_steps(step_nanos: &[i64]) -> ProcessFigures {
    ProcessFigures { steps: step_nanos.len() + 1, step_nanos: step_nanos.to_vec(), ..process(0) }
}

fn run<const N: usize>(processes: [ProcessFigures; N]) -> RunFigures {
    RunFigures { run: "runs/x".into(), configured_batch_size: None, processes: processes.into() }
}

fn compare_all<const N: usize>(runs: [RunFigures; N]) -> Comparison {
    let names: Vec<String> = (0..N).map(|number| format!("run{number}")).collect();
    comparison(&runs, &names)
}

/// Peak and difference of the second of two runs.
fn peak_of_second(comparison: &Comparison) -> (&ComparedPeak, Option<i64>) {
    let peak = comparison.rows[1].peak.as_ref().unwrap();
    (peak, peak.bytes.delta)
}

fn time_verdict(base: &[i64], other: &[i64]) -> Option<Verdict> {
    compare_all([run([with_steps(base)]), run([with_steps(other)])]).rows[1].step_nanos.unwrap().verdict
}

#[test]
fn the_base_says_of_what_all_peaks_are_taken() {
    let base = run([with_peaks(0, [host(50), accelerator(0, 80), accelerator(1, 100), rss(900)])]);
    let other = run([with_peaks(0, [host(70), accelerator(0, 60), accelerator(1, 55), rss(990)])]);
    let compared = compare_all([base, other]);
    let of_base = compared.rows[0].peak.as_ref().unwrap();
    assert_eq!((of_base.device, of_base.bytes.value, of_base.bytes.delta), (1, 100, None));
    let (peak, delta) = peak_of_second(&compared);
    assert_eq!(
        (peak.measure, peak.device),
        (Measure::AcceleratorAllocated, 0),
        "not the host, though that is more"
    );
    assert_eq!(delta, Some(-40));
    assert_eq!(peak.bytes.delta_share, Some(-0.4));
    assert_eq!(peak.bytes.verdict, Some(Verdict::Lower));
    assert_eq!(compared.notes, Vec::<String>::new());
    assert!(!compared.is_of_several_processes);
}

#[test]
fn unlike_peaks_are_shown_without_a_difference_and_with_a_note() {
    let compared = compare_all([run([with_peaks(0, [host(100)])]), run([with_peaks(0, [rss(300)])])]);
    let (peak, delta) = peak_of_second(&compared);
    assert_eq!((peak.measure, peak.bytes.value), (Measure::Rss, 300));
    assert_eq!((delta, peak.bytes.delta_share, peak.bytes.verdict), (None, None, None));
    assert!(compared.notes[0].contains("cannot be compared"), "{:?}", compared.notes);
    assert!(compared.notes[1].contains("lower bound"), "{:?}", compared.notes);
    // What a tree takes is not what a process takes.
    let tree = peak_figure_of_tree();
    let compared = compare_all([run([with_peaks(0, [rss(100)])]), run([with_peaks(0, [tree])])]);
    assert_eq!(peak_of_second(&compared).1, None);
}

fn peak_figure_of_tree() -> PeakFigure {
    peak(Measure::TreeRss, -1, 100)
}

#[test]
fn a_resident_size_that_both_have_is_found_behind_one_that_only_one_has() {
    let base = run([with_peaks(0, [rss(100)])]);
    let other = run([with_peaks(0, [peak_figure_of_tree()]), with_peaks(1, [rss(80)])]);
    let compared = compare_all([base, other]);
    assert_eq!(peak_of_second(&compared).1, Some(-20));
    assert!(!compared.is_of_several_processes, "a launcher's process is none to choose from");
}

#[test]
fn of_several_processes_the_worst_is_shown_and_of_equals_the_first() {
    let ranks = [with_peaks(0, [host(10)]), with_peaks(1, [host(30)]), with_peaks(2, [host(30)])];
    let compared = compare_all([run(ranks)]);
    assert_eq!(compared.rows[0].peak.as_ref().unwrap().process.rank, 1);
    assert!(compared.is_of_several_processes);
}

#[test]
fn a_run_without_any_figure_is_a_row_all_the_same() {
    for runs in [
        [run([process(0)]), run([with_peaks(0, [host(1)])])],
        [run([with_peaks(0, [host(1)])]), run([process(0)])],
    ] {
        let compared = compare_all(runs);
        assert_eq!(compared.rows.len(), 2);
        assert!(compared.notes.iter().any(|note| note.contains("recorded neither")), "{:?}", compared.notes);
        assert!(
            compared.rows.iter().all(|row| row.peak.as_ref().is_none_or(|peak| peak.bytes.delta.is_none()))
        );
    }
}

#[test]
fn times_differ_where_their_bands_lie_apart() {
    // Medians 100 and 110; deviations 3 and 6: together 9.
    assert_eq!(time_verdict(&[100, 97, 103, 100, 103], &[110, 104, 116, 110, 104]), Some(Verdict::Higher));
    // And 7: together 10, the distance of the medians.
    assert_eq!(time_verdict(&[100, 97, 103, 100, 103], &[110, 103, 117, 110, 103]), Some(Verdict::Same));
    assert_eq!(time_verdict(&[100, 100, 100], &[90, 90, 90]), Some(Verdict::Lower));
    // Steady within a run, but no nearer than machines are from run to run.
    assert_eq!(time_verdict(&[100, 100, 100], &[102, 102, 102]), Some(Verdict::Same));
    assert_eq!(time_verdict(&[100, 100, 100], &[103, 103, 103]), Some(Verdict::Higher));
    // Two steps do not say how much steps vary.
    assert_eq!(time_verdict(&[100, 100, 100], &[900, 900]), None);
    assert_eq!(time_verdict(&[100, 100], &[900, 900, 900]), None);
}

#[test]
fn peaks_differ_by_more_than_jitter() {
    let verdict = |base: PeakFigure, other: PeakFigure| {
        let compared = compare_all([run([with_peaks(0, [base])]), run([with_peaks(0, [other])])]);
        compared.rows[1].peak.as_ref().unwrap().bytes.verdict
    };
    assert_eq!(verdict(host(100_000), host(100_100)), Some(Verdict::Same));
    assert_eq!(verdict(host(100_000), host(100_101)), Some(Verdict::Higher));
    let varying = PeakFigure { step_bytes: vec![60_000, 80_000, 100_000], ..host(100_000) };
    assert_eq!(verdict(varying.clone(), host(81_000)), Some(Verdict::Same));
    assert_eq!(verdict(varying, host(79_000)), Some(Verdict::Lower));
    assert_eq!(verdict(host(100), PeakFigure { step_bytes: vec![1, 1], ..host(1) }), None);
}

#[test]
fn steps_come_from_the_program_where_a_launcher_holds_the_peak() {
    let launcher = with_peaks(0, [peak_figure_of_tree()]);
    let program = ProcessFigures {
        id: ProcessId { rank: 0, process: 1 },
        batch_size: BatchSize::Constant(16),
        final_loss: Some(0.25),
        ..with_steps(&[7, 8, 9])
    };
    let row = &compare_all([run([launcher, program])]).rows[0];
    assert_eq!(row.peak.as_ref().unwrap().process.process, 0);
    assert_eq!(row.step_nanos.unwrap().value, 8);
    assert_eq!((row.steps, row.batch_size, row.final_loss), (4, Some(16), Some(0.25)));
}

#[test]
fn a_batch_size_is_that_of_all_steps_or_of_the_configuration() {
    let told = |batch_size| {
        let figures = ProcessFigures { batch_size, ..with_steps(&[1, 1, 1]) };
        let run = RunFigures { configured_batch_size: Some(4), ..run([figures]) };
        compare_all([run]).rows[0].batch_size
    };
    assert_eq!(told(BatchSize::Constant(8)), Some(8));
    assert_eq!(told(BatchSize::Untold), Some(4));
    assert_eq!(told(BatchSize::Varying), None);
}

#[test]
fn a_run_that_did_not_end_well_is_noted() {
    let killed = ProcessFigures { ended: Ended::Killed, ..with_peaks(0, [host(1)]) };
    let compared = compare_all([run([with_peaks(0, [host(1)])]), run([killed])]);
    assert_eq!(compared.notes, ["`run1` ended: killed; its figures are those up to then"]);
}
