//! `tidegauge export --to csv|json|parquet`: every table, with the same rows in each form.

use std::path::{Path, PathBuf};

use arrow::array::{Array as _, AsArray as _, RecordBatch};
use arrow::datatypes::{DataType, Int64Type, TimeUnit, UInt64Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};
use tidegauge_schemas::EventKind;
use tidegauge_tests::programs::{output_of, program};
use tidegauge_tests::trace_builder::TraceBuilder;

const TABLES: [&str; 11] = [
    "summary",
    "timeline",
    "peaks",
    "phases",
    "steps",
    "events",
    "checkpoints",
    "samples",
    "node_samples",
    "sites",
    "modules",
];

/// Two steps, in parts of three rows, with a name that needs quotes.
fn trace(folder: &Path) -> PathBuf {
    TraceBuilder::new()
        .parts_of(3)
        .step(0, 0.5, |step| {
            step.span("forward", |inside| {
                inside.event(EventKind::Alloc, 64, Some(100), Some("a \"b\", c")).rss(7)
            })
            .alloc(128, 50)
            .free(64)
        })
        .step(1, 0.25, |step| step.span("forward", |inside| inside.alloc(64, 200)).free(64))
        .write(folder)
}

fn export(run: &Path, arguments: &[&str]) -> String {
    output_of(program("tidegauge").arg("export").arg(run).args(arguments))
}

fn json_of(run: &Path, table: &str, more: &[&str]) -> Vec<Value> {
    let text = export(run, &[&["--to", "json", "--table", table][..], more].concat());
    serde_json::from_str(&text).unwrap()
}

fn parquet_of(run: &Path, table: &str) -> RecordBatch {
    let file = run.with_file_name(format!("{table}.parquet"));
    export(run, &["--to", "parquet", "--table", table, "-o", file.to_str().unwrap()]);
    let reader = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(&file).unwrap()).unwrap();
    let schema = reader.schema().clone();
    let batches: Vec<RecordBatch> = reader.build().unwrap().map(Result::unwrap).collect();
    arrow::compute::concat_batches(&schema, &batches).unwrap()
}

#[test]
fn every_table_has_the_same_rows_in_every_form() {
    let folder = tempfile::tempdir().unwrap();
    let run = trace(folder.path());
    for table in TABLES {
        let rows = json_of(&run, table, &[]);
        let csv = export(&run, &["--to", "csv", "--table", table]);
        assert_eq!(csv.lines().count(), rows.len() + 1, "{table}\n{csv}");
        let batch = parquet_of(&run, table);
        assert_eq!(batch.num_rows(), rows.len(), "{table}");
        let names: Vec<String> = batch.schema().fields().iter().map(|field| field.name().clone()).collect();
        assert_eq!(csv.lines().next().unwrap(), names.join(","), "{table}");
        let is_empty = matches!(table, "node_samples" | "modules");
        assert_eq!(rows.is_empty(), is_empty, "{table}");
        for row in &rows {
            assert_eq!((&row["rank"], &row["process"]), (&json!(0), &json!(0)), "{table}");
            assert_eq!(row.as_object().unwrap().len(), names.len(), "{table}");
        }
    }
}

#[test]
fn results_are_those_of_their_commands() {
    let folder = tempfile::tempdir().unwrap();
    let run = trace(folder.path());
    for table in ["timeline", "peaks", "phases", "steps"] {
        let text = output_of(program("tidegauge").arg(table).arg(&run).arg("--json"));
        let expected: Vec<Value> = serde_json::from_str(&text).unwrap();
        assert_eq!(json_of(&run, table, &[]), expected, "{table}");
    }
    let by_size = json_of(&run, "peaks", &["--by", "size", "-n", "1"]);
    assert_eq!(by_size.len(), 1);
    assert_eq!((&by_size[0]["size"], &by_size[0]["bytes"]), (&json!("128 B and more"), &json!(200)));
}

#[test]
fn rows_of_the_trace_are_all_there_and_can_be_chosen() {
    let folder = tempfile::tempdir().unwrap();
    let run = trace(folder.path());
    let events = json_of(&run, "events", &[]);
    let brief: Vec<_> = events
        .iter()
        .map(|row| (row["kind"].as_str().unwrap(), row["address"].as_u64(), row["size_bytes"].as_i64()))
        .collect();
    let expected = [
        ("alloc", Some(64), Some(100)),
        ("alloc", Some(128), Some(50)),
        ("free", Some(64), None),
        ("alloc", Some(64), Some(200)),
        ("free", Some(64), None),
    ];
    assert_eq!(brief, expected);
    assert_eq!(events[0]["time"], "2026-01-01T00:00:00.000002000Z");
    assert_eq!(json_of(&run, "events", &["-n", "4"]).len(), 4, "over parts");
    assert_eq!(json_of(&run, "events", &["--device", "1"]).len(), 0);
    assert_eq!(json_of(&run, "events", &["--device", "0"]).len(), 5);
    assert_eq!(json_of(&run, "events", &["--start", "2us", "--end", "5us"]).len(), 2);
    assert_eq!(json_of(&run, "sites", &[])[0]["name"], "a \"b\", c");
}

#[test]
fn parquet_has_types() {
    let folder = tempfile::tempdir().unwrap();
    let run = trace(folder.path());
    let type_of =
        |batch: &RecordBatch, name: &str| batch.schema().field_with_name(name).unwrap().data_type().clone();
    let events = parquet_of(&run, "events");
    assert_eq!(type_of(&events, "time"), DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())));
    assert_eq!(type_of(&events, "size_bytes"), DataType::Int64);
    assert_eq!(type_of(&events, "kind"), DataType::Utf8, "plain text, no dictionary");
    let seqs = events.column_by_name("seq").unwrap().as_primitive::<UInt64Type>();
    assert!(seqs.values().is_sorted());
    let steps = parquet_of(&run, "steps");
    assert_eq!(type_of(&steps, "loss"), DataType::Float64);
    assert_eq!(type_of(&steps, "complete"), DataType::Boolean);
    assert_eq!(type_of(&steps, "epoch"), DataType::Int64, "though it is unknown throughout");
    assert_eq!(steps.column_by_name("epoch").unwrap().null_count(), 2);
    assert_eq!(steps.column_by_name("peak_bytes").unwrap().as_primitive::<Int64Type>().values(), &[150, 250]);
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let run = trace(folder.path());
    let taken = folder.path().join("taken");
    std::fs::write(&taken, "precious").unwrap();
    let taken_text = taken.to_str().unwrap();
    let cases: [(&[&str], &str); 6] = [
        (&["--to", "csv"], "--table says which table"),
        (&["--to", "parquet", "--table", "steps"], "Parquet goes to a file"),
        (&["--to", "csv", "--table", "steps", "-o", taken_text], "it exists already"),
        (&["--to", "pytorch-snapshot", "-o", taken_text], "it exists already"),
        (&["--to", "pytorch-snapshot"], "a snapshot goes to a file"),
        (&["--to", "pytorch-snapshot", "--device", "5", "-o", "x"], "no allocation events"),
    ];
    for (arguments, reason) in cases {
        let mut command = program("tidegauge");
        let output =
            command.current_dir(folder.path()).arg("export").arg(&run).args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(reason), "{arguments:?}: {said}");
    }
    assert_eq!(std::fs::read_to_string(&taken).unwrap(), "precious");
    assert!(!folder.path().join("x").exists());
}
