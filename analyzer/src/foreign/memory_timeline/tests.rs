//! Curves and categories of both forms equal torch's own sums, however entries tie and whatever the file leaves out.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use proptest::prelude::*;
use tidegauge_schemas::EventKind;
use tidegauge_schemas::layout::ProcessId;

use super::*;
use crate::analysis::categories::CategoryRules;
use crate::analysis::{self, Curve, Grouping, Moment};
use crate::load::Process;
use crate::replay::Window;

type Entry = (i64, i64, i64, i64);

fn parse(text: &str) -> Result<ForeignProcess> {
    let mut input = Input::from_bytes(Path::new("t.json"), text.as_bytes().to_vec()).unwrap();
    let mut processes = read(&mut input, ProcessId { rank: 0, process: 0 })?;
    Ok(processes.remove(0))
}

fn json(entries: &[Entry]) -> String {
    let rows: Vec<String> = entries.iter().map(|(t, a, n, c)| format!("[{t}, {a}, {n}, {c}]")).collect();
    format!("[{}]", rows.join(", "))
}

/// Sums by category after all entries of a time, as torch draws them.
fn coalesced(entries: &[Entry]) -> Vec<(i64, BTreeMap<i64, i64>)> {
    let mut rows: Vec<(i64, BTreeMap<i64, i64>)> = Vec::new();
    for &(time, _, bytes, category) in entries {
        if rows.last().is_none_or(|(last, _)| *last != time) {
            let sums = rows.last().map_or_else(BTreeMap::new, |(_, sums)| sums.clone());
            rows.push((time, sums));
        }
        let (_, sums) = rows.last_mut().unwrap();
        *sums.entry(category).or_default() += bytes;
    }
    rows
}

fn total(sums: &BTreeMap<i64, i64>) -> i64 {
    sums.values().sum()
}

/// The sizes form of the same: torch keeps the time of what existed before for the first real one.
fn sizes_json(entries: &[Entry]) -> String {
    let rows = coalesced(entries);
    let first = rows.iter().map(|(time, _)| *time).find(|time| *time >= 0).unwrap_or(-1);
    let times: Vec<String> =
        rows.iter().map(|(time, _)| if *time < 0 { first } else { *time }.to_string()).collect();
    let mut text = format!("[[{}], [", times.join(", "));
    for (number, (_, sums)) in rows.iter().enumerate() {
        let sizes: Vec<String> =
            (0..=UNPLACED).map(|category| sums.get(&category).unwrap_or(&0).to_string()).collect();
        let _ = write!(text, "{}[0, {}]", if number > 0 { ", " } else { "" }, sizes.join(", "));
    }
    text + "]]"
}

/// Peak, bytes at it by category, and bytes at the end, by the analyzer.
fn analyzed(process: ForeignProcess) -> (i64, BTreeMap<Option<String>, i64>, i64) {
    let process = Process::from(process);
    let (timeline, outcome) = analysis::timeline(&process, Window::ALL, 50).unwrap();
    let device = &outcome.devices[0];
    assert_eq!(outcome.anomalies, crate::replay::Anomalies::default());
    let allocated = timeline.series.iter().find(|series| series.curve == Curve::Allocated).unwrap();
    let high = allocated.buckets.iter().flatten().map(|bucket| bucket.max_bytes).max().unwrap();
    assert!(high <= device.allocated_peak.bytes);
    let peaks = analysis::peaks(
        &process,
        Moment::Peak,
        Window::ALL,
        Grouping::Category,
        &CategoryRules::default(),
        |_| true,
    )
    .unwrap();
    let groups = peaks[0].groups.iter().map(|group| (group.key.clone(), group.bytes));
    (device.allocated_peak.bytes, groups.filter(|(_, bytes)| *bytes != 0).collect(), device.allocated_bytes)
}

/// The same by adding up.
fn naive(entries: &[Entry]) -> (i64, BTreeMap<Option<String>, i64>, i64) {
    let rows = coalesced(entries);
    let mut peak = &rows[0].1;
    for (_, sums) in &rows {
        if total(sums) > total(peak) {
            peak = sums;
        }
    }
    let name = |number: i64| category(number).map(|category| category.as_str().to_owned());
    let groups = peak.iter().filter(|(_, bytes)| **bytes != 0).map(|(number, bytes)| (name(*number), *bytes));
    (total(peak), groups.collect(), total(&rows.last().unwrap().1))
}

