//! What a profiler's trace says, rule by rule, on traces of a few events.

use std::fmt::Write as _;

use proptest::prelude::*;
use serde_json::{Value, json};
use tidegauge_analyzer::analysis::{self, PhaseTable, SiteOrder};
use tidegauge_analyzer::foreign::Operator;
use tidegauge_analyzer::load::{EventRow, Rows, Selection, Source};
use tidegauge_analyzer::replay::{Observed, Observer, Outcome, Window, replay};
use tidegauge_schemas::EventKind;
use tidegauge_tests::programs::{output_of, program};

/// Writes a trace event by event; times are in microseconds.
#[derive(Debug, Default, Clone)]
struct Trace {
    events: Vec<Value>,
}

impl Trace {
    fn new() -> Self {
        Self::default()
    }

    fn event(mut self, event: Value) -> Self {
        self.events.push(event);
        self
    }

    fn call(self, category: &str, name: &str, tid: u32, begin: f64, end: f64) -> Self {
        self.event(json!({
            "ph": "X", "cat": category, "name": name, "pid": 7, "tid": tid, "ts": begin, "dur": end - begin
        }))
    }

    fn operator(self, name: &str, begin: f64, end: f64) -> Self {
        self.call("cpu_op", name, 1, begin, end)
    }

    fn annotation(self, name: &str, begin: f64, end: f64) -> Self {
        self.call("user_annotation", name, 1, begin, end)
    }

    fn python(self, name: &str, begin: f64, end: f64) -> Self {
        self.call("python_function", name, 1, begin, end)
    }

    fn memory(self, tid: u32, ts: f64, args: Value) -> Self {
        let event = json!({"ph": "i", "cat": "cpu_instant_event", "s": "t", "name": "[memory]", "pid": 7, "tid": tid});
        let mut event = event;
        event["ts"] = json!(ts);
        event["args"] = args;
        self.event(event)
    }

    /// An allocation or a free on GPU 0, with what is allocated and reserved afterwards.
    fn gpu(self, ts: f64, address: u64, bytes: i64, allocated: i64, reserved: i64) -> Self {
        let args = json!({
            "Device Type": 1, "Device Id": 0, "Addr": address, "Bytes": bytes, "Total Allocated": allocated,
            "Total Reserved": reserved
        });
        self.memory(1, ts, args)
    }

    /// The same as in 2021.
    fn bare(self, ts: f64, bytes: i64) -> Self {
        self.memory(1, ts, json!({"Device Type": 1, "Device Id": 0, "Bytes": bytes}))
    }

    fn json(&self) -> String {
        json!({"schemaVersion": 1, "traceEvents": self.events}).to_string()
    }

    fn open(&self) -> Source {
        open(&self.json())
    }
}

