//! What a profiler's trace says of memory, rule by rule, on traces of a few events.

use std::fmt::Write as _;

use proptest::prelude::*;
use serde_json::{Value, json};
use tidegauge_analyzer::load::{EventRow, Rows, Selection, Source};
use tidegauge_analyzer::replay::{Observed, Observer, Outcome, Window, replay};

/// Writes a trace event by event; times are in microseconds.
#[derive(Debug, Default, Clone)]
pub(super) struct Trace {
    events: Vec<Value>,
}

impl Trace {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn event(mut self, event: Value) -> Self {
        self.events.push(event);
        self
    }

    pub(super) fn call(self, category: &str, name: &str, tid: u32, begin: f64, end: f64) -> Self {
        self.event(json!({
            "ph": "X", "cat": category, "name": name, "pid": 7, "tid": tid, "ts": begin, "dur": end - begin
        }))
    }

    pub(super) fn operator(self, name: &str, begin: f64, end: f64) -> Self {
        self.call("cpu_op", name, 1, begin, end)
    }

    pub(super) fn annotation(self, name: &str, begin: f64, end: f64) -> Self {
        self.call("user_annotation", name, 1, begin, end)
    }

    pub(super) fn python(self, name: &str, begin: f64, end: f64) -> Self {
        self.call("python_function", name, 1, begin, end)
    }

    pub(super) fn memory(self, tid: u32, ts: f64, args: Value) -> Self {
        let event = json!({"ph": "i", "cat": "cpu_instant_event", "s": "t", "name": "[memory]", "pid": 7, "tid": tid});
        let mut event = event;
        event["ts"] = json!(ts);
        event["args"] = args;
        self.event(event)
    }

    /// An allocation or a free on GPU 0, with what is allocated and reserved afterwards.
    pub(super) fn gpu(self, ts: f64, address: u64, bytes: i64, allocated: i64, reserved: i64) -> Self {
        let args = json!({
            "Device Type": 1, "Device Id": 0, "Addr": address, "Bytes": bytes, "Total Allocated": allocated,
            "Total Reserved": reserved
        });
        self.memory(1, ts, args)
    }

    /// The same as in 2021.
    pub(super) fn bare(self, ts: f64, bytes: i64) -> Self {
        self.memory(1, ts, json!({"Device Type": 1, "Device Id": 0, "Bytes": bytes}))
    }

    pub(super) fn json(&self) -> String {
        json!({"schemaVersion": 1, "traceEvents": self.events}).to_string()
    }

    pub(super) fn open(&self) -> Source {
        open(&self.json())
    }
}

pub(super) fn open(text: &str) -> Source {
    open_named(text, "trace.json")
}

fn open_named(text: &str, name: &str) -> Source {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    Source::open(&[path], &Selection::default()).unwrap()
}

/// Allocated and reserved after each event, and the event's number in its device's list.
#[derive(Default)]
struct Curves(Vec<(u64, i64, Option<i64>)>);

impl Observer for Curves {
    fn observe(&mut self, observed: &Observed<'_>) {
        if let Observed::Event { event_index, device, .. } = observed {
            self.0.push((*event_index, device.allocated_bytes, device.reserved_bytes));
        }
    }
}

pub(super) fn replayed(source: &Source) -> (Outcome, Vec<(u64, i64, Option<i64>)>) {
    let mut curves = Curves::default();
    let outcome = replay(&source.processes[0], Window::ALL, &mut curves).unwrap();
    (outcome, curves.0)
}

pub(super) fn rows(source: &Source) -> Vec<EventRow> {
    let mut all = Vec::new();
    for batch in Rows::new(&source.processes[0]).events() {
        let batch = batch.unwrap();
        all.extend((0..batch.len()).map(|at| batch.row(at)));
    }
    all
}

