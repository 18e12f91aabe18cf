//! `tidegauge check`: runs whose figures are known, exit codes, and reports for pipelines.

use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;
use tidegauge_recorder::{self as tg, Existing, Recorder};
use tidegauge_schemas::EventKind;
use tidegauge_tests::TraceBuilder;
use tidegauge_tests::programs::{output_of, program};

use crate::recording::turn;

/// Ten steps on device 0 with so many MiB of activations, a segment of 100 MiB, and 64 KiB that each step leaves behind.
fn built(folder: &Path, name: &str, mebibytes: u64) -> PathBuf {
    let builder = TraceBuilder::new().event(EventKind::SegmentAlloc, 1 << 40, Some(100 << 20), None);
    let step = |builder: TraceBuilder, number: u64| {
        builder.step(number as i64, 0.5, |step| {
            let step = step.span("forward", |inside| inside.alloc(1, mebibytes << 20));
            step.span("backward", |inside| inside.alloc(2, 8 << 20).free(2).free(1))
                .alloc(100 + number, 64 << 10)
        })
    };
    let run = (0..10).fold(builder, step).write(&folder.join(name));
    std::fs::rename(&run, folder.join(name).join("trace")).unwrap();
    folder.join(name).join("trace")
}

/// Highest allocated of [`built`]: the last step's activations and gradients on what nine steps left.
const fn peak_bytes(mebibytes: u64) -> u64 {
    ((mebibytes + 8) << 20) + 9 * (64 << 10)
}

fn check(run: &Path, options: &[&str]) -> Output {
    program("tidegauge").arg("check").arg(run).args(options).output().unwrap()
}

fn code(run: &Path, options: &[&str]) -> i32 {
    check(run, options).status.code().unwrap()
}

fn rows(run: &Path, options: &[&str]) -> Vec<Value> {
    let output = check(run, &[options, &["--json"]].concat());
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

#[test]
fn exit_codes_say_how_it_stands() {
    let folder = tempfile::tempdir().unwrap();
    let run = built(folder.path(), "run", 40);
    let exact = peak_bytes(40).to_string();
    let below = (peak_bytes(40) - 1).to_string();
    let cases: [(&[&str], i32); 14] = [
        (&["--max-peak", "1GiB"], 0),
        (&["--max-peak", &exact], 0),
        (&["--max-peak", &below], 1),
        (&["--max-growth", "64KiB/step"], 0),
        (&["--max-growth", "63KiB/step"], 1),
        (&["--max-reserved", "100MiB"], 0),
        (&["--max-reserved", "99MiB"], 1),
        (&["--min", "allocated=1GiB"], 1),
        (&["--max-peak", "1GiB", "--max-reserved", "99MiB"], 1),
        (&["--max-rss", "1GiB"], 2),
        (&["--max", "used=1GiB"], 2),
        (&["--max", "gpu_power_watts=300W"], 2),
        // What cannot be judged is not outweighed by what is exceeded.
        (&["--max-peak", &below, "--max-rss", "1GiB"], 2),
        (&["--max-peak", "1GiB", "--max-rss", "1GiB"], 2),
    ];
    for (options, expected) in cases {
        let output = check(&run, options);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(expected), "{options:?}: {errors}");
        assert!(!output.stdout.is_empty(), "the report is there whatever it says");
        assert_eq!(errors.contains("cannot be judged"), expected == 2, "{options:?}: {errors}");
    }
}

