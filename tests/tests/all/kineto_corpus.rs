//! Real traces of PyTorch's profiler against answers that were computed independently. They are other projects' and lie
//! beside the repository, or where `TIDEGAUGE_CORPUS` says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tidegauge_analyzer::analysis::{Summary, summary};
use tidegauge_analyzer::load::{Rows, Selection, Source};
use tidegauge_analyzer::replay::Window;
use tidegauge_schemas::EventKind;

fn corpus() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus");
    let folder = std::env::var_os("TIDEGAUGE_CORPUS").map_or(beside, PathBuf::from);
    folder.join("reference.json").exists().then_some(folder)
}

fn summarize(source: &Source) -> Summary {
    summary(source, |_| Ok(Window::ALL), |_| true).unwrap()
}

/// Bytes, Total Allocated and Total Reserved of an event.
type NaiveEvent = (i64, Option<i64>, Option<i64>);

/// What a file says, by a reader that keeps everything: of each device its events in the order of time.
fn naive(path: &Path) -> BTreeMap<i64, Vec<NaiveEvent>> {
    let bytes = std::fs::read(path).unwrap();
    let text = if bytes.starts_with(&[0x1f, 0x8b]) {
        let gzip = std::process::Command::new("gzip").arg("-dc").arg(path).output().unwrap();
        assert!(gzip.status.success(), "gzip cannot read {}", path.display());
        gzip.stdout
    } else {
        bytes
    };
    let trace: Value = serde_json::from_slice(&text).unwrap();
    let mut events: Vec<&Value> =
        trace["traceEvents"].as_array().unwrap().iter().filter(|event| event["name"] == "[memory]").collect();
    events.sort_by(|one, two| one["ts"].as_f64().unwrap().total_cmp(&two["ts"].as_f64().unwrap()));
    let mut devices: BTreeMap<i64, Vec<_>> = BTreeMap::new();
    for event in events {
        let args = &event["args"];
        let device = if args["Device Type"] == 0 { -1 } else { args["Device Id"].as_i64().unwrap() };
        let row = (
            args["Bytes"].as_i64().unwrap(),
            args["Total Allocated"].as_i64(),
            args["Total Reserved"].as_i64(),
        );
        devices.entry(device).or_default().push(row);
    }
    devices
}

/// The highest of a series and where it is first; nowhere, if it is not above what was there before.
fn first_highest(before: i64, series: impl Iterator<Item = i64>) -> (i64, Option<u64>) {
    series.zip(0..).fold(
        (before, None),
        |highest, (value, at)| {
            if value > highest.0 { (value, Some(at)) } else { highest }
        },
    )
}

#[test]
fn every_figure_of_the_reference_is_met() {
    let Some(corpus) = corpus() else {
        eprintln!("SKIPPED: no corpus beside the repository and none named by TIDEGAUGE_CORPUS");
        return;
    };
    let reference: Value =
        serde_json::from_slice(&std::fs::read(corpus.join("reference.json")).unwrap()).unwrap();
    let traces: Vec<&Value> = reference
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| row["file"].as_str().unwrap().starts_with("kineto/"))
        .collect();
    assert!(!traces.is_empty());
    let mut compared = 0;
    for trace in traces {
        let file = trace["file"].as_str().unwrap();
        let path = corpus.join(file);
        let source = Source::open(&[&path], &Selection::default()).unwrap();
        let found = summarize(&source);
        let naive = naive(&path);
        let [process] = &*found.processes else { panic!("{file}: one process") };
        for (key, expected) in trace["devices"].as_object().unwrap() {
            let (kind, number) = key.split_once('/').unwrap();
            let device: i64 = if kind == "0" { -1 } else { number.parse().unwrap() };
            let of = process.devices.iter().find(|of| i64::from(of.device) == device).unwrap();
            let mut compare = |what: &str, ours: Option<i64>, theirs: Option<i64>| {
                println!("{file} {key} {what}: {ours:?}");
                assert_eq!(ours, theirs, "{file} {key} {what}");
                compared += 1;
            };
            let mut counts = (0, 0);
            for batch in Rows::new(&source.processes[0]).events() {
                let batch = batch.unwrap();
                for row in (0..batch.len()).map(|at| batch.row(at)) {
                    if i64::from(row.device) == device {
                        counts.0 += i64::from(row.kind == Some(EventKind::Alloc));
                        counts.1 += i64::from(row.kind == Some(EventKind::Free));
                    }
                }
            }
            compare("allocs", Some(counts.0), expected["allocs"].as_i64());
            compare("frees", Some(counts.1), expected["frees"].as_i64());
            let rows = &naive[&device];
            let highest = expected["max_total_allocated"].as_i64();
            let before = expected["first_TA_minus_bytes"].as_i64().unwrap_or(0);
            compare(
                "peak",
                Some(of.allocated.bytes),
                highest.or(expected["running_peak_from_zero"].as_i64()),
            );
            compare("peak of active", Some(of.active.bytes), Some(of.allocated.bytes));
            compare("initial", Some(of.initial_active_bytes), Some(before));
            compare("end", Some(of.end_allocated_bytes), Some(before + expected["net"].as_i64().unwrap()));
            let reserved = of.reserved.as_ref();
            compare(
                "reserved peak",
                reserved.map(|peak| peak.bytes),
                expected["max_total_reserved"].as_i64(),
            );
            // Where the peaks are is not in the reference: a naive reader says it.
            let mut sum = before;
            let curve = rows.iter().map(|(bytes, total, _)| {
                sum += bytes;
                total.unwrap_or(sum)
            });
            let (bytes, index) = first_highest(before, curve);
            assert_eq!(bytes, of.allocated.bytes);
            compare("peak's index", of.allocated.event_index.map(|at| at as i64), index.map(|at| at as i64));
            if let Some(reserved) = reserved {
                let first = rows[0].2.unwrap();
                let (_, index) = first_highest(first, rows.iter().map(|row| row.2.unwrap()));
                compare(
                    "reserved peak's index",
                    reserved.event_index.map(|at| at as i64),
                    index.map(|at| at as i64),
                );
            }
        }
    }
    println!("{compared} comparisons");
}

