//! Runs of many ranks: one missing, one damaged, one that ran out of memory; the rest is analysed.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tidegauge_tests::programs::{output_of, program};

/// Each rank holds `2 × rank` blocks more than the first.
const LIFE: u64 = 64;
const EVENTS: u64 = 20_000;

pub(crate) fn record(run: &Path, folder: &Path, ranks: std::ops::Range<u64>, oom_rank: Option<u64>) {
    for rank in ranks {
        let mut churn = program("churn");
        churn.arg(folder.join(format!("counts-{rank}"))).args([
            EVENTS.to_string(),
            "2000".into(),
            "5".into(),
        ]);
        churn.env("TIDEGAUGE", run).env("RANK", rank.to_string()).env("WORLD_SIZE", "7");
        churn.env("CHURN_LIFE", (LIFE + 2 * rank).to_string());
        if oom_rank == Some(rank) {
            churn.env("CHURN_OOM_AT", "9000");
        }
        assert!(churn.status().unwrap().success());
    }
}

fn json(run: &Path, command: &[&str]) -> Value {
    serde_json::from_str(&output_of(tidegauge(run, command).arg("--json"))).unwrap()
}

fn tidegauge(run: &Path, command: &[&str]) -> Command {
    let mut tidegauge = program("tidegauge");
    tidegauge.arg(command[0]).arg(run).args(&command[1..]);
    tidegauge
}

fn array(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap()
}

#[test]
fn ranks_are_compared_and_what_is_missing_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    record(&run, folder.path(), 0..6, Some(4));
    let alone: Vec<i64> = (0..6)
        .map(|rank: u32| {
            let summary = json(&run, &["summary", "--rank", &rank.to_string()]);
            assert_eq!(summary["ranks"], Value::Null, "one rank is no spread");
            summary["devices"][0]["peak_allocated_bytes"].as_i64().unwrap()
        })
        .collect();
    assert!(alone.windows(2).all(|pair| pair[0] < pair[1]), "{alone:?}");

    let summary = json(&run, &["summary"]);
    let ranks = &summary["ranks"];
    let host = array(&ranks["curves"]).iter().find(|curve| curve["curve"] == "host allocated").unwrap();
    assert_eq!(
        (host["highest"]["rank"].as_i64(), host["highest"]["bytes"].as_i64()),
        (Some(5), Some(alone[5]))
    );
    assert_eq!(
        (host["lowest"]["rank"].as_i64(), host["lowest"]["bytes"].as_i64()),
        (Some(0), Some(alone[0]))
    );
    assert_eq!(host["median_bytes"].as_i64(), Some(alone[2]));
    assert_eq!(ranks["first_oom"]["rank"], 4);
    let warnings = summary["warnings"].to_string();
    assert!(warnings.contains("there is no trace of rank 6"), "{warnings}");

    let text = output_of(&mut tidegauge(&run, &["summary"]));
    assert!(text.contains("the first to run out of memory is rank 4"), "{text}");
    assert!(text.contains("in full: rank 4 process 0"), "{text}");

    // Steps by number: rows of all ranks as data, extremes for people.
    let steps = json(&run, &["steps"]);
    let of_step = |step: i64| -> Vec<i64> {
        let rows = array(&steps).iter().filter(|row| row["step"] == step);
        rows.map(|row| row["peak_bytes"].as_i64().unwrap()).collect()
    };
    assert_eq!((array(&steps).len(), of_step(3).len()), (60, 6));
    let text = output_of(&mut tidegauge(&run, &["steps"]));
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 11, "{text}");
    assert!(lines[0].contains("Highest peak") && lines[4].contains('5'), "{text}");
    for command in ["phases", "peaks", "timeline", "sites"] {
        let rows = json(&run, &[command]);
        let mut ranks: Vec<i64> = array(&rows).iter().map(|row| row["rank"].as_i64().unwrap()).collect();
        ranks.dedup();
        let expected: &[i64] = if command == "phases" { &[] } else { &[0, 1, 2, 3, 4, 5] };
        assert_eq!(ranks, expected, "{command}");
    }
}

#[test]
fn a_damaged_rank_is_said_and_the_rest_is_analysed() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    record(&run, folder.path(), 0..3, None);
    // Its pages are garbage; the footer is whole.
    let events = run.join("events/rank=1/process=0");
    let part = std::fs::read_dir(&events).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&part).unwrap();
    let length = bytes.len();
    bytes[100..length / 2].fill(0xA5);
    std::fs::write(&part, bytes).unwrap();
    let summary = json(&run, &["summary"]);
    let warnings = summary["warnings"].to_string();
    assert!(warnings.contains("rank 1 process 0"), "{warnings}");
    let devices = array(&summary["devices"]);
    let whole: Vec<i64> =
        devices.iter().map(|device| device["rank"].as_i64().unwrap()).filter(|rank| *rank != 1).collect();
    assert_eq!(whole, [0, 2]);
    for command in ["steps", "peaks", "timeline", "sites"] {
        let output = tidegauge(&run, &[command, "--json"]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command}: {said}");
        assert!(said.contains("rank 1 process 0"), "{command}: {said}");
        let rows: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(array(&rows).iter().any(|row| row["rank"] == 2), "{command}");
    }
    // Alone, what is wrong with it is the answer.
    let output = tidegauge(&run, &["steps", "--rank", "1"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!said.is_empty(), "{said}");
}
