//! `tidegauge plan`: runs whose law is known, and recordings of others that bear no plan.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tidegauge_recorder::{self as tg, Recorder};
use tidegauge_schemas::EventKind;
use tidegauge_tests::TraceBuilder;
use tidegauge_tests::corpus;
use tidegauge_tests::programs::{output_of, program};

use crate::launched::Launched;
use crate::recording::turn;

/// Bytes that the steps below hold at most with that batch size: in the optimizer, or in backward.
pub(crate) fn law(batch_size: u64) -> u64 {
    (300 + 7 * batch_size).max(340) << 20
}

/// Records steps of these batch sizes: 300 MiB stay from the first optimizer step on, forward adds 7 MiB a sample.
pub(crate) fn record(folder: &Path, name: &str, batch_sizes: &[u64], config: &[(&str, i64)]) -> PathBuf {
    let mut builder = Recorder::builder(folder.join(name)).config("name", name);
    for (key, value) in config {
        builder = builder.config(key, *value);
    }
    let recorder = builder.start().unwrap();
    tg::alloc(0, 1, 100 << 20);
    for (number, batch_size) in (0..).zip(batch_sizes) {
        let mut step = tg::step(number);
        step.set_batch_size(*batch_size);
        {
            let _forward = tg::span("forward");
            tg::alloc(0, 2, batch_size * (6 << 20));
        }
        {
            let _backward = tg::span("backward");
            tg::alloc(0, 3, batch_size << 20);
            tg::free(0, 3);
            tg::free(0, 2);
        }
        let _optimizer = tg::span("optimizer");
        if number == 0 {
            tg::alloc(0, 4, 200 << 20);
        }
        tg::alloc(0, 5, 40 << 20);
        tg::free(0, 5);
    }
    recorder.stop().unwrap()
}

fn plan(runs: &[&Path], options: &[&str]) -> Vec<Value> {
    let mut command = program("tidegauge");
    let text = output_of(command.arg("plan").args(runs).args(options).args(["--json", "-q"]));
    serde_json::from_str(&text).unwrap()
}

/// The answer, and whether more may fit.
fn answer(rows: &[Value]) -> (i64, bool) {
    let row = rows.iter().find(|row| row["is_answer"] == true).unwrap();
    (row["value"].as_i64().unwrap(), row["is_limit"].as_bool().unwrap())
}

fn refused(runs: &[&Path], options: &[&str]) -> String {
    let output = program("tidegauge").arg("plan").args(runs).args(options).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(output.stdout.is_empty());
    errors
}

#[test]
fn what_is_predicted_is_what_larger_batches_really_take() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let [four, eight] = [4, 8].map(|size| record(folder.path(), &size.to_string(), &[size; 4], &[]));
    let rows = plan(&[&four, &eight], &["--budget", "500MiB", "--headroom", "0%"]);
    for row in &rows {
        let size = row["value"].as_u64().unwrap();
        assert_eq!(row["predicted_bytes"], law(size), "{row}");
        let bytes = if [4, 8].contains(&size) { Value::from(law(size)) } else { Value::Null };
        assert_eq!(row["measured_bytes"].is_null(), row["basis"] == "estimated");
        assert!(row["measured_bytes"].is_null() || row["measured_bytes"] == bytes);
    }
    assert_eq!(answer(&rows), (28, false), "300 + 7·28 = 496, and 503 is too much");
    // What is predicted is recorded too.
    for size in [16, 32] {
        let run = record(folder.path(), &size.to_string(), &[size; 4], &[]);
        let summary: Value =
            serde_json::from_str(&output_of(program("tidegauge").arg("summary").arg(&run).arg("--json")))
                .unwrap();
        let row = rows.iter().find(|row| row["value"] == size).unwrap();
        assert_eq!(row["predicted_bytes"], summary["devices"][0]["peak_allocated_bytes"], "{size}");
    }
    let of = |options: &[&str]| answer(&plan(&[&four, &eight], options));
    assert_eq!(of(&["--budget", "500MB", "--headroom", "0"]), (25, false), "475 MiB of 476.8");
    assert_eq!(of(&["--budget", "500MiB", "--headroom", "10%"]), (21, false), "447 MiB of 450");
    assert_eq!(of(&["--budget", "500MiB"]), (25, false), "475 MiB of 475: five percent are kept free");
    assert_eq!(of(&["--budget", "40GiB"]), (32, true), "of more than four times 8 nothing is claimed");
}

