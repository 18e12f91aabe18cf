//! Where peaks are, what departs from the usual and what is hinted, as commands tell it of traces written down.

use std::path::Path;

use serde_json::{Value, json};
use tidegauge_schemas::EventKind;
use tidegauge_tests::programs::{output_of, program};
use tidegauge_tests::trace_builder::TraceBuilder;

const MIB: u64 = 1 << 20;

fn output(run: &Path, arguments: &[&str]) -> String {
    output_of(program("tidegauge").arg(arguments[0]).arg(run).args(&arguments[1..]))
}

fn data(run: &Path, arguments: &[&str]) -> Vec<Value> {
    let text = output_of(program("tidegauge").arg(arguments[0]).arg(run).args(&arguments[1..]).arg("--json"));
    serde_json::from_str(&text).unwrap()
}

fn summary(run: &Path) -> Value {
    serde_json::from_str(&output_of(program("tidegauge").arg("summary").arg(run).arg("--json"))).unwrap()
}

/// Steps of a model of 100 MiB, whose forward keeps 500 and whose backward leaves `gradients` to the optimizer.
fn training(mut trace: TraceBuilder, gradients: u64) -> TraceBuilder {
    for number in 0..5 {
        trace = trace.step(number, 0.5, |step| {
            let step = step.span("forward", |span| span.alloc(10, 500 * MIB));
            let step = step.span("backward", |span| span.alloc(11, gradients * MIB).free(10));
            step.span("optimizer", |span| span.free(11))
        });
    }
    trace
}

#[test]
fn the_peak_is_where_it_is_and_not_in_the_phase_that_begins_with_it() {
    let folder = tempfile::tempdir().unwrap();
    // Backward begins at the height that forward reached.
    let mut trace = TraceBuilder::new().alloc(1, 100 * MIB);
    for number in 0..4 {
        trace = trace.step(number, 0.5, |step| {
            let step = step.span("forward", |span| span.alloc(10, 500 * MIB));
            step.span("backward", |span| span.free(10))
        });
    }
    let run = trace.write(folder.path());
    let text = output(&run, &["phases"]);
    assert!(text.contains("the peak, 600 MiB, is in forward; memory goes as usual"), "{text}");
    assert!(!text.contains("flat in the optimizer"), "there is none: {text}");
    let rows = data(&run, &["phases", "--unusual"]);
    assert_eq!(rows.len(), 1);
    assert_eq!((&rows[0]["peak_phase"], &rows[0]["kind"]), (&json!("forward"), &Value::Null));
}

#[test]
fn a_peak_outside_of_phases_is_said_to_be_and_no_smaller_batch_is_hinted() {
    let folder = tempfile::tempdir().unwrap();
    let trace = TraceBuilder::new().alloc(1, 100 * MIB).alloc(2, 5000 * MIB).free(2);
    let run = training(trace, 100).write(folder.path());
    let text = output(&run, &["phases"]);
    assert!(text.contains("the peak, 4.98 GiB, is outside of phases"), "{text}");
    let hints = summary(&run)["hint_details"].clone();
    assert!(!hints.to_string().contains("smaller_batch"), "{hints}");
}

#[test]
fn hints_have_figures_as_data_and_what_does_not_scale_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let config = serde_json::from_value(json!({"batch_size": 8})).unwrap();
    let trace = TraceBuilder::new().config(config).alloc(1, 100 * MIB);
    let run = training(trace, 100).write(folder.path());
    let summary = summary(&run);
    let details = summary["hint_details"].as_array().unwrap();
    assert_eq!(details.len(), summary["hints"].as_array().unwrap().len());
    let batch = details.iter().find(|hint| hint["kind"] == "smaller_batch").unwrap();
    // At 700 MiB: a model of 100, gradients of 100, activations of 500.
    assert_eq!((&batch["scaling_bytes"], &batch["saved_bytes"]), (&json!(500 * MIB), &json!(250 * MIB)));
    assert_eq!((&batch["rank"], &batch["process"], &batch["device"]), (&json!(0), &json!(0), &json!(0)));
    assert_eq!(&batch["text"], &summary["hints"][details.iter().position(|of| of == batch).unwrap()]);
    // Another phase that has nearly the same peak limits what a smaller batch takes off.
    let mut trace = TraceBuilder::new().alloc(1, 100 * MIB);
    for number in 0..4 {
        trace = trace.step(number, 0.5, |step| {
            let step = step.span("forward", |span| span.alloc(10, 500 * MIB));
            let step = step.span("backward", |span| span.free(10));
            step.span("optimizer", |span| span.alloc(12, 400 * MIB).free(12))
        });
    }
    let folder = tempfile::tempdir().unwrap();
    let limited = self::summary(&trace.write(folder.path()));
    let details = limited["hint_details"].as_array().unwrap();
    let batch = details.iter().find(|hint| hint["kind"] == "smaller_batch").unwrap();
    assert_eq!(batch["saved_bytes"], 100 * MIB);
}

#[test]
fn detached_losses_are_no_kept_graph() {
    let folder = tempfile::tempdir().unwrap();
    let mut trace = TraceBuilder::new().alloc(1, 100 * MIB);
    for number in 0..9_i64 {
        let loss = 100 + number.cast_unsigned();
        trace = trace.step(number, 0.5, |step| {
            let event = |span: TraceBuilder| span.event(EventKind::Alloc, loss, Some(4), Some("loss"));
            let step = step.span("forward", |span| event(span.alloc(10, 500 * MIB)));
            step.span("backward", |span| span.free(10))
        });
    }
    let hints = summary(&trace.write(folder.path()))["hint_details"].clone();
    assert!(!hints.to_string().contains("kept_graph"), "{hints}");
}

#[test]
fn what_a_lower_peak_takes_is_data_and_a_window_limits_a_step() {
    let folder = tempfile::tempdir().unwrap();
    let run = training(TraceBuilder::new().alloc(1, 100 * MIB), 100).write(folder.path());
    let rows = data(&run, &["peaks", "--lower"]);
    assert_eq!(rows.len(), 3);
    assert_eq!((&rows[0]["times"], &rows[0]["peak_bytes"]), (&json!(5), &json!(700 * MIB)));
    assert_eq!((&rows[0]["phase"], &rows[0]["excess_bytes"]), (&json!("backward"), &json!(70 * MIB)));
    let mut absent = program("tidegauge");
    let absent = absent.args(["peaks", "--device", "7"]).arg(&run).output().unwrap();
    assert_eq!(absent.status.code(), Some(2), "{absent:?}");
    let mut absent = program("tidegauge");
    let absent = absent.args(["oom", "--device", "5"]).arg(&run).output().unwrap();
    assert_eq!(absent.status.code(), Some(2), "{absent:?}");
    // After the end nothing is above anything; the end's state of step 0's window is not that of the step.
    assert!(!output(&run, &["peaks", "--start", "1h"]).contains("lower"));
    assert!(!output(&run, &["peaks", "--step", "0", "--start", "1h"]).contains("700 MiB"));
}
