//! Laws of timelines, on recordings of several processes, threads and devices: no extreme is lost, slices nest.

use std::path::PathBuf;

use proptest::prelude::*;
use tidegauge_analyzer::export::{self, Shown};
use tidegauge_analyzer::foreign::{ForeignEvent, ForeignProcess, Frame};
use tidegauge_analyzer::load::{CheckpointRow, Process, SampleRow, Source};
use tidegauge_analyzer::replay::{Window, replay};
use tidegauge_schemas::layout::ProcessId;
use tidegauge_schemas::run::{Config, RunInfo};
use tidegauge_schemas::{CheckpointKind, EventKind, metrics};
use tidegauge_tests::perfetto_trace::PerfettoTrace;

const ALL: Shown<'static> = Shown { window_of: &|_| Ok(Window::ALL), device: &|_| true };

fn source(processes: Vec<ForeignProcess>) -> Source {
    Source {
        unreadable: Vec::new(),
        missing_ranks: Vec::new(),
        path: PathBuf::from("recording"),
        info: RunInfo::new(String::new(), String::new(), 0, Config::new()),
        processes: processes.into_iter().map(Process::from).collect(),
    }
}

fn process(rank: u32) -> ForeignProcess {
    ForeignProcess::new(ProcessId { rank, process: 0 }, "test")
}

fn perfetto(source: &Source, shown: Shown<'_>) -> PerfettoTrace {
    let mut bytes = Vec::new();
    export::perfetto(source, shown, &mut bytes).unwrap();
    PerfettoTrace::read(&bytes)
}

fn checkpoint(
    time_nanos: i64,
    thread: u32,
    kind: CheckpointKind,
    name: &str,
    step: Option<i64>,
) -> CheckpointRow {
    CheckpointRow {
        seq: 0,
        time_nanos,
        kind: Some(kind),
        name: (!name.is_empty()).then(|| name.to_owned()),
        step,
        epoch: None,
        thread,
        value: None,
        batch_size: None,
    }
}

fn event(
    time_nanos: i64,
    kind: EventKind,
    device: i16,
    address: u64,
    size_bytes: Option<i64>,
) -> ForeignEvent {
    ForeignEvent {
        time_nanos,
        kind: Some(kind),
        device,
        address: Some(address),
        size_bytes,
        ..ForeignEvent::default()
    }
}

/// What one of several threads does next.
#[derive(Debug, Clone)]
enum Deed {
    Alloc { device: i16, address: u64, size_bytes: i64 },
    Free { device: i16, address: u64 },
    Checkpoint { thread: u32, kind: CheckpointKind, name: u8 },
}

fn deeds() -> impl Strategy<Value = Vec<(i64, Deed)>> {
    let deed = prop_oneof![
        5 => (-1i16..2, 1u64..8, 1i64..1000)
            .prop_map(|(device, address, size_bytes)| Deed::Alloc { device, address, size_bytes }),
        5 => (-1i16..2, 1u64..8).prop_map(|(device, address)| Deed::Free { device, address }),
        4 => (0u32..3, 0usize..5, 0u8..3).prop_map(|(thread, kind, name)| {
            use CheckpointKind::{Mark, SpanBegin, SpanEnd, StepBegin, StepEnd};
            let kind = [Mark, SpanBegin, SpanEnd, StepBegin, StepEnd][kind];
            Deed::Checkpoint { thread, kind, name }
        }),
    ];
    // Ties are frequent, and times step back now and then.
    prop::collection::vec((-1i64..3, deed), 0..80)
}

fn recorded(rank: u32, deeds: &[(i64, Deed)]) -> ForeignProcess {
    let mut process = process(rank);
    let mut time_nanos = 1_000;
    for (passed, deed) in deeds {
        time_nanos += passed * 10;
        match deed {
            Deed::Alloc { device, address, size_bytes } => {
                process.push_event(&event(
                    time_nanos,
                    EventKind::Alloc,
                    *device,
                    *address,
                    Some(*size_bytes),
                ));
            }
            Deed::Free { device, address } => {
                process.push_event(&event(time_nanos, EventKind::Free, *device, *address, None));
            }
            Deed::Checkpoint { thread, kind, name } => {
                let is_step = matches!(kind, CheckpointKind::StepBegin | CheckpointKind::StepEnd);
                let (name, step) = if is_step {
                    (String::new(), Some(i64::from(*name)))
                } else {
                    (format!("p{name}"), None)
                };
                process.push_checkpoint(checkpoint(time_nanos, *thread, *kind, &name, step));
            }
        }
    }
    process
}

/// Counts phases and steps as they end.
#[derive(Default)]
struct Counted(usize);