#[test]
fn a_single_run_with_steps_of_several_sizes_is_enough() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let run = record(folder.path(), "adaptive", &[16, 16, 8, 8, 12, 12, 24, 24], &[]);
    let rows = plan(&[&run], &["--budget", "600MiB", "--headroom", "0"]);
    let measured: Vec<_> = rows.iter().filter(|row| row["basis"] == "measured").collect();
    let sizes: Vec<u64> = measured.iter().map(|row| row["value"].as_u64().unwrap()).collect();
    assert_eq!(sizes, [8, 12, 16, 24]);
    assert!(measured.iter().all(|row| row["measured_bytes"] == law(row["value"].as_u64().unwrap())));
    assert_eq!(answer(&rows), (42, false), "594 MiB of 600");
    let first_only = record(folder.path(), "first", &[16, 8, 8], &[]);
    let errors = refused(&[&first_only], &["--budget", "1GiB"]);
    assert!(
        errors.contains("there are points at 1 different values"),
        "the first step shows no peak: {errors}"
    );
}

#[test]
fn another_key_is_planned_by_and_one_that_differs_besides_is_named() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let config = |length: i64, width: i64| [("sequence_length", length), ("width", width), ("seed", length)];
    let run = |name: &str, size: u64, length, width| {
        record(folder.path(), name, &[size; 3], &config(length, width))
    };
    let (one, two) = (run("one", 8, 64, 32), run("two", 8, 128, 32));
    let errors = refused(&[&one, &two], &["--budget", "1GiB"]);
    assert!(errors.contains("differ in sequence_length (64, 128) too"), "{errors}");
    let rows = plan(&[&one, &two], &["--budget", "1GiB", "--by", "sequence_length"]);
    assert_eq!(
        answer(&rows),
        (512, true),
        "it took the same, since this program does not look at the length"
    );
    let (wide, large) = (run("wide", 8, 128, 64), run("large", 16, 128, 32));
    let errors = refused(&[&one, &wide], &["--budget", "1GiB", "--by", "sequence_length"]);
    assert!(errors.contains("differ in width (32, 64) too") && errors.contains("--ignore"), "{errors}");
    let _ = plan(&[&one, &wide], &["--budget", "1GiB", "--by", "sequence_length", "--ignore", "width"]);
    let errors = refused(&[&one, &large], &["--budget", "1GiB", "--by", "sequence_length"]);
    assert!(errors.contains("differ in batch_size (8, 16) too"), "as the steps told it: {errors}");
}

#[test]
fn what_bears_no_plan_is_an_error_that_says_why() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let [four, eight] = [4, 8].map(|size| record(folder.path(), &size.to_string(), &[size; 3], &[]));
    let cases: [(&[&Path], &[&str], &str); 9] = [
        (&[&four, &eight], &[], "say the budget with --budget 40GiB"),
        (&[&four], &["--budget", "1GiB"], "there are points at 1 different values"),
        (&[&four, &four], &["--budget", "1GiB"], "there are points at 1 different values"),
        (&[&four, &eight], &["--budget", "40G"], "no unit of memory"),
        (&[&four, &eight], &["--budget", "1GiB", "--headroom", "100%"], "expected less than 100%"),
        (&[&four, &eight], &["--budget", "1GiB", "--values", "4"], "expected one for each"),
        (&[&four, &eight], &["--budget", "1GiB", "--values", "4,-8"], "no size"),
        (&[&four, &eight], &["--budget", "1GiB", "--by", "layers"], "does not tell its layers"),
        (
            &[&four, &eight],
            &["--budget", "1GiB", "--curve", "reserved"],
            "recorded nothing of what was reserved",
        ),
    ];
    for (runs, options, expected) in cases {
        let errors = refused(runs, options);
        assert!(errors.contains(expected), "{options:?}: {errors}");
    }
    // The larger batch took less.
    let errors = refused(&[&eight, &four], &["--budget", "1GiB", "--values", "400,800"]);
    assert!(errors.contains("no plan: the fit falls by"), "{errors}");
}

