//! `tidegauge plot blocks` and `plot fragmentation`: their figures against commands that have the same data.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tidegauge_analyzer::analysis::{BandResolution, BandsBy, BlockBands, block_bands};
use tidegauge_analyzer::load::{Selection, Source};
use tidegauge_analyzer::replay::Window;
use tidegauge_schemas::EventKind;
use tidegauge_tests::programs::{output_of, program};
use tidegauge_tests::training::{self, TrainingSlots, TrainingTrace};
use tidegauge_tests::{TraceBuilder, corpus};

const MIB: u64 = 1 << 20;
const MOST_BYTES: usize = 300_000;

fn plot(kind: &str, run: &Path, options: &[&str]) -> String {
    output_of(program("tidegauge").args(["plot", kind, "-q"]).arg(run).args(options))
}

fn rows(command: &str, run: &Path, options: &[&str]) -> Vec<Value> {
    let text = output_of(program("tidegauge").args([command, "-q", "--json"]).arg(run).args(options));
    serde_json::from_str(&text).unwrap()
}

/// What screen readers say.
fn description(svg: &str) -> &str {
    let (_, rest) = svg.split_once("<desc>").unwrap();
    rest.split_once("</desc>").unwrap().0
}

/// Bytes as people read them, from what data has.
fn bytes(value: &Value) -> String {
    tidegauge_analyzer::render::bytes(value.as_i64().unwrap())
}

fn bands(run: &Path, by: BandsBy, columns: usize) -> BlockBands {
    let source = Source::open(&[run], &Selection::default()).unwrap();
    let resolution = BandResolution { columns, rows: 300, bands: 4000 };
    let (found, _) = block_bands(&source.processes[0], Window::ALL, by, resolution, |outcome| {
        outcome.devices.iter().max_by_key(|device| device.allocated_peak.bytes).map(|device| device.device)
    })
    .unwrap();
    found.unwrap()
}

/// What stands in a column: bands, and what is in none.
fn height(found: &BlockBands, column: usize) -> i64 {
    let stands = found.bands.iter().filter(|band| (band.first_column..=band.last_column).contains(&column));
    let others: i64 = found.columns[column].others_bytes.iter().sum();
    stands.map(|band| band.size_bytes).sum::<i64>() + others
}

/// Blocks of sizes that differ by a thousand times, in any order.
fn churn(events: u64) -> TraceBuilder {
    let mut random = 0x2545_F491_4F6C_DD1D_u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random >> 16
    };
    let mut alive: Vec<u64> = Vec::new();
    (1..=events).fold(TraceBuilder::new(), |trace, number| {
        if alive.len() > 40 || (!alive.is_empty() && next().is_multiple_of(3)) {
            let at = next() as usize % alive.len();
            trace.free(alive.swap_remove(at))
        } else {
            alive.push(number);
            let size_bytes = 1024 << (next() % 11);
            let site = format!("site.{}", next() % 20);
            trace.event(EventKind::Alloc, number, Some(size_bytes), Some(&site))
        }
    })
}

#[test]
fn the_stack_is_as_high_as_what_was_allocated() {
    let folder = tempfile::tempdir().unwrap();
    let run = churn(4000).write(folder.path());
    // Rows are a microsecond apart, so that each is a stretch of time of its own here.
    let allocated: Vec<i64> = rows("timeline", &run, &["-n", "10000"])
        .iter()
        .filter(|row| row["curve"] == "allocated")
        .map(|row| row["max_bytes"].as_i64().unwrap())
        .collect();
    assert_eq!(allocated.len(), 4000);
    for (by, columns) in [(BandsBy::Category, 250), (BandsBy::Site, 250), (BandsBy::Category, 7000)] {
        let found = bands(&run, by, columns);
        assert!(found.bands.len() > 20, "some blocks are seen: {}", found.bands.len());
        let mut row = 0;
        for column in 0..columns {
            // A row tells what held before it, too: it is of the column that it falls into.
            let mut highest: Option<i64> = None;
            while row < 4000 && row * (columns - 1) / 3999 <= column {
                highest = highest.max(Some(allocated[row]));
                row += 1;
            }
            if let Some(highest) = highest {
                assert_eq!(found.columns[column].allocated_bytes, highest, "column {column} of {columns}");
            }
            assert_eq!(height(&found, column), found.columns[column].allocated_bytes, "column {column}");
            assert!(found.columns[column].others_bytes.iter().all(|bytes| *bytes >= 0));
        }
        assert_eq!(row, 4000);
        let highest = allocated.iter().max();
        assert_eq!(Some(&found.columns[found.peak_column].allocated_bytes), highest);
    }
}