#[test]
fn what_is_no_check_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let run = built(folder.path(), "run", 40);
    let cases: [(&[&str], &str); 11] = [
        (&[], "there is nothing to check"),
        (&["--max-peak", "38G"], "no unit of memory"),
        (&["--max-peak", "-1GiB"], "unexpected argument"),
        (&["--max", "allocated"], "expected METRIC=VALUE"),
        (&["--max", "fragmentation=40"], "more than all"),
        (&["--max", "gpu_power_watts=3GiB"], "no unit of gpu_power_watts"),
        (&["--max", "step_time=3 parsecs"], "no unit of time"),
        (&["--max-growth", "1MiB/hour"], "growth per `hour` is not known"),
        (&["--max-regression", "5%"], "--baseline"),
        (&["--max-peak", "1GiB", "--rank", "3"], "no such rank"),
        (&["--baseline", "/nonexistent", "--max-regression", "5%"], "the baseline cannot be read"),
    ];
    for (options, expected) in cases {
        let output = check(&run, options);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{options:?}: {errors}");
        assert!(errors.contains(expected), "{options:?}: {errors}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn every_metric_is_what_the_trace_says() {
    let folder = tempfile::tempdir().unwrap();
    let run = built(folder.path(), "run", 40);
    let one = |metric: &str, limit: &str| rows(&run, &["--max", &format!("{metric}={limit}")]).remove(0);
    for metric in ["peak", "allocated", "active"] {
        let row = one(metric, "1GiB");
        assert_eq!((&row["value"], &row["basis"]), (&peak_bytes(40).into(), &"measured".into()), "{metric}");
        assert_eq!((&row["device"], &row["step"], &row["phase"]), (&0.into(), &9.into(), &"backward".into()));
        assert_eq!(
            (&row["limit"], &row["unit"], &row["verdict"]),
            (&(1 << 30).into(), &"bytes".into(), &"within".into())
        );
    }
    assert_eq!(one("reserved", "1GiB")["value"], 100 << 20);
    let row = one("activations", "1GiB");
    assert_eq!((&row["value"], &row["basis"]), (&(40 << 20).into(), &"estimated".into()));
    let share = one("fragmentation", "90%")["value"].as_f64().unwrap();
    assert_eq!(share, 1.0 - peak_bytes(40) as f64 / f64::from(100 << 20));
    assert_eq!(one("growth", "1GiB")["value"], 65536.0);
    // Rows are a microsecond apart: from its begin a step has ten of them, its end included.
    assert_eq!(one("step_time", "1s")["value"], 10_000);
    let with_rss =
        TraceBuilder::new().rss(5 << 20).rss(7 << 20).rss(6 << 20).write(&folder.path().join("rss"));
    let row = rows(&with_rss, &["--max-peak", "1GiB"]).remove(0);
    assert_eq!((&row["value"], &row["measured"]), (&(7 << 20).into(), &"rss".into()), "without allocations");
    assert_eq!(row["basis"], "sampled");
    let row = rows(&with_rss, &["--min", "rss_bytes=1MiB"]).remove(0);
    assert_eq!(row["value"], 5 << 20, "of a lower bound the lowest reading counts");
    assert_eq!(rows(&with_rss, &["--max", "rss_bytes=1MiB"])[0]["value"], 7 << 20);
}

#[test]
fn a_leak_is_told_from_a_run_that_keeps_nothing() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let train = |name: &str, leak_bytes: u64| {
        let recorder = Recorder::builder(folder.path().join(name)).start().unwrap();
        for number in 0..40 {
            let _step = tg::step(number);
            tg::alloc(-1, 1, 1 << 20);
            if leak_bytes > 0 {
                tg::alloc(-1, 100 + number as u64, leak_bytes);
            }
            tg::free(-1, 1);
        }
        recorder.stop().unwrap()
    };
    let (leaking, tight) = (train("leaking", 4096), train("tight", 0));
    assert_eq!(rows(&leaking, &["--max-growth", "1KiB/step"])[0]["value"], 4096.0);
    assert_eq!(code(&leaking, &["--max-growth", "1KiB/step"]), 1);
    assert_eq!(code(&tight, &["--max-growth", "0B/step"]), 0);
}

