//! Plots over time and over steps: breakdown, steps, leaks, and the marks of timelines. What they say is what the commands
//! with the same data say.

use std::path::Path;

use serde_json::Value;
use tidegauge_schemas::EventKind;
use tidegauge_tests::TraceBuilder;
use tidegauge_tests::programs::{output_of, program};

use crate::nvidia_smi::log;

const MIB: u64 = 1 << 20;
const KINDS: [&str; 4] = ["timeline", "breakdown", "steps", "leaks"];

fn plot(kind: &str, run: &Path, options: &[&str]) -> String {
    output_of(program("tidegauge").args(["plot", kind, "-q"]).arg(run).args(options))
}

fn json(command: &str, run: &Path, options: &[&str]) -> Vec<Value> {
    let text = output_of(program("tidegauge").args([command, "-q"]).arg(run).args(options).arg("--json"));
    serde_json::from_str(&text).unwrap()
}

/// What a screen reader says of a plot.
fn description(svg: &str) -> &str {
    let from = svg.find("<desc>").unwrap() + "<desc>".len();
    &svg[from..svg.find("</desc>").unwrap()]
}

/// The texts that are drawn.
fn texts(svg: &str) -> Vec<String> {
    let inside = svg.split("<text ").skip(1).filter_map(|rest| {
        let (_, from) = rest.split_once('>')?;
        Some(from.split_once("</text>")?.0.trim().to_owned())
    });
    inside.collect()
}

fn has_text(svg: &str, text: &str) -> bool {
    texts(svg).iter().any(|of| of == text)
}

/// Whole MiB as people are told them.
fn told(bytes: i64) -> String {
    let mib = bytes as f64 / MIB as f64;
    match mib {
        mib if mib < 10.0 => format!("{mib:.2} MiB"),
        mib if mib < 100.0 => format!("{mib:.1} MiB"),
        _ => format!("{mib:.0} MiB"),
    }
}

fn held(trace: TraceBuilder, address: u64, mib: u64, site: &str) -> TraceBuilder {
    trace.event(EventKind::Alloc, address, Some(mib * MIB), Some(site))
}

/// Steps of a forward that leaves activations to a backward that leaves gradients, which the next step frees; `more` of
/// MiB in each.
fn training(steps: i64, more: impl Fn(i64) -> u64, loss: impl Fn(i64) -> f64) -> TraceBuilder {
    let model = held(TraceBuilder::new(), 1, 10, "net.weights");
    (0..steps).fold(model, |trace, number| {
        trace.step(number, loss(number), |trace| {
            trace
                .span("forward", |trace| {
                    held(held(trace, 2, 20 + more(number), "net.conv"), 3, 7, "net.conv2").free(3)
                })
                .span("backward", |trace| held(trace, 4, 10, "net.weights.grad").free(2))
                .span("optimizer", |trace| held(trace, 5, 3, "step.buffer").free(5).free(4))
        })
    })
}

#[test]
fn a_breakdown_tells_what_the_table_by_category_has_at_the_peak() {
    let folder = tempfile::tempdir().unwrap();
    let run = training(12, |number| if number == 7 { 40 } else { 0 }, |_| 1.0).write(folder.path());
    let svg = plot("breakdown", &run, &[]);
    let rows = json("timeline", &run, &["--by", "category", "-n", "700"]);
    // The stretch of time in which most is held.
    let mut sums: Vec<(i64, i64)> = Vec::new();
    for row in &rows {
        let (start, bytes) = (row["start_nanos"].as_i64().unwrap(), row["bytes"].as_i64().unwrap());
        match sums.iter_mut().find(|(of, _)| *of == start) {
            Some((_, sum)) => *sum += bytes,
            None => sums.push((start, bytes)),
        }
    }
    let (start, most) = *sums.iter().rev().max_by_key(|(_, sum)| *sum).unwrap();
    assert_eq!(most, (80 * MIB).cast_signed(), "weights, the activations of step 7 and gradients");
    let said = description(&svg);
    assert!(said.contains(&format!("peak {}", told(most))) && said.contains("step 7"), "{said}");
    let at_peak = rows.iter().filter(|row| row["start_nanos"] == start && row["bytes"] != 0);
    let mut named = 0;
    for row in at_peak {
        let part = format!("{} {}", row["category"].as_str().unwrap(), told(row["bytes"].as_i64().unwrap()));
        assert!(said.contains(&part), "{part}: {said}");
        named += 1;
    }
    assert!(named >= 2, "{said}");
    for row in rows.iter().filter(|row| row["inferred_bytes"] != 0) {
        let name = row["category"].as_str().unwrap();
        assert!(said.contains("inferred, not told") && said.contains(name), "{name}: {said}");
    }
    assert!(texts(&svg).iter().any(|text| text.contains("peak 80.0 MiB")), "{:?}", texts(&svg));
}

