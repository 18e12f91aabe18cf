//! What a summary costs, side by side with decoding the same columns and nothing else.
//!
//! Budget: 2.5 times, and 100 MB at most, also of a trace ten times as long. Figures, not a test.
//! `TIDEGAUGE_BENCH_EVENTS` and `TIDEGAUGE_BENCH_LONG_EVENTS` set the lengths of the traces.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench prints, and one that cannot go on stops"
)]

use std::fs::File;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use arrow::datatypes::{DataType, Schema};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use tidegauge_analyzer::analysis::categories::CategoryRules;
use tidegauge_analyzer::analysis::{MomentsWanted, moments, summary};
use tidegauge_analyzer::load::{CHECKPOINT_COLUMNS, EVENT_COLUMNS, SAMPLE_COLUMNS, Selection, Source};
use tidegauge_analyzer::render::moments_json;
use tidegauge_analyzer::replay::Window;
use tidegauge_schemas::part::BATCH_ROWS;
use tidegauge_schemas::{Table, Trace};
use tidegauge_tests::programs::{output_of, program, status_kib};
use tidegauge_tests::training::{self, TrainingSlots, TrainingTrace};

/// Names the trace that this program is to summarize instead of measuring.
const RUN_VARIABLE: &str = "TIDEGAUGE_BENCH_RUN";
/// Whether it is to find the moments of the report's page in it instead.
const MOMENTS_VARIABLE: &str = "TIDEGAUGE_BENCH_MOMENTS";
/// Runs of each, in turn.
const RUNS: usize = 5;

fn main() {
    if let Some(run) = std::env::var_os(RUN_VARIABLE) {
        match std::env::var_os(MOMENTS_VARIABLE) {
            Some(_) => _ = find_moments(Path::new(&run)),
            None => summarize(Path::new(&run)),
        }
        println!("{}", status_kib("VmHWM"));
        return;
    }
    let number = |name: &str, default| {
        std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok()).unwrap_or(default)
    };
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    time(number("TIDEGAUGE_BENCH_EVENTS", 20_000_000), &folder.path().join("shorter"));
    time_moments(number("TIDEGAUGE_BENCH_MOMENT_EVENTS", 10_000_000), &folder.path().join("moments"));
    let longer = folder.path().join("longer");
    let events = number("TIDEGAUGE_BENCH_LONG_EVENTS", 200_000_000);
    training::write_trace(TrainingSlots::new(TrainingTrace::default()), events, &longer);
    println!("summary of {events} records: peak RSS {:.1} MB", peak_rss_of_summary(&longer));
}

fn time(events: u64, run: &Path) {
    let bytes = training::write_trace(TrainingSlots::new(TrainingTrace::default()), events, run);
    let count = events as f64;
    println!("{events} records, {:.2} bytes each", bytes as f64 / count);
    let files = files(run);
    let (mut ours, mut least) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        least.push(timed(count, || decode(&files)));
        ours.push(timed(count, || summarize(run)));
    }
    least.sort_by(f64::total_cmp);
    ours.sort_by(f64::total_cmp);
    let (ours, least) = (ours[RUNS / 2], least[RUNS / 2]);
    println!(
        "summary: {ours:.1} ns a record; decoding alone {least:.1} ns; ratio of medians {:.2}; peak RSS {:.1} MB",
        ours / least,
        peak_rss_of_summary(run)
    );
}

fn summarize(run: &Path) {
    let source = Source::open(&[run], &Selection::default()).unwrap();
    black_box(summary(&source, |_| Ok(Window::ALL), |_| true).unwrap());
}

/// The moments of the report's page beside those of one peak, of a trace with many sites.
fn time_moments(events: u64, run: &Path) {
    let shape = TrainingTrace { sites: 5000, allocs_per_step: 5000 };
    training::write_trace(TrainingSlots::new(shape), events, run);
    training::write_site_names(shape, run);
    let count = events as f64;
    let one = timed(count, || {
        let mut command = program("tidegauge");
        black_box(output_of(command.args(["peaks", "--json", "-q", "--by", "category"]).arg(run)));
    });
    let mut found = (0, 0);
    let all = timed(count, || found = find_moments(run));
    let own = std::env::current_exe().unwrap();
    let mut again = Command::new(own);
    again.env(RUN_VARIABLE, run).env(MOMENTS_VARIABLE, "1");
    let kib: f64 = output_of(&mut again).trim().parse().unwrap();
    println!(
        "moments of {events} records: {all:.1} ns a record, {} moments, {:.2} MB of JSON, peak RSS {:.1} MB; the categories \
         of one peak {one:.1} ns",
        found.0,
        found.1 as f64 / 1e6,
        kib * 1024.0 / 1e6
    );
}

/// How many there are, and bytes of their JSON.
fn find_moments(run: &Path) -> (usize, usize) {
    let source = Source::open(&[run], &Selection::default()).unwrap();
    let wanted = MomentsWanted::default();
    let (found, _) = moments(&source.processes[0], Window::ALL, &CategoryRules::default(), wanted).unwrap();
    (found.devices.iter().map(|device| device.moments.len()).sum(), moments_json(&found).len())
}

/// In MB, of a process that does nothing else: this program again.
fn peak_rss_of_summary(run: &Path) -> f64 {
    let own = std::env::current_exe().unwrap();
    let kib: f64 = output_of(Command::new(own).env(RUN_VARIABLE, run)).trim().parse().unwrap();
    kib * 1024.0 / 1e6
}

fn timed(count: f64, work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_nanos() as f64 / count
}

/// The files of a trace, and of each the columns that a summary needs.
fn files(run: &Path) -> Vec<(PathBuf, &'static [&'static str])> {
    let trace = Trace::open(run).unwrap();
    let process = trace.process(trace.processes()[0]).unwrap();
    let tables = [
        (Table::Events, EVENT_COLUMNS),
        (Table::Checkpoints, CHECKPOINT_COLUMNS),
        (Table::Samples, SAMPLE_COLUMNS),
    ];
    let of_table =
        |(table, columns)| process.parts(table).iter().map(move |part| (part.path.clone(), columns));
    tables.into_iter().flat_map(of_table).collect()
}

/// Decodes them by the parquet crate as it is, text as dictionaries, and drops what comes.
fn decode(files: &[(PathBuf, &[&str])]) {
    for (path, columns) in files {
        let file = File::open(path).unwrap();
        let plain = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()).unwrap();
        let text = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
        let fields = plain.schema().fields().iter().map(|field| match field.data_type() {
            DataType::Utf8 => Arc::new(field.as_ref().clone().with_data_type(text.clone())),
            _ => Arc::clone(field),
        });
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let options = ArrowReaderOptions::new().with_schema(schema);
        let metadata = ArrowReaderMetadata::try_new(Arc::clone(plain.metadata()), options).unwrap();
        let mask = ProjectionMask::columns(metadata.parquet_schema(), columns.iter().copied());
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata)
            .with_projection(mask)
            .with_batch_size(BATCH_ROWS)
            .build()
            .unwrap();
        for batch in reader {
            black_box(batch.unwrap());
        }
    }
}