fn open(text: &str) -> Source {
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

fn replayed(source: &Source) -> (Outcome, Vec<(u64, i64, Option<i64>)>) {
    let mut curves = Curves::default();
    let outcome = replay(&source.processes[0], Window::ALL, &mut curves).unwrap();
    (outcome, curves.0)
}

fn rows(source: &Source) -> Vec<EventRow> {
    let mut all = Vec::new();
    for batch in Rows::new(&source.processes[0]).events() {
        let batch = batch.unwrap();
        all.extend((0..batch.len()).map(|at| batch.row(at)));
    }
    all
}

fn site_of(source: &Source, address: u64) -> String {
    let names = Rows::new(&source.processes[0]).site_names().unwrap();
    let is_it = |row: &&EventRow| row.kind == Some(EventKind::Alloc) && row.address == Some(address);
    let row = rows(source).iter().find(is_it).copied().unwrap();
    names.get(&row.site).cloned().unwrap_or_default()
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
fn a_site_is_the_innermost_operator_that_does_more_than_allocate() {
    let trace = Trace::new()
        .annotation("ProfilerStep#3", 0.0, 100.0)
        .annotation("my part", 1.0, 90.0)
        .python("model.py(12): forward", 1.0, 60.0)
        .python("nn.Module: Linear_0", 2.0, 50.0)
        .operator("aten::linear", 3.0, 40.0)
        .operator("aten::addmm", 4.0, 30.0)
        .operator("aten::empty", 5.0, 6.0)
        .gpu(5.5, 1, 1, 1, 64)
        .operator("aten::zeros", 61.0, 65.0)
        .operator("aten::empty", 62.0, 64.0)
        .gpu(63.0, 2, 1, 2, 64)
        .gpu(70.0, 3, 1, 3, 64)
        .call("cpu_op", "aten::other", 2, 0.0, 200.0)
        .gpu(95.0, 4, 1, 4, 64);
    let source = trace.open();
    assert_eq!(site_of(&source, 1), "aten::addmm");
    assert_eq!(site_of(&source, 2), "aten::zeros", "of those that only allocate the one that was called");
    assert_eq!(site_of(&source, 3), "my part");
    assert_eq!(site_of(&source, 4), "", "another thread's operator is not around it, and a step is no site");
    let sites = &source.processes[0].foreign().unwrap().sites;
    let site = sites.iter().find(|(_, site)| site.name == "aten::addmm").unwrap().1;
    let expected =
        "aten::empty\naten::addmm\naten::linear\nnn.Module: Linear_0\nforward at model.py:12\nmy part";
    assert_eq!(sites.stack_text(site).unwrap(), expected);
}

#[test]
fn call_stacks_of_2021_are_behind_the_operators() {
    let operator = json!({
        "ph": "X", "cat": "Operator", "name": "aten::mm", "pid": 7, "tid": "1", "ts": 1, "dur": 9,
        "args": {"Call stack": "a.py(3): inner;b.py(4): outer", "External id": 1}
    });
    let source = Trace::new().event(operator).bare(5.0, 64).open();
    let sites = &source.processes[0].foreign().unwrap().sites;
    let (_, site) = sites.iter().next().unwrap();
    assert_eq!(site.name, "aten::mm");
    assert_eq!(sites.stack_text(site).unwrap(), "aten::mm\ninner at a.py:3\nouter at b.py:4");
}

#[test]
fn annotations_are_steps_and_phases_and_moments_on_their_edges_are_inside() {
    let trace = Trace::new()
        .annotation("ProfilerStep#8", 0.0, 10.0)
        .annotation("## forward ##", 0.0, 5.0)
        .annotation("Optimizer.step#SGD.step", 5.0, 10.0)
        .annotation("ProfilerStep#9", 10.0, 20.0)
        .annotation("nccl:all_reduce", 11.0, 12.0)
        .call("gpu_user_annotation", "ProfilerStep#9", 1, 12.0, 30.0)
        .gpu(0.0, 1, 10, 10, 64)
        .gpu(5.0, 2, 20, 30, 64)
        .gpu(10.0, 2, -20, 10, 64)
        .gpu(20.0, 3, 5, 15, 64);
    let source = trace.open();
    let (outcome, _) = replayed(&source);
    assert_eq!(outcome.anomalies.unmatched_ends, 0);
    let mut phases = PhaseTable::new(Window::ALL);
    let outcome = replay(&source.processes[0], Window::ALL, &mut phases).unwrap();
    let rows = phases.finish(&outcome);
    let found: Vec<_> =
        rows.iter().map(|row| (row.phase.as_str(), row.memory.as_ref().unwrap().peak_bytes)).collect();
    assert_eq!(
        found,
        [("forward", 10), ("optimizer", 30)],
        "where one ends as the next begins it is the next one's"
    );
    let mut steps = analysis::StepTable::new(Window::ALL);
    let outcome = replay(&source.processes[0], Window::ALL, &mut steps).unwrap();
    let steps: Vec<_> = steps.finish(&outcome).iter().map(|row| (row.step, row.end_bytes)).collect();
    assert_eq!(steps, [(8, Some(30)), (9, Some(15))]);
}

#[test]
fn passes_are_told_by_autograds_operators_where_nobody_marked_them() {
    let backward = "autograd::engine::evaluate_function: MmBackward0";
    let trace = Trace::new()
        .annotation("ProfilerStep#1", 0.0, 100.0)
        .annotation("enumerate(DataLoader)#_Iter.__next__", 1.0, 9.0)
        .operator("aten::stack", 2.0, 3.0)
        .operator("aten::mm", 10.0, 20.0)
        .annotation("Optimizer.zero_grad#SGD.zero_grad", 21.0, 25.0)
        .operator("aten::ones_like", 28.0, 29.0)
        .call("cpu_op", backward, 2, 30.0, 40.0)
        .call("cpu_op", "aten::mm", 2, 31.0, 35.0)
        .call("cpu_op", "torch::autograd::AccumulateGrad", 2, 41.0, 45.0)
        .annotation("Optimizer.step#SGD.step", 50.0, 60.0)
        .operator("aten::add_", 51.0, 52.0)
        .operator("aten::mm", 62.0, 64.0)
        .call("cpu_op", backward, 2, 65.0, 70.0)
        .gpu(31.0, 1, 8, 8, 64);
    let spans = |source: &Source| -> Vec<(String, i64, i64)> {
        let mut seen = Phases(Vec::new());
        replay(&source.processes[0], Window::ALL, &mut seen).unwrap();
        seen.0.sort_by_key(|(_, begin, _)| *begin);
        seen.0
    };
    let span = |name: &str, begin: i64, end: i64| (name.to_owned(), begin, end);
    let expected = [
        span("data", 1, 9),
        span("forward", 10, 30),
        span("zero_grad", 21, 25),
        span("backward", 30, 45),
        span("optimizer", 50, 60),
        span("forward", 62, 65),
        span("backward", 65, 70),
    ];
    assert_eq!(spans(&trace.open()), expected);
    // The program's own word counts more.
    let marked = trace.annotation("backward", 29.5, 47.0).open();
    assert!(!spans(&marked).iter().any(|(name, ..)| name == "forward"));
    assert_eq!(spans(&marked).iter().filter(|(name, ..)| name == "backward").count(), 1);
}

/// Names, begins and ends of phases, microseconds.
struct Phases(Vec<(String, i64, i64)>);

impl Observer for Phases {
    fn observe(&mut self, observed: &Observed<'_>) {
        if let Observed::Phase(phase) = observed {
            self.0.push((phase.name.clone(), phase.begin_nanos / 1000, phase.end_nanos / 1000));
        }
    }
}

#[test]
fn operators_are_summed_up_as_the_profiler_does() {
    let trace = Trace::new()
        .operator("outer", 0.0, 50.0)
        .operator("aten::to", 1.0, 20.0)
        .operator("aten::to", 2.0, 19.0)
        .gpu(3.0, 1, 100, 100, 500)
        .gpu(19.5, 2, 10, 110, 500)
        .operator("aten::mm", 21.0, 30.0)
        .gpu(25.0, 1, -100, 10, 500)
        .operator("aten::is_leaf", 31.0, 32.0)
        .gpu(40.0, 3, 7, 17, 500)
        .gpu(60.0, 4, 5, 22, 500);
    let source = trace.open();
    let operators = source.processes[0].foreign().unwrap().operators.clone().unwrap();
    let operator = |name: &str, calls, own: i64, inclusive: i64, allocated: (i64, i64)| Operator {
        name: name.to_owned(),
        device: Some(0),
        calls,
        self_bytes: own,
        inclusive_bytes: inclusive,
        self_allocated_bytes: allocated.0,
        inclusive_allocated_bytes: allocated.1,
    };
    let expected = [
        operator("[memory]", 1, 5, 5, (5, 5)),
        operator("aten::mm", 1, -100, -100, (0, 0)),
        // One that only dispatches to itself is one.
        operator("aten::to", 1, 110, 110, (110, 110)),
        operator("outer", 1, 7, 17, (7, 117)),
    ];
    assert_eq!(operators, expected);
    let (rows, _) = analysis::sites(&source.processes[0], Window::ALL, SiteOrder::SelfBytes).unwrap();
    let order: Vec<_> = rows.iter().map(|row| row.site.as_deref().unwrap()).collect();
    assert_eq!(order, ["aten::to", "outer", "[memory]", "aten::mm"]);
}

#[test]
fn the_command_prints_operators_and_sites_of_a_trace_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace.json");
    let trace =
        Trace::new().operator("aten::mm", 0.0, 5.0).operator("aten::relu", 6.0, 7.0).gpu(1.0, 1, 64, 64, 64);
    std::fs::write(&path, trace.json()).unwrap();
    let json = |arguments: &[&str]| -> Value {
        let mut command = program("tidegauge");
        serde_json::from_str(&output_of(command.arg("sites").args(arguments).arg("--json"))).unwrap()
    };
    let file = path.to_str().unwrap();
    let rows = json(&[file, "--sort", "calls"]);
    assert_eq!(
        rows[0],
        json!({
            "site": "aten::mm", "device": 0, "calls": 1, "allocations": null, "self_bytes": 64, "inclusive_bytes": 64,
            "self_allocated_bytes": 64, "inclusive_allocated_bytes": 64
        })
    );
    assert_eq!(rows[1]["device"], Value::Null, "nothing was allocated in it");
    assert_eq!(json(&[file, "--device", "0"]).as_array().unwrap().len(), 1);
    assert_eq!(json(&[file, "-n", "1"]).as_array().unwrap().len(), 1);
    let text = output_of(program("tidegauge").args(["sites", file]));
    assert!(!text.contains("Allocations"), "a column of which nothing is known is not shown:\n{text}");
    // Of a trace: blocks by where they were allocated, and what their modules hold together.
    let builder = tidegauge_tests::TraceBuilder::new()
        .event(EventKind::Alloc, 1, Some(100), Some("net.encoder.0"))
        .event(EventKind::Alloc, 2, Some(50), Some("net.encoder.1"))
        .event(EventKind::Alloc, 3, Some(7), Some("train.py:12"))
        .free(1);
    let run = builder.write(folder.path());
    let rows = json(&[run.to_str().unwrap(), "--sort", "inclusive"]);
    let found: Vec<Value> = rows
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            json!([
                row["site"],
                row["allocations"],
                row["self_bytes"],
                row["inclusive_bytes"],
                row["inclusive_allocated_bytes"]
            ])
        })
        .collect();
    assert_eq!(
        found,
        [
            json!(["net", 0, 0, 50, 150]),
            json!(["net.encoder", 0, 0, 50, 150]),
            json!(["net.encoder.1", 1, 50, 50, 50]),
            json!(["train.py:12", 1, 7, 7, 7]),
            json!(["net.encoder.0", 1, 0, 0, 100]),
        ]
    );
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
