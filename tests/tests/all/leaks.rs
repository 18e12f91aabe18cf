//! `tidegauge leaks`: leaks that were planted, and growth that is none.

use std::path::Path;

use serde_json::Value;
use tidegauge_recorder::{self as tg, Existing, Recorder};
use tidegauge_schemas::EventKind;
use tidegauge_tests::TraceBuilder;
use tidegauge_tests::programs::{output_of, program};

use crate::nvidia_smi::log;
use crate::recording::turn;

const MIB: u64 = 1 << 20;

fn leaks(run: &Path, options: &[&str]) -> Vec<Value> {
    let text = output_of(program("tidegauge").arg("leaks").arg(run).args(options).arg("--json"));
    serde_json::from_str(&text).unwrap()
}

fn text(run: &Path, options: &[&str]) -> String {
    output_of(program("tidegauge").arg("leaks").arg(run).args(options))
}

/// The row of a curve as a whole.
fn curve<'a>(rows: &'a [Value], name: &str) -> &'a Value {
    let is_it = |row: &&Value| row["curve"] == name && row["site"] == Value::Null;
    rows.iter().find(is_it).unwrap_or_else(|| panic!("no {name} in {rows:#?}"))
}

fn sites(rows: &[Value]) -> Vec<&Value> {
    rows.iter().filter(|row| row["site"] != Value::Null).collect()
}

/// A model of 10 MiB, and steps in each of which `inside` happens after a forward of which nothing stays.
fn training(steps: i64, inside: impl Fn(TraceBuilder, u64) -> TraceBuilder) -> TraceBuilder {
    let model = TraceBuilder::new().event(EventKind::Alloc, 1, Some(10 * MIB), Some("net.weights"));
    (0..steps).fold(model, |trace, number| {
        trace.step(number, 1.0, |trace| {
            let trace = trace.span("forward", |trace| {
                trace.event(EventKind::Alloc, 2, Some(3 * MIB), Some("net.conv")).free(2)
            });
            inside(trace, number.cast_unsigned())
        })
    })
}

fn held(trace: TraceBuilder, address: u64, bytes: u64, site: &str) -> TraceBuilder {
    trace.event(EventKind::Alloc, address, Some(bytes), Some(site))
}

#[test]
fn a_planted_leak_is_found_with_its_rate_its_site_and_its_phase() {
    let folder = tempfile::tempdir().unwrap();
    let trace = training(60, |trace, number| {
        trace
            .span("metrics", |trace| held(trace, 1000 + number, 4096, "net.history"))
            .span("logging", |trace| held(trace, 5000 + number, 1024, "log.lines"))
    });
    let run = trace.write(folder.path());
    let rows = leaks(&run, &[]);
    for name in ["allocated", "allocated_peak"] {
        let row = curve(&rows, name);
        assert_eq!(row["verdict"], "leak", "{row}");
        for key in ["slope_bytes", "low_bytes", "high_bytes"] {
            assert_eq!(row[key], 5120, "{row}");
        }
        assert_eq!((&row["unit"], &row["device"], &row["rank"]), (&"step".into(), &0.into(), &0.into()));
        assert_eq!(row["points"].as_i64().unwrap() + row["warmup"].as_i64().unwrap(), 60);
    }
    let sites = sites(&rows);
    let expected = [("net.history", "metrics", 4096, 0.8), ("log.lines", "logging", 1024, 0.2)];
    assert_eq!(sites.len(), 2, "{sites:#?}");
    for (row, (site, phase, slope, share)) in sites.iter().zip(expected) {
        assert_eq!((&row["site"], &row["phase"]), (&site.into(), &phase.into()));
        assert_eq!((&row["slope_bytes"], &row["share"]), (&slope.into(), &share.into()));
    }
    assert_eq!(leaks(&run, &["-n", "1"]).len(), rows.len() - 1);
    let text = text(&run, &[]);
    assert!(text.starts_with("leak by step: device 0 allocated, device 0 allocated_peak\n"), "{text}");
    let sentence = "grows by +5.00 KiB per step (+5.00 KiB to +5.00 KiB)";
    assert!(
        text.contains(sentence)
            && text.contains("the largest part is of net.history, allocated in metrics (80 %)"),
        "{text}"
    );
}

