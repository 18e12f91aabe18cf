//! Everything that can be wrong with a trace has an error of its own, which names the file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use tidegauge_schemas::part::{Part, Range};
use tidegauge_schemas::rows::EventRows;
use tidegauge_schemas::version::{KEY_CONSUMED, KEY_FORMAT_VERSION, KEY_SEQ, KEY_SUPERSEDES, KEY_TABLE};
use tidegauge_schemas::{Error, Table, Trace};
use tidegauge_tests::TraceBuilder;
use tidegauge_tests::programs::Running;

struct Built {
    _folder: tempfile::TempDir,
    run: PathBuf,
}

impl Built {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let builder = (0..40).fold(TraceBuilder::new().parts_of(10), |builder, n| builder.alloc(n, 8));
        let run = builder.write(folder.path());
        Self { _folder: folder, run }
    }

    fn part(&self, name: &str) -> PathBuf {
        self.run.join("events/rank=0/process=0").join(name)
    }

    fn error(&self) -> Error {
        let error = Trace::open(&self.run).and_then(|trace| trace.validate()).unwrap_err();
        assert!(error.to_string().contains(&*self.run.to_string_lossy()), "{error}");
        error
    }
}

#[test]
fn not_a_trace() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(Trace::open(folder.path()), Err(Error::NotATrace { .. })));
    let file = folder.path().join("file");
    std::fs::write(&file, "text").unwrap();
    assert!(matches!(Trace::open(&file), Err(Error::NotATrace { .. })));
}

#[test]
fn too_new_and_too_old() {
    let built = Built::new();
    let file = built.run.join("run.json");
    let text = std::fs::read_to_string(&file).unwrap();
    for (version, is_right) in [(2, true), (0, false)] {
        std::fs::write(
            &file,
            text.replace("\"format_version\": 1", &format!("\"format_version\": {version}")),
        )
        .unwrap();
        let error = built.error();
        assert_eq!(matches!(error, Error::TooNew { found: 2, .. }), is_right, "{error}");
        assert_eq!(matches!(error, Error::TooOld { found: 0, .. }), !is_right, "{error}");
    }
}

#[test]
fn truncated_at_every_length() {
    let built = Built::new();
    let part = built.part("part-000001.parquet");
    let bytes = std::fs::read(&part).unwrap();
    for length in 0..bytes.len() {
        std::fs::write(&part, &bytes[..length]).unwrap();
        let error = Part::open(&part, Table::Events).unwrap_err();
        // Unless the cut happens to end in the magic, it is seen to be one.
        let is_cut = matches!(error, Error::TruncatedPart { .. }) || bytes[..length].ends_with(b"PAR1");
        assert!(is_cut, "at {length}: {error}");
    }
    assert!(matches!(built.error(), Error::TruncatedPart { .. }));
}

#[test]
fn damaged_inside() {
    let built = Built::new();
    let part = built.part("part-000001.parquet");
    let mut bytes = std::fs::read(&part).unwrap();
    let footer = bytes.len() - 12;
    bytes[footer - 40..footer].fill(0xFF);
    std::fs::write(&part, bytes).unwrap();
    assert!(matches!(built.error(), Error::DamagedPart { .. }));
}

#[test]
fn part_of_another_table() {
    let built = Built::new();
    let folder = built.run.join("checkpoints/rank=0/process=0");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::copy(built.part("part-000001.parquet"), folder.join("part-000001.parquet")).unwrap();
    let error = built.error();
    assert!(
        matches!(&error, Error::WrongTable { expected: "checkpoints", found, .. } if found == "events"),
        "{error}"
    );
}

/// Writes a part with these columns and this metadata on top of what every part has.
fn write_part(path: &Path, batch: &RecordBatch, metadata: &[(&str, &str)]) {
    let usual = [(KEY_FORMAT_VERSION, "1"), (KEY_TABLE, "events"), (KEY_CONSUMED, "77-77")];
    let pairs =
        usual.iter().filter(|(key, _)| !metadata.iter().any(|(other, _)| key == other)).chain(metadata);
    let pairs = pairs.map(|(key, value)| KeyValue::new((*key).to_owned(), (*value).to_owned())).collect();
    let properties = WriterProperties::builder().set_key_value_metadata(Some(pairs)).build();
    let file = std::fs::File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
}

fn no_events() -> RecordBatch {
    EventRows::default().finish()
}

#[test]
fn a_parquet_file_of_somebody_else() {
    let built = Built::new();
    let schema = Arc::new(Schema::new(vec![Field::new("x", DataType::Float64, false)]));
    let columns: Vec<ArrayRef> = vec![Arc::new(Float64Array::from(vec![1.0]))];
    let batch = RecordBatch::try_new(schema, columns).unwrap();
    let file = std::fs::File::create(built.part("part-000077.parquet")).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let error = built.error();
    assert!(matches!(&error, Error::WrongTable { found, .. } if found == "none"), "{error}");
}

