//! Plans from made-up readings whose law is known.

use std::collections::BTreeMap;

use serde_json::json;

use super::*;

const MIB: i64 = 1 << 20;

fn readings(run: &str, sizes: &[i64], bytes: impl Fn(i64) -> i64) -> RunReadings {
    let reading = |&size: &i64| Reading {
        batch_size: Some(size),
        bytes: bytes(size),
        steps: 3,
        phases: BTreeMap::new(),
    };
    RunReadings {
        run: run.to_owned(),
        process: ProcessId { rank: 0, process: 0 },
        device: 0,
        measure: Measure::AcceleratorAllocated,
        is_reserved: false,
        readings: sizes.iter().map(reading).collect(),
        peak_bytes: sizes.iter().map(|size| bytes(*size)).max().unwrap_or(0),
        reserved_bytes: None,
        total_bytes: Some(100 << 20),
        is_cut_short: false,
        notes: Vec::new(),
    }
}

fn request() -> PlanRequest {
    PlanRequest {
        key: BATCH_SIZE.to_owned(),
        values: Vec::new(),
        budget_bytes: None,
        headroom_share: 0.0,
        ignored_keys: Vec::new(),
        at: None,
    }
}

fn config(value: serde_json::Value) -> Config {
    value.as_object().cloned().unwrap_or_default().into_iter().collect()
}

fn line(size: i64) -> i64 {
    (20 + 3 * size) * MIB
}

#[test]
fn the_answer_is_the_last_that_fits() {
    let config = Config::new();
    let runs =
        [4, 8].map(|size| PlanRun { readings: readings(&size.to_string(), &[size], line), config: &config });
    let found = plan(&runs, &request()).unwrap();
    assert_eq!((found.budget_bytes, found.limit), (100 * MIB, 32), "the device's memory is the budget");
    assert_eq!(found.answer, Answer::Largest(26), "20 + 26·3 = 98, and 101 is too much");
    let xs: Vec<(i64, bool)> = found.candidates.iter().map(|of| (of.x, of.fits)).collect();
    assert_eq!(
        xs,
        [(1, true), (2, true), (4, true), (8, true), (16, true), (24, true), (26, true), (32, false)]
    );
    for candidate in &found.candidates {
        assert_eq!(candidate.peak.bytes, line(candidate.x));
        assert_eq!(candidate.measured_bytes.is_some(), [4, 8].contains(&candidate.x));
    }
    assert!(found.points.iter().all(|point| point.residual_bytes == 0));
    assert!(found.notes.iter().any(|note| note.contains("how far it may be off")), "{:?}", found.notes);

    let of = |bytes: i64, headroom_share| {
        plan(&runs, &PlanRequest { budget_bytes: Some(bytes), headroom_share, ..request() }).unwrap().answer
    };
    assert_eq!(of(100 * MIB, 0.1), Answer::Largest(23), "20 + 23·3 = 89");
    assert_eq!(of(98 * MIB, 0.0), Answer::Largest(26), "to the byte");
    assert_eq!(of(98 * MIB - 1, 0.0), Answer::Largest(25));
    assert_eq!(of(1 << 40, 0.0), Answer::AtLeast(32), "of more nothing is claimed");
    assert_eq!(of(22 * MIB, 0.0), Answer::Nothing);
}

#[test]
fn a_run_whose_steps_differ_is_enough() {
    let config = Config::new();
    let runs = [PlanRun { readings: readings("one", &[2, 4, 8], line), config: &config }];
    let found = plan(&runs, &request()).unwrap();
    assert_eq!((found.points.len(), found.answer), (3, Answer::Largest(26)));
    assert!(found.model.at(16.0).interval_bytes.is_some_and(|(low, high)| high - low < 10));
}

#[test]
fn an_interval_is_counted_with_and_what_was_measured_is_believed() {
    let config = Config::new();
    let uneven = |size: i64| line(size) + if size == 4 { 2 * MIB } else { 0 };
    let runs = [PlanRun { readings: readings("one", &[2, 4, 8], uneven), config: &config }];
    let found = plan(&runs, &PlanRequest { budget_bytes: Some(46 * MIB), ..request() }).unwrap();
    assert_eq!(found.answer, Answer::Largest(8), "the band is wide, but 8 was seen to take 44 MiB");
    let upper = found.model.at(8.0).upper_bytes();
    assert!(upper > 46 * MIB, "{upper}");
}

