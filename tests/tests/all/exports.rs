//! Exports of a trace, read back: what the files say is what the other commands say.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tidegauge_schemas::EventKind;
use tidegauge_tests::TraceBuilder;
use tidegauge_tests::perfetto_trace::PerfettoTrace;
use tidegauge_tests::programs::{Running, output_of, program};
use tidegauge_tests::trace_builder::ORIGIN_NANOS;
use tidegauge_tests::wire::Message;

const HOSTILE: &str = "<b>&\"quoted\"; \\ \u{1b}[31m </script> 12";

fn trace(folder: &Path) -> PathBuf {
    let stack = "alloc\ninner at a.py:3\nouter; hostile at b.py:4 5";
    let step = |builder: TraceBuilder, number: i64| {
        builder.step(number, 1.0 / (number + 1) as f64, |step| {
            let forward = step.span("forward", |inside| {
                let inside = inside.event(EventKind::SegmentAlloc, 1 << 40, Some(32 << 20), None);
                let inside = inside.event(EventKind::Alloc, 1, Some(3 << 20), Some("net.conv1"));
                let inside =
                    inside.event(EventKind::Alloc, 2, Some((number as u64 + 1) << 20), Some(HOSTILE));
                inside.event(EventKind::Alloc, 3, Some(1 << 10), Some(stack)).alloc(4, 100)
            });
            let backward = forward.span(HOSTILE, |inside| {
                let inside =
                    inside.event(EventKind::FreeRequested, 1, None, None).rss((60 + number as u64) << 20);
                inside.event(EventKind::FreeCompleted, 1, None, None).free(2).free(3).free(4)
            });
            let returned = backward.event(EventKind::SegmentFree, 1 << 40, Some(32 << 20), None);
            returned.event(EventKind::Oom, 0, Some(1 << 30), None).mark("optimizer")
        })
    };
    (0..4).fold(TraceBuilder::new().rss(50 << 20), step).rss(55 << 20).write(folder)
}

fn json(run: &Path, arguments: &[&str]) -> Value {
    let mut command = program("tidegauge");
    let text = output_of(command.args(&arguments[..1]).arg(run).args(&arguments[1..]).arg("--json"));
    serde_json::from_str(&text).unwrap()
}

/// Exports into a file and returns its content.
fn export(run: &Path, arguments: &[&str], name: &str) -> Vec<u8> {
    let file = run.with_file_name(name);
    let mut command = program("tidegauge");
    let said = output_of(command.arg("export").arg(run).args(arguments).arg("-f").arg("-o").arg(&file));
    assert_eq!(said, "");
    std::fs::read(file).unwrap()
}

#[test]
fn perfetto_has_all_phases_steps_and_peaks() {
    let folder = tempfile::tempdir().unwrap();
    let run = trace(folder.path());
    let bytes = export(&run, &["--to", "perfetto"], "trace.pftrace");
    assert_eq!(bytes, export(&run, &["--to", "perfetto"], "again.pftrace"), "the same bytes each time");
    let exported = PerfettoTrace::read(&bytes);

    let of = |category: &str| exported.slices.iter().filter(|slice| slice.category == category).count();
    let phases = json(&run, &["phases"]);
    let count = |name: &str| {
        let row = phases.as_array().unwrap().iter().find(|row| row["phase"] == name);
        row.unwrap_or_else(|| panic!("{phases}"))["count"].as_u64().unwrap() as usize
    };
    for name in ["forward", HOSTILE, "optimizer"] {
        assert_eq!(exported.slices.iter().filter(|slice| slice.name == name).count(), count(name), "{name}");
    }
    assert_eq!(of("phase"), 12);
    let steps = json(&run, &["steps"]);
    assert_eq!(of("step"), steps.as_array().unwrap().len());
    for row in steps.as_array().unwrap() {
        let name = format!("step {}", row["step"]);
        let slice = exported.slices.iter().find(|slice| slice.name == name).unwrap();
        assert_eq!(slice.end_nanos - slice.begin_nanos, row["duration_nanos"].as_u64().unwrap(), "{row}");
        assert_eq!(slice.depth, 0);
    }
    assert!(
        exported.slices.iter().all(|slice| slice.category == "step" || slice.depth == 1),
        "phases in steps"
    );
    let first = exported.slices.iter().map(|slice| slice.begin_nanos).min();
    assert_eq!(first, Some(ORIGIN_NANOS + 1000), "nanoseconds since 1970: the row after the first");

    let summary = json(&run, &["summary"]);
    let device = &summary["devices"][0];
    assert_eq!(exported.highest("device 0 allocated"), device["peak_allocated_bytes"].as_i64());
    assert_eq!(exported.highest("device 0 active"), device["peak_active_bytes"].as_i64());
    assert_eq!(exported.highest("device 0 reserved"), device["peak_reserved_bytes"].as_i64());
    assert_eq!(exported.highest("process rss"), summary["peak_rss_bytes"].as_i64());
    assert_eq!(exported.values("device 0 allocated").last(), Some(&0));
    let counters = exported.tracks.values().filter(|track| track.unit.is_some());
    assert!(counters.clone().all(|track| track.unit == Some(3)), "bytes");
    assert_eq!(counters.count(), 4);

    let happened = |category: &str| exported.instants.iter().filter(|(_, of, _)| of == category).count();
    assert_eq!((happened("mark"), happened("oom"), exported.instants.len()), (4, 4, 8));
    let process = exported.tracks.values().find(|track| track.parent.is_none()).unwrap();
    assert_eq!((process.name.as_str(), process.pid), ("rank 0 process 0: built", Some(1)));
    let thread = exported.tracks.values().find(|track| track.tid.is_some()).unwrap();
    assert_eq!((thread.name.as_str(), thread.tid), ("thread 1", Some(1)));
}