#[test]
fn a_column_that_is_missing_or_of_another_type() {
    let built = Built::new();
    let path = built.part("part-000077.parquet");
    let mut batch = no_events();
    batch.remove_column(5);
    write_part(&path, &batch, &[]);
    let error = built.error();
    assert!(matches!(error, Error::MissingColumn { column: "size_bytes", table: "events", .. }), "{error}");

    let whole = no_events();
    let mut fields: Vec<Field> = whole.schema().fields().iter().map(|field| field.as_ref().clone()).collect();
    fields[5] = Field::new("size_bytes", DataType::Float64, true);
    let mut columns = whole.columns().to_vec();
    columns[5] = Arc::new(Float64Array::from(Vec::<f64>::new()));
    write_part(&path, &RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap(), &[]);
    let error = built.error();
    assert!(matches!(error, Error::WrongType { column: "size_bytes", expected: "i64", .. }), "{error}");
}

#[test]
fn metadata_that_is_not_as_the_format_says() {
    let built = Built::new();
    let path = built.part("part-000077.parquet");
    let cases =
        [(KEY_CONSUMED, "seven"), (KEY_CONSUMED, "7-5"), (KEY_SEQ, "x-y"), (KEY_FORMAT_VERSION, "one")];
    for (key, value) in cases {
        write_part(&path, &no_events(), &[(key, value)]);
        let error = built.error();
        assert!(matches!(&error, Error::BadMetadata { found, .. } if found == value), "{key}: {error}");
    }
    write_part(&path, &no_events(), &[(KEY_FORMAT_VERSION, "9")]);
    assert!(matches!(built.error(), Error::TooNew { found: 9, .. }));
}

#[test]
fn overlapping_parts_unless_one_supersedes_the_others() {
    let built = Built::new();
    std::fs::copy(built.part("part-000001.parquet"), built.part("part-000001-again.parquet")).unwrap();
    let error = built.error();
    assert!(matches!(error, Error::OverlappingParts { what: "chunks", first: 1, last: 1, .. }), "{error}");
    std::fs::remove_file(built.part("part-000001-again.parquet")).unwrap();

    // Other chunks, the same rows.
    write_part(&built.part("part-000077.parquet"), &no_events(), &[(KEY_SEQ, "5-12")]);
    let error = built.error();
    assert!(matches!(error, Error::OverlappingParts { what: "seq", .. }), "{error}");
    std::fs::remove_file(built.part("part-000077.parquet")).unwrap();

    // A merge of parts 1 and 2 that were not deleted yet.
    let supersedes = [(KEY_CONSUMED, "1-2"), (KEY_SUPERSEDES, "part-000001.parquet,part-000002.parquet")];
    write_part(&built.part("part-000001-000002.parquet"), &no_events(), &supersedes);
    let trace = Trace::open(&built.run).unwrap();
    trace.validate().unwrap();
    let process = trace.process(trace.processes()[0]).unwrap();
    let consumed: Vec<Range> = process.parts(Table::Events).iter().map(|part| part.consumed).collect();
    assert_eq!(consumed.iter().map(ToString::to_string).collect::<Vec<_>>(), ["0-0", "1-2", "3-3"]);
}

#[test]
fn a_damaged_journal_chunk_is_named_and_the_rest_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let (run, counts) = (folder.path().join("run"), folder.path().join("counts"));
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_record-victim"));
    let mut child = Running::start(command.args([run.as_os_str(), counts.as_os_str()]).args(["1", "1000"]));
    let counts = tidegauge_tests::counts::Counts::open(&counts).unwrap();
    while counts.get(0) < 2000 {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let trace = Trace::open(&run).unwrap();
    trace.validate().unwrap();
    let id = trace.processes()[0];
    let rows = || -> usize {
        let process = trace.process(id).unwrap();
        process.batches(Table::Events, &["seq"]).map(|batch| batch.unwrap().num_rows()).sum()
    };
    let all = rows();
    let journal = run.join("_process/rank=0/process=0/journal");
    let is_first = |path: &PathBuf| std::fs::read(path).unwrap()[8..16] == first_index();
    let chunk = std::fs::read_dir(journal).unwrap().map(|entry| entry.unwrap().path());
    let chunk = chunk.filter(|path| path.display().to_string().contains("chunk-")).find(is_first).unwrap();
    let bytes = std::fs::read(&chunk).unwrap();

    // A byte of one slot: that record is left out, counted, and said.
    let mut damaged = bytes.clone();
    damaged[4096 + 64 * 500 + 20] ^= 1;
    std::fs::write(&chunk, &damaged).unwrap();
    assert!(matches!(trace.validate(), Err(Error::DamagedChunk { path, .. }) if path == chunk));
    assert_eq!(trace.process(id).unwrap().losses().damaged_records, 1);
    assert!(all - rows() <= 1);

    // The header: the chunk cannot be told from another, and is left out as a whole.
    let mut damaged = bytes.clone();
    damaged[9] ^= 1;
    std::fs::write(&chunk, &damaged).unwrap();
    assert!(matches!(trace.validate(), Err(Error::DamagedChunk { path, .. }) if path == chunk));
    assert!(rows() < all);

    // Cut short: what is there is read.
    std::fs::write(&chunk, &bytes[..4096 + 64 * 1000]).unwrap();
    assert!(matches!(trace.validate(), Err(Error::DamagedChunk { path, .. }) if path == chunk));
    assert!(rows() > 900);
}

fn first_index() -> [u8; 8] {
    tidegauge_schemas::journal::index_word(0).to_le_bytes()
}
