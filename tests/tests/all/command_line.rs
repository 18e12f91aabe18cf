//! The command line's manners: formats agree, errors are clear, files are not overwritten, output is deterministic.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tidegauge_schemas::EventKind;
use tidegauge_tests::TraceBuilder;
use tidegauge_tests::programs::{output_of, program};

fn trace(folder: &Path) -> PathBuf {
    let step = |builder: TraceBuilder, number: i64| {
        builder.step(number, 1.0 / (number + 1) as f64, |step| {
            step.span("forward", |inside| {
                let inside = inside.event(EventKind::Alloc, 1, Some(3 << 20), Some("net.conv1"));
                inside.event(EventKind::Alloc, 2, Some((number as u64 + 1) << 20), Some("<b>&\"hostile\""))
            })
            .span("backward", |inside| inside.free(1).free(2))
        })
    };
    (0..4).fold(TraceBuilder::new().rss(50 << 20), step).rss(60 << 20).write(folder)
}

fn json(run: &Path, arguments: &[&str]) -> Value {
    let text =
        output_of(program("tidegauge").args(&arguments[..1]).arg(run).args(&arguments[1..]).arg("--json"));
    serde_json::from_str(&text).unwrap()
}

#[test]
fn every_table_says_the_same_in_json_and_csv() {
    let folder = tempfile::tempdir().unwrap();
    let run = trace(folder.path());
    for arguments in
        [&["phases"][..], &["steps"], &["timeline"], &["peaks"], &["query", "SELECT seq, kind FROM events"]]
    {
        let rows = json(&run, arguments);
        let mut command = program("tidegauge");
        command.arg(arguments[0]).arg(&run).args(&arguments[1..]).args(["--format", "csv"]);
        let csv = output_of(&mut command);
        let (head, lines) = csv.split_once('\n').unwrap();
        let keys: Vec<&str> = rows[0].as_object().unwrap().keys().map(String::as_str).collect();
        let mut columns: Vec<&str> = head.split(',').collect();
        columns.sort_unstable();
        assert_eq!(columns, keys, "{arguments:?}");
        assert_eq!(lines.lines().count(), rows.as_array().unwrap().len(), "{arguments:?}");
        let markdown = output_of(
            program("tidegauge").arg(arguments[0]).arg(&run).args(&arguments[1..]).args(["--format", "md"]),
        );
        assert!(markdown.contains("| ---"), "{markdown}");
    }
}

#[test]
fn summary_has_the_keys_of_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let summary = json(&trace(folder.path()), &["summary"]);
    let device = &summary["devices"][0];
    assert_eq!(device["peak_allocated_bytes"], 7 << 20);
    assert_eq!(device["peak_active_bytes"], 7 << 20);
    assert_eq!(device["peak_reserved_bytes"], Value::Null);
    assert_eq!(device["peak_step"], 3);
    assert_eq!(device["peak_phase"], "forward");
    assert_eq!(device["peak_event_index"], 13);
    assert_eq!(device["initial_active_bytes"], 0);
    assert_eq!(device["end_active_bytes"], 0);
    assert_eq!(device["device"], 0);
    assert!(device["peak_time"].as_f64().unwrap() > 0.0);
    assert_eq!(summary["peak_rss_bytes"], 60 << 20);
    assert_eq!(summary["ended"], "clean");
    assert_eq!(summary["dropped_events"], 0);
    assert_eq!(summary["phases"].as_array().unwrap().len(), 2);
    for key in ["run", "recording_cost", "hints", "warnings"] {
        assert!(summary.get(key).is_some(), "{key}");
    }
    assert_eq!(device["live_at_peak"][0]["bytes"], 4 << 20);
}

#[test]
fn a_selection_is_kept_to() {
    let folder = tempfile::tempdir().unwrap();
    let run = trace(folder.path());
    let peak = json(&run, &["peaks", "--step", "1"]);
    let total: i64 = peak.as_array().unwrap().iter().map(|row| row["bytes"].as_i64().unwrap()).sum();
    assert_eq!(total, 5 << 20);
    assert_eq!(json(&run, &["steps", "-n", "2"]).as_array().unwrap().len(), 2);
    assert_eq!(json(&run, &["phases", "--device", "-1"]), serde_json::json!([]));
    let early = json(&run, &["summary", "--end", "8us"]);
    assert_eq!(early["devices"][0]["peak_allocated_bytes"], 4 << 20);
    let derived =
        json(&run, &["query", "SELECT step, peak_bytes, rank FROM steps WHERE loss < 0.6 ORDER BY step"]);
    assert_eq!(derived[0], serde_json::json!({"step": 1, "peak_bytes": 5 << 20, "rank": 0}));
    let phases = json(&run, &["query", "SELECT phase FROM phases ORDER BY phase"]);
    assert_eq!(phases[1]["phase"], "forward");
    let joined = "SELECT s.name, SUM(e.size_bytes) AS bytes FROM events e JOIN sites s ON e.site = s.site \
                  WHERE e.kind = 'alloc' GROUP BY s.name ORDER BY bytes DESC";
    assert_eq!(
        json(&run, &["query", joined])[0],
        serde_json::json!({"name": "net.conv1", "bytes": 12 << 20})
    );
}