#[test]
fn what_is_reserved_is_planned_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let runs = [2_u64, 4].map(|size| {
        let segment = |builder: TraceBuilder, number: u64| {
            builder.event(EventKind::SegmentAlloc, number << 32, Some(20 << 20), None)
        };
        let reserved = (0..size + 1).fold(TraceBuilder::new(), segment);
        reserved.alloc(1, (size * 10) << 20).free(1).write(&folder.path().join(size.to_string()))
    });
    let of = |options: &[&str]| {
        let common = ["--values", "2,4", "--budget", "160MiB", "--headroom", "0"];
        plan(&[&runs[0], &runs[1]], &[&common, options].concat())
    };
    let rows = of(&["--curve", "reserved"]);
    assert_eq!((&rows[0]["curve"], &rows[0]["measured_bytes"]), (&"reserved".into(), &(60 << 20).into()));
    assert_eq!(answer(&rows), (7, false), "20 + 7·20 = 160");
    assert_eq!(answer(&of(&[])), (16, true), "and 10 for each are allocated");
}

#[test]
fn what_stays_reserved_says_nothing_of_smaller_batches_after_it() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::builder(folder.path().join("run")).start().unwrap();
    let segment = |address: u64, bytes: u64| {
        let (address, size_bytes) = (Some(address << 32), Some(bytes));
        tg::block_event(&tg::BlockEvent {
            kind: EventKind::SegmentAlloc,
            device: 0,
            address,
            size_bytes,
            stream: None,
            pool: None,
        });
    };
    segment(1, 60 << 20);
    for (number, batch_size) in (0..).zip([4, 4, 8, 8, 4, 4]) {
        let mut step = tg::step(number);
        step.set_batch_size(batch_size);
        if number == 2 {
            segment(2, 40 << 20);
        }
        tg::alloc(0, 1, batch_size << 20);
        tg::free(0, 1);
    }
    let run = recorder.stop().unwrap();
    let rows = plan(&[&run], &["--curve", "reserved", "--budget", "1GiB"]);
    let measured: Vec<_> = rows.iter().filter(|row| row["basis"] == "measured").collect();
    let of = |row: &Value| (row["value"].clone(), row["measured_bytes"].clone(), row["steps"].clone());
    assert_eq!(of(measured[0]), (4.into(), (60 << 20).into(), 1.into()), "not 100, which 8 had taken");
    assert_eq!(of(measured[1]), (8.into(), (100 << 20).into(), 2.into()));
}

#[test]
fn resident_sizes_are_planned_by_where_nothing_else_is_known_and_it_is_said() {
    let runs = [40_u64, 140].map(|mebibytes| {
        let launched = Launched::new().option(&["--interval", "10ms"]);
        let mut launcher = launched.start("memory-toucher", &[&mebibytes.to_string()]);
        launched.end(1);
        assert!(launcher.wait().unwrap().success(), "{}", launched.errors());
        launched
    });
    let of = ["--values", "40,140", "--budget", "300MiB", "--headroom", "0"];
    let rows = plan(&[&runs[0].run, &runs[1].run], &of);
    assert_eq!((&rows[0]["curve"], &rows[0]["steps"]), (&"tree_rss".into(), &0.into()));
    let (size, is_limit) = answer(&rows);
    assert!((285..300).contains(&size) && !is_limit, "a mebibyte each, and a few for the program: {size}");
    let mut command = program("tidegauge");
    let text = output_of(command.arg("plan").args(runs.iter().map(|run| &run.run)).args(of));
    assert!(text.contains("process tree rss") && text.contains("a lower bound"), "{text}");
}

