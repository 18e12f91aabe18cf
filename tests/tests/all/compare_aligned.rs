//! `tidegauge compare`, phase by phase, step by step, rank against rank and by category, against naive counts of what was
//! really recorded.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tidegauge_analyzer::load::Rows;
use tidegauge_recorder::{self as tg, Existing, Recorder};
use tidegauge_schemas::{CheckpointKind, EventKind};
use tidegauge_tests::TraceBuilder;
use tidegauge_tests::corpus;
use tidegauge_tests::programs::{output_of, program};

use crate::compare::{built, compare, only_process, record, train};
use crate::recording::turn;

/// What a phase did in one step: highest inside, and change, of device 0.
#[derive(Debug, Clone, Copy, PartialEq)]
struct CountedPhase {
    high: i64,
    change: i64,
    nanos: i64,
}

/// Phases and peaks step by step, from nothing but the rows in the order of `seq`.
/// Phases by name, and steps with their peaks.
type Counted = (HashMap<String, Vec<CountedPhase>>, Vec<(i64, i64)>);

fn counted_phases(run: &Path) -> Counted {
    let mut rows = Vec::new();
    for batch in Rows::new(&only_process(run)).events() {
        let batch = batch.unwrap();
        let events = (0..batch.len()).map(|row| batch.row(row)).filter(|event| event.device == 0);
        rows.extend(events.map(|event| (event.seq, Err(event))));
    }
    for row in Rows::new(&only_process(run)).checkpoints() {
        let row = row.unwrap();
        rows.push((row.seq, Ok(row)));
    }
    rows.sort_by_key(|(seq, _)| *seq);
    let (mut sizes, mut sum) = (HashMap::new(), 0);
    let mut open: Vec<(String, i64, i64, i64)> = Vec::new();
    let (mut phases, mut steps): (HashMap<String, Vec<CountedPhase>>, _) = (HashMap::new(), Vec::new());
    let mut step = None;
    for (_, row) in rows {
        match row {
            Err(event) => {
                let address = event.address.unwrap();
                match event.kind.unwrap() {
                    EventKind::Alloc => {
                        sum += event.size_bytes.unwrap();
                        sizes.insert(address, event.size_bytes.unwrap());
                    }
                    _ => sum -= sizes.remove(&address).unwrap(),
                }
            }
            Ok(row) => match row.kind.unwrap() {
                CheckpointKind::SpanBegin => open.push((row.name.unwrap(), sum, sum, row.time_nanos)),
                CheckpointKind::SpanEnd => {
                    let (name, start, high, begin) = open.pop().unwrap();
                    let of = CountedPhase { high, change: sum - start, nanos: row.time_nanos - begin };
                    phases.entry(name).or_default().push(of);
                }
                CheckpointKind::StepBegin => step = Some((row.step.unwrap(), sum)),
                CheckpointKind::StepEnd => steps.extend(step.take()),
                _ => {}
            },
        }
        open.iter_mut().for_each(|(_, _, high, _)| *high = sum.max(*high));
        step.iter_mut().for_each(|(_, high)| *high = sum.max(*high));
    }
    (phases, steps)
}

fn median(mut values: Vec<i64>) -> i64 {
    values.sort_unstable();
    let (low, high) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
    low + (high - low) / 2
}

fn mean(values: &[i64]) -> i64 {
    values.iter().sum::<i64>() / values.len() as i64
}

/// Steps whose forward holds that many bytes each: the first has the optimizer's state to make.
fn record_steps(folder: &Path, name: &str, bytes: &[u64], first_number: i64) -> PathBuf {
    let recorder = Recorder::builder(folder.join(name)).start().unwrap();
    for (number, bytes) in (first_number..).zip(bytes) {
        let _step = tg::step(number);
        {
            let _forward = tg::span("forward");
            tg::alloc(0, 1, *bytes);
        }
        {
            let _backward = tg::span("backward");
            tg::alloc(0, 2, bytes / 4);
            tg::free(0, 2);
            tg::free(0, 1);
        }
        let _optimizer = tg::span("optimizer");
        if number == first_number {
            tg::alloc(0, 3, 50_000);
        }
    }
    recorder.stop().unwrap()
}

