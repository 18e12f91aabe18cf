//! `tidegauge import`: a recording of another tool says the same as a trace; nothing is overwritten, nothing half done.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::{Value, json};
use tidegauge_analyzer::analysis::categories::CategoryRules;
use tidegauge_analyzer::analysis::{self, Grouping, Moment, PhaseTable, StepTable};
use tidegauge_analyzer::export::pytorch_snapshot::write_snapshot;
use tidegauge_analyzer::foreign::{ForeignEvent, ForeignProcess, Frame};
use tidegauge_analyzer::import::write_trace;
use tidegauge_analyzer::load::{CheckpointRow, SampleRow, Selection, Source};
use tidegauge_analyzer::render;
use tidegauge_analyzer::replay::{Window, replay};
use tidegauge_analyzer::{Error, query};
use tidegauge_schemas::layout::{self, ProcessId};
use tidegauge_schemas::process::{DeviceInfo, ProcessInfo};
use tidegauge_schemas::{Category, CheckpointKind, EventKind, Operator, Table, Trace, liveness};
use tidegauge_tests::programs::{output_of, program};

const ORIGIN_NANOS: i64 = 1_767_225_600_000_000_000;

/// Something that an importer tells.
#[derive(Debug, Clone)]
enum Told {
    Event(ForeignEvent),
    Checkpoint(CheckpointRow),
    Sample(SampleRow),
    NodeSample(SampleRow),
}

fn event() -> impl Strategy<Value = Told> {
    let kind = prop::option::weighted(0.95, prop::sample::select(EventKind::ALL));
    let place = (-1i16..2, prop::option::weighted(0.9, 1u64..12), prop::option::weighted(0.8, -20i64..200));
    let of = (0u16..3, 0u16..2, 0u32..3, 0u32..6, prop::option::of(prop::sample::select(Category::ALL)));
    (0i64..9000, kind, place, of).prop_map(
        |(time, kind, (device, address, size_bytes), (stream, pool, thread, site, category))| {
            let address = address.map(|address| address * 64);
            let time_nanos = ORIGIN_NANOS + time;
            let site = site.min(4);
            Told::Event(ForeignEvent {
                time_nanos,
                kind,
                device,
                address,
                size_bytes,
                stream,
                pool,
                thread,
                site,
                category,
            })
        },
    )
}

fn checkpoint() -> impl Strategy<Value = Told> {
    let kind = prop::option::weighted(0.95, prop::sample::select(CheckpointKind::ALL));
    let name = prop::option::of(prop::sample::select(vec!["forward", "backward", "ä\n\"x\""]));
    let numbers = (prop::option::of(0i64..4), prop::option::of(0i64..2), prop::option::of(1i64..64));
    (0i64..9000, kind, name, numbers, 0u32..3, prop::option::of(any::<f64>())).prop_map(
        |(time, kind, name, (step, epoch, batch_size), thread, value)| {
            let (name, time_nanos) = (name.map(str::to_owned), ORIGIN_NANOS + time);
            Told::Checkpoint(CheckpointRow {
                seq: 0,
                time_nanos,
                kind,
                name,
                step,
                epoch,
                thread,
                value,
                batch_size,
            })
        },
    )
}

fn sample() -> impl Strategy<Value = Told> {
    let metric = prop::sample::select(vec!["rss_bytes", "peak_rss_bytes", "gpu_used_bytes", "own"]);
    let of = (any::<bool>(), -1i16..2, prop::option::weighted(0.2, 1u32..3), 0f64..1e12);
    (0i64..9000, metric, of).prop_map(|(time, metric, (is_node, device, pid, value))| {
        let (metric, time_nanos) = (metric.to_owned(), ORIGIN_NANOS + time);
        let row = SampleRow { seq: 0, time_nanos, metric, device, pid: pid.filter(|_| !is_node), value };
        if is_node { Told::NodeSample(row) } else { Told::Sample(row) }
    })
}