#[test]
fn growth_that_ends_or_is_given_back_is_no_leak() {
    type Inside = fn(TraceBuilder, u64) -> TraceBuilder;
    let cases: [(&str, Inside, &str); 5] = [
        (
            "the optimizer's state",
            |trace, number| {
                if number < 2 { held(trace, 100 + number, 20 * MIB, "adam") } else { trace }
            },
            "stable",
        ),
        (
            "a cache that fills",
            |trace, number| {
                if number < 40 { held(trace, 100 + number, MIB, "cache") } else { trace }
            },
            "levels off",
        ),
        (
            "an epoch's losses",
            |trace, number| {
                let trace = held(trace, 100 + number % 15, MIB, "losses");
                if number % 15 == 14 { (100..115).fold(trace, TraceBuilder::free) } else { trace }
            },
            "stable",
        ),
        (
            "a jump",
            |trace, number| if number == 31 { held(trace, 100, 40 * MIB, "late") } else { trace },
            "levels off",
        ),
        ("nothing", |trace, _| trace, "stable"),
    ];
    for (name, inside, verdict) in cases {
        for steps in [64, 70, 73] {
            let folder = tempfile::tempdir().unwrap();
            let rows = leaks(&training(steps, inside).write(folder.path()), &[]);
            assert_eq!(curve(&rows, "allocated")["verdict"], verdict, "{name}, {steps}: {rows:#?}");
            assert_ne!(curve(&rows, "allocated_peak")["verdict"], "leak", "{name}, {steps}: {rows:#?}");
            assert_eq!(sites(&rows).len(), 0, "{name}: {rows:#?}");
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let short = training(8, |trace, number| held(trace, 100 + number, MIB, "x")).write(folder.path());
    assert_eq!(curve(&leaks(&short, &[]), "allocated")["verdict"], "too short to say");
    assert_eq!(curve(&leaks(&short, &["--warmup", "6"]), "allocated")["slope_bytes"], Value::Null);
}

#[test]
fn a_warm_up_is_left_out_as_found_or_as_told() {
    let folder = tempfile::tempdir().unwrap();
    let trace = training(50, |trace, number| {
        let trace = if number < 6 { held(trace, 500 + number, 7 * MIB, "warm") } else { trace };
        held(trace, 100 + number, 2048, "kept")
    });
    let run = trace.write(folder.path());
    let rows = leaks(&run, &[]);
    assert_eq!(
        (&curve(&rows, "allocated")["warmup"], &curve(&rows, "allocated")["slope_bytes"]),
        (&6.into(), &2048.into())
    );
    assert_eq!(sites(&rows).len(), 1, "{rows:#?}");
    assert_eq!(curve(&leaks(&run, &["--warmup", "20"]), "allocated")["points"], 30);
}

#[test]
fn an_optimizer_that_is_a_black_box_leaks_by_evaluation_and_a_loop_without_steps_by_epoch() {
    let evaluated =
        |trace: TraceBuilder, number: u64| held(trace, 100 + number, 3000, "closure").evaluation(1.0);
    let by_epoch =
        |trace: TraceBuilder, number: u64| trace.epoch(|trace| held(trace, 100 + number, 3000, "val"));
    type Inside<'a> = &'a dyn Fn(TraceBuilder, u64) -> TraceBuilder;
    let cases: [(&str, Inside<'_>); 2] = [("evaluation", &evaluated), ("epoch", &by_epoch)];
    for (unit, inside) in cases {
        let folder = tempfile::tempdir().unwrap();
        let run = (0..40).fold(TraceBuilder::new().alloc(1, MIB), inside).write(folder.path());
        let rows = leaks(&run, &[]);
        let row = curve(&rows, "allocated");
        assert_eq!(
            (&row["unit"], &row["verdict"], &row["slope_bytes"]),
            (&unit.into(), &"leak".into(), &3000.into())
        );
        assert_eq!(sites(&rows)[0]["slope_bytes"], 3000);
        assert_eq!(leaks(&run, &["--by", unit]), rows, "it is what was chosen");
        // A few microseconds.
        assert_eq!(curve(&leaks(&run, &["--by", "time"]), "allocated")["verdict"], "too short to say");
    }
}

#[test]
fn the_resident_size_leaks_too() {
    let folder = tempfile::tempdir().unwrap();
    let trace = (0..40).fold(TraceBuilder::new(), |trace, number: u64| {
        // Two samples in each step, the second with what the step holds for a while.
        trace.step(number.cast_signed(), 1.0, |trace| {
            trace.rss((300 + 2 * number) * MIB).rss((700 + number % 7 * 40) * MIB)
        })
    });
    let rows = leaks(&trace.write(folder.path()), &[]);
    let row = curve(&rows, "rss");
    assert_eq!(
        (&row["verdict"], &row["slope_bytes"], &row["device"]),
        (&"leak".into(), &(2 * MIB).into(), &(-1).into())
    );
}

#[test]
fn a_driver_s_log_leaks_by_the_minute_until_the_device_is_full() {
    let folder = tempfile::tempdir().unwrap();
    // Four readings a second: 10 MiB each on device 0, 2400 MiB a minute; device 1 does not grow.
    let run = log(
        &folder.path().join("gpu.csv"),
        |reading, device| if device == 0 { 1000 + 10 * reading } else { 5000 },
        400,
    );
    let rows = leaks(&run, &[]);
    assert_eq!(rows.len(), 2);
    let (growing, level) = (&rows[0], &rows[1]);
    assert_eq!((&growing["verdict"], &growing["unit"]), (&"leak".into(), &"minute".into()));
    let slope = growing["slope_bytes"].as_f64().unwrap() / MIB as f64;
    assert!((slope / 2400.0 - 1.0).abs() < 0.001, "{slope}");
    // (81920 − 1000) / 2400 minutes from the first reading.
    assert_eq!((&growing["limit_bytes"], &growing["limit_at"]), (&(81920 * MIB).into(), &34.into()));
    assert_eq!((&level["verdict"], &level["limit_at"]), (&"stable".into(), &Value::Null));
    let text = text(&run, &[]);
    assert!(text.contains("the limit of 80.0 GiB is reached at minute 34"), "{text}");
}

#[test]
fn every_rank_has_its_rows() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    for (rank, leaked) in [(0, 0), (1, 512)] {
        let recorder = Recorder::builder(&run).existing(Existing::Join).rank(rank).start().unwrap();
        tg::alloc(0, 1, 100_000);
        for number in 0..30 {
            let _step = tg::step(number);
            let _site = tg::site("net.kept");
            if leaked > 0 {
                tg::alloc(0, 10 + number.cast_unsigned(), leaked);
            }
        }
        recorder.stop().unwrap();
    }
    let rows = leaks(&run, &["--device", "0"]);
    let verdicts: Vec<(&Value, &Value)> = rows
        .iter()
        .filter(|row| row["curve"] == "allocated" && row["site"] == Value::Null)
        .map(|row| (&row["rank"], &row["verdict"]))
        .collect();
    assert_eq!(verdicts, [(&0.into(), &"stable".into()), (&1.into(), &"leak".into())]);
    let text = text(&run, &["--device", "0"]);
    assert!(text.contains("no leak by step") && text.contains("leak by step: device 0 allocated"), "{text}");
    assert_eq!(leaks(&run, &["--device", "0", "--rank", "1"]).len(), rows.len() - 2);
}

#[test]
fn all_forms_say_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let run = training(40, |trace, number| held(trace, 100 + number, 4096, "a,b|c")).write(folder.path());
    let rows = leaks(&run, &[]);
    let csv = text(&run, &["--format", "csv"]);
    let (head, lines) = csv.split_once('\n').unwrap();
    let mut columns: Vec<&str> = head.split(',').collect();
    columns.sort_unstable();
    assert_eq!(columns, rows[0].as_object().unwrap().keys().collect::<Vec<_>>());
    assert_eq!(lines.lines().count(), rows.len());
    let markdown = text(&run, &["--format", "md"]);
    assert!(
        markdown.starts_with("### leak by step: device 0 allocated") && markdown.contains("| a,b\\|c |"),
        "{markdown}"
    );
    let empty = tempfile::tempdir().unwrap();
    let nothing = TraceBuilder::new().mark("x").write(empty.path());
    assert_eq!(leaks(&nothing, &[]), Vec::<Value>::new());
    assert!(text(&nothing, &[]).starts_with("nothing was recorded that could grow"));
    let wrong = program("tidegauge").arg("leaks").arg(&run).args(["--device", "3"]).output().unwrap();
    assert_eq!(wrong.status.code(), Some(2));
}

#[test]
fn where_few_events_are_kept_the_recorder_s_own_counts_tell() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let recorder = Recorder::builder(&run).windows(2, 8).start().unwrap();
    tg::alloc(0, 1, 100_000);
    for number in 0..96 {
        let _step = tg::step(number);
        let _site = tg::site("net.kept");
        tg::alloc(0, 10 + number.cast_unsigned(), 512);
        tg::alloc(0, 2, 40_000);
        tg::free(0, 2);
    }
    recorder.stop().unwrap();
    let rows = leaks(&run, &["--device", "0"]);
    let row = curve(&rows, "allocated");
    assert_eq!((&row["verdict"], &row["slope_bytes"]), (&"leak".into(), &512.into()), "{rows:#?}");
    let values = row["points"].as_i64().unwrap() + row["warmup"].as_i64().unwrap();
    assert_eq!(values, 96, "also of the steps of which no event was kept");
    let site = sites(&rows)[0];
    assert_eq!(site["site"], "net.kept");
    assert!((site["slope_bytes"].as_f64().unwrap() / 512.0 - 1.0).abs() < 0.05, "{site}");
}

#[test]
fn what_is_no_leak_has_grown_by_what_it_grew_and_what_is_not_there_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let step = |builder: tidegauge_tests::TraceBuilder, number: u64| {
        builder.step(number as i64, 0.5, |step| {
            let step = step.alloc(100 + number, 1 << 20);
            if number >= 80 { step.free(100 + number - 80) } else { step }
        })
    };
    let run = (0..100).fold(tidegauge_tests::TraceBuilder::new(), step).write(folder.path());
    let of = |options: &[&str]| {
        let mut command = tidegauge_tests::programs::program("tidegauge");
        tidegauge_tests::programs::output_of(command.arg("leaks").arg(&run).args(options))
    };
    let rows: Vec<serde_json::Value> = serde_json::from_str(&of(&["--json"])).unwrap();
    let row = rows.iter().find(|row| row["curve"] == "allocated" && row["site"].is_null()).unwrap();
    assert_ne!(row["verdict"], "leak");
    assert!(row["growth_bytes"].as_i64().unwrap() <= 80 << 20, "a cache of 80: {row}");
    assert!(of(&["--by", "epoch"]).starts_with("no epochs were recorded"));
}