#[test]
fn a_small_timeline_has_the_curve_that_torch_draws() {
    let entries = [
        (-1, 1, 1000, 0),
        (-1, 1, 10, 7),
        (100, 2, 500, 4),
        (100, 3, -500, 4),
        (100, 3, 500, 5),
        (200, 2, 300, 3),
        (300, 4, -300, 3),
        (400, 3, -1000, 0),
        (400, 3, 1000, 0),
        (500, 4, -500, 5),
    ];
    let process = parse(&json(&entries)).unwrap();
    let kinds: Vec<EventKind> =
        process.events().chunks().flatten().filter_map(|event| event.row().kind).collect();
    let (baseline, alloc, free) = (EventKind::Baseline, EventKind::Alloc, EventKind::Free);
    // A storage that was made and moved at one time was never seen in between; one written to in place is the same.
    assert_eq!(kinds, [baseline, baseline, alloc, alloc, free, free]);
    assert_eq!(process.first_nanos(), Some(100));
    assert!(process.info.notes.is_empty(), "{:?}", process.info.notes);
    let expected = BTreeMap::from([
        (Some("parameter".to_owned()), 1000),
        (Some("unknown".to_owned()), 10),
        (Some("gradient".to_owned()), 500),
        (Some("temporary".to_owned()), 300),
    ]);
    assert_eq!(analyzed(process), (1810, expected.clone(), 1010));
    assert_eq!(analyzed(parse(&sizes_json(&entries)).unwrap()), (1810, expected, 1010));
}

#[test]
fn a_change_of_category_is_no_dip() {
    let entries = [(10, 2, 1 << 20, 4), (5000, 3, -(1 << 20), 4), (5000, 3, 1 << 20, 5), (9000, 2, 1, 3)];
    for text in [json(&entries), sizes_json(&entries)] {
        let process = Process::from(parse(&text).unwrap());
        let (timeline, _) = analysis::timeline(&process, Window::ALL, 1000).unwrap();
        for series in &timeline.series {
            let low = series.buckets.iter().flatten().map(|bucket| bucket.min_bytes).min();
            assert_eq!(low, Some(1 << 20), "{:?}", series.curve);
        }
    }
}

#[test]
fn what_is_freed_and_was_never_alive_lowers_the_curve_and_is_said() {
    let entries = [(10, 2, 1000, 4), (20, 4, -300, 3), (30, 3, -50, 2), (30, 3, 50, 4), (40, 2, 5, 4)];
    let process = parse(&json(&entries)).unwrap();
    assert_eq!(process.info.notes.len(), 1);
    assert!(process.info.notes[0].starts_with("2 frees are of 350 bytes"), "{:?}", process.info.notes);
    let (peak, _, end) = analyzed(process);
    assert_eq!((peak, end), (1000, 705));
    let process = parse(&sizes_json(&entries)).unwrap();
    assert!(process.info.notes[0].starts_with("at 3 times"), "{:?}", process.info.notes);
    let (peak, _, end) = analyzed(process);
    assert_eq!((peak, end), (1000, 705));
}

#[test]
fn a_timeline_of_old_storages_only_has_no_times() {
    for text in ["[[-1, 1, 1000, 0], [-1, 1, 24, 7]]", "[[-1], [[0, 1000, 0, 0, 0, 0, 0, 0, 24]]]"] {
        let process = parse(text).unwrap();
        assert!(!process.has_times(), "{text}");
        let (peak, groups, end) = analyzed(process);
        assert_eq!((peak, groups.len(), end), (1024, 2, 1024), "{text}");
    }
}

#[test]
fn what_is_not_known_is_counted_and_read() {
    let process = parse("[[1, 2, 5, 9], [2, 7, 5, 0], [3, 1, 8, 0], [2, 4, -5, 9]]").unwrap();
    let expected = ["stand after others", "action", "category", "step back"];
    assert_eq!(process.info.notes.len(), expected.len(), "{:?}", process.info.notes);
    for (note, part) in process.info.notes.iter().zip(expected) {
        assert!(note.contains(part), "{note}: {part}");
    }
    let wide = parse("[[1, 2], [[0, 1, 0, 0, 0, 0, 0, 0, 0, 7], [0, 2, 0, 0, 0, 0, 0, 0, 0, 0]]]").unwrap();
    assert!(wide.info.notes[0].contains("categories that this version does not know"));
    assert_eq!(analyzed(wide).0, 8);
}