#[test]
fn errors_say_what_to_do_and_exit_with_2() {
    let folder = tempfile::tempdir().unwrap();
    let run = trace(folder.path());
    let cases: [(&[&str], &str); 6] = [
        (&["summary", "/nonexistent"], "not a tidegauge trace"),
        (&["phases", run.to_str().unwrap(), "--rank", "5"], "no such rank or process"),
        (&["query", run.to_str().unwrap(), "SELECT nonsense FROM events"], "query failed"),
        (&["query", run.to_str().unwrap(), "SELEKT"], "query failed"),
        (&["peaks", run.to_str().unwrap(), "--step", "99"], "no step 99"),
        (&["timeline", run.to_str().unwrap(), "--start", "soon"], "is no time"),
    ];
    for (arguments, expected) in cases {
        let output = program("tidegauge").args(arguments).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {errors}");
        assert!(errors.contains(expected), "{arguments:?}: {errors}");
        assert!(output.stdout.is_empty());
    }
    let output = program("tidegauge-record").args(["recover", "/nonexistent"]).output().unwrap();
    assert_eq!(output.status.code(), Some(125));
}

#[test]
fn files_are_not_overwritten_without_force() {
    let folder = tempfile::tempdir().unwrap();
    let run = trace(folder.path());
    let file = folder.path().join("phases.csv");
    let write = |extra: &[&str]| {
        let mut command = program("tidegauge");
        command.arg("phases").arg(&run).args(["--format", "csv", "-o"]).arg(&file).args(extra);
        command.output().unwrap()
    };
    assert!(write(&[]).status.success());
    let refused = write(&[]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--force"));
    assert!(write(&["--force"]).status.success());
}

#[test]
fn plots_are_deterministic_small_and_escape_what_strangers_wrote() {
    let folder = tempfile::tempdir().unwrap();
    let builder = TraceBuilder::new()
        .span("<script>alert(1)</script>", |inside| inside.alloc(1, 100).alloc(2, 200).free(1));
    let run = builder.write(folder.path());
    for kind in ["timeline", "phases"] {
        let draw = || output_of(program("tidegauge").args(["plot", kind]).arg(&run));
        let svg = draw();
        assert_eq!(svg, draw(), "{kind}: the same bytes");
        assert!(svg.len() < 300 << 10, "{kind}: {} bytes", svg.len());
        assert!(svg.starts_with("<svg") && svg.contains("<title>") && svg.contains("<desc>"), "{kind}");
        assert!(!svg.contains("<script"), "{kind}");
        assert!(svg.contains("&lt;script"), "{kind}: the name is shown");
    }
}

#[test]
fn a_plot_of_many_events_stays_small_and_keeps_the_peak() {
    let folder = tempfile::tempdir().unwrap();
    let spike = 150_000;
    let builder = (0..300_000u64).fold(TraceBuilder::new().parts_of(100_000), |builder, n| {
        let size = if n == spike { 5 << 30 } else { (n * 7919) % 1_000_000 };
        if n % 100 == 0 { builder.alloc(1, size).mark("phase") } else { builder.alloc(1, size) }
    });
    let run = builder.write(folder.path());
    let svg = output_of(program("tidegauge").args(["plot", "timeline", "-q"]).arg(&run));
    assert!(svg.len() < 300 << 10, "{} bytes", svg.len());
    assert!(svg.contains("peak 5.00 GiB"), "the spike of one event is there");
}

#[test]
fn a_phase_within_one_of_its_own_name_is_part_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let step = |builder: TraceBuilder, number: i64| {
        builder.step(number, 1.0, |step| {
            step.span("forward", |own| {
                own.alloc(1, 100)
                    .span("forward", |hooked| hooked.alloc(2, 20).span("forward", |again| again.alloc(3, 3)))
                    .span("other", |other| other.span("forward", |inside| inside.free(3)))
            })
            .span("backward", |inside| inside.free(1).free(2))
        })
    };
    let run = (0..3).fold(TraceBuilder::new(), step).write(folder.path());
    let rows = json(&run, &["phases"]);
    let of = |name: &str| {
        let mut found = rows.as_array().unwrap().iter().filter(|row| row["phase"] == name);
        let row = found.next().unwrap().clone();
        assert!(found.next().is_none());
        row
    };
    assert_eq!((&of("forward")["count"], &of("forward")["mean_delta_bytes"]), (&3.into(), &120.into()));
    assert_eq!((&of("other")["count"], &of("other")["mean_delta_bytes"]), (&3.into(), &(-3).into()));
    assert_eq!(of("backward")["count"], 3);
}