impl tidegauge_analyzer::replay::Observer for Counted {
    fn observe(&mut self, observed: &tidegauge_analyzer::replay::Observed<'_>) {
        use tidegauge_analyzer::replay::Observed;
        self.0 += usize::from(matches!(observed, Observed::Phase(_) | Observed::Step { .. }));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever happens at one moment and however threads' spans lie: the highest and the last value of each curve are
    /// those of the replay, each phase and step is a slice, and reading checks that slices nest and times ascend.
    #[test]
    fn no_extreme_and_no_phase_is_lost(one in deeds(), other in deeds()) {
        let source = source(vec![recorded(0, &one), recorded(1, &other)]);
        let exported = perfetto(&source, ALL);
        let mut counted = Counted::default();
        for (index, process) in source.processes.iter().enumerate() {
            let outcome = replay(process, Window::ALL, &mut counted).unwrap();
            let own = |uuid: &u64| uuid >> 32 == index as u64 + 1;
            for device in &outcome.devices {
                let name = if device.device < 0 { "host allocated".into() } else { format!("device {} allocated", device.device) };
                let track = exported.tracks.iter().find(|(uuid, track)| own(uuid) && track.name == name);
                let values = &exported.counters[track.unwrap().0];
                prop_assert_eq!(values.iter().map(|(_, value)| *value).max(), Some(device.allocated_peak.bytes));
                prop_assert_eq!(values.last().unwrap().1, device.allocated_bytes);
            }
        }
        prop_assert_eq!(exported.slices.len(), counted.0);
        let mut json = Vec::new();
        export::chrome(&source, ALL, &mut json).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
        let of = |phase: &str| json["traceEvents"].as_array().unwrap().iter().filter(|event| event["ph"] == phase).count();
        prop_assert_eq!(of("X") + of("B"), counted.0);
        prop_assert_eq!(of("B"), of("E"));
        prop_assert_eq!(of("C"), exported.counters.values().map(Vec::len).sum::<usize>());
    }

    /// The highest value inside of a window, which what was there when it opened is part of, is the replay's.
    #[test]
    fn a_window_has_its_own_peak(deeds in deeds(), start in 990i64..1500, length in 0i64..500) {
        // Times that step back are told at the later one: that moves them across a window's edge.
        let mut deeds = deeds;
        deeds.iter_mut().for_each(|(passed, _)| *passed = (*passed).max(0));
        let source = source(vec![recorded(0, &deeds)]);
        let window = Window { start_nanos: start, end_nanos: start + length };
        let exported = perfetto(&source, Shown { window_of: &|_| Ok(window), ..ALL });
        let outcome = replay(&source.processes[0], window, &mut ()).unwrap();
        for values in exported.counters.values() {
            prop_assert!(values.iter().all(|(time, _)| window.contains(time.cast_signed())));
        }
        for device in &outcome.devices {
            let name = if device.device < 0 { "host allocated".into() } else { format!("device {} allocated", device.device) };
            let Some((uuid, _)) = exported.tracks.iter().find(|(_, track)| track.name == name) else { continue };
            let highest = exported.counters[uuid].iter().map(|(_, value)| *value).max();
            prop_assert_eq!(highest, Some(device.allocated_peak.bytes));
        }
    }
}

#[test]
fn processes_and_threads_of_several_hosts_do_not_collide() {
    let ranked = |rank: u32, pid: u32| {
        let mut process = process(rank);
        process.info.pid = pid;
        process.info.host = format!("node{rank}");
        process.push_checkpoint(checkpoint(10, 7, CheckpointKind::SpanBegin, "work", None));
        process.push_checkpoint(checkpoint(20, 7, CheckpointKind::SpanEnd, "work", None));
        process
    };
    // Two containers, in each of which the program is process 1; then one of which nothing is known.
    let source = source(vec![ranked(0, 1), ranked(1, 1), ranked(2, 0)]);
    let exported = perfetto(&source, ALL);
    assert_eq!(exported.sequences, 3);
    let mut pids: Vec<u64> = exported
        .tracks
        .values()
        .filter(|track| track.parent.is_none())
        .filter_map(|track| track.pid)
        .collect();
    let mut tids: Vec<u64> = exported.tracks.values().filter_map(|track| track.tid).collect();
    assert_eq!((pids[0], tids[0]), (1, 7));
    for numbers in [&mut pids, &mut tids] {
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), 3, "{numbers:?}");
    }
    assert_eq!(exported.slices.len(), 3);
}