#[test]
fn a_baseline_is_compared_with_by_its_peak() {
    let folder = tempfile::tempdir().unwrap();
    let (base, same) = (built(folder.path(), "base", 40), built(folder.path(), "same", 40));
    let (more, less) = (built(folder.path(), "more", 44), built(folder.path(), "less", 20));
    let of = |run: &Path, options: &[&str]| {
        code(run, &[&["--baseline", base.to_str().unwrap()], options].concat())
    };
    let grown = (peak_bytes(44) as f64 / peak_bytes(40) as f64 - 1.0) * 100.0;
    assert!((8.0..8.5).contains(&grown), "{grown}");
    assert_eq!(of(&same, &["--max-regression", "0%"]), 0);
    assert_eq!(of(&more, &["--max-regression", "8%"]), 1);
    assert_eq!(of(&more, &["--max-regression", "8.5%"]), 0);
    assert_eq!(of(&less, &["--max-regression", "0%"]), 0);
    assert_eq!(of(&less, &["--min-reduction", "40%"]), 0);
    assert_eq!(of(&less, &["--min-reduction", "42%"]), 1);
    assert_eq!(of(&same, &["--min-reduction", "1%"]), 1);
    assert_eq!(of(&less, &["--max-regression", "0%", "--min-reduction", "42%", "--max-peak", "1GiB"]), 1);
    let row = rows(&less, &["--baseline", base.to_str().unwrap(), "--min-reduction", "30%"]).remove(0);
    assert_eq!((&row["base_bytes"], &row["bytes"]), (&peak_bytes(40).into(), &peak_bytes(20).into()));
    assert_eq!(row["value"], (peak_bytes(40) - peak_bytes(20)) as f64 / peak_bytes(40) as f64);
    assert!(row["deviation_bytes"].as_u64().is_some(), "and how much the steps vary: {row}");

    let nothing = TraceBuilder::new().mark("x").write(&folder.path().join("nothing"));
    let empty = TraceBuilder::new()
        .event(EventKind::SegmentAlloc, 1, Some(1), None)
        .write(&folder.path().join("empty"));
    let resident = TraceBuilder::new().rss(5 << 20).write(&folder.path().join("resident"));
    for (other, reason) in [
        (&nothing, "the baseline recorded neither allocations nor resident sizes"),
        (&empty, "the baseline's peak is 0"),
        (&resident, "the baseline's peak is of rss"),
    ] {
        let output = check(&same, &["--baseline", other.to_str().unwrap(), "--max-regression", "5%"]);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{errors}");
        assert!(errors.contains(reason), "{errors}");
    }
}

#[test]
fn the_worst_rank_is_judged_and_a_missing_one_is_an_error() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let record = |run: &Path, ranks: &[(u32, u64)]| {
        for (rank, bytes) in ranks {
            let recorder = Recorder::builder(run).existing(Existing::Join).rank(*rank).start().unwrap();
            tg::alloc(0, 1, *bytes);
            tg::free(0, 1);
            recorder.stop().unwrap();
        }
    };
    let (both, one) = (folder.path().join("both"), folder.path().join("one"));
    record(&both, &[(0, 400), (1, 900)]);
    record(&one, &[(0, 400)]);
    let row = rows(&both, &["--max-peak", "800"]).remove(0);
    assert_eq!((&row["rank"], &row["value"], &row["verdict"]), (&1.into(), &900.into(), &"exceeded".into()));
    assert_eq!(code(&both, &["--max-peak", "800", "--rank", "0"]), 0);
    assert_eq!(rows(&both, &["--min", "peak=500"])[0]["value"], 400, "of a lower bound the lowest");
    let output = check(&one, &["--baseline", both.to_str().unwrap(), "--max-regression", "5%"]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2));
    assert!(errors.contains("the baseline has ranks 0, 1 and the run has rank 0"), "{errors}");

    let lonely = folder.path().join("lonely");
    let mut command = program("burgers");
    command.env("RANK", "1").env("WORLD_SIZE", "3").arg("--run").arg(&lonely);
    let small = ["--cells", "16", "--channels", "4", "--simulations", "1", "--frames", "8", "--epochs", "1"];
    let _ = output_of(command.args(small).args(["--batch-size", "2", "--rollout-steps", "2"]));
    let output = check(&lonely, &["--max-peak", "1GiB"]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(errors.contains("ranks are missing or cannot be read: 0, 2;"), "{errors}");
    assert_eq!(code(&lonely, &["--max-peak", "1GiB", "--allow-missing-ranks"]), 0);
    assert_eq!(code(&lonely, &["--max-peak", "1GiB", "--rank", "1"]), 0);
}

#[test]
fn reports_stay_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let _ = (built(folder.path(), "base", 40), built(folder.path(), "more", 44));
    let run = |options: &[&str]| {
        let mut command = program("tidegauge");
        // Relative, so that the paths in the report are the same everywhere.
        command.current_dir(folder.path()).env("NO_COLOR", "1").args(["check", "more/trace"]);
        command.args(["--max-peak", "1GiB", "--max-growth", "1KiB/step", "--max-rss", "2GiB"]);
        command.args(["--max", "fragmentation=60%", "--baseline", "base/trace"]);
        command.args(["--max-regression", "5%", "--min-reduction", "30%"]).args(options);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stdout).unwrap()
    };
    insta::assert_snapshot!("check", run(&[]));
    insta::assert_snapshot!("check_md", run(&["--format", "md"]));
    insta::assert_snapshot!("check_csv", run(&["--format", "csv"]));
    insta::assert_snapshot!("check_json", run(&["--json"]));
    insta::assert_snapshot!("check_junit", run(&["--format", "junit"]));
    // Only this command writes it.
    let output = program("tidegauge").args(["summary", "x", "--format", "junit"]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("possible values: text, json, csv, md"));
}

