//! Snapshots that others recorded, against answers that were computed independently.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tidegauge_analyzer::load::{Rows, Selection, Source};
use tidegauge_schemas::EventKind;
use tidegauge_tests::corpus;
use tidegauge_tests::programs::{output_of, program};

/// Entries of a device by their action: what was there before the first one is not among them.
fn actions(path: &std::path::Path, device: i16) -> BTreeMap<String, u64> {
    let source = Source::open(&[path], &Selection::default()).unwrap();
    let mut actions = BTreeMap::new();
    for batch in Rows::new(&source.processes[0]).events() {
        let batch = batch.unwrap();
        for event in (0..batch.len()).map(|row| batch.row(row)).filter(|event| event.device == device) {
            let kind = event.kind.unwrap();
            if !matches!(kind, EventKind::Baseline | EventKind::BaselinePending | EventKind::SegmentBaseline)
            {
                *actions.entry(kind.as_str().to_owned()).or_default() += 1;
            }
        }
    }
    actions
}

#[test]
fn every_figure_of_every_file_is_that_of_the_reference() {
    for (path, devices) in corpus::files("snapshots/") {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = output_of(program("tidegauge").args(["summary", "--json"]).arg(&path));
        let summary: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(summary["warnings"], json!([]), "{name}");
        assert_eq!(
            summary["devices"].as_array().unwrap().len(),
            devices.as_object().unwrap().len(),
            "{name}"
        );
        for (device, expected) in devices.as_object().unwrap() {
            let number: i16 = device.parse().unwrap();
            let found = summary["devices"].as_array().unwrap().iter().find(|found| found["device"] == number);
            let found = found.unwrap_or_else(|| panic!("{name}: device {device} is missing"));
            let actions = actions(&path, number);
            let entries: u64 = actions.values().sum();
            let comparisons = [
                ("entries", json!(entries), &expected["n"]),
                ("actions", json!(actions), &expected["actions"]),
                ("initial active", found["initial_active_bytes"].clone(), &expected["initial_requested"]),
                ("end active", found["end_active_bytes"].clone(), &expected["end_requested"]),
                ("peak active", found["peak_active_bytes"].clone(), &expected["peak_requested"]),
                ("peak entry", found["peak_event_index"].clone(), &expected["peak_requested_index"]),
                ("peak reserved", found["peak_reserved_bytes"].clone(), &expected["reserved_peak"]),
            ];
            for (what, found, expected) in comparisons {
                eprintln!("{name} device {device}: {what}: {found}, reference {expected}");
                assert_eq!(found, *expected, "{name} device {device}: {what}");
            }
        }
    }
}