#[test]
fn what_overlaps_or_is_cut_off_is_shown_all_the_same() {
    use CheckpointKind::{Alert, Mark, Oom, SpanBegin, StepBegin, StepEnd};
    let mut process = process(0);
    process.push_checkpoint(checkpoint(100, 5, StepBegin, "", Some(1)));
    process.push_checkpoint(checkpoint(110, 5, SpanBegin, "outlives its step", None));
    process.push_checkpoint(checkpoint(120, 5, StepEnd, "", Some(1)));
    process.push_checkpoint(checkpoint(130, 5, StepBegin, "", Some(2)));
    process.push_checkpoint(checkpoint(140, 0, Alert, "rss > 1GiB", None));
    process.push_checkpoint(checkpoint(150, 0, Oom, "", None));
    process.push_checkpoint(checkpoint(160, 5, Mark, "a moment", None));
    let used = |time_nanos: i64, value: f64| SampleRow {
        seq: 0,
        time_nanos,
        metric: metrics::GPU_USED.name.to_owned(),
        device: 3,
        pid: None,
        value,
    };
    process.push_node_sample(used(90, 7.0));
    process.push_node_sample(used(145, 9.0));
    process.push_node_sample(used(200, 8.0));
    let exported = perfetto(&source(vec![process]), ALL);
    assert_eq!(exported.values("device 3 used"), [7, 9, 8]);
    let slice = |name: &str| exported.slices.iter().find(|slice| slice.name == name).unwrap();
    let (first, second, span) = (slice("step 1"), slice("step 2"), slice("outlives its step"));
    assert_eq!((first.begin_nanos, first.end_nanos), (100, 120));
    assert_eq!((span.begin_nanos, second.begin_nanos), (110, 130));
    assert!(span.end_nanos >= 160 && second.end_nanos >= 160, "up to the end of the recording");
    assert_ne!(first.track, span.track, "what does not nest is on a further track");
    assert_eq!(exported.tracks[&span.track].parent, Some(first.track));
    let instants: Vec<(&str, &str)> =
        exported.instants.iter().map(|(_, category, name)| (category.as_str(), name.as_str())).collect();
    assert_eq!(instants, [("alert", "rss > 1GiB"), ("oom", "out of memory"), ("mark", "a moment")]);
}

#[test]
fn frames_of_foreign_recordings_are_folded_and_what_has_no_block_is_said() {
    let mut process = process(0);
    let frame =
        |function: &str, line: u32| Frame { function: function.to_owned(), file: Some("a.py".into()), line };
    let frames = [("inner", 1), ("middle", 2), ("outer", 3)]
        .map(|(function, line)| process.sites.frame_id(frame(function, line)));
    let site = process.sites.site_id(&frames, |_| "inner".to_owned());
    process.push_event(&ForeignEvent { address: None, ..event(5, EventKind::Baseline, 0, 0, Some(1000)) });
    process.push_event(&ForeignEvent { site, ..event(10, EventKind::Alloc, 0, 1, Some(30)) });
    process.push_event(&event(20, EventKind::Alloc, 0, 2, Some(4)));
    let source = source(vec![process]);
    let moment = tidegauge_analyzer::analysis::Moment::Peak;
    let folded = export::folded_stacks(&source.processes[0], moment, Window::ALL, |_| true).unwrap().unwrap();
    assert_eq!(folded.allocated_bytes, 1034);
    assert_eq!(folded.sum_bytes(), 1034);
    let stacks: Vec<(&str, i64)> =
        folded.stacks.iter().map(|(stack, bytes)| (stack.as_str(), *bytes)).collect();
    assert_eq!(
        stacks,
        [
            ("(allocated before the recording, block by block unknown)", 1000),
            ("(unknown site)", 4),
            ("outer at a.py:3;middle at a.py:2;inner at a.py:1", 30),
        ]
    );
}

#[test]
fn ranks_have_tags_of_their_own() {
    let ranked = |rank: u32| {
        let mut process = process(rank);
        process.push_checkpoint(checkpoint(0, 1, CheckpointKind::StepBegin, "", Some(4)));
        process.push_event(&event(1, EventKind::Alloc, 0, 1, Some(100 + i64::from(rank))));
        process.push_checkpoint(checkpoint(2, 1, CheckpointKind::StepEnd, "", Some(4)));
        process
    };
    let mut bytes = Vec::new();
    export::tensorboard(&source(vec![ranked(0), ranked(1)]), ALL, &mut bytes).unwrap();
    let text = String::from_utf8_lossy(&bytes);
    for tag in
        ["peak_allocated_bytes/rank0_device0", "peak_allocated_bytes/rank1_device0", "step_seconds/rank1"]
    {
        assert!(text.contains(tag), "{tag}");
    }
}

#[test]
fn every_step_has_its_own_figures_once_whichever_devices_there_are() {
    let mut process = process(0);
    for step in 0..4 {
        let begin = i64::from(step) * 10;
        process.push_checkpoint(checkpoint(begin, 1, CheckpointKind::StepBegin, "", Some(begin)));
        // The first step uses no device, each further one a lower one than those before.
        if step > 0 {
            process.push_event(&event(begin + 1, EventKind::Alloc, 3 - step, 1, Some(100)));
        }
        process.push_checkpoint(checkpoint(begin + 2, 1, CheckpointKind::StepEnd, "", Some(begin)));
    }
    let mut bytes = Vec::new();
    export::tensorboard(&source(vec![process]), ALL, &mut bytes).unwrap();
    let count = |tag: &str| bytes.windows(tag.len()).filter(|window| *window == tag.as_bytes()).count();
    assert_eq!(count("step_seconds"), 4);
    let of_devices = [0, 1, 2].map(|device| count(&format!("peak_allocated_bytes/device{device}")));
    assert_eq!(of_devices, [1, 2, 3], "from the step on in which a device is first used");
}