fn is_unknown(run: &Path, options: &[&str], reason: &str) {
    let output = check(run, options);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{options:?}: {errors}");
    assert!(errors.contains(reason), "{options:?}: {errors}");
}

#[test]
fn a_run_that_ran_out_of_memory_is_within_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let base = built(folder.path(), "base", 40);
    let base = base.to_str().unwrap();
    let run = TraceBuilder::new()
        .step(0, 0.5, |step| step.alloc(1, 8 << 20).oom(64 << 20).free(1))
        .write(&folder.path().join("out"));
    is_unknown(&run, &["--max-peak", "1GiB"], "ran out of memory");
    is_unknown(&run, &["--baseline", base, "--max-regression", "5%"], "ran out of memory");
    is_unknown(&run, &["--baseline", base, "--min-reduction", "10%"], "ran out of memory");
    assert_eq!(code(&run, &["--max-peak", "1MiB"]), 1, "too much is too much");
    assert_eq!(code(&run, &["--min", "allocated=1MiB"]), 0, "so much it had");
}

/// Removes the sealed events of a trace; how many files.
fn remove_events(folder: &Path) -> usize {
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let is_events = entry.file_name().is_some_and(|name| name.to_string_lossy().starts_with("events"));
        match (entry.is_dir(), is_events) {
            (true, true) => {
                std::fs::remove_dir_all(&entry).unwrap();
                count += 1;
            }
            (true, false) => count += remove_events(&entry),
            (false, true) => {
                std::fs::remove_file(&entry).unwrap();
                count += 1;
            }
            (false, false) => {}
        }
    }
    count
}

#[test]
fn resident_sizes_do_not_stand_for_allocations_that_were_lost() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::builder(folder.path().join("run")).start().unwrap();
    tg::alloc(0, 1, 1 << 40);
    tg::free(0, 1);
    let run = recorder.stop().unwrap();
    assert_eq!(code(&run, &["--max-peak", "1GiB"]), 1);
    assert!(remove_events(&run) > 0);
    is_unknown(&run, &["--max-peak", "1GiB"], "are lost");
}

#[test]
fn what_was_not_recorded_passes_no_check() {
    let folder = tempfile::tempdir().unwrap();
    let run = built(folder.path(), "run", 40);
    is_unknown(&run, &["--max-peak", "1GiB", "--device", "7"], "nothing was recorded of device 7");
    is_unknown(&run, &["--max-peak", "1GiB", "--start", "1h"], "nothing was recorded in the chosen part");
    is_unknown(&run, &["--max-peak", "1GiB", "--baseline", "/nonexistent"], "judges nothing by itself");
    let both = TraceBuilder::new().alloc(1, 9 << 30).rss(5 << 20).write(&folder.path().join("both"));
    let resident = TraceBuilder::new().rss(5 << 20).write(&folder.path().join("resident"));
    let base = ["--baseline", resident.to_str().unwrap(), "--max-regression", "5%"];
    is_unknown(&both, &base, "the baseline's peak is of rss");
    let later =
        TraceBuilder::new().rss(5 << 20).mark("x").alloc(1, 9 << 30).write(&folder.path().join("later"));
    is_unknown(&later, &["--max-peak", "1GiB", "--end", "1us"], "nothing was allocated up to the end");
}

#[test]
fn growth_is_by_the_numbers_of_steps() {
    let folder = tempfile::tempdir().unwrap();
    let step = |builder: TraceBuilder, number: u64| {
        builder.step(number as i64 * 10, 0.5, |step| step.alloc(100 + number, 64 << 10))
    };
    let run = (0..30).fold(TraceBuilder::new(), step).write(&folder.path().join("tens"));
    assert_eq!(rows(&run, &["--max-growth", "1GiB/step"])[0]["value"], 6553.6);
}