/// A recording with four sites, two streams, a pool, devices, and all that is said of it.
fn recording(rank: u32, has_times: bool, told: &[Told]) -> ForeignProcess {
    let mut process = ForeignProcess::new(ProcessId { rank, process: 0 }, "test");
    if !has_times {
        process.set_timeless();
    }
    let frame =
        |function: &str, line| Frame { function: function.into(), file: Some("model.py".into()), line };
    let inner = process.sites.frame_id(frame("relu", 7));
    let outer = process.sites.frame_id(frame("forward", 40));
    let operator = process.sites.frame_id(Frame::operator("aten::mm"));
    for stack in [&[operator][..], &[inner, outer], &[outer], &[operator, outer]] {
        process.sites.site_id(stack, |sites| sites.frame(stack[0]).function.clone());
    }
    assert_eq!((process.stream_number(7), process.stream_number(u64::MAX)), (1, 2));
    assert_eq!(process.pool_number("private".to_owned()), 1);
    process.config.insert("batch_size".to_owned(), json!(16));
    process.coverage.push(format!("recorded window of rank {rank}, preceded by 3 GiB already live"));
    process.note("1 entry has an unknown key".to_owned());
    process.info.host = "node-a".to_owned();
    process.info.losses.damaged_records = 2;
    process.info.devices.push(DeviceInfo {
        index: 0,
        uuid: Some("GPU-1".into()),
        name: Some("H200".into()),
        total_bytes: Some(1 << 37),
        pci_bus_id: None,
        parent_index: None,
    });
    process.operators = Some(vec![Operator {
        name: "aten::mm".into(),
        device: None,
        calls: 3,
        self_bytes: -1,
        inclusive_bytes: 2,
        self_allocated_bytes: 3,
        inclusive_allocated_bytes: 4,
    }]);
    for told in told.iter().cloned() {
        match told {
            Told::Event(event) => process.push_event(&event),
            Told::Checkpoint(row) => process.push_checkpoint(row),
            Told::Sample(row) => process.push_sample(row),
            Told::NodeSample(row) => process.push_node_sample(row),
        }
    }
    process
}

/// Everything that commands say of a run, but for its path.
fn said(source: &Source) -> BTreeMap<String, Value> {
    let mut said = BTreeMap::new();
    let summary = analysis::summary(source, |_| Ok(Window::ALL), |_| true).unwrap();
    let mut summary = render::summary_json(&summary);
    summary["run"] = Value::Null;
    said.insert("summary".to_owned(), summary);
    let mut tell = |what: String, table: &render::Table| said.insert(what, Value::Array(table.json()));
    for process in &source.processes {
        let id = process.id;
        let timeline = analysis::timeline(process, Window::ALL, 20).unwrap().0;
        tell(format!("timeline {id}"), &render::timeline_table(&timeline));
        let groupings =
            [Grouping::Site, Grouping::Category, Grouping::Module, Grouping::Phase, Grouping::Size];
        for grouping in groupings {
            let rules = CategoryRules::default();
            let peaks =
                analysis::peaks(process, Moment::Peak, Window::ALL, grouping, &rules, |_| true).unwrap();
            tell(format!("peaks {id} {grouping:?}"), &render::peaks_table(&peaks, "key", "", 100, false));
        }
        let mut observers = (StepTable::new(Window::ALL), PhaseTable::new(Window::ALL));
        let outcome = replay(process, Window::ALL, &mut observers).unwrap();
        tell(
            format!("steps {id}"),
            &render::steps_table(&observers.0.finish(&outcome), outcome.first_nanos()),
        );
        tell(format!("phases {id}"), &render::phases_table(&observers.1.finish(&outcome)));
    }
    for table in Table::ALL.map(Table::name).into_iter().chain(["steps", "phases"]) {
        let rows = query::query(source, &format!("SELECT * FROM {table}"), None).unwrap();
        tell(format!("query {table}"), &query::result_table(&rows).unwrap());
    }
    for process in &source.processes {
        let mut bytes = Vec::new();
        let written = write_snapshot(process, Window::ALL, |_| true, &mut bytes, Path::new("memory"));
        let notes = written.map(|written| written.notes).unwrap_or_default();
        said.insert(format!("snapshot {}", process.id), json!({"notes": notes, "pickle": bytes}));
    }
    let of_process = |process: &tidegauge_analyzer::load::Process| {
        json!({
            "operators": process.operators().map(<[_]>::len),
            "has_times": process.has_times(),
            "losses": format!("{:?}", process.losses()),
        })
    };
    said.insert("processes".to_owned(), source.processes.iter().map(of_process).collect());
    said
}