#[test]
fn a_part_of_the_time_and_one_device_are_exported_alone() {
    let folder = tempfile::tempdir().unwrap();
    let run = trace(folder.path());
    // From within the first forward to within the third.
    let window = ["--start", "6us", "--end", "50us"];
    let bytes = export(&run, &[&["--to", "perfetto"], &window[..]].concat(), "part.pftrace");
    let exported = PerfettoTrace::read(&bytes);
    let steps: Vec<&str> = exported
        .slices
        .iter()
        .filter(|slice| slice.category == "step")
        .map(|slice| slice.name.as_str())
        .collect();
    assert_eq!(steps, ["step 0", "step 1", "step 2"]);
    let (begin, end) = (ORIGIN_NANOS + 6_000, ORIGIN_NANOS + 50_000);
    assert!(exported.slices.iter().all(|slice| begin <= slice.begin_nanos && slice.end_nanos <= end));
    let mut command = program("tidegauge");
    let text = output_of(command.arg("summary").arg(&run).args(window).arg("--json"));
    let summary: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        exported.highest("device 0 allocated"),
        summary["devices"][0]["peak_allocated_bytes"].as_i64(),
        "what was there when the window opened included"
    );
    let host = PerfettoTrace::read(&export(&run, &["--to", "perfetto", "--device", "-1"], "host.pftrace"));
    let counters: Vec<&str> =
        host.tracks.values().filter(|track| track.unit.is_some()).map(|track| track.name.as_str()).collect();
    assert_eq!(counters, ["process rss"]);
}

#[test]
fn chrome_says_the_same_as_perfetto() {
    let folder = tempfile::tempdir().unwrap();
    let run = trace(folder.path());
    let bytes = export(&run, &["--to", "chrome"], "trace.json");
    let exported: Value = serde_json::from_slice(&bytes).unwrap();
    let perfetto = PerfettoTrace::read(&export(&run, &["--to", "perfetto"], "trace.pftrace"));
    assert_eq!(exported["baseTimeNanoseconds"], ORIGIN_NANOS);
    let events = exported["traceEvents"].as_array().unwrap();
    let of = |phase: &'static str| events.iter().filter(move |event| event["ph"] == phase);
    let nanos = |event: &Value, key: &str| (event[key].as_f64().unwrap() * 1000.0).round() as u64;

    let mut slices: Vec<(String, u64, u64)> = of("X")
        .map(|event| (event["name"].as_str().unwrap().to_owned(), nanos(event, "ts"), nanos(event, "dur")))
        .collect();
    let begin_nanos =
        |slice: &tidegauge_tests::perfetto_trace::PerfettoSlice| slice.begin_nanos - ORIGIN_NANOS;
    let mut expected: Vec<(String, u64, u64)> = perfetto
        .slices
        .iter()
        .map(|slice| (slice.name.clone(), begin_nanos(slice), slice.end_nanos - slice.begin_nanos))
        .collect();
    slices.sort();
    expected.sort();
    assert_eq!(slices, expected);
    for name in ["device 0 allocated", "device 0 active", "device 0 reserved", "process rss"] {
        let counted = of("C").filter(|event| event["name"] == name);
        let values: Vec<i64> = counted.map(|event| event["args"]["bytes"].as_i64().unwrap()).collect();
        assert_eq!(values, perfetto.values(name), "{name}");
    }
    assert_eq!(of("i").count(), perfetto.instants.len());
    let named = |what: &str| of("M").find(|event| event["name"] == what).unwrap()["args"]["name"].clone();
    assert_eq!(named("process_name"), "rank 0 process 0: built");
    assert_eq!(named("thread_name"), "thread 1");
    assert!(!String::from_utf8(bytes).unwrap().contains("[memory]"), "no recording of a profiler");
}

