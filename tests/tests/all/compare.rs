//! `tidegauge compare`: runs that were really recorded, their figures counted once more from the rows.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tidegauge_analyzer::load::{Process, Rows};
use tidegauge_recorder::{self as tg, Existing, Recorder};
use tidegauge_schemas::{CheckpointKind, EventKind, Trace};
use tidegauge_tests::TraceBuilder;
use tidegauge_tests::programs::{output_of, program};

use crate::launched::Launched;
use crate::recording::turn;

pub(crate) fn compare(runs: &[&Path], options: &[&str]) -> Vec<Value> {
    let text = output_of(program("tidegauge").arg("compare").args(runs).args(options).arg("--json"));
    serde_json::from_str(&text).unwrap()
}

pub(crate) fn only_process(run: &Path) -> Process {
    let trace = Trace::open(run).unwrap();
    trace.process(trace.processes()[0]).unwrap().into()
}

/// The highest sum of what was alive on a device, from nothing but allocations and frees.
fn counted_peak(run: &Path, device: i16) -> i64 {
    let (mut alive, mut sum, mut peak) = (HashMap::new(), 0, 0);
    for batch in Rows::new(&only_process(run)).events() {
        let batch = batch.unwrap();
        for event in (0..batch.len()).map(|row| batch.row(row)).filter(|event| event.device == device) {
            match event.kind.unwrap() {
                EventKind::Alloc => {
                    let bytes = event.size_bytes.unwrap();
                    assert_eq!(alive.insert(event.address.unwrap(), bytes), None);
                    sum += bytes;
                }
                EventKind::Free => sum -= alive.remove(&event.address.unwrap()).unwrap_or(0),
                kind => panic!("{kind:?}"),
            }
            peak = peak.max(sum);
        }
    }
    peak
}

/// How long each step took, without the first, shortest first.
fn counted_step_nanos(run: &Path) -> Vec<i64> {
    let mut begun = HashMap::new();
    let mut nanos = Vec::new();
    for row in Rows::new(&only_process(run)).checkpoints() {
        let row = row.unwrap();
        match row.kind.unwrap() {
            CheckpointKind::StepBegin => drop(begun.insert(row.step.unwrap(), row.time_nanos)),
            CheckpointKind::StepEnd => nanos.push(row.time_nanos - begun[&row.step.unwrap()]),
            _ => {}
        }
    }
    nanos.remove(0);
    nanos.sort_unstable();
    nanos
}

/// Records [`train`] into `FOLDER/NAME`.
pub(crate) fn record(folder: &Path, name: &str, bytes: u64) -> PathBuf {
    let recorder = Recorder::builder(folder.join(name)).config("label", name).start().unwrap();
    train(bytes);
    recorder.stop().unwrap()
}

/// Six steps whose peak is `bytes` of forward and 40 more of backward.
pub(crate) fn train(bytes: u64) {
    for number in 0..6 {
        let mut step = tg::step(number);
        step.set_batch_size(bytes / 100);
        {
            let _forward = tg::span("forward");
            for (address, site) in (1..).zip(["net.conv1", "net.conv2"]) {
                let _site = tg::site(site);
                tg::alloc(0, address, bytes / 2);
            }
        }
        {
            let _backward = tg::span("backward");
            let _site = tg::site("gradients");
            tg::alloc(0, 3, 40);
            (1..4).for_each(|address| tg::free(0, address));
        }
        step.set_loss(bytes as f64 / (number + 1) as f64);
    }
}