/// Records steps of that batch size and sequence length: 300 MiB stay, forward adds 1 MiB a sample and 16 KiB a token,
/// and `square` bytes for each two tokens of a sample.
fn record_pair(folder: &Path, size: u64, length: u64, square: u64) -> PathBuf {
    let name = format!("{size}x{length}");
    let recorder = Recorder::builder(folder.join(&name))
        .config("name", name)
        .config("sequence_length", length as i64)
        .start()
        .unwrap();
    tg::alloc(0, 1, 300 << 20);
    for number in 0..4 {
        let mut step = tg::step(number);
        step.set_batch_size(size);
        {
            let _forward = tg::span("forward");
            tg::alloc(0, 2, size * ((1 << 20) + (16 << 10) * length + square * length * length));
        }
        {
            let _backward = tg::span("backward");
            tg::free(0, 2);
        }
        let _optimizer = tg::span("optimizer");
        tg::alloc(0, 5, 20 << 20);
        tg::free(0, 5);
    }
    recorder.stop().unwrap()
}

fn recorded_peak(run: &Path) -> Value {
    let text = output_of(program("tidegauge").arg("summary").arg(run).arg("--json"));
    let summary: Value = serde_json::from_str(&text).unwrap();
    summary["devices"][0]["peak_allocated_bytes"].clone()
}

#[test]
fn two_sizes_are_told_apart_and_predicted_as_they_really_come() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let pairs = [(2, 128), (4, 128), (4, 256), (8, 128), (8, 256)];
    let runs = pairs.map(|(size, length)| record_pair(folder.path(), size, length, 0));
    let runs: Vec<&Path> = runs.iter().map(PathBuf::as_path).collect();
    let common = ["--budget", "412MiB", "--headroom", "0"];
    let rows = plan(&runs, &[&common[..], &["--at", "sequence_length=512"]].concat());
    // 300 + 9·12 = 408, and 417 is too much: 1 MiB and 512 times 16 KiB are 9 MiB a sample.
    assert_eq!(answer(&rows), (12, false));
    let point = |row: &&Value| (row["value"].as_u64().unwrap(), row["at_value"].as_u64().unwrap());
    let measured: Vec<&Value> = rows.iter().filter(|row| row["basis"] == "measured").collect();
    assert_eq!(measured.iter().map(point).collect::<Vec<_>>(), pairs);
    for (row, run) in measured.iter().zip(&runs) {
        assert_eq!(row["measured_bytes"], recorded_peak(run));
        assert!(row["residual_bytes"].as_i64().unwrap().abs() <= 1, "{row}");
        assert_eq!(row["at_key"], "sequence_length");
    }
    let estimated = rows.iter().find(|row| row["basis"] == "estimated" && row["value"] == 8).unwrap();
    assert_eq!(estimated["measured_bytes"], Value::Null, "8 was measured at other lengths only");
    let close = |row: &Value, run: &Path| {
        let off = row["predicted_bytes"].as_i64().unwrap() - recorded_peak(run).as_i64().unwrap();
        assert!(off.abs() <= 2, "{row}");
    };
    close(estimated, &record_pair(folder.path(), 8, 512, 0));
    let rows = plan(
        &runs,
        &[&["--budget", "1GiB", "--headroom", "0"][..], &["--at", "sequence_length=512"]].concat(),
    );
    assert_eq!(answer(&rows), (16, true), "4 times 8·256 is 16·512: of more nothing is claimed");
    let last = rows.iter().find(|row| row["basis"] == "estimated" && row["value"] == 16).unwrap();
    close(last, &record_pair(folder.path(), 16, 512, 0));

    let rows = plan(&runs, &[&common[..], &["--by", "sequence_length", "--at", "batch_size=4"]].concat());
    // 4 + 4·l/64 MiB within 112 MiB.
    assert_eq!(answer(&rows), (1024, true), "and 1024 is four times what was measured");
    let rows = plan(
        &runs,
        &["--budget", "350MiB", "--headroom", "0", "--by", "sequence_length", "--at", "batch_size=4"],
    );
    assert_eq!(answer(&rows), (736, false), "304 + 46 = 350");
    let text = output_of(
        program("tidegauge").arg("plan").args(&runs).args(common).args(["--at", "sequence_length=512"]),
    );
    assert!(text.contains("412 MiB at sequence_length 512: 12"), "{text}");
    assert!(
        text.contains("300 MiB + 1.00 MiB × batch_size + 16.0 KiB × batch_size × sequence_length"),
        "{text}"
    );
}