#[test]
fn steps_show_their_peaks_what_is_unusual_and_their_losses() {
    let folder = tempfile::tempdir().unwrap();
    let loss = |number| match number {
        5 => f64::NAN,
        number => 8.0 / (number + 1) as f64,
    };
    let run = training(40, |number| if number == 23 { 40 } else { 0 }, loss).write(folder.path());
    let svg = plot("steps", &run, &[]);
    let rows = json("steps", &run, &[]);
    assert_eq!(rows.len(), 40);
    let highest = rows.iter().max_by_key(|row| row["peak_bytes"].as_i64()).unwrap();
    assert_eq!(highest["step"], 23);
    let peak = format!("step 23: {}", told(highest["peak_bytes"].as_i64().unwrap()));
    let said = description(&svg);
    assert!(said.contains(&format!("Highest: {peak}, ")), "{said}");
    assert!(said.contains(&format!("Unusual, 1: {peak}.")), "{said}");
    assert!(said.contains("Median 40.0 MiB"), "{said}");
    assert!(said.contains("Loss from 8 to 0.2."), "{said}");
    assert!(said.contains("40 steps; loss of 1 is no finite number"), "{said}");
    assert!(texts(&svg).iter().any(|text| text.starts_with(&peak)), "{:?}", texts(&svg));
    let without = training(40, |_| 0, |_| f64::NAN).write(&folder.path().join("without"));
    let svg = plot("steps", &without, &[]);
    assert!(!has_text(&svg, "loss") && !description(&svg).contains("Unusual"), "{}", description(&svg));
}

#[test]
fn steps_of_a_process_that_was_only_sampled_show_its_resident_size() {
    let folder = tempfile::tempdir().unwrap();
    let run = (0..12u64)
        .fold(TraceBuilder::new(), |trace, number| {
            trace.step(number.cast_signed(), 1.0, |trace| match number {
                4 => trace.mark("nothing"),
                number => trace.rss((100 + number) * MIB),
            })
        })
        .write(folder.path());
    let said = description(&plot("steps", &run, &[])).to_owned();
    assert!(
        said.contains("host: highest resident size sampled in each step, 12 steps; of 1 nothing is known"),
        "{said}"
    );
    assert!(said.contains("Highest: step 11: 111 MiB"), "{said}");
}

#[test]
fn a_leak_is_drawn_with_the_rate_and_the_sites_that_the_command_tells() {
    let folder = tempfile::tempdir().unwrap();
    let hostile = "<script>alert(1)</script>".repeat(20);
    let run = training(1, |_| 0, |_| 1.0);
    let run = (1..60u64)
        .fold(run, |trace, number| {
            trace.step(number.cast_signed(), 1.0, |trace| {
                let trace = trace.event(EventKind::Alloc, 1000 + number, Some(4096), Some(&hostile));
                trace.event(EventKind::Alloc, 5000 + number, Some(1024), Some("log.lines"))
            })
        })
        .write(folder.path());
    let rows = json("leaks", &run, &[]);
    let of = |curve: &str| rows.iter().find(|row| row["curve"] == curve && row["site"].is_null()).unwrap();
    let allocated = of("allocated");
    assert_eq!((&allocated["verdict"], &allocated["slope_bytes"]), (&"leak".into(), &5120.into()));
    for size in [["960", "480"], ["500", "700"]] {
        let svg = plot("leaks", &run, &["--width", size[0], "--height", size[1]]);
        let said = description(&svg);
        let rate = "leak: +5.00 KiB per step (+5.00 KiB to +5.00 KiB, 95 % confidence)";
        assert!(
            said.starts_with("device 0: lowest allocated within each step") && said.contains(rate),
            "{said}"
        );
        let counts = format!("{} values after a warm-up of {}", allocated["points"], allocated["warmup"]);
        assert!(said.contains(&counts), "{counts}: {said}");
        assert!(said.contains("log.lines: +1.00 KiB per step, 20 %"), "{said}");
        assert!(has_text(&svg, "+5.00 KiB per step") && has_text(&svg, "log.lines"), "{:?}", texts(&svg));
        assert!(!svg.contains("<script"));
    }
}

#[test]
fn what_does_not_leak_is_said_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let run = training(40, |_| 0, |_| 1.0).write(&folder.path().join("stable"));
    assert!(description(&plot("leaks", &run, &[])).contains("no leak: it does not grow"));
    let run = training(4, |_| 0, |_| 1.0).write(&folder.path().join("short"));
    assert!(description(&plot("leaks", &run, &[])).contains("too short to say whether it leaks: 4 steps."));
}

#[test]
fn alerts_and_failures_are_labelled_at_their_lines() {
    let folder = tempfile::tempdir().unwrap();
    let run = training(3, |_| 0, |_| 1.0)
        .pause(1_000_000)
        .alert("rss > 2GiB <b>", 3e9)
        .pause(1_000_000)
        .oom(1 << 40)
        .pause(1_000_000)
        .mark("end")
        .write(folder.path());
    let svg = plot("timeline", &run, &[]);
    assert!(
        has_text(&svg, "out of memory") && has_text(&svg, "rss &gt; 2GiB &lt;b&gt;"),
        "{:?}",
        texts(&svg)
    );
    assert!(has_text(&svg, "alert"), "the legend names the lines");
    let said = description(&svg);
    assert!(said.contains("out of memory, first at 2.0"), "{said}");
    assert!(said.contains("alerts: 1, first `rss &gt; 2GiB &lt;b&gt;` at 1.0"), "{said}");
    let before = plot("timeline", &run, &["--end", "500us"]);
    assert!(!has_text(&before, "out of memory") && !has_text(&before, "alert"));
}