#[test]
fn a_bare_list_an_object_and_other_orders_of_keys_are_the_same() {
    let trace = Trace::new().gpu(1.5, 16, 8, 8, 64).gpu(2.0, 16, -8, 0, 64);
    let expected = rows(&trace.open());
    let list = Value::Array(trace.events.clone()).to_string();
    let marked = format!("\u{feff}\n {list}\n\0");
    let object = format!("{{\"a\": {{\"traceEvents\": 1}}, \"traceEvents\" : {list}, \"z\": [nan, -inf]}}");
    let texts = list.replace("\"tid\":1", "\"tid\":\"1\"").replace("\"pid\":7", "\"pid\":\"7\"");
    for text in [list, marked, object, texts] {
        assert_eq!(rows(&open(&text)), expected, "{text}");
    }
}

#[test]
fn times_are_exact_and_since_1970() {
    let event = |ts: &str| {
        let address = ts.len();
        format!(
            "{{\"ph\":\"i\",\"name\":\"[memory]\",\"pid\":1,\"tid\":1,\"ts\":{ts},\
             \"args\":{{\"Bytes\":1,\"Addr\":{address},\"Device Type\":0}}}}"
        )
    };
    let times = |text: &str| -> Vec<i64> { rows(&open(text)).iter().map(|row| row.time_nanos).collect() };
    // The base comes behind the events, as it does in real files.
    let text = format!(
        "{{\"traceEvents\":[{},{}],\"baseTimeNanoseconds\":1751410836000000000}}",
        event("2211714153399.54"),
        event("2211714153399.541")
    );
    assert_eq!(times(&text), [1_753_622_550_153_399_540, 1_753_622_550_153_399_541]);
    // A double has room for no decimals here.
    let text = format!("[{},{}]", event("1669783687464181"), event("1669783687464181.123"));
    assert_eq!(times(&text), [1_669_783_687_464_181_000, 1_669_783_687_464_181_123]);
}

#[test]
fn events_are_sorted_by_time_and_those_of_one_moment_stay_in_order() {
    let trace = Trace::new().gpu(5.0, 1, -10, 30, 64).gpu(1.0, 1, 10, 10, 64).gpu(3.0, 2, 20, 30, 64);
    let trace = trace.gpu(3.0, 3, 10, 40, 64);
    let source = trace.open();
    let (outcome, _) = replayed(&source);
    assert_eq!(outcome.devices[0].allocated_peak.bytes, 40);
    assert_eq!(outcome.devices[0].allocated_peak.event_index, Some(2));
    assert_eq!(source.warnings(), Vec::<String>::new());
    let addresses: Vec<_> = rows(&source).iter().filter_map(|row| row.address).collect();
    assert_eq!(addresses, [1, 2, 3, 1]);
}

#[test]
fn what_was_there_before_is_known_by_the_first_total() {
    // 1000 before: 300 of it in a block that is freed here, whose address is used again later.
    let trace =
        Trace::new().gpu(1.0, 1, 50, 1050, 2000).gpu(2.0, 9, -300, 750, 2000).gpu(3.0, 9, 20, 770, 2000);
    let source = trace.open();
    let (outcome, curve) = replayed(&source);
    let device = &outcome.devices[0];
    assert_eq!(device.initial_bytes, 1000);
    assert_eq!(device.allocated_peak.bytes, 1050);
    assert_eq!(device.allocated_peak.event_index, Some(0));
    assert_eq!(device.reserved_peak.unwrap().bytes, 2000);
    assert_eq!(device.reserved_peak.unwrap().event_index, None, "it was so at the start");
    let after: Vec<i64> = curve.iter().map(|(_, allocated, _)| *allocated).collect();
    assert_eq!(
        after,
        [700, 1000, 1000, 1050, 750, 770],
        "the unknown rest, the block, reserved, then events"
    );
    let coverage = &source.processes[0].foreign().unwrap().coverage;
    let said = "device 0: preceded by 1000 B already allocated, 300 B of it in blocks that are freed later";
    assert!(coverage.iter().any(|line| line == said), "{coverage:?}");
    // The peak at the start is nobody's event.
    let falling = Trace::new().gpu(1.0, 9, -300, 700, 2000).open();
    let (outcome, _) = replayed(&falling);
    let peak = outcome.devices[0].allocated_peak;
    assert_eq!((peak.bytes, peak.event_index, peak.time_nanos), (1000, None, None));
}