fn open(run: &Path) -> Source {
    Source::open(&[run], &Selection::default()).unwrap()
}

fn few() -> ForeignProcess {
    let event = |kind, time: i64, size_bytes| {
        Told::Event(ForeignEvent {
            time_nanos: ORIGIN_NANOS + time,
            kind: Some(kind),
            address: Some(64),
            size_bytes,
            ..ForeignEvent::default()
        })
    };
    recording(0, true, &[event(EventKind::Alloc, 0, Some(8)), event(EventKind::Free, 5, None)])
}

/// Every file below a folder, with its content.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.strip_prefix(folder).unwrap().to_owned(), std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]

    /// The law of import.
    #[test]
    fn an_imported_recording_says_what_the_file_says(
        told in prop::collection::vec(prop_oneof![6 => event(), 2 => checkpoint(), 1 => sample()], 0..120),
        has_times in any::<bool>(),
        ranks in 1u32..3,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("run");
        let recordings = || (0..ranks).map(|rank| recording(rank, has_times, &told)).collect::<Vec<_>>();
        let imported = write_trace(&recordings(), &run, false).unwrap();
        let events = told.iter().filter(|told| matches!(told, Told::Event(_))).count() as u64;
        prop_assert_eq!(imported.events, events * u64::from(ranks));
        prop_assert_eq!(imported.processes, ranks as usize);

        Trace::open(&run).unwrap().validate().unwrap();
        let direct = said(&Source::of_recordings(Path::new("file"), recordings()));
        let from_trace = said(&open(&run));
        for (what, expected) in &direct {
            prop_assert_eq!(&from_trace[what], expected, "{}", what);
        }
        prop_assert_eq!(direct.len(), from_trace.len());
        let coverage = direct["summary"]["coverage"].as_array().map_or(0, Vec::len);
        prop_assert_eq!(coverage, ranks as usize);
    }
}

#[test]
fn the_same_recordings_give_the_same_bytes_and_recovery_changes_none() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    for run in [&one, &two] {
        write_trace(&[few()], run, false).unwrap();
    }
    let before = files(&one);
    assert_eq!(before, files(&two));
    let names: Vec<String> = before.keys().map(|path| path.display().to_string()).collect();
    let expected = [
        "_process/rank=0/process=0/process.json",
        "events/rank=0/process=0/part-000000.parquet",
        "run.json",
        "sites/rank=0/process=0/part-000000.parquet",
    ];
    assert_eq!(names, expected);

    let _ = output_of(program("tidegauge-record").arg("recover").arg(&one));
    assert_eq!(files(&one), before);
    let text = output_of(program("tidegauge").arg("summary").arg(&one));
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[1].contains("ended: unknown, 2 events"), "{text}");
    assert_eq!(lines[2], "  recorded window of rank 0, preceded by 3 GiB already live");
    assert!(text.contains("1 entry has an unknown key"), "{text}");
}

#[test]
fn a_long_recording_is_cut_into_parts() {
    const EVENTS: i64 = 1_100_000;
    let mut process = ForeignProcess::new(ProcessId { rank: 0, process: 0 }, "test");
    for number in 0..EVENTS {
        let (kind, size_bytes) = match number % 2 {
            0 => (EventKind::Alloc, Some(number)),
            _ => (EventKind::Free, None),
        };
        process.push_event(&ForeignEvent {
            time_nanos: number,
            kind: Some(kind),
            address: Some(64),
            size_bytes,
            ..ForeignEvent::default()
        });
    }
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    assert_eq!(write_trace(&[process], &run, false).unwrap().rows, EVENTS as u64);
    let trace = Trace::open(&run).unwrap();
    trace.validate().unwrap();
    let process = trace.process(trace.processes()[0]).unwrap();
    let rows: Vec<u64> = process.parts(Table::Events).iter().map(|part| part.rows).collect();
    assert_eq!(rows, [1 << 20, EVENTS as u64 - (1 << 20)]);
    let summary = analysis::summary(&open(&run), |_| Ok(Window::ALL), |_| true).unwrap();
    assert_eq!(summary.processes[0].devices[0].allocated.bytes, EVENTS - 2);
}