#[test]
fn what_is_seen_are_the_blocks_that_were_alive() {
    let folder = tempfile::tempdir().unwrap();
    let big = |trace: TraceBuilder, address, site| {
        trace.event(EventKind::Alloc, address, Some(address * MIB), Some(site))
    };
    let mut trace = big(TraceBuilder::new(), 10, "net.first");
    trace = big(trace, 20, "net.second");
    // Too small to be seen, in the same site.
    for number in 0..50 {
        trace = trace.event(EventKind::Alloc, 1000 + number, Some(1024), Some("net.first"));
    }
    trace = big(trace.free(10), 30, "net.first").free(20);
    let run = trace.write(folder.path());
    let found = bands(&run, BandsBy::Site, 1000);
    let seen: Vec<_> = found
        .bands
        .iter()
        .map(|band| (band.site.as_deref().unwrap(), band.size_bytes, band.blocks))
        .collect();
    let mib = MIB as i64;
    assert_eq!(seen, [("net.first", 10 * mib, 1), ("net.second", 20 * mib, 1), ("net.first", 30 * mib, 1)]);
    // 55 rows, from 0 to 54: freed in row 52, allocated in row 53, freed in row 54. A column shows the highest moment, which
    // is that before a free.
    let column = |row: usize| row * 999 / 54;
    let life: Vec<_> = found.bands.iter().map(|band| (band.first_column, band.last_column)).collect();
    assert_eq!(life, [(0, column(52)), (column(1), 999), (column(53), 999)]);
    assert_eq!(found.blocks, 53);
    let groups: Vec<_> = found.groups.iter().map(|group| (group.name.as_deref(), group.peak_bytes)).collect();
    let peak_bytes = 30 * mib + 50 * 1024;
    assert_eq!(groups, [(Some("net.second"), 20 * mib), (Some("net.first"), peak_bytes)]);
}

#[test]
fn a_plot_of_blocks_has_the_figures_of_the_peak() {
    let folder = tempfile::tempdir().unwrap();
    let weights = TraceBuilder::new().event(EventKind::Alloc, 1, Some(40 * MIB), Some("net.weights"));
    let trace = (0..3).fold(weights, |trace, number| {
        trace.step(number, 1.0, |trace| {
            trace
                .span("forward", |trace| trace.event(EventKind::Alloc, 2, Some(50 * MIB), Some("net.conv")))
                .span("backward", |trace| {
                    trace.event(EventKind::Alloc, 3, Some(10 * MIB), Some("net.conv")).free(2)
                })
                .span("optimizer", |trace| trace.free(3))
        })
    });
    let run = trace.write(folder.path());
    let svg = plot("blocks", &run, &[]);
    let text = description(&svg);
    assert!(text.contains("peak 100 MiB"), "{text}");
    for row in rows("peaks", &run, &["--by", "category"]) {
        let share = (row["share"].as_f64().unwrap() * 100.0).round();
        let expected = format!("{} {share} %", row["category"].as_str().unwrap());
        assert!(text.contains(&expected) && svg.matches(&expected).count() == 2, "{expected}: {text}");
    }
    assert!(text.contains("net.conv 50.0 MiB"), "{text}");
    let by_site = plot("blocks", &run, &["--by", "site"]);
    assert!(description(&by_site).contains("net.weights 40 %, net.conv 60 %"), "{}", description(&by_site));
    assert!(by_site.contains("net.weights 40.0 MiB\n"), "a label inside of the band");
    assert_eq!(svg, plot("blocks", &run, &[]), "the same input gives the same bytes");
    let of_step = plot("blocks", &run, &["--step", "1"]);
    assert!(description(&of_step).contains("net.weights 40.0 MiB from 13.0 µs"), "{}", description(&of_step));
}

#[test]
fn plots_of_many_events_stay_small() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("training");
    let shape = TrainingTrace { allocs_per_step: 400, sites: 40 };
    training::write_trace(TrainingSlots::new(shape), 120_000, &run);
    for options in [
        &[][..],
        &["--by", "site"],
        &["--width", "4000", "--height", "4000"],
        &["--width", "400", "--height", "300"],
    ] {
        let svg = plot("blocks", &run, options);
        assert!(svg.len() <= MOST_BYTES, "{options:?}: {} bytes", svg.len());
    }
    // Every block of a size that is seen, and no end of frees below others.
    let churned = churn(6000).write(folder.path());
    let svg = plot("blocks", &churned, &["--width", "4000", "--height", "4000"]);
    assert!(svg.len() <= MOST_BYTES, "{} bytes", svg.len());
}

#[test]
fn names_that_strangers_chose_stay_text() {
    let folder = tempfile::tempdir().unwrap();
    let names = [
        "<script>alert(1)</script>\u{1b}[2J".to_owned(),
        "a\"&'<b".to_owned(),
        "層".repeat(500),
        "\u{202e}live\u{0}".to_owned(),
    ];
    let trace = names.iter().zip(1..).fold(TraceBuilder::new(), |trace, (name, address)| {
        trace.event(EventKind::Alloc, address, Some(MIB), Some(name))
    });
    let run = trace.write(folder.path());
    for by in ["category", "site"] {
        let svg = plot("blocks", &run, &["--by", by]);
        assert!(!svg.contains("<script") && !svg.contains("<b"), "{by}");
        assert!(!svg.contains(['\u{1b}', '\u{0}']), "{by}");
        assert!(svg.contains("&lt;script&gt;"), "{by}");
    }
}