#[test]
fn books_in_which_more_is_freed_than_was_there_are_said() {
    let trace = Trace::new().gpu(1.0, 9, -300, -100, 64).gpu(2.0, 1, 50, 50, 64);
    // A negative total is none: the sum is carried on.
    let source = trace.open();
    assert_eq!(replayed(&source).0.devices[0].initial_bytes, 300);
    let trace = Trace::new().gpu(1.0, 1, 100, 200, 64).gpu(2.0, 9, -150, 50, 64);
    let source = trace.open();
    let (outcome, curve) = replayed(&source);
    assert_eq!(outcome.devices[0].initial_bytes, 100);
    assert_eq!(outcome.devices[0].allocated_peak.bytes, 200, "not the 250 of the block and the sum");
    assert_eq!(curve.last().unwrap().1, 50);
    assert!(
        source.warnings()[0].contains("blocks of 150 B are freed that were there before, and only 100 B")
    );
}

#[test]
fn the_curve_follows_totals_that_no_event_explains() {
    // Between the second and the third event 500 came from nowhere, and before the fourth 400 went.
    let trace = Trace::new()
        .gpu(1.0, 1, 100, 100, 1000)
        .gpu(2.0, 2, 100, 200, 1000)
        .gpu(3.0, 1, -100, 600, 1000)
        .gpu(4.0, 3, 50, 250, 1000);
    let source = trace.open();
    let (outcome, curve) = replayed(&source);
    let device = &outcome.devices[0];
    assert_eq!(device.allocated_peak.bytes, 600, "and at no moment more than the file says");
    assert_eq!(device.allocated_peak.event_index, Some(2), "the free after which the file says it");
    assert!(curve.iter().all(|(_, allocated, _)| *allocated <= 600));
    assert_eq!(device.end_allocated_bytes, 250);
    assert_eq!(device.events, 4, "what balances books is no event");
    let [warning] = &*source.warnings() else { panic!("{:?}", source.warnings()) };
    assert!(
        warning.contains("changes 2 times by what no event says (+500 B and −400 B in all)"),
        "{warning}"
    );
}

#[test]
fn events_of_one_moment_in_another_order_are_no_gap() {
    let trace = Trace::new().gpu(1.0, 1, 100, 100, 64).gpu(2.0, 3, 10, 130, 64).gpu(2.0, 2, 20, 120, 64);
    let source = trace.gpu(3.0, 4, 1, 131, 64).open();
    assert_eq!(source.warnings(), Vec::<String>::new());
    let (outcome, _) = replayed(&source);
    assert_eq!(outcome.devices[0].allocated_peak.bytes, 131);
    assert_eq!(outcome.devices[0].allocated_peak.event_index, Some(3));
}

#[test]
fn reserved_follows_its_total_without_shifting_the_events() {
    let trace = Trace::new()
        .gpu(1.0, 1, 10, 10, 100)
        .gpu(2.0, 2, 10, 20, 300)
        .gpu(3.0, 3, 10, 30, 200)
        .gpu(4.0, 4, 10, 40, 400)
        .gpu(5.0, 4, -10, 30, 400);
    let (outcome, curve) = replayed(&trace.open());
    let device = &outcome.devices[0];
    let of_event = |index: u64| curve.iter().rfind(|row| row.0 == index).unwrap();
    let reserved: Vec<_> = (0..5).map(|index| of_event(index).2.unwrap()).collect();
    assert_eq!(reserved, [100, 300, 200, 400, 400]);
    let peak = device.reserved_peak.unwrap();
    assert_eq!((peak.bytes, peak.event_index), (400, Some(3)));
    assert_eq!((device.allocated_peak.bytes, device.allocated_peak.event_index), (40, Some(3)));
    assert!(
        curve.iter().all(|(_, allocated, reserved)| reserved.is_none_or(|reserved| *allocated <= reserved))
    );
}

