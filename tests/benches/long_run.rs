//! An hour at 50,000 events a second, compressed in time, and a hundred recordings one after the other.
//!
//! Budgets: a day under 300 files, so an hour too; a stop under 2 s; no record dropped; memory and journal bounded. It
//! prints what it finds. `TIDEGAUGE_LONG_RUN_SECONDS` sets into how long the hour is compressed (240 by itself).

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench prints, and one that cannot go on stops"
)]

use std::path::Path;
use std::time::{Duration, Instant};

use tidegauge_recorder::{self as tg, Recorder};
use tidegauge_schemas::journal::Record;
use tidegauge_schemas::{CheckpointKind, EventKind, Table, Trace};
use tidegauge_tests::programs::status_kib;
use tidegauge_tests::training::{TrainingSlots, TrainingTrace};

const EVENTS: u64 = 3600 * 50_000;
/// Records between two looks at the clock.
const BURST: u64 = 1000;
const RECORDINGS: u32 = 100;

fn main() {
    let folder = tempfile::tempdir().unwrap();
    recordings(folder.path());
    hour(folder.path());
}

fn hour(folder: &Path) {
    let seconds = std::env::var("TIDEGAUGE_LONG_RUN_SECONDS").ok().and_then(|text| text.parse().ok());
    let span = Duration::from_secs(seconds.unwrap_or(240));
    let recorder = Recorder::builder(folder.join("hour")).start().unwrap();
    let (start, mut events, mut step) = (Instant::now(), 0_u64, None);
    for slot in TrainingSlots::new(TrainingTrace::default()) {
        match Record::decode(&slot) {
            Some(Record::Event(event)) => {
                let address = event.address.unwrap();
                match event.kind {
                    EventKind::Alloc => tg::alloc(event.device, address, event.size_bytes.unwrap()),
                    _ => tg::free(event.device, address),
                }
                events += 1;
            }
            Some(Record::Checkpoint(checkpoint)) => match checkpoint.kind {
                CheckpointKind::StepBegin => step = Some(tg::step(checkpoint.step.unwrap())),
                CheckpointKind::StepEnd => drop(step.take()),
                _ => {}
            },
            _ => {}
        }
        if events.is_multiple_of(BURST) {
            let due = span.mul_f64(events as f64 / EVENTS as f64);
            std::thread::sleep(due.saturating_sub(start.elapsed()));
        }
        if events == EVENTS {
            break;
        }
    }
    drop(step);
    let took = start.elapsed();
    let stopping = Instant::now();
    let run = recorder.stop().unwrap();
    let stopped = stopping.elapsed();
    let trace = Trace::open(&run).unwrap();
    let process = trace.process(trace.processes()[0]).unwrap();
    let parts: Vec<_> = Table::ALL.into_iter().flat_map(|table| process.parts(table)).collect();
    let bytes: u64 = parts.iter().map(|part| part.path.metadata().unwrap().len()).sum();
    let info = process.info.as_ref().unwrap();
    let cost = info.cost;
    println!("an hour at 50,000 events a second, in {:.0} s:", took.as_secs_f64());
    println!("  events              {events}, dropped {}", info.losses.dropped_records);
    println!("  parts               {}", parts.len());
    println!("  bytes per record    {:.2}", bytes as f64 / cost.records as f64);
    println!(
        "  written, merged     {} MB, {} MB",
        cost.written_bytes / 1_000_000,
        cost.merged_bytes / 1_000_000
    );
    println!("  background          {:.1} s of CPU", cost.background_cpu_seconds);
    println!("  largest journal     {} MB", cost.peak_journal_bytes / 1_000_000);
    println!("  peak RSS            {} MB, mapped journal included", status_kib("VmHWM") / 1000);
    println!("  stop                {:.3} s", stopped.as_secs_f64());
}

fn recordings(folder: &Path) {
    let (mut total, mut longest) = (Duration::ZERO, Duration::ZERO);
    let count = |folder: &str| std::fs::read_dir(folder).unwrap().count();
    let open = || [count("/proc/self/task"), count("/proc/self/fd")];
    let (before, mut rss_kib) = (open(), 0);
    for number in 0..RECORDINGS {
        let begun = Instant::now();
        let recorder = Recorder::builder(folder.join(format!("run-{number}"))).start().unwrap();
        (0..1000).for_each(|n| tg::alloc(-1, n, 8));
        recorder.stop().unwrap();
        total += begun.elapsed();
        longest = longest.max(begun.elapsed());
        if number == RECORDINGS / 2 {
            rss_kib = status_kib("VmRSS");
        }
    }
    let grown_kib = status_kib("VmRSS").saturating_sub(rss_kib);
    let left = open();
    println!("{RECORDINGS} recordings of 1000 events:");
    println!(
        "  start to stop       {:.1} ms, longest {:.1} ms",
        total.as_secs_f64() * 1e3 / f64::from(RECORDINGS),
        longest.as_secs_f64() * 1e3
    );
    println!(
        "  left behind         {} threads, {} descriptors; RSS grew by {grown_kib} KiB in the second half",
        left[0] - before[0],
        left[1] - before[1]
    );
}