#[test]
fn phases_are_aligned_by_name_with_the_noise_of_their_steps() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let base = record_steps(folder.path(), "base", &[100_000, 104_000, 96_000, 100_000, 101_000, 99_000], 0);
    let near = record_steps(folder.path(), "near", &[101_000, 103_000, 97_000, 101_500, 100_000, 100_000], 0);
    let half = record_steps(folder.path(), "half", &[50_000, 52_000, 48_000, 50_000], 0);
    let rows = compare(&[&base, &near, &half], &["--phases"]);
    let names: Vec<_> = rows.iter().map(|row| row["phase"].as_str().unwrap()).collect();
    assert_eq!(names, [["forward"; 3], ["backward"; 3], ["optimizer"; 3]].concat(), "in the loop's order");
    for (row, run) in rows.iter().zip([&base, &near, &half].into_iter().cycle()) {
        let (phases, _) = counted_phases(run);
        let all = &phases[row["phase"].as_str().unwrap()];
        let settled = &all[1..];
        let distances =
            |values: &[i64], middle: i64| values.iter().map(|of| (of - middle).abs()).collect::<Vec<_>>();
        let highs: Vec<i64> = settled.iter().map(|of| of.high).collect();
        assert_eq!(row["count"], all.len());
        assert_eq!(row["peak_bytes"], all.iter().map(|of| of.high).max().unwrap());
        assert_eq!(row["peak_deviation_bytes"], median(distances(&highs, median(highs.clone()))));
        let changes: Vec<i64> = settled.iter().map(|of| of.change).collect();
        assert_eq!(row["change_bytes"], mean(&changes), "{row}");
        assert_eq!(row["change_deviation_bytes"], mean(&distances(&changes, mean(&changes))));
        let nanos: Vec<i64> = settled.iter().map(|of| of.nanos).collect();
        assert_eq!(row["nanos"], median(nanos.clone()));
        assert_eq!(row["deviation_nanos"], median(distances(&nanos, median(nanos.clone()))));
    }
    let of = |phase: &str, name: &str| {
        rows.iter().find(|row| row["phase"] == phase && row["configuration"] == name).unwrap()
    };
    assert_eq!(
        (&of("forward", "near")["peak_verdict"], &of("forward", "near")["change_verdict"]),
        (&"same".into(), &"same".into())
    );
    assert_eq!(
        (&of("forward", "half")["peak_verdict"], &of("forward", "half")["change_verdict"]),
        (&"lower".into(), &"lower".into())
    );
    assert_eq!(of("optimizer", "half")["change_bytes"], 0, "its state came with the first step");
    assert_eq!(of("optimizer", "half")["change_verdict"], "same");
    assert_eq!(of("forward", "base")["peak_verdict"], Value::Null);
    let text = output_of(program("tidegauge").arg("compare").args([&base, &near, &half]));
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let line =
        text.lines().map(words).find(|words| words.starts_with(&["forward".into(), "near".into()])).unwrap();
    let none = line.iter().filter(|word| *word == "none").count();
    assert!(none >= 2, "a difference within the noise is none: {line:?}");
}

#[test]
fn steps_are_aligned_by_number() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let base = record_steps(folder.path(), "base", &[1000, 2000, 3000, 4000], 0);
    let later = record_steps(folder.path(), "later", &[2000, 3600, 4000, 9000], 1);
    let rows = compare(&[&base, &later], &["--steps"]);
    let counted: Vec<HashMap<i64, i64>> =
        [&base, &later].map(|run| counted_phases(run).1.into_iter().collect()).into();
    assert_eq!(rows.len(), 6, "three steps that both have");
    for row in &rows {
        let step = row["step"].as_i64().unwrap();
        assert!((1..=3).contains(&step));
        let at = usize::from(row["configuration"] == "later");
        assert_eq!(row["peak_bytes"], counted[at][&step]);
        if at == 0 {
            assert_eq!((&row["base_bytes"], &row["delta_bytes"]), (&Value::Null, &Value::Null));
        } else {
            assert_eq!(row["base_bytes"], counted[0][&step]);
            assert_eq!(row["delta_bytes"], counted[1][&step] - counted[0][&step]);
        }
        assert_eq!((&row["loss"], &row["base_loss"]), (&Value::Null, &Value::Null), "none was told");
    }
    let furthest = compare(&[&base, &later], &["--steps", "-n", "1"]);
    let largest = rows.iter().max_by_key(|row| row["delta_bytes"].as_i64().unwrap_or(0).abs()).unwrap();
    assert_eq!((furthest.len(), &furthest[1]), (2, largest));
    let output = program("tidegauge")
        .arg("compare")
        .args([&base, &later])
        .args(["--steps", "--json"])
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("1 of the base's are not among them, and 1 are not"), "{errors}");
}

#[test]
fn categories_that_were_inferred_and_rules_say_who_changed() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let base = record(folder.path(), "base", 1600);
    let half = record(folder.path(), "half", 800);
    let by = |options: &[&str]| {
        let rows = compare(&[&base, &half], &[&["--by", "category"], options].concat());
        let of = |row: &Value| {
            (
                row["category"].as_str().unwrap().to_owned(),
                row["base_bytes"].as_i64().unwrap(),
                row["delta_bytes"].as_i64().unwrap(),
            )
        };
        rows.iter().map(of).collect::<Vec<_>>()
    };
    let found = by(&[]);
    assert_eq!(
        found,
        [("activation".to_owned(), 1600, -800)],
        "of forward, freed in backward, though nobody tagged it"
    );
    let found = by(&["--rule", "mine=conv1$"]);
    assert_eq!(found, [("activation".to_owned(), 800, -400), ("mine".to_owned(), 800, -400)]);
    let text = output_of(program("tidegauge").arg("compare").args([&base, &half]).args(["--by", "category"]));
    assert!(text.contains("activation"), "{text}");
}