#[test]
fn figures_are_those_of_the_recorded_rows() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let base = record(folder.path(), "Baseline", 1600);
    let half = record(folder.path(), "half", 800);
    let rows = compare(&[&base, &half, &base], &[]);
    assert_eq!(rows.len(), 3);
    let expected = [(&base, "Baseline", 1600), (&half, "half", 800), (&base, "Baseline #2", 1600)];
    for (row, (run, name, bytes)) in rows.iter().zip(expected) {
        assert_eq!(row["configuration"], name, "and names differ even for the same run");
        assert_eq!(row["peak_bytes"], counted_peak(run, 0));
        assert_eq!(row["peak_bytes"], bytes + 40, "and as it was told");
        assert_eq!((&row["curve"], &row["device"]), (&"allocated".into(), &0.into()));
        assert_eq!(row["peak_phase"], "backward");
        assert_eq!(row["batch_size"], bytes / 100);
        assert_eq!(row["final_loss"], bytes as f64 / 6.0);
        assert_eq!((&row["steps"], &row["ended"]), (&6.into(), &"clean".into()));
        let nanos = counted_step_nanos(run);
        assert_eq!(row["step_nanos"], nanos[2], "the middle of five");
        let mut distances: Vec<i64> = nanos.iter().map(|one| (one - nanos[2]).abs()).collect();
        distances.sort_unstable();
        assert_eq!(row["step_deviation_nanos"], distances[2]);
    }
    assert_eq!(rows[0]["peak_delta_bytes"], Value::Null);
    assert_eq!(rows[1]["peak_delta_bytes"], -800);
    assert_eq!(rows[1]["peak_delta_share"], -800.0 / 1640.0);
    assert_eq!(rows[1]["peak_verdict"], "lower");
    assert_eq!((&rows[2]["peak_delta_bytes"], &rows[2]["verdict"]), (&0.into(), &"same".into()));

    let by = |by: &str| compare(&[&base, &half], &["--by", by]);
    let changed = |row: &Value, key: &str| {
        (row[key].as_str().unwrap().to_owned(), row["base_bytes"].as_i64(), row["delta_bytes"].as_i64())
    };
    let sites: Vec<_> = by("site").iter().map(|row| changed(row, "site")).collect();
    let expected = |name: &str, base, delta| (name.to_owned(), Some(base), Some(delta));
    assert_eq!(sites, [expected("net.conv1", 800, -400), expected("net.conv2", 800, -400)]);
    let modules: Vec<_> = by("module").iter().map(|row| changed(row, "module")).collect();
    assert_eq!(modules, [expected("net", 1600, -800)]);
    let phases: Vec<_> = by("phase").iter().map(|row| changed(row, "phase")).collect();
    assert_eq!(phases, [expected("forward", 1600, -800)]);
    assert_eq!(compare(&[&base, &half], &["--by", "site", "-n", "1"]).len(), 1);
    assert_eq!(compare(&[&base, &half], &["--end", "0"])[0]["steps"], 0, "no step ends that early");
}

#[test]
fn of_ranks_the_worst_is_compared_unless_one_is_chosen() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().join("two");
    for (rank, bytes) in [(0, 400), (1, 2000)] {
        let builder = Recorder::builder(&base).existing(Existing::Join).rank(rank);
        let recorder = builder.start().unwrap();
        train(bytes);
        recorder.stop().unwrap();
    }
    let other = record(folder.path(), "one", 1000);
    let rows = compare(&[&base, &other], &[]);
    assert_eq!((&rows[0]["rank"], &rows[0]["peak_bytes"]), (&1.into(), &2040.into()));
    assert_eq!(rows[1]["peak_delta_bytes"], -1000);
    let rows = compare(&[&base, &other], &["--rank", "0"]);
    assert_eq!((&rows[0]["rank"], &rows[0]["peak_bytes"]), (&0.into(), &440.into()));
    let text = output_of(program("tidegauge").arg("compare").arg(&base).arg(&other));
    assert!(text.contains("Rank"), "whose figures they are is shown:\n{text}");
    // The resident size is the host's: nothing is known of a device that was not used.
    assert_eq!(compare(&[&base, &other], &["--device", "3"])[0]["peak_bytes"], Value::Null);
}