#[test]
fn errors_say_what_is_wrong_and_where() {
    let cases = [
        ("[]", "no entries"),
        ("[[1, 2, 3, 4]", "cut off"),
        ("[[1, 2, 3, 4], [1, 2", "cut off"),
        ("[[1, 2, 3]]", "entry 0"),
        ("[[1, 2, 3, 4], [1, 2, 3]]", "entry 1"),
        ("[[1, 2, 3, 4], [1, 3, -5, 0]]", "entry 1: the second half"),
        ("[[1, 3, -5, 0], [1, 3, 6, 0]]", "entry 1: expected the second half"),
        ("[[1, 3, -5, 0], [1, 2, 5, 0]]", "entry 1: expected the second half"),
        ("[[1, 2, -5, 0]]", "wrong sign"),
        ("[[1, 4, 5, 0]]", "wrong sign"),
        ("[[1, 2, 5.5, 0]]", "no whole number"),
        ("[[1, 2, \"x\", 0]]", "expected a whole number"),
        ("[[1, 2, 99999999999999999999, 0]]", "number"),
        ("[[1, 2, 18446744073709551615, 0]]", "too large"),
        ("[[1, 2], [[0, 1, 2, 3, 4, 5, 6, 7, 8]]]", "2 times and 1 rows"),
        ("[[1], [[0, 1, 2, 3, 4, 5, 6, 7, 8], [0, 1, 2, 3, 4, 5, 6, 7, 8]]]", "row 1 of sizes has no time"),
        ("[[1], [[0, 1]]]", "row 0 of sizes has 2 numbers, expected 9"),
        ("[[1], [[0, 1, 2, 3, 4, 5, 6, 7, 8]], [1]]", "third list"),
        ("[[1], [[0, 1, 2, 3, 4, 5, 6, 7, 8], 5]]", "mixed"),
        ("[[1, 2, 3, 4], [[[1]]]]", "whole number"),
        ("[[1, 2, 3, 4]] x", "trailing"),
        ("[[1, 2, 3, 4], {}]", "expected a list"),
    ];
    for (text, part) in cases {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.contains(part) && error.contains("memory timeline"), "{text}: {error}");
        assert_eq!(error.lines().count(), 1);
    }
    // As deep as it may go, never recursive.
    assert!(parse(&"[".repeat(1 << 20)).is_err());
}

#[test]
fn the_kind_is_known_by_its_first_bytes() {
    for text in ["[[-1, 1, 37888, 7]", " [\n [169, 2", "[[]"] {
        assert!(is_start_of(text.as_bytes()), "{text}");
    }
    for text in ["", "[", "[]", "[{\"a\": 1}]", "{\"traceEvents\": [[1]]}", "[\"a\"]", "[[\"a\"]]", "a, b"] {
        assert!(!is_start_of(text.as_bytes()), "{text}");
    }
}

/// Timelines of torch's form, with many ties: creations, moves and ends of storages, of few sizes.
fn timelines() -> impl Strategy<Value = Vec<Entry>> {
    let action = (0i64..3, 0usize..4, 0..=UNPLACED, 0usize..64, 1i64..4);
    (prop::collection::vec((1i64..4, 0..=UNPLACED), 0..6), prop::collection::vec(action, 1..60)).prop_map(
        |(before, actions)| {
            let mut live: Vec<(i64, i64)> = before;
            let mut entries: Vec<Entry> = live.iter().map(|(bytes, c)| (-1, 1, *bytes, *c)).collect();
            let mut time = 1_000_000;
            for (wait, action, category, which, bytes) in actions {
                time += wait;
                match (action, live.len()) {
                    (0 | 1, _) | (_, 0) => {
                        live.push((bytes, category));
                        entries.push((time, CREATE, bytes, category));
                    }
                    (2, count) => {
                        let (bytes, old) = live[which % count];
                        live[which % count].1 = category;
                        entries.push((time, INCREMENT, -bytes, old));
                        entries.push((time, INCREMENT, bytes, category));
                    }
                    (_, count) => {
                        let (bytes, old) = live.swap_remove(which % count);
                        entries.push((time, DESTROY, -bytes, old));
                    }
                }
            }
            entries
        },
    )
}

const CREATE: i64 = 2;
const INCREMENT: i64 = 3;
const DESTROY: i64 = 4;

proptest! {
    #[test]
    fn both_forms_equal_adding_up(entries in timelines()) {
        let expected = naive(&entries);
        prop_assert_eq!(analyzed(parse(&json(&entries)).unwrap()), expected.clone());
        prop_assert_eq!(analyzed(parse(&sizes_json(&entries)).unwrap()), expected);
    }
}

/// Whatever byte is another one, there is an error or a timeline.
#[test]
fn no_changed_byte_is_fatal() {
    let entries =
        [(-1, 1, 1000, 0), (100, 2, 500, 4), (100, 3, -500, 4), (100, 3, 500, 5), (500, 4, -500, 5)];
    for text in [json(&entries), sizes_json(&entries)] {
        for at in 0..text.len() {
            for byte in [b'[', b']', b',', b'-', b'9', b'.', b'e', b'"', b'{', 0, 0xff] {
                let mut content = text.clone().into_bytes();
                content[at] = byte;
                let mut input = Input::from_bytes(Path::new("t.json"), content).unwrap();
                if let Ok(mut processes) = read(&mut input, ProcessId { rank: 0, process: 0 }) {
                    let process = Process::from(processes.remove(0));
                    analysis::timeline(&process, Window::ALL, 50).unwrap();
                }
            }
            let mut input = Input::from_bytes(Path::new("t.json"), text.as_bytes()[..at].to_vec()).unwrap();
            assert!(read(&mut input, ProcessId { rank: 0, process: 0 }).is_err(), "cut at {at}");
        }
    }
}