#[test]
fn rank_stands_against_rank_where_one_is_chosen() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let run = |name: &str, of_ranks: [u64; 2]| {
        let run = folder.path().join(name);
        for (rank, bytes) in (0..).zip(of_ranks) {
            let recorder = Recorder::builder(&run).existing(Existing::Join).rank(rank).start().unwrap();
            train(bytes);
            recorder.stop().unwrap();
        }
        run
    };
    let (base, other) = (run("two", [400, 2000]), run("others", [1000, 600]));
    let figures = |options: &[&str], key: &str| -> Vec<(Value, Value)> {
        let rows = compare(&[&base, &other], options);
        rows.iter().map(|row| (row["rank"].clone(), row[key].clone())).collect()
    };
    let of = |pairs: [(u32, i64); 2]| pairs.map(|(rank, bytes)| (rank.into(), bytes.into()));
    let forward = |options: &[&str]| figures(&[&["--phases"], options].concat(), "peak_bytes")[..2].to_vec();
    let step = |options: &[&str]| figures(&[&["--steps"], options].concat(), "peak_bytes")[..2].to_vec();
    assert_eq!(forward(&[]), of([(1, 2000), (0, 1000)]), "the worst against the worst");
    assert_eq!(step(&[]), of([(1, 2040), (0, 1040)]));
    assert_eq!(forward(&["--rank", "1"]), of([(1, 2000), (1, 600)]), "rank against rank");
    assert_eq!(step(&["--rank", "1"]), of([(1, 2040), (1, 640)]));
    let text = output_of(program("tidegauge").arg("compare").args([&base, &other]));
    assert!(text.lines().any(|line| line.starts_with("  Phase") && line.contains("Rank")), "{text}");
    // A rank that is damaged is left out, and the others are compared.
    let part =
        std::fs::read_dir(base.join("events/rank=1/process=0")).unwrap().next().unwrap().unwrap().path();
    std::fs::write(&part, b"no parquet").unwrap();
    let output = program("tidegauge").arg("compare").args([&base, &other]).arg("--json").output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{errors}");
    assert!(errors.contains("rank 1"), "{errors}");
    let rows: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&rows[0]["rank"], &rows[0]["peak_bytes"]), (&0.into(), &440.into()));
}

#[test]
fn what_a_run_lacks_is_said_and_stays_unknown() {
    let folder = tempfile::tempdir().unwrap();
    let base = built(folder.path(), "base", 4, 0);
    let bare = TraceBuilder::new().alloc(1, 5 << 20).free(1).write(&folder.path().join("bare"));
    let rows = compare(&[&base, &bare], &["-q"]);
    assert_eq!(rows[1]["peak_delta_bytes"], (5 << 20) - (12 << 20));
    for key in ["step_nanos", "final_loss", "peak_verdict", "step_delta_nanos"] {
        assert_eq!(rows[1][key], Value::Null, "{key}");
    }
    assert_eq!(compare(&[&base, &bare], &["--phases", "-q"]).len(), 0);
    assert_eq!(compare(&[&base, &bare], &["--steps", "-q"]).len(), 0);
    let text = output_of(program("tidegauge").arg("compare").args([&base, &bare]).arg("--steps"));
    for expected in [
        "no complete steps, so neither a time per step",
        "told no loss",
        "no phases are known",
        "nothing is compared by step",
    ] {
        assert!(text.contains(expected), "{expected}:\n{text}");
    }
}

/// A snapshot that PyTorch wrote against a trace: allocations are compared, what a snapshot has not is unknown.
#[test]
fn a_snapshot_is_compared_with_a_trace_and_what_it_is_is_said() {
    let files = corpus::files("snapshots");
    let Some((snapshot, _)) = files.first() else { return };
    let folder = tempfile::tempdir().unwrap();
    let trace = built(folder.path(), "trace", 64, 0);
    let rows = compare(&[snapshot, &trace], &["-q"]);
    let summary: Value = serde_json::from_str(&output_of(
        program("tidegauge").args(["summary", "--json", "-q"]).arg(snapshot),
    ))
    .unwrap();
    let highest = summary["devices"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|of| of["peak_allocated_bytes"].as_i64())
        .max();
    assert_eq!(rows[0]["peak_bytes"].as_i64(), highest);
    assert_eq!(rows[0]["final_loss"], Value::Null);
    let text = output_of(program("tidegauge").arg("compare").args([snapshot, &trace]));
    assert!(text.contains("recorded by another tool, unlike the others"), "{text}");
}
