//! Traces that are cut off, damaged or none at all: one clear error, never a panic, never memory without bound.

use std::path::Path;

use tidegauge_analyzer::foreign;
use tidegauge_analyzer::load::{Selection, Source};
use tidegauge_tests::profiler_trace;

const SMALL: &str = r#"{"schemaVersion": 1, "deviceProperties": [{"id": 0, "name": "A100"}], "traceEvents": [
  {"ph": "X", "cat": "cpu_op", "name": "aten::mm", "pid": 1, "tid": 1, "ts": 10.5, "dur": 4, "args": {"x": [1, "}\""]}},
  {"ph": "i", "name": "[memory]", "pid": 1, "tid": 1, "ts": 11, "args": {"Bytes": 8, "Addr": 5, "Device Type": 0, "Device Id": -1,
   "Total Allocated": 8, "Total Reserved": 0}}], "baseTimeNanoseconds": 1000}"#;

/// What opening a file with that content comes to.
fn open(content: &[u8]) -> Result<Source, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace.json");
    std::fs::write(&path, content).unwrap();
    Source::open(&[&path], &Selection::default()).map_err(|error| {
        let message = error.to_string();
        assert!(!message.contains('\n'), "{message}");
        assert!(message.contains("trace.json"), "{message}");
        message
    })
}

fn error(content: &[u8]) -> String {
    open(content).map(|_| ()).unwrap_err()
}