#[test]
fn a_square_of_the_length_is_found() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let pairs = [(2, 128), (4, 128), (4, 256), (8, 128), (4, 512), (2, 384)];
    let runs = pairs.map(|(size, length)| record_pair(folder.path(), size, length, 64));
    let runs: Vec<&Path> = runs.iter().map(PathBuf::as_path).collect();
    let rows = plan(&runs, &["--budget", "4GiB", "--by", "sequence_length", "--at", "batch_size=2"]);
    let row = rows.iter().find(|row| row["basis"] == "estimated" && row["value"] == 1024).unwrap();
    assert_eq!(row["model"], "quadratic");
    let off = row["predicted_bytes"].as_i64().unwrap()
        - recorded_peak(&record_pair(folder.path(), 2, 1024, 64)).as_i64().unwrap();
    assert!(off.abs() <= 16, "{row}");
}

#[test]
fn what_does_not_tell_two_sizes_apart_is_refused() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let of = |pairs: &[(u64, u64)]| -> Vec<PathBuf> {
        pairs.iter().map(|(size, length)| record_pair(folder.path(), *size, *length, 0)).collect()
    };
    let refused = |runs: &[PathBuf], options: &[&str]| {
        let runs: Vec<&Path> = runs.iter().map(PathBuf::as_path).collect();
        refused(&runs, &[&["--budget", "1GiB"], options].concat())
    };
    let four = of(&[(2, 128), (4, 128), (4, 256), (8, 128)]);
    let errors = refused(&four, &[]);
    assert!(errors.contains("differ in sequence_length") && errors.contains("--at KEY=VALUE"), "{errors}");
    let at = ["--at", "sequence_length=512"];
    let errors = refused(&four, &at);
    assert!(errors.contains("at 4 different pairs") && errors.contains("needs 5 at least"), "{errors}");
    let together = of(&[(2, 64), (3, 64), (5, 64), (6, 64), (7, 64)]);
    let errors = refused(&together, &at);
    assert!(errors.contains("do not vary independently"), "{errors}");
    let runs = plan(
        &together.iter().map(PathBuf::as_path).collect::<Vec<_>>(),
        &["--budget", "1GiB", "--at", "sequence_length=64"],
    );
    assert!(answer(&runs).0 > 0, "at the value that all of them have, it is a plan as any other");
    let five = of(&[(2, 128), (4, 128), (4, 256), (8, 128), (8, 256)]);
    let errors = refused(&five, &["--at", "sequence_length=2048"]);
    assert!(errors.contains("2048 is more than 4 times the largest value"), "{errors}");
    let errors = refused(&five, &["--at", "batch_size=8"]);
    assert!(errors.contains("expected one of --by and --at to be batch_size"), "{errors}");
    for wrong in ["sequence_length", "sequence_length=long", "sequence_length=-4"] {
        let errors = refused(&five, &["--at", wrong]);
        assert!(errors.contains("no size"), "{wrong}: {errors}");
    }
}