#[test]
fn each_phase_has_a_line_of_its_own() {
    // The optimizer has the peak of small batches; a line through both peaks would say 72 MiB for 32.
    let config = Config::new();
    let runs = [4, 8].map(|size| {
        let mut of = readings(&size.to_string(), &[size], |size| (10 + 4 * size).max(40) * MIB);
        let phases = [("backward", 10 + 4 * size), ("optimizer", 40)];
        of.readings[0].phases = phases.map(|(name, mib)| (name.to_owned(), mib * MIB)).into();
        PlanRun { readings: of, config: &config }
    });
    let found = plan(&runs, &request()).unwrap();
    let at = |x: f64| (found.model.at(x).bytes / MIB, found.model.at(x).phase);
    assert_eq!(at(2.0), (40, Some("optimizer".to_owned())));
    assert_eq!(at(32.0), (138, Some("backward".to_owned())));
    assert_eq!(found.answer, Answer::Largest(22));
    let deciding: Vec<_> = found.model.deciding().iter().map(|fit| fit.phase.as_deref()).collect();
    assert_eq!(deciding, [Some("optimizer"), Some("backward")]);
}

#[test]
fn what_differs_besides_is_named() {
    let configs = [
        json!({"sequence_length": 128, "lr": 0.1, "name": "a", "amp": true}),
        json!({"sequence_length": 256, "lr": 0.2, "name": "b", "amp": true}),
    ]
    .map(config);
    let runs = [(4, &configs[0]), (8, &configs[1])]
        .map(|(size, config)| PlanRun { readings: readings(&size.to_string(), &[size], line), config });
    let refusal = plan(&runs, &request()).unwrap_err().to_string();
    assert!(refusal.contains("differ in sequence_length (128, 256) too"), "{refusal}");
    assert!(!refusal.contains("lr") && !refusal.contains("name ("), "{refusal}");
    let ignored_keys = vec!["sequence_length".to_owned()];
    assert!(plan(&runs, &PlanRequest { ignored_keys, ..request() }).is_ok());
    let by_length = PlanRequest { key: "sequence_length".to_owned(), ..request() };
    let refusal = plan(&runs, &by_length).unwrap_err().to_string();
    assert!(refusal.contains("differ in batch_size (4, 8) too"), "steps tell it: {refusal}");
}

#[test]
fn sizes_come_from_steps_then_the_configuration_then_the_user() {
    let configs = [json!({"batch_size": 4}), json!({"batch_size": 8.0})].map(config);
    let untold = |config| {
        let mut of = readings("run", &[1], |_| line(4));
        of.readings[0].batch_size = None;
        PlanRun { readings: of, config }
    };
    let mut runs = configs.iter().map(untold).collect::<Vec<_>>();
    runs[1].readings.readings[0].bytes = line(8);
    assert_eq!(plan(&runs, &request()).unwrap().answer, Answer::Largest(26));
    let said = PlanRequest { values: vec![40.0, 80.0], ..request() };
    assert_eq!(plan(&runs, &said).unwrap().points[1].x, 80.0);
    let short = PlanRequest { values: vec![40.0], ..request() };
    assert_eq!(plan(&runs, &short), Err(PlanRefusal::ValueCount { values: 1, runs: 2 }));
    let nothing = Config::new();
    let runs = [untold(&nothing), untold(&nothing)];
    assert!(matches!(plan(&runs, &request()), Err(PlanRefusal::NoValue { .. })));
    let mut budgetless = runs;
    budgetless.iter_mut().for_each(|run| run.readings.total_bytes = None);
    budgetless[1].readings.readings[0].bytes = line(8);
    let said = PlanRequest { values: vec![4.0, 8.0], ..request() };
    assert_eq!(plan(&budgetless, &said), Err(PlanRefusal::NoBudget));
}

#[test]
fn steps_of_other_sizes_do_not_count_where_they_are_not_meant() {
    let mut first = readings("first", &[3, 8], line);
    first.readings.push(Reading { batch_size: None, bytes: MIB, steps: 2, phases: BTreeMap::new() });
    let second = readings("second", &[5, 8], |size| 2 * line(size));
    let configs =
        [json!({"length": 10, "batch_size": 8}), json!({"length": 40, "batch_size": 8})].map(config);
    let runs = [first, second].into_iter().zip(&configs);
    let runs: Vec<PlanRun<'_>> = runs.map(|(readings, config)| PlanRun { readings, config }).collect();
    let by_length = PlanRequest { key: "length".to_owned(), ..request() };
    let found = plan(&runs, &by_length).unwrap();
    let points: Vec<(f64, i64)> = found.points.iter().map(|point| (point.x, point.bytes)).collect();
    assert_eq!(points, [(10.0, line(8)), (40.0, 2 * line(8))], "of the whole batches");
    let alone = plan(&runs[..1], &request()).unwrap();
    assert_eq!(
        alone.points.iter().map(|point| point.x).collect::<Vec<_>>(),
        [3.0, 8.0],
        "what is told counts"
    );
}