#[test]
fn a_segment_map_has_the_figures_of_fragmentation() {
    let folder = tempfile::tempdir().unwrap();
    let segment = |trace: TraceBuilder, at: u64, mib: u64| {
        trace.event(EventKind::SegmentAlloc, at * MIB, Some(mib * MIB), None)
    };
    let block = |trace: TraceBuilder, at: u64, mib: u64| trace.alloc(at * MIB, mib * MIB);
    let mut trace = segment(TraceBuilder::new(), 0, 100);
    trace = block(block(trace, 0, 30), 30, 20);
    trace = segment(trace.free(0), 200, 60);
    trace = block(trace, 200, 60);
    let run = trace.write(folder.path());
    for (options, moment) in [(&[][..], "peak_reserved"), (&["--at", "2us"], "at_time")] {
        let svg = plot("fragmentation", &run, options);
        let text = description(&svg);
        let found = rows("fragmentation", &run, options);
        let row = found.iter().find(|row| row["moment"] == moment).unwrap();
        for (name, column) in [
            ("reserved", "reserved_bytes"),
            ("allocated", "allocated_bytes"),
            ("unused", "unused_bytes"),
            ("split", "split_bytes"),
            ("cached", "cached_bytes"),
            ("largest hole", "largest_hole_bytes"),
        ] {
            let expected = format!("{name} {}", bytes(&row[column]));
            assert!(text.contains(&expected), "{expected}: {text}");
        }
        assert!(
            text.contains(&format!("{} segments with {} blocks", row["segments"], row["blocks"])),
            "{text}"
        );
        assert!(svg.contains("large blocks"), "the pool is named");
    }
    assert!(plot("fragmentation", &run, &[]).contains("largest hole 50.0 MiB\n"), "marked in the map");
}

#[test]
fn thousands_of_segments_fit_into_a_small_file() {
    let folder = tempfile::tempdir().unwrap();
    let trace = (0..4000_u64).fold(TraceBuilder::new(), |trace, number| {
        let address = number * 64 * MIB;
        let size = if number.is_multiple_of(3) { 2 } else { 20 + number % 7 * 2 };
        let trace = trace.event(EventKind::SegmentAlloc, address, Some(size * MIB), None);
        let trace = trace.alloc(address, MIB / 2).alloc(address + MIB, MIB / 4);
        if number.is_multiple_of(5) { trace.free(address) } else { trace }
    });
    let run = trace.write(folder.path());
    for (width, height) in [("960", "480"), ("400", "300"), ("4000", "4000"), ("4000", "300")] {
        let svg = plot("fragmentation", &run, &["--width", width, "--height", height]);
        assert!(svg.len() <= MOST_BYTES, "{width}×{height}: {} bytes", svg.len());
        assert!(description(&svg).contains("4000 segments"), "{}", description(&svg));
    }
}

#[test]
fn recordings_of_others_are_drawn_and_small() {
    for (file, devices) in corpus::files("snapshots") {
        for kind in ["blocks", "fragmentation"] {
            let svg = plot(kind, &file, &[]);
            assert!(svg.len() <= MOST_BYTES, "{kind} of {}: {} bytes", file.display(), svg.len());
        }
        let peaks = devices.as_object().unwrap().values().map(|device| device["peak_requested"].as_i64());
        let highest = peaks.max().flatten().unwrap();
        let expected = format!("peak {}", tidegauge_analyzer::render::bytes(highest));
        let svg = plot("blocks", &file, &[]);
        assert!(description(&svg).contains(&expected), "{expected}: {}", description(&svg));
    }
}

#[test]
fn a_trace_without_any_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let empty = TraceBuilder::new().mark("nothing").write(&folder.path().join("empty"));
    let plain = TraceBuilder::new().alloc(1, MIB).write(&folder.path().join("plain"));
    let refused = |kind: &str, run: &Path, options: &[&str]| -> (Option<i32>, String) {
        let mut command: Command = program("tidegauge");
        let output = command.args(["plot", kind]).arg(run).args(options).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for (kind, run, what) in [
        ("blocks", &empty, "no blocks"),
        ("fragmentation", &empty, "no segments"),
        ("fragmentation", &plain, "no segments"),
    ] {
        let (code, error) = refused(kind, run, &[]);
        assert_eq!(code, Some(2), "{error}");
        assert!(error.contains(&format!("the trace has {what}")), "{error}");
    }
    let (code, error) = refused("blocks", &plain, &["--device", "3"]);
    assert!(code == Some(2) && error.contains("nothing was recorded of device 3"), "{error}");
    let one = plot("blocks", &plain, &[]);
    assert!(
        description(&one).contains("(requested bytes), one block;") && one.contains("peak 1.00 MiB"),
        "one event"
    );
}
