//! torch.profiler's memory timelines on the command line: figures equal adding up the file, also of a real one.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};
use tidegauge_tests::corpus;
use tidegauge_tests::programs::{output_of, program, say};

/// Categories by torch's numbers.
const CATEGORIES: [&str; 8] = [
    "parameter",
    "optimizer_state",
    "input",
    "temporary",
    "activation",
    "gradient",
    "autograd_detail",
    "unknown",
];

fn tidegauge(arguments: &[&str], run: &Path) -> Value {
    let text =
        output_of(program("tidegauge").args(&arguments[..1]).arg(run).args(&arguments[1..]).arg("--json"));
    serde_json::from_str(&text).unwrap()
}

/// The highest sum over all entries up to a time, its categories, when, and the sum at the end.
struct Naive {
    peak_bytes: i64,
    by_category: BTreeMap<String, i64>,
    seconds: Option<f64>,
    initial_bytes: i64,
    end_bytes: i64,
}

fn naive(entries: &[[i64; 4]]) -> Naive {
    let first = entries.iter().map(|entry| entry[0]).find(|time| *time >= 0).unwrap_or(0);
    let mut found = Naive {
        peak_bytes: 0,
        by_category: BTreeMap::new(),
        seconds: None,
        initial_bytes: entries.iter().filter(|entry| entry[0] < 0).map(|entry| entry[2]).sum(),
        end_bytes: 0,
    };
    let mut sums = [0i64; 8];
    for (at, [time, _, bytes, category]) in entries.iter().enumerate() {
        sums[*category as usize] += bytes;
        // Entries of one time are sorted by kind: only what they come to is a state.
        let is_last_of_time = entries.get(at + 1).is_none_or(|next| next[0] != *time);
        found.end_bytes = sums.iter().sum();
        if is_last_of_time && found.end_bytes > found.peak_bytes {
            found.peak_bytes = found.end_bytes;
            found.seconds = (*time >= 0).then_some((time - first) as f64 / 1e9);
            let held = CATEGORIES.iter().zip(sums).filter(|(_, bytes)| *bytes != 0);
            found.by_category = held.map(|(name, bytes)| ((*name).to_owned(), bytes)).collect();
        }
    }
    found
}

fn check(path: &Path, expected: &Naive) {
    let summary = tidegauge(&["summary"], path);
    let device = &summary["devices"][0];
    let compared = [
        ("peak_allocated_bytes", json!(expected.peak_bytes)),
        ("peak_active_bytes", json!(expected.peak_bytes)),
        ("initial_active_bytes", json!(expected.initial_bytes)),
        ("end_active_bytes", json!(expected.end_bytes)),
        ("peak_time", json!(expected.seconds)),
        ("device", json!(0)),
    ];
    for (key, value) in compared {
        assert_eq!(device[key], value, "{key} of {}", path.display());
    }
    let rows = tidegauge(&["peaks", "--by", "category"], path);
    let groups: BTreeMap<String, i64> = rows
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["category"].as_str().unwrap().to_owned(), row["bytes"].as_i64().unwrap()))
        .collect();
    assert_eq!(groups, expected.by_category, "{}", path.display());
    let rows = tidegauge(&["timeline", "-n", "100000"], path);
    let of_curve = |key: &str| -> Vec<i64> {
        let rows = rows.as_array().unwrap().iter().filter(|row| row["curve"] == "allocated");
        rows.map(|row| row[key].as_i64().unwrap()).collect()
    };
    assert_eq!(of_curve("max_bytes").into_iter().max(), Some(expected.peak_bytes), "{}", path.display());
    assert_eq!(of_curve("last_bytes").last(), Some(&expected.end_bytes));
}

#[test]
fn both_forms_of_a_training_step_are_read() {
    let entries: Vec<[i64; 4]> = vec![
        [-1, 1, 4_000_000, 0],
        [-1, 1, 100_000, 2],
        [1_700_000_000_000_001_000, 2, 6_000_000, 4],
        [1_700_000_000_000_002_000, 3, -6_000_000, 4],
        [1_700_000_000_000_002_000, 3, 6_000_000, 4],
        [1_700_000_000_000_003_000, 2, 2_000_000, 7],
        [1_700_000_000_000_004_000, 2, 4_000_000, 5],
        [1_700_000_000_000_005_000, 3, -4_000_000, 5],
        [1_700_000_000_000_005_000, 3, 4_000_000, 6],
        [1_700_000_000_000_006_000, 4, -6_000_000, 4],
        [1_700_000_000_000_007_000, 4, -2_000_000, 7],
    ];
    let expected = naive(&entries);
    assert_eq!(expected.peak_bytes, 16_100_000);
    let folder = tempfile::tempdir().unwrap();
    let raw = folder.path().join("timeline.raw.json");
    std::fs::write(&raw, serde_json::to_string(&entries).unwrap()).unwrap();
    check(&raw, &expected);
    // As torch sums it up: microseconds, and a column that it leaves at 0.
    let mut times: Vec<i64> = Vec::new();
    let mut sizes: Vec<[i64; 9]> = Vec::new();
    for [time, _, bytes, category] in &entries {
        let micros = if *time < 0 { 1_700_000_000_000_001 } else { time / 1000 };
        let is_new = times.last() != Some(&micros) || (*time >= 0 && times.len() == 1);
        if is_new {
            times.push(micros);
            sizes.push(sizes.last().copied().unwrap_or_default());
        }
        sizes.last_mut().unwrap()[*category as usize + 1] += bytes;
    }
    let coalesced = folder.path().join("timeline.json");
    std::fs::write(&coalesced, json!([times, sizes]).to_string()).unwrap();
    check(&coalesced, &expected);
    for path in [&raw, &coalesced] {
        assert_eq!(tidegauge(&["summary"], path)["started"], "2023-11-14T22:13:20.000001Z");
    }
}

#[test]
fn errors_are_one_line_with_the_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("timeline.raw.json");
    for (text, part) in [
        ("[[-1, 1, 512, 0], [5, 3, -512, 0]]", "entry 1: the second half of this increment is missing"),
        ("[[-1, 1, 512, 0], [5, 2, ", "cut off"),
        ("[[-1, 1, 512, 0], [5, 2, 1e400, 0]]", "number out of range at line 1 column 31"),
    ] {
        std::fs::write(&path, text).unwrap();
        let output = program("tidegauge").arg("summary").arg(&path).output().unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{errors}");
        assert!(errors.contains(part) && errors.contains("memory timeline"), "{errors}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
    }
}

/// A real timeline, of which others have the file: where it is not there, nothing is compared, and that is said.
#[test]
fn a_real_timeline_equals_adding_up() {
    let path = corpus::folder().join("memory-timeline/hta-memory-timeline.raw.gz");
    if !path.exists() {
        return say(&format!("skipped, set TIDEGAUGE_CORPUS: {}", path.display()));
    }
    let text = output_of(std::process::Command::new("gzip").args(["-dc"]).arg(&path));
    let entries: Vec<[i64; 4]> = serde_json::from_str(&text).unwrap();
    let expected = naive(&entries);
    assert_eq!((entries.len(), expected.peak_bytes), (16_845, 3_082_832_104));
    check(&path, &expected);
}