#[test]
fn resident_sizes_are_compared_with_each_other_and_never_with_allocations() {
    let toucher = |mebibytes: u64| {
        let launched = Launched::new().option(&["--interval", "10ms"]);
        let mut launcher = launched.start("memory-toucher", &[&mebibytes.to_string()]);
        launched.end(1);
        assert!(launcher.wait().unwrap().success(), "{}", launched.errors());
        let kernel_bytes = launched.counts().get(1) as i64 * 1024;
        (launched, kernel_bytes)
    };
    let ((small, small_bytes), (large, large_bytes)) = (toucher(40), toucher(140));
    let rows = compare(&[&small.run, &large.run], &[]);
    let close = |found: &Value, truth: i64| {
        let off = found.as_i64().unwrap() - truth;
        assert!(off.abs() < 2 << 20, "{found} against {truth}");
    };
    for (row, truth) in rows.iter().zip([small_bytes, large_bytes]) {
        assert_eq!((&row["curve"], &row["device"]), (&"tree_rss".into(), &(-1).into()));
        close(&row["peak_bytes"], truth);
        assert_eq!((&row["step_nanos"], &row["final_loss"]), (&Value::Null, &Value::Null));
    }
    close(&rows[1]["peak_delta_bytes"], large_bytes - small_bytes);
    assert_eq!(rows[1]["verdict"], Value::Null, "without steps nobody knows how much it varies");

    let allocated = tempfile::tempdir().unwrap();
    let allocated = TraceBuilder::new().alloc(1, 100).free(1).write(allocated.path());
    let mut command = program("tidegauge");
    let output =
        command.arg("compare").args([&allocated, &small.run]).args(["--format", "csv"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("cannot be compared"), "{errors}");
    let row = &compare(&[&allocated, &small.run], &["-q"])[1];
    close(&row["peak_bytes"], small_bytes);
    assert_eq!((&row["peak_delta_bytes"], &row["peak_delta_share"]), (&Value::Null, &Value::Null));
    let text = output_of(program("tidegauge").arg("compare").args([&allocated, &small.run]));
    assert!(text.contains("process tree rss") && text.contains("cannot be compared"), "{text}");
}

#[test]
fn a_training_program_takes_less_with_half_the_batch() {
    let folder = tempfile::tempdir().unwrap();
    let train = |batch_size: &str| {
        let run = folder.path().join(batch_size);
        let small =
            ["--cells", "32", "--channels", "8", "--simulations", "4", "--frames", "16", "--epochs", "2"];
        let mut command = program("burgers");
        command.arg("--run").arg(&run).args(small).args(["--rollout-steps", "2", "--batch-size", batch_size]);
        let _ = output_of(&mut command);
        run
    };
    let (whole, half) = (train("16"), train("8"));
    let rows = compare(&[&whole, &half], &[]);
    for (row, run) in rows.iter().zip([&whole, &half]) {
        assert_eq!(row["peak_bytes"], counted_peak(run, -1));
        let nanos = counted_step_nanos(run);
        let (low, high) = (nanos[(nanos.len() - 1) / 2], nanos[nanos.len() / 2]);
        assert!((low..=high).contains(&row["step_nanos"].as_i64().unwrap()), "{row}");
    }
    let share = rows[1]["peak_delta_share"].as_f64().unwrap();
    assert!((-0.55..-0.35).contains(&share), "most of it scales with the batch: {share}");
    assert_eq!(rows[1]["peak_verdict"], "lower");
    for by in ["site", "module", "phase", "size"] {
        let changed = compare(&[&whole, &half], &["--by", by]);
        let sum: i64 = changed.iter().map(|row| row["delta_bytes"].as_i64().unwrap()).sum();
        assert_eq!(rows[1]["peak_delta_bytes"], sum, "by {by}: who changed makes up the difference");
    }
}

/// Steps of a loop: blocks of forward live until backward, `recomputed` more rows make a step longer.
pub(crate) fn built(folder: &Path, name: &str, mebibytes: u64, recomputed: usize) -> PathBuf {
    let bytes = mebibytes << 20;
    let step = |builder: TraceBuilder, number: i64| {
        builder.step(number, 1.0 / (number + 1) as f64, |step| {
            let step = step.span("forward", |inside| {
                let inside = inside.event(EventKind::Alloc, 1, Some(bytes), Some("net.block1"));
                inside.event(EventKind::Alloc, 2, Some(8 << 20), Some("net.block2"))
            });
            step.span("backward", |inside| {
                let recomputing = |inside: TraceBuilder, _| {
                    inside.event(EventKind::Alloc, 3, Some(2 << 20), Some("net.recomputed")).free(3)
                };
                (0..recomputed).fold(inside, recomputing).free(1).free(2)
            })
        })
    };
    let config = [("name".to_owned(), Value::from(name)), ("batch_size".to_owned(), Value::from(16))];
    let builder = TraceBuilder::new().config(config.into_iter().collect());
    let run = (0..6).fold(builder, step).write(&folder.join(name));
    std::fs::rename(&run, folder.join(name).join("trace")).unwrap();
    folder.join(name).join("trace")
}

#[test]
fn reports_stay_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let configurations = [
        ("Baseline", 64, 0),
        ("+ Checkpointing", 20, 12),
        ("+ AMP", 32, 0),
        ("+ Both", 10, 12),
        ("Again", 64, 0),
    ];
    for (name, mebibytes, recomputed) in configurations {
        let _ = built(folder.path(), name, mebibytes, recomputed);
    }
    let run = |options: &[&str]| {
        let mut command = program("tidegauge");
        // Relative, so that the paths in the report are the same everywhere.
        command.current_dir(folder.path()).env("NO_COLOR", "1").arg("compare");
        let runs = configurations.iter().map(|(name, _, _)| format!("{name}/trace"));
        output_of(command.args(runs).args(options))
    };
    insta::assert_snapshot!("compare", run(&[]));
    insta::assert_snapshot!("compare_steps", run(&["--steps", "-n", "2"]));
    insta::assert_snapshot!("compare_phases_csv", run(&["--phases", "--format", "csv"]));
    insta::assert_snapshot!("compare_md", run(&["--by", "module", "--format", "md"]));
    insta::assert_snapshot!("compare_csv", run(&["--format", "csv"]));
    insta::assert_snapshot!("compare_by_phase_json", run(&["--by", "phase", "--json", "-n", "1"]));
}