#[test]
fn what_is_there_is_not_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    write_trace(&[few()], &run, false).unwrap();
    let before = files(folder.path());
    assert!(matches!(write_trace(&[few()], &run, false), Err(Error::Exists { .. })));
    assert_eq!(files(folder.path()), before, "and nothing is left beside it");

    // Another run in its place, which the user asked for.
    let other = recording(3, true, &[]);
    write_trace(&[other], &run, true).unwrap();
    assert_eq!(Trace::open(&run).unwrap().processes(), [ProcessId { rank: 3, process: 0 }]);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);

    // An empty folder holds nothing.
    let empty = folder.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    write_trace(&[few()], &empty, false).unwrap();
    Trace::open(&empty).unwrap().validate().unwrap();
}

#[test]
fn what_is_no_trace_is_never_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let here = |name: &str| folder.path().join(name);
    std::fs::write(here("file"), "precious").unwrap();
    std::fs::create_dir(here("folder")).unwrap();
    std::fs::write(here("folder/thesis.tex"), "precious").unwrap();
    write_trace(&[few()], &here("with-notes"), false).unwrap();
    std::fs::write(here("with-notes/notes.md"), "precious").unwrap();
    write_trace(&[few()], &here("trace"), false).unwrap();
    std::os::unix::fs::symlink(here("trace"), here("link")).unwrap();
    // One that this very process records.
    write_trace(&[few()], &here("live"), false).unwrap();
    let process_file =
        layout::process_folder(&here("live"), ProcessId { rank: 0, process: 0 }).join("process.json");
    let mut info = ProcessInfo::read(&process_file).unwrap();
    info.pid = std::process::id();
    info.boot_id = liveness::boot_id();
    info.pid_start_ticks = liveness::pid_start_ticks(info.pid);
    info.write(&process_file).unwrap();

    let before = files(folder.path());
    let reasons = [
        ("file", "no folder"),
        ("folder", "not a trace"),
        ("with-notes", "`notes.md` in it is not part of a trace"),
        ("link", "no folder"),
        ("live", "rank 0 process 0 is still being recorded"),
    ];
    for (name, reason) in reasons {
        let error = write_trace(&[few()], &here(name), true).unwrap_err();
        assert!(matches!(error, Error::NotReplaced { .. }), "{name}: {error}");
        assert!(error.to_string().contains(reason), "{name}: {error}");
        let error = write_trace(&[few()], &here(name), false).unwrap_err();
        assert!(matches!(error, Error::Exists { .. }), "{name}: {error}");
    }
    assert_eq!(files(folder.path()), before);
}

#[test]
fn an_import_that_fails_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let row = SampleRow {
        seq: 0,
        time_nanos: ORIGIN_NANOS,
        metric: "gpu_used_bytes".into(),
        device: 0,
        pid: None,
        value: 1.0,
    };
    let mut last = recording(1, true, &[Told::NodeSample(row)]);
    // No folder can have such a name: the second process fails when the first is written.
    last.info.host = "x".repeat(300);
    assert!(write_trace(&[few(), last], &run, false).is_err());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);

    // Nor does one that fails take away what was there.
    write_trace(&[few()], &run, false).unwrap();
    let before = files(folder.path());
    let mut last = recording(1, true, &[]);
    last.push_node_sample(SampleRow {
        seq: 0,
        time_nanos: 0,
        metric: "m".into(),
        device: 0,
        pid: None,
        value: 1.0,
    });
    last.info.host = "x".repeat(300);
    assert!(write_trace(&[last], &run, true).is_err());
    assert_eq!(files(folder.path()), before);
}

#[test]
fn the_command_says_what_it_cannot_import() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    write_trace(&[few()], &run, false).unwrap();
    std::fs::write(folder.path().join("empty.json"), "").unwrap();
    let cases = [
        ("run", "it is a trace already"),
        ("empty.json", "it is empty"),
        ("missing.pickle", "No such file"),
        ("*.nothing", "nothing has such a name"),
        (".", "it has no run.json"),
    ];
    for (name, reason) in cases {
        let mut command = program("tidegauge");
        command.current_dir(folder.path()).args(["import", name, "-o", "out"]);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{name}: {said}");
        assert!(said.contains(reason) && said.lines().count() == 1, "{name}: {said}");
        assert!(!folder.path().join("out").exists());
    }
}