#[test]
fn a_limit_is_drawn_where_the_curves_come_near_it() {
    let folder = tempfile::tempdir().unwrap();
    let near = log(&folder.path().join("near.csv"), |reading, _| 70_000 + reading, 20);
    let svg = plot("timeline", &near, &["--device", "0"]);
    assert!(has_text(&svg, "limit 80.0 GiB"), "{:?}", texts(&svg));
    let far = log(&folder.path().join("far.csv"), |reading, _| 7_000 + reading, 20);
    let svg = plot("timeline", &far, &["--device", "0"]);
    assert!(!texts(&svg).iter().any(|text| text.contains("limit")), "{:?}", texts(&svg));
}

#[test]
fn a_short_part_of_a_long_recording_counts_from_its_own_beginning() {
    let folder = tempfile::tempdir().unwrap();
    let run = training(3, |_| 0, |_| 1.0).pause(10_100_000_000);
    let run = held(run, 2, 5, "late").pause(2_000_000).free(2).pause(3_600_000_000_000).mark("end");
    let run = run.write(folder.path());
    for kind in ["timeline", "breakdown"] {
        let svg = plot(kind, &run, &["--start", "10.1s", "--end", "10.103s"]);
        assert!(has_text(&svg, "time since 10.1 s after the start (ms)"), "{kind}: {:?}", texts(&svg));
        let svg = plot(kind, &run, &[]);
        assert!(has_text(&svg, "time since the start of the recording (min)"), "{kind}: {:?}", texts(&svg));
    }
}

#[test]
fn plots_of_much_are_small_the_same_each_time_and_harmless() {
    let folder = tempfile::tempdir().unwrap();
    let strangers = format!("<script>{}\u{7}模型\u{202e}مرحبا", "x".repeat(480));
    // A day of 20,000 steps, each of which holds something else.
    let run = (0..20_000u64).fold(TraceBuilder::new().parts_of(50_000), |trace, number| {
        let trace = trace.pause(4_320_000_000);
        let trace = if number % 50 == 0 { trace.alert(&strangers, 1.0) } else { trace };
        let trace = if number % 70 == 0 { trace.oom(1 << 40) } else { trace };
        trace.step(number.cast_signed(), ((number * 7919) % 1000) as f64, |trace| {
            trace.span(if number % 2 == 0 { &strangers } else { "forward" }, |trace| {
                let bytes = if number == 12_345 { 5 << 30 } else { (number * 7919) % 1_000_000 + 1 };
                trace.event(EventKind::Alloc, 1, Some(bytes), Some(&strangers)).rss(bytes * 2).free(1)
            })
        })
    });
    let run = run.write(folder.path());
    for kind in KINDS {
        for size in [["400", "300"], ["960", "480"], ["4000", "1000"]] {
            let svg = plot(kind, &run, &["--width", size[0], "--height", size[1]]);
            assert!(svg.len() <= 300 << 10, "{kind} {size:?}: {} bytes", svg.len());
            assert!(
                svg.starts_with("<svg") && svg.ends_with("</svg>\n") || svg.ends_with("</svg>"),
                "{kind}"
            );
            assert!(
                !svg.contains("<script") && !svg.contains('\u{7}'),
                "{kind}: what strangers wrote is text"
            );
            if size[0] == "960" {
                assert_eq!(svg, plot(kind, &run, &[]), "{kind}: the same bytes");
            }
            if kind != "leaks" {
                assert!(
                    description(&svg).contains("5.00 GiB"),
                    "{kind}: the peak is kept: {}",
                    description(&svg)
                );
            }
        }
    }
}

#[test]
fn one_event_is_drawn_and_nothing_is_said_to_be_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let one = TraceBuilder::new().alloc(1, 5 * MIB).write(&folder.path().join("one"));
    for kind in ["timeline", "breakdown"] {
        for size in [["400", "300"], ["960", "480"]] {
            let svg = plot(kind, &one, &["--width", size[0], "--height", size[1]]);
            assert!(description(&svg).contains("peak 5.00 MiB"), "{kind}: {}", description(&svg));
        }
    }
    let marks = TraceBuilder::new().mark("only").write(&folder.path().join("marks"));
    for (kind, run, missing) in [
        ("steps", &one, "the trace has no steps"),
        ("breakdown", &marks, "the trace has no allocations"),
        ("leaks", &marks, "the trace has no"),
        ("steps", &marks, "the trace has no steps"),
    ] {
        let output = program("tidegauge").args(["plot", kind]).arg(run).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{kind}: {said}");
        assert!(said.contains(missing) && output.stdout.is_empty(), "{kind}: {said}");
    }
}
