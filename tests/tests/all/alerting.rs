//! Alerts that the recorder in the program watches.

use std::process::{Command, Output};

use tidegauge_schemas::{CheckpointKind, Trace};

use crate::victim::checkpoints;

const STEP_EVENTS: u64 = 1000;

/// A run of `churn` that leaks so much in each of 60 steps; what it said, and its alerts: rule and value.
fn run(alerts: &str, leak_bytes: u64, environment: &[(&str, &str)]) -> (Output, Vec<(String, f64)>) {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let mut command = Command::new(env!("CARGO_BIN_EXE_churn"));
    command.arg(folder.path().join("counts"));
    command.args([60 * STEP_EVENTS, STEP_EVENTS, 1000].map(|number| number.to_string()));
    command.env("TIDEGAUGE", &run).env("TIDEGAUGE_ALERTS", alerts);
    command.env("CHURN_LEAK_BYTES", leak_bytes.to_string()).envs(environment.iter().copied());
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let trace = Trace::open(&run).unwrap();
    let process = trace.process(trace.processes()[0]).unwrap();
    let alerts = checkpoints(&process).into_iter().filter(|row| row.kind == CheckpointKind::Alert.as_str());
    let raised = alerts.map(|row| (row.name.unwrap(), row.value.unwrap())).collect();
    (output, raised)
}

/// The background looks ten times a second.
const SLOWLY: (&str, &str) = ("CHURN_STEP_MILLIS", "5");

#[test]
fn growth_by_step_is_seen_and_less_is_not() {
    let alert = "allocated growth > 5MiB/step over 20";
    let (output, raised) = run(alert, 6 << 20, &[SLOWLY]);
    assert_eq!(raised.len(), 1, "{raised:?}");
    assert!(raised[0].0.contains("growth"), "{raised:?}");
    assert!((raised[0].1 - (6 << 20) as f64).abs() < 64.0 * 1024.0, "{raised:?}");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(errors.matches("alert: ").count(), 1, "{errors}");
    assert_eq!(run(alert, 4 << 20, &[SLOWLY]).1, []);
}

#[test]
fn a_threshold_is_raised_once_and_what_cannot_be_read_is_said() {
    let (output, raised) = run("allocated > 100MiB; rss >; allocated > 1TiB", 6 << 20, &[SLOWLY]);
    assert_eq!(raised.len(), 1, "{raised:?}");
    assert!(raised[0].1 > (100 << 20) as f64 && raised[0].1 < (140 << 20) as f64, "{raised:?}");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("TIDEGAUGE_ALERTS") && errors.contains("it is ignored"), "{errors}");
}