#[test]
fn without_totals_the_curve_is_the_sum_and_blocks_are_paired_by_size() {
    let trace = Trace::new().operator("aten::a", 0.5, 1.5).operator("aten::b", 1.6, 2.5);
    let source = trace.bare(1.0, 100).bare(2.0, 100).bare(3.0, -100).bare(4.0, -60).bare(5.0, 10).open();
    let (outcome, _) = replayed(&source);
    let device = &outcome.devices[0];
    assert_eq!((device.initial_bytes, device.allocated_peak.bytes), (0, 200));
    assert_eq!(device.allocated_peak.event_index, Some(1));
    assert_eq!(device.end_allocated_bytes, 50);
    let live: i64 = device.blocks().map(|(_, block)| block.size_bytes).sum();
    assert_eq!(live, 110, "the newest of 100 went; of the 60 it is not known whose they were");
    let warnings = source.warnings();
    assert!(warnings[0].contains("5 events have no address and 5 do not tell"), "{warnings:?}");
    assert!(warnings[1].contains("1 frees are of no block of that size"), "{warnings:?}");
    assert_eq!(outcome.anomalies.warnings(), Vec::<String>::new());
    // A sum below zero means that as much was there before.
    let (outcome, _) = replayed(&Trace::new().bare(1.0, 10).bare(2.0, -50).bare(3.0, 20).open());
    let device = &outcome.devices[0];
    assert_eq!((device.initial_bytes, device.allocated_peak.bytes, device.end_allocated_bytes), (40, 50, 20));
}

#[test]
fn devices_have_books_of_their_own() {
    let memory = |kind: i64, id: i64, bytes: i64| json!({"Device Type": kind, "Device Id": id, "Addr": 4096, "Bytes": bytes, "Total Allocated": bytes, "Total Reserved": 0});
    let trace = Trace::new().memory(1, 1.0, memory(0, -1, 5)).memory(1, 2.0, memory(6, 3, 7));
    let (outcome, _) = replayed(&trace.memory(1, 3.0, memory(1, 0, 9)).open());
    let mut peaks: Vec<_> =
        outcome.devices.iter().map(|device| (device.device, device.allocated_peak.bytes)).collect();
    peaks.sort_unstable();
    assert_eq!(peaks, [(-1, 5), (0, 9), (3, 7)]);
    assert_eq!(outcome.anomalies.missed_frees, 0, "an address is one of its device's");
}

#[test]
fn processes_of_one_file_are_apart_and_the_rank_is_the_contents() {
    let event = |pid: i64, bytes: i64| json!({"ph": "i", "name": "[memory]", "pid": pid, "tid": 1, "ts": pid, "args": {"Bytes": bytes, "Addr": 1, "Device Type": 0}});
    let name = json!({"ph": "M", "name": "process_name", "pid": 30, "args": {"name": "python3"}});
    let events = json!([event(30, 5), event(20, 7), name]);
    let text =
        json!({"distributedInfo": {"rank": 4, "world_size": 8}, "host_name": "h", "traceEvents": events})
            .to_string();
    let source = open_named(&text, "rank2.json");
    let found: Vec<_> = source
        .processes
        .iter()
        .map(|process| {
            let info = process.info.as_ref().unwrap();
            (process.id.rank, process.id.process, info.pid, info.command.clone(), info.host.clone())
        })
        .collect();
    let h = || "h".to_owned();
    assert_eq!(found, [(4, 0, 20, vec![], h()), (4, 1, 30, vec!["python3".to_owned()], h())]);
    assert_eq!(open_named(&json!([event(1, 1)]).to_string(), "rank2.json").processes[0].id.rank, 2);
}

#[derive(Debug, Clone)]
enum Action {
    Alloc {
        device: usize,
        bytes: i64,
    },
    /// The n-th of the blocks that are alive.
    Free {
        device: usize,
        nth: usize,
    },
    /// What no event tells.
    Hidden {
        device: usize,
        bytes: i64,
    },
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let device = 0..2usize;
    prop::collection::vec(
        prop_oneof![
            5 => (device.clone(), 1i64..1000).prop_map(|(device, bytes)| Action::Alloc { device, bytes }),
            4 => (device.clone(), any::<usize>()).prop_map(|(device, nth)| Action::Free { device, nth }),
            1 => (device, -300i64..300).prop_map(|(device, bytes)| Action::Hidden { device, bytes }),
        ],
        1..80,
    )
}