/// The events of an event file; its checksums are looked at by TensorBoard itself, in the tests in Python.
fn records(mut bytes: &[u8]) -> Vec<Message<'_>> {
    let mut records = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk() {
        let end = u64::from_le_bytes(*length) as usize + 4;
        records.push(Message::read(&rest[4..end]));
        bytes = &rest[end + 4..];
    }
    records
}

#[test]
fn tensorboard_has_the_figures_of_each_step() {
    let folder = tempfile::tempdir().unwrap();
    let run = trace(folder.path());
    let board = folder.path().join("board");
    let export = || {
        let mut command = program("tidegauge");
        command.arg("export").arg(&run).args(["--to", "tensorboard", "-o"]).arg(&board).output().unwrap()
    };
    assert!(export().status.success());
    let refused = export();
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("event files already"));
    let files: Vec<PathBuf> = std::fs::read_dir(&board).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    let name = files[0].file_name().unwrap().to_string_lossy();
    assert!(name.starts_with("events.out.tfevents.1767225600.host"), "{name}");

    let bytes = std::fs::read(&files[0]).unwrap();
    let events = records(&bytes);
    assert_eq!(events[0].text(3).as_deref(), Some("brain.Event:2"));
    let steps = json(&run, &["steps"]);
    assert_eq!(events.len(), 1 + steps.as_array().unwrap().len());
    for (event, step) in events[1..].iter().zip(steps.as_array().unwrap()) {
        assert_eq!(event.number(2).unwrap_or(0), step["step"].as_u64().unwrap());
        let summary = event.message(5).unwrap();
        let scalar = |tag: &str| {
            let value = summary.messages(1).find(|value| value.text(1).as_deref() == Some(tag));
            value.unwrap_or_else(|| panic!("no {tag}")).float(2).unwrap()
        };
        let rounded = |value: &Value| f64::from(value.as_f64().unwrap() as f32);
        assert_eq!(scalar("peak_allocated_bytes/device0"), rounded(&step["peak_bytes"]));
        assert_eq!(scalar("end_allocated_bytes/device0"), rounded(&step["end_bytes"]));
        assert_eq!(scalar("peak_reserved_bytes/device0"), f64::from(32 << 20));
        assert_eq!(scalar("rss_bytes"), ((60 + step["step"].as_i64().unwrap()) << 20) as f64);
        assert_eq!(scalar("loss"), rounded(&step["loss"]));
        assert_eq!(
            scalar("step_seconds"),
            f64::from((step["duration_nanos"].as_f64().unwrap() / 1e9) as f32)
        );
    }
}

#[test]
fn folded_stacks_sum_up_to_what_was_allocated() {
    let folder = tempfile::tempdir().unwrap();
    let run = trace(folder.path());
    let folded = |arguments: &[&str]| {
        let text =
            String::from_utf8(export(&run, &[&["--to", "folded"], arguments].concat(), "f.folded")).unwrap();
        let split = |line: &str| {
            let (stack, bytes) = line.rsplit_once(' ').unwrap();
            (stack.split(';').map(str::to_owned).collect::<Vec<_>>(), bytes.parse::<i64>().unwrap())
        };
        text.lines().map(split).collect::<Vec<_>>()
    };
    let stacks = folded(&[]);
    let sum = |stacks: &[(Vec<String>, i64)]| stacks.iter().map(|(_, bytes)| bytes).sum::<i64>();
    let peak = json(&run, &["summary"])["devices"][0]["peak_allocated_bytes"].as_i64().unwrap();
    assert_eq!(sum(&stacks), peak);
    let frames: Vec<Vec<&str>> =
        stacks.iter().map(|(frames, _)| frames.iter().map(String::as_str).collect()).collect();
    assert!(frames.contains(&vec!["outer: hostile at b.py:4\u{a0}5", "inner at a.py:3"]), "{frames:?}");
    assert!(frames.contains(&vec!["net", "conv1"]), "{frames:?}");
    assert!(frames.contains(&vec!["(unknown site)"]), "{frames:?}");
    assert_eq!(stacks.len(), 4, "a hostile name is one frame: {frames:?}");

    assert_eq!(sum(&folded(&["--step", "1"])), (5 << 20) + 1024 + 100);
    assert_eq!(sum(&folded(&["--at", "4us"])), 3 << 20);
    let mut command = program("tidegauge");
    let named = run.with_file_name("by-name.txt");
    assert_eq!(output_of(command.arg("export").arg(&run).args(["--to", "flamegraph", "-o"]).arg(&named)), "");
    assert_eq!(std::fs::read(named).unwrap(), export(&run, &["--to", "folded"], "f.folded"));
}