#[test]
fn what_a_real_trace_says_of_the_program_is_found() {
    let Some(corpus) = corpus() else {
        eprintln!("SKIPPED: no corpus beside the repository and none named by TIDEGAUGE_CORPUS");
        return;
    };
    let open = |name: &str| {
        let path = corpus.join("kineto").join(name);
        let source = Source::open(&[path], &Selection::default()).unwrap();
        let summary = summarize(&source);
        (source, summary)
    };
    // The content says rank 1 of 2; files of other ranks may have any name.
    let (source, found) = open("hta-v100.json.gz");
    assert_eq!(source.processes[0].id.rank, 1);
    let info = source.processes[0].info.as_ref().unwrap();
    assert_eq!((info.pid, info.world_size), (783_658, Some(2)));
    assert_eq!(info.devices[1].name.as_deref(), Some("Tesla V100-SXM2-32GB"));
    assert_eq!(info.devices[1].total_bytes, Some(34_089_730_048));
    assert_eq!(found.processes[0].steps.count, 5);
    let device = found.processes[0].devices.iter().find(|device| device.device == 1).unwrap();
    assert_eq!(device.allocated.phase.as_deref(), Some("backward"));
    assert_eq!(device.allocated.step, Some(2));
    assert_eq!(source.warnings(), Vec::<String>::new(), "its books balance");
    let names = |summary: &Summary, device: i16| -> Vec<(String, u64)> {
        let rows = summary.processes[0].phases.iter().filter(|row| row.device() == Some(device));
        rows.map(|row| (row.phase.clone(), row.count)).collect()
    };
    let counted = |names: &[&str], count: u64| -> Vec<(String, u64)> {
        names.iter().map(|name| ((*name).to_owned(), count)).collect()
    };
    assert_eq!(names(&found, 1), counted(&["zero_grad", "forward", "backward", "optimizer"], 5));
    // In 2021 annotations were recorded as operators, and gradients are cleared between the passes.
    let (source, found) = open("kineto-2021-no-addr.json.gz");
    assert_eq!(names(&found, -1), counted(&["data", "zero_grad", "forward", "backward", "optimizer"], 6));
    assert_eq!(source.warnings().len(), 2, "one for each device: no addresses, no totals");
    let convolution = source.processes[0]
        .foreign()
        .unwrap()
        .sites
        .iter()
        .find(|(_, site)| site.name == "aten::cudnn_convolution");
    let sites = &source.processes[0].foreign().unwrap().sites;
    let stack = sites.stack_text(convolution.unwrap().1).unwrap();
    assert!(stack.lines().any(|line| line.contains("resnet50_profiler") && line.contains(".py:")), "{stack}");
    // Python functions have events of their own today.
    let (source, _) = open("owlv2.json.gz");
    let sites = &source.processes[0].foreign().unwrap().sites;
    let softmax = sites.iter().find(|(_, site)| site.name == "aten::_softmax").unwrap().1;
    let stack = sites.stack_text(softmax).unwrap();
    assert!(stack.starts_with("aten::_softmax\naten::softmax\n"), "{stack}");
    assert!(stack.lines().any(|line| line.starts_with("nn.Module: ")), "{stack}");
    assert!(stack.lines().any(|line| line.starts_with("forward at ")), "{stack}");
}