#[test]
fn json_and_csv_have_the_same_keys_and_rows() {
    let folder = tempfile::tempdir().unwrap();
    let runs = [built(folder.path(), "a, \"b\" | c", 4, 0), built(folder.path(), "d", 2, 1)];
    for options in [&[][..], &["--by", "site"], &["--by", "size"], &["--phases"], &["--steps"]] {
        let rows = compare(&[&runs[0], &runs[1]], options);
        let mut command = program("tidegauge");
        let csv = output_of(command.arg("compare").args(&runs).args(options).args(["--format", "csv"]));
        let (head, lines) = csv.split_once('\n').unwrap();
        let mut columns: Vec<&str> = head.split(',').collect();
        columns.sort_unstable();
        assert!(!rows.is_empty(), "{options:?}");
        assert_eq!(columns, rows[0].as_object().unwrap().keys().collect::<Vec<_>>(), "{options:?}");
        assert_eq!(lines.lines().count(), rows.len(), "{options:?}");
    }
    let markdown = output_of(program("tidegauge").arg("compare").args(&runs).args(["--format", "md"]));
    let bars = |line: &str| line.replace("\\|", "").matches('|').count();
    let of_tables: Vec<usize> = markdown.lines().filter(|line| line.starts_with('|')).map(bars).collect();
    let expected = [[12; 4].as_slice(), &[13; 6], &[4; 6]].concat();
    assert_eq!(of_tables, expected, "a bar in a name divides no cell:\n{markdown}");
}

#[test]
fn what_is_no_comparison_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let run = TraceBuilder::new().alloc(1, 100).write(folder.path());
    let run = run.to_str().unwrap();
    let cases: [(&[&str], &str); 7] = [
        (&[run, run, "--steps", "--phases", "--json"], "one of them at a time"),
        (&[run, run, "--rule", "mine=a"], "use it with --by category"),
        (&[run, run, "--by", "category", "--rule", "("], "is no rule"),
        (&[run], "<OTHER>"),
        (&[run, "/nonexistent"], "not a tidegauge trace"),
        (&[run, run, "--rank", "5"], "no such rank or process"),
        (&[run, run, "--start", "2s", "--end", "1s"], "--start lies after --end"),
    ];
    for (arguments, expected) in cases {
        let output = program("tidegauge").arg("compare").args(arguments).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {errors}");
        assert!(errors.contains(expected), "{arguments:?}: {errors}");
        assert!(output.stdout.is_empty());
    }
}
