//! What a profiler's trace says of the program around its allocations: sites, operators, steps and phases.

use serde_json::{Value, json};
use tidegauge_analyzer::analysis::{self, PhaseTable, SiteOrder};
use tidegauge_analyzer::foreign::Operator;
use tidegauge_analyzer::load::{EventRow, Rows, Source};
use tidegauge_analyzer::replay::{Observed, Observer, Window, replay};
use tidegauge_schemas::EventKind;
use tidegauge_tests::programs::{output_of, program};

use super::kineto::{Trace, replayed, rows};

fn site_of(source: &Source, address: u64) -> String {
    let names = Rows::new(&source.processes[0]).site_names().unwrap();
    let is_it = |row: &&EventRow| row.kind == Some(EventKind::Alloc) && row.address == Some(address);
    let row = rows(source).iter().find(is_it).copied().unwrap();
    names.get(&row.site).cloned().unwrap_or_default()
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
            "self_allocated_bytes": 64, "inclusive_allocated_bytes": 64, "rank": 0, "process": 0
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