proptest! {
    /// Whatever happened before and besides, and in whatever order the file is: peak, its place, start and end are those
    /// of the totals that a reader would add up by hand.
    #[test]
    fn the_peak_is_that_of_the_naive_sum(
        actions in actions(),
        before in [prop::collection::vec(1i64..500, 0..4), prop::collection::vec(1i64..500, 0..4)],
        has_hidden in any::<bool>(),
        order in any::<prop::sample::Selector>(),
    ) {
        let mut live: [Vec<(u64, i64)>; 2] = [Vec::new(), Vec::new()];
        let mut next_address = 1;
        for (live, before) in live.iter_mut().zip(&before) {
            for bytes in before {
                live.push((next_address, *bytes));
                next_address += 1;
            }
        }
        let sum = |live: &[(u64, i64)]| live.iter().map(|(_, bytes)| bytes).sum::<i64>();
        // Room for what goes unseen.
        let mut hidden = [10_000i64; 2];
        let mut totals: [Vec<i64>; 2] = [Vec::new(), Vec::new()];
        let mut first: [Option<i64>; 2] = [None, None];
        let mut lines = Vec::new();
        for (time, action) in actions.iter().enumerate() {
            let (device, address, bytes) = match *action {
                Action::Alloc { device, bytes } => {
                    live[device].push((next_address, bytes));
                    next_address += 1;
                    (device, next_address - 1, bytes)
                }
                Action::Free { device, nth } => {
                    if live[device].is_empty() {
                        continue;
                    }
                    let nth = nth % live[device].len();
                    let (address, bytes) = live[device].remove(nth);
                    (device, address, -bytes)
                }
                Action::Hidden { device, bytes } => {
                    if has_hidden {
                        hidden[device] += bytes;
                    }
                    continue;
                }
            };
            let total = sum(&live[device]) + hidden[device];
            first[device].get_or_insert(total - bytes);
            totals[device].push(total);
            lines.push(format!(
                "{{\"ph\":\"i\",\"name\":\"[memory]\",\"pid\":1,\"tid\":{},\"ts\":{time}.5,\"args\":{{\"Bytes\":{bytes},\
                 \"Addr\":{address},\"Total Allocated\":{total},\"Total Reserved\":{},\"Device Type\":1,\"Device Id\":{device}}}}}",
                time % 3, total + 7
            ));
        }
        prop_assume!(!lines.is_empty());
        // Any order: times differ.
        let mut text = String::new();
        let mut rest = lines;
        while !rest.is_empty() {
            let at = order.select(0..rest.len());
            let _ = write!(text, "{}{}", if text.is_empty() { "[" } else { "," }, rest.swap_remove(at));
        }
        let source = open(&(text + "]"));
        let (outcome, _) = replayed(&source);
        prop_assert_eq!(outcome.anomalies.warnings(), Vec::<String>::new());
        for device in 0..2usize {
            let Some(initial) = first[device] else { continue };
            let of = outcome.devices.iter().find(|of| of.device == device as i16).unwrap();
            let (mut peak, mut index) = (initial, None);
            for (at, total) in totals[device].iter().enumerate() {
                if *total > peak {
                    (peak, index) = (*total, Some(at as u64));
                }
            }
            prop_assert_eq!(of.allocated_peak.bytes, peak);
            prop_assert_eq!(of.allocated_peak.event_index, index);
            prop_assert_eq!(of.initial_bytes, initial);
            prop_assert_eq!(of.end_allocated_bytes, *totals[device].last().unwrap());
            let reserved = totals[device].iter().max().unwrap() + 7;
            prop_assert_eq!(of.reserved_peak.unwrap().bytes, reserved);
        }
        let warned = source.warnings().iter().any(|warning| warning.contains("by what no event says"));
        prop_assert!(has_hidden || !warned);
    }
}