/// The traces of two people's particle transformer: the batch was doubled, and the sequences were longer too.
#[test]
fn a_fit_with_a_negative_fixed_part_is_refused() {
    let files = corpus::files("kineto");
    let of = |size: &str| {
        files.iter().find(|(path, _)| path.ends_with(format!("particle-transformer-bs{size}.json")))
    };
    let (Some((small, small_truth)), Some((large, large_truth))) = (of("64"), of("128")) else {
        return;
    };
    let peak = |truth: &Value| truth["1/0"]["max_total_allocated"].as_f64().unwrap();
    let per_sample = (peak(large_truth) - peak(small_truth)) / 64.0;
    let fixed = peak(small_truth) - 64.0 * per_sample;
    assert!(fixed < 0.0);
    let errors = refused(&[small, large], &["--values", "64,128"]);
    let expected = format!("negative fixed part: {:.2} GiB", fixed / f64::from(1 << 30));
    assert!(errors.contains(&expected) && errors.contains("sequence length"), "{errors}");
    let errors = refused(&[small, large], &[]);
    assert!(errors.contains("does not tell its batch_size") && errors.contains("--values"), "{errors}");
}

#[test]
fn reports_stay_as_they_are() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    for size in [4, 8, 12] {
        let _ = record(folder.path(), &size.to_string(), &[size; 4], &[]);
    }
    let run = |runs: &[&str], options: &[&str]| {
        let mut command = program("tidegauge");
        command.current_dir(folder.path()).env("NO_COLOR", "1").arg("plan").args(runs);
        output_of(command.args(["--budget", "500MiB", "-q"]).args(options))
    };
    insta::assert_snapshot!("plan", run(&["4", "8"], &[]));
    insta::assert_snapshot!("plan_md", run(&["4", "8", "12"], &["--format", "md"]));
    insta::assert_snapshot!("plan_csv", run(&["4", "8"], &["--format", "csv"]));
    insta::assert_snapshot!("plan_json", run(&["4", "8", "12"], &["--json"]));
}

#[test]
fn steps_that_ran_out_of_memory_are_no_measurements() {
    let folder = tempfile::tempdir().unwrap();
    let steps = |name: &str, count: i64, mebibytes: u64, has_oom: bool| {
        let inside = move |step: TraceBuilder| {
            let step = step.alloc(1, mebibytes << 20);
            if has_oom { step.oom(1 << 30).free(1) } else { step.free(1) }
        };
        let all = (0..count).fold(TraceBuilder::new(), |builder, number| builder.step(number, 0.5, inside));
        // One that went well is no part of a run that never did.
        let all = if has_oom {
            all
        } else {
            all.step(count, 0.5, |step| step.alloc(2, 90 << 20).oom(1 << 30).free(2))
        };
        all.write(&folder.path().join(name))
    };
    let (small, large, out) =
        (steps("small", 4, 10, false), steps("large", 4, 20, false), steps("out", 4, 15, true));
    let rows = plan(&[&small, &large], &["--values", "4,8", "--budget", "1GiB"]);
    assert_eq!((&rows[0]["measured_bytes"], &rows[0]["fixed_bytes"]), (&(10 << 20).into(), &0.into()));
    assert_eq!(rows[1]["measured_bytes"], 20 << 20);
    let errors = refused(&[&small, &out], &["--values", "4,64", "--budget", "1GiB"]);
    assert!(errors.contains("ran out of memory in all of its steps"), "{errors}");
    let errors = refused(&[&small, &large], &["--values", "4,8", "--budget", "1GiB", "--device", "3"]);
    assert!(errors.contains("recorded nothing of device 3"), "{errors}");
    let errors = refused(&[&small, &large], &["--values", "4,1e300", "--budget", "1GiB"]);
    assert!(errors.contains("1e300 is no size"), "{errors}");
}

#[test]
fn steps_of_no_samples_are_left_out() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let run = record(folder.path(), "run", &[4, 4, 0, 8, 8], &[]);
    let rows = plan(&[&run], &["--budget", "1GiB"]);
    let measured: Vec<_> = rows.iter().filter(|row| row["basis"] == "measured").collect();
    assert_eq!(measured.iter().map(|row| row["value"].clone()).collect::<Vec<_>>(), [4, 8]);
    let mut command = program("tidegauge");
    let text = output_of(command.arg("plan").arg(&run).args(["--budget", "1GiB"]));
    assert!(text.contains("steps of no samples are left out, the first of them step 2"), "{text}");
}