#[test]
fn a_flame_graph_is_drawn_of_hostile_names() {
    let folder = tempfile::tempdir().unwrap();
    let run = trace(folder.path());
    let svg = export(&run, &["--to", "flamegraph"], "f.svg");
    assert_eq!(svg, export(&run, &["--to", "flamegraph"], "g.svg"), "the same bytes each time");
    let svg = String::from_utf8(svg).unwrap();
    assert!(svg.contains("device 0: 7.00 MiB allocated at"), "{svg}");
    assert!(svg.contains("&lt;b&gt;&amp;") && !svg.contains("<b>"), "{svg}");
    assert!(!svg.contains('\u{1b}'));
    assert!(svg.contains("bytes"), "not samples");
}

#[test]
fn timelines_are_packed_where_the_name_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let run = trace(folder.path());
    let packed = export(&run, &["--to", "chrome"], "trace.json.gz");
    assert_eq!(packed[..2], [0x1f, 0x8b]);
    let plain = export(&run, &["--to", "chrome"], "trace.json");
    assert!(packed.len() < plain.len() / 4);
    assert_eq!(packed, export(&run, &["--to", "chrome"], "again.json.gz"), "the same bytes each time");
}

#[test]
fn errors_are_said_and_leave_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let run = trace(folder.path());
    let bare = TraceBuilder::new().mark("alone").write(&folder.path().join("bare"));
    let taken = folder.path().join("taken");
    std::fs::write(&taken, "mine").unwrap();
    let file = folder.path().join("none");
    let (run, bare) = (run.to_str().unwrap(), bare.to_str().unwrap());
    let (file, taken) = (file.to_str().unwrap(), taken.to_str().unwrap());
    let cases: [(&[&str], &str); 9] = [
        (&[run, "--to", "perfetto", "-o", taken], "exists already"),
        (&[run, "--to", "perfetto", "-o", "/nonexistent/folder/file"], "cannot write"),
        (&[run, "--to", "tensorboard"], "a folder"),
        (&[bare, "--to", "tensorboard", "-o", file], "has no steps"),
        (&[bare, "--to", "flamegraph", "-o", file], "nothing that was allocated"),
        (&[run, "--to", "flamegraph", "--step", "99", "-o", file], "no step 99"),
        (&[run, "--to", "perfetto", "--step", "1", "-o", file], "--start and --end"),
        (&[run, "--to", "chrome", "--json", "-o", file], "--to alone"),
        (&[run, "--to", "postcard", "-o", file], "invalid value"),
    ];
    for (arguments, expected) in cases {
        let output = program("tidegauge").arg("export").args(arguments).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {errors}");
        assert!(errors.contains(expected), "{arguments:?}: {errors}");
    }
    assert_eq!(std::fs::read_to_string(taken).unwrap(), "mine");
    let mut left: Vec<String> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    left.sort();
    assert_eq!(left, ["bare", "run", "taken"], "no half of a file, no empty folder");
}

#[test]
fn a_full_device_is_said_and_a_pipe_stays_one() {
    use std::os::unix::fs::FileTypeExt as _;
    let folder = tempfile::tempdir().unwrap();
    let run = trace(folder.path());
    let export = || {
        let mut command = program("tidegauge");
        command.arg("export").arg(&run).args(["--to", "chrome"]);
        command
    };
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = export().stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("No space left"));

    let pipe = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let mut writer = Running::start(export().arg("-f").arg("-o").arg(&pipe));
    let read = std::fs::read(&pipe).unwrap();
    assert!(writer.wait().unwrap().success());
    assert!(serde_json::from_slice::<Value>(&read).is_ok());
    assert!(std::fs::metadata(&pipe).unwrap().file_type().is_fifo(), "written to, not replaced");
}
