//! What a summary costs, side by side with decoding the same columns and nothing else.
//!
//! Budget: 2.5 times. Figures, not a test. `TIDEGAUGE_BENCH_EVENTS` sets the length of the trace.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench prints, and one that cannot go on stops"
)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use arrow::datatypes::{DataType, Schema};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use tidegauge_analyzer::analysis::summary;
use tidegauge_analyzer::load::{CHECKPOINT_COLUMNS, EVENT_COLUMNS, SAMPLE_COLUMNS, Selection, Source};
use tidegauge_analyzer::replay::Window;
use tidegauge_schemas::part::BATCH_ROWS;
use tidegauge_schemas::{Table, Trace};
use tidegauge_tests::training::{self, TrainingTrace};

/// Runs of each, in turn.
const RUNS: usize = 5;

fn main() {
    let events =
        std::env::var("TIDEGAUGE_BENCH_EVENTS").ok().and_then(|text| text.parse().ok()).unwrap_or(5_000_000);
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let run = folder.path().join("run");
    let slots = training::slots(TrainingTrace::default(), events);
    let bytes = training::write_parts(&slots, &run);
    let count = slots.len() as f64;
    drop(slots);
    println!("{count} records, {:.2} bytes each", bytes as f64 / count);

    let (mut ours, mut least) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        least.push(timed(count, || decode(&run)));
        ours.push(timed(count, || {
            let source = Source::open(&run, &Selection::default()).unwrap();
            black_box(summary(&source, |_| Ok(Window::ALL), |_| true).unwrap());
        }));
    }
    least.sort_by(f64::total_cmp);
    ours.sort_by(f64::total_cmp);
    let (ours, least) = (ours[RUNS / 2], least[RUNS / 2]);
    println!(
        "summary: {ours:.1} ns a record; decoding alone {least:.1} ns; ratio of medians {:.2}",
        ours / least
    );
}

fn timed(count: f64, work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_nanos() as f64 / count
}

/// The columns of a summary, decoded by the parquet crate as it is, text as dictionaries, and dropped.
fn decode(run: &std::path::Path) {
    let trace = Trace::open(run).unwrap();
    let process = trace.process(trace.processes()[0]).unwrap();
    for (table, columns) in [
        (Table::Events, EVENT_COLUMNS),
        (Table::Checkpoints, CHECKPOINT_COLUMNS),
        (Table::Samples, SAMPLE_COLUMNS),
    ] {
        for part in process.parts(table) {
            let file = std::fs::File::open(&part.path).unwrap();
            let plain = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()).unwrap();
            let text = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
            let fields = plain.schema().fields().iter().map(|field| match field.data_type() {
                DataType::Utf8 => Arc::new(field.as_ref().clone().with_data_type(text.clone())),
                _ => Arc::clone(field),
            });
            let options =
                ArrowReaderOptions::new().with_schema(Arc::new(Schema::new(fields.collect::<Vec<_>>())));
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
}