/// A gzip file of stored blocks.
fn gzip(content: &[u8]) -> Vec<u8> {
    let mut crc = u32::MAX;
    for byte in content {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    let mut file = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
    let mut blocks = content.chunks(1 << 15).peekable();
    while let Some(block) = blocks.next() {
        let length = block.len() as u16;
        file.push(u8::from(blocks.peek().is_none()));
        file.extend_from_slice(&length.to_le_bytes());
        file.extend_from_slice(&(!length).to_le_bytes());
        file.extend_from_slice(block);
    }
    file.extend_from_slice(&(!crc).to_le_bytes());
    file.extend_from_slice(&(content.len() as u32).to_le_bytes());
    file
}

#[test]
fn a_file_cut_off_at_any_byte_is_said_to_end_in_the_middle() {
    open(SMALL.as_bytes()).unwrap();
    for end in 1..SMALL.len() {
        let message = error(&SMALL.as_bytes()[..end]);
        assert!(message.contains("ends in the middle"), "cut after {end}: {message}");
        assert!(message.contains(&format!("at byte {end},")), "cut after {end}: {message}");
    }
    let message = error(&SMALL.as_bytes()[..SMALL.len() - 30]);
    assert!(message.contains("after 2 whole events"), "{message}");
    let message = error(br#"[{"ph": "M"}, {"ph": "M"},"#);
    assert!(message.contains("after 2 whole events"), "{message}");
}

#[test]
fn compressed_files_are_read_and_cut_off_or_damaged_ones_refused() {
    let mut written = Vec::new();
    profiler_trace::write(&mut written, 1 << 20).unwrap();
    let compressed = gzip(&written);
    let source = open(&compressed).unwrap();
    let again = open(&written).unwrap();
    let rows = |source: &Source| source.processes[0].foreign().unwrap().events().len();
    assert_eq!(rows(&source), rows(&again));
    for end in [20, 1000, compressed.len() / 2, compressed.len() - 9, compressed.len() - 1] {
        let message = error(&compressed[..end]);
        assert!(message.contains("compressed file is cut off"), "cut after {end}: {message}");
    }
    let mut damaged = compressed;
    let at = damaged.len() - 6;
    damaged[at] ^= 1;
    let message = error(&damaged);
    assert!(message.contains("cannot be decompressed past byte"), "{message}");
}

#[test]
fn what_is_no_json_is_said_with_its_place() {
    let at = |text: &str, part: &str| text.find(part).unwrap();
    let cases = [
        (SMALL.replace("\"dur\": 4,", "\"dur\": 4;"), "4;", 1),
        (SMALL.replace("]}},\n", "]}}\n"), "\n  {\"ph\": \"i\"", 3),
        (SMALL.replace("[1, \"}", "[1, ]} \"}"), "]} \"}", 3),
        (SMALL.replace("\"traceEvents\": [", "\"traceEvents\": 7, \"x\": ["), "7, \"x\"", 0),
        (format!("{SMALL} {{}}"), " {}", 1),
    ];
    for (text, part, offset) in cases {
        let message = error(text.as_bytes());
        let byte = at(&text, part) + offset;
        assert!(message.contains(&format!("at byte {byte} ")), "{message}\n{text}");
    }
    for (text, reason) in [
        ("[1, 2]", "a JSON list of neither events nor segments"),
        ("[{\"ph\": 1}, 2]", "an event, which is an object, should be instead of `2`"),
        ("{\"a\": 1}", "a JSON object that is neither a trace nor a snapshot (its first key is `a`)"),
        ("{\"schemaVersion\": 1}", "it has no `traceEvents`"),
        ("{\"traceEvents\": []}", "no allocations (`[memory]` events): `profile_memory=True` was not set"),
        ("{\"profile_memory\": 1, \"traceEvents\": []}", "and yet `profile_memory` is said to have been on"),
        ("[{\"ph\": \"i\", \"name\": \"[memory]\", \"args\": {}}]", "besides 1 that lack a time or a size"),
    ] {
        let message = error(text.as_bytes());
        assert!(message.contains(reason), "{message}");
    }
}

#[test]
fn hostile_content_is_refused_or_left_out() {
    let deep = format!("{{\"x\": {}", "[".repeat(1 << 20));
    assert!(error(deep.as_bytes()).contains("fewer values within values"));
    let mut long = b"{\"x\": \"".to_vec();
    long.resize(80 << 20, b'x');
    assert!(error(&long).contains("is of more than 64 MiB"));
    // Figures of no device are left out and counted; the others stand.
    let absurd = r#"[
        {"ph": "i", "name": "[memory]", "pid": 1, "tid": 1, "ts": 1, "args": {"Bytes": 8, "Addr": 1, "Device Type": 0}},
        {"ph": "i", "name": "[memory]", "pid": 1, "tid": 1, "ts": 2, "args": {"Bytes": 9223372036854775807, "Addr": 2, "Device Type": 0}},
        {"ph": "i", "name": "[memory]", "pid": 1, "tid": 1, "ts": 2, "args": {"Bytes": -9223372036854775808, "Addr": 2, "Device Type": 0}},
        {"ph": "i", "name": "[memory]", "pid": 1, "tid": 1, "ts": 1e300, "args": {"Bytes": 8, "Addr": 3, "Device Type": 0}},
        {"ph": "i", "name": "[memory]", "pid": 1, "tid": 1, "ts": 3, "args": {"Bytes": 8, "Addr": 4, "Device Type": 1, "Device Id": 70000}},
        {"ph": "i", "name": "[memory]", "pid": {}, "tid": [], "ts": 4, "args": {"Bytes": "x"}},
        {"ph": "X", "cat": "cpu_op", "name": 7, "ts": 4e15, "dur": 9e18, "pid": -9223372036854775808, "tid": null}
    ]"#;
    let source = open(absurd.as_bytes()).unwrap();
    assert_eq!(source.processes[0].foreign().unwrap().events().len(), 1);
    assert!(source.warnings()[0].contains("5 allocations or frees lack a time, a size or a device"));
}

#[test]
fn a_trace_of_any_length_is_what_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace.json");
    let written = profiler_trace::write(std::fs::File::create(&path).unwrap(), 3 << 20).unwrap();
    let [process] = &*foreign::open(std::slice::from_ref(&path)).unwrap() else { panic!("one process") };
    let is_memory = |row: &tidegauge_analyzer::foreign::StoredEvent| {
        use tidegauge_schemas::EventKind::{Alloc, Free};
        matches!(row.row().kind, Some(Alloc | Free))
    };
    let found = process.events().chunks().flatten().filter(|row| is_memory(row)).count() as u64;
    assert_eq!(found, written.memory_events);
    assert_eq!(
        process.checkpoints().iter().filter(|row| row.step.is_some()).count() as u64,
        2 * written.steps
    );
    assert!(Path::new(&path).exists());
}
