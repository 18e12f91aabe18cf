//! A part: one sealed Parquet file of one table of one process.
//!
//! Writing goes to a temporary name, then fsync, rename, fsync of the folder: a part is there as a whole or not at
//! all. Opening checks that it is what its folder says; the rows are read batch by batch.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{AsArray as _, RecordBatch, new_null_array};
use arrow::datatypes::{FieldRef, Schema, UInt64Type};
use parquet::arrow::ArrowWriter;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, ParquetMetaData};
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use crate::checksum::{self, SummedFile};
use crate::error::{Error, Result};
use crate::layout::{TEMPORARY_PREFIX, part_name};
use crate::run::sync_folder;
use crate::table::Table;
use crate::version::{
    FORMAT_VERSION, KEY_CHECKSUM, KEY_CONSUMED, KEY_FORMAT_VERSION, KEY_RUN_ID, KEY_SEQ, KEY_SUPERSEDES,
    KEY_TABLE,
};

/// Rows that a reader gets at once unless it asks otherwise: a few MiB over all columns of `events`.
pub const BATCH_ROWS: usize = 1 << 15;

/// An inclusive range of numbers, `FIRST-LAST` in metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Range {
    /// First number.
    pub first: u64,
    /// Last number.
    pub last: u64,
}

impl Range {
    /// Whether the number lies in it.
    #[must_use]
    pub const fn contains(self, number: u64) -> bool {
        self.first <= number && number <= self.last
    }

    /// The shortest range that holds both.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self { first: self.first.min(other.first), last: self.last.max(other.last) }
    }

    /// What both have in common.
    #[must_use]
    pub fn intersection(self, other: Self) -> Option<Self> {
        let both = Self { first: self.first.max(other.first), last: self.last.min(other.last) };
        (both.first <= both.last).then_some(both)
    }

    fn parse(text: &str) -> Option<Self> {
        let (first, last) = text.split_once('-')?;
        let range = Self { first: first.parse().ok()?, last: last.parse().ok()? };
        (range.first <= range.last).then_some(range)
    }
}

impl std::fmt::Display for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// Encodings, measured on training-like traces: what ascends or hardly changes as deltas (a fraction of a byte a row,
/// and cheaper to write than looking every value up), everything else as dictionaries (a training loop repeats
/// itself), zstd 1 (higher levels gain little and cost much).
pub(crate) fn writer_properties() -> WriterProperties {
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_offset_index_disabled(true)
        .set_write_batch_size(8192)
        .set_created_by(concat!("tidegauge ", env!("CARGO_PKG_VERSION")).to_owned());
    ["seq", "time", "device", "thread"]
        .into_iter()
        .fold(properties, |properties, column| {
            properties
                .set_column_dictionary_enabled(column.into(), false)
                .set_column_encoding(column.into(), Encoding::DELTA_BINARY_PACKED)
        })
        .build()
}

/// A part being written. Dropped without [`Self::seal`], it leaves nothing behind.
pub struct PartWriter {
    writer: Option<ArrowWriter<SummedFile>>,
    temporary: PathBuf,
    folder: PathBuf,
    stem: String,
    rows: u64,
    seq: Option<Range>,
}

impl PartWriter {
    /// Begins a part of `table` in `folder`, which is made if need be; its name will begin with `stem`.
    pub fn create(folder: &Path, stem: &str, table: Table, run_id: &str) -> Result<Self> {
        std::fs::create_dir_all(folder).map_err(Error::io("creating", folder))?;
        let name = format!("{TEMPORARY_PREFIX}{stem}-{}-{}", table.name(), std::process::id());
        let temporary = folder.join(name);
        let file = SummedFile::create(&temporary).map_err(Error::io("creating", &temporary))?;
        // Without Arrow's own metadata every reader sees the plain Parquet types: text, not dictionaries of text.
        let options =
            ArrowWriterOptions::new().with_properties(writer_properties()).with_skip_arrow_metadata(true);
        let writer = ArrowWriter::try_new_with_options(file, table.schema(), options)
            .map_err(|source| write_error(&temporary, source))?;
        let part = Self {
            writer: Some(writer),
            temporary,
            folder: folder.to_owned(),
            stem: stem.to_owned(),
            rows: 0,
            seq: None,
        };
        let metadata = [
            (KEY_FORMAT_VERSION, FORMAT_VERSION.to_string()),
            (KEY_TABLE, table.name().to_owned()),
            (KEY_RUN_ID, run_id.to_owned()),
        ];
        Ok(metadata.into_iter().fold(part, |part, (key, value)| part.with_metadata(key, value)))
    }

    fn with_metadata(mut self, key: &str, value: String) -> Self {
        if let Some(writer) = &mut self.writer {
            writer.append_key_value_metadata(KeyValue::new(key.to_owned(), value));
        }
        self
    }

    /// Adds rows. They are in memory, encoded, until the part is sealed.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        writer.write(batch).map_err(|source| write_error(&self.temporary, source))?;
        self.rows += batch.num_rows() as u64;
        let seqs = batch.column(0).as_primitive::<UInt64Type>().values();
        if let (Some(&low), Some(&high)) = (seqs.iter().min(), seqs.iter().max()) {
            let (first, last) = self.seq.map_or((low, high), |seq| (seq.first.min(low), seq.last.max(high)));
            self.seq = Some(Range { first, last });
        }
        Ok(())
    }

    /// Rows so far.
    #[must_use]
    pub const fn rows(&self) -> u64 {
        self.rows
    }

    /// Makes the part durable under its name, `STEM-FIRST`: it holds all rows of its table in the consumed range.
    /// Returns its path and size in bytes.
    pub fn seal(mut self, consumed: Range) -> Result<(PathBuf, u64)> {
        let path = self.folder.join(part_name(&self.stem, consumed.first));
        if let Some(seq) = self.seq {
            self = self.with_metadata(KEY_SEQ, seq.to_string());
        }
        self = self.with_metadata(KEY_CONSUMED, consumed.to_string());
        self = self.with_metadata(KEY_CHECKSUM, checksum::ZEROS.to_owned());
        let Some(mut writer) = self.writer.take() else { return Ok((path, 0)) };
        writer.flush().map_err(|source| write_error(&self.temporary, source))?;
        // What a full disk says would be lost in what `into_inner` makes of it.
        writer.sync().map_err(Error::io("writing", &self.temporary))?;
        let file = writer.into_inner().map_err(|source| write_error(&self.temporary, source))?;
        let file = file.finish().map_err(Error::io("writing", &self.temporary))?;
        file.sync_all().map_err(Error::io("syncing", &self.temporary))?;
        let bytes = file.metadata().map_err(Error::io("reading", &self.temporary))?.len();
        std::fs::rename(&self.temporary, &path).map_err(Error::io("renaming", &self.temporary))?;
        sync_folder(&self.folder)?;
        Ok((path, bytes))
    }
}

impl std::fmt::Debug for PartWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PartWriter").field("temporary", &self.temporary).field("rows", &self.rows).finish()
    }
}

impl Drop for PartWriter {
    fn drop(&mut self) {
        // After a seal the name is gone already; a failure here leaves a file that no reader looks at.
        let _ = std::fs::remove_file(&self.temporary);
    }
}

/// The Parquet writer wraps input and output errors; what the operating system said is what the user needs.
pub(crate) fn write_error(path: &Path, source: ParquetError) -> Error {
    match source {
        ParquetError::External(inner) => match inner.downcast::<std::io::Error>() {
            Ok(error) => Error::io("writing", path)(*error),
            Err(inner) => Error::DamagedPart { path: path.to_owned(), source: ParquetError::External(inner) },
        },
        source => Error::DamagedPart { path: path.to_owned(), source },
    }
}

/// A sealed part that was opened and found to be one of its table.
#[derive(Debug, Clone)]
pub struct Part {
    /// Its file.
    pub path: PathBuf,
    /// Its table.
    pub table: Table,
    /// Rows.
    pub rows: u64,
    /// Row groups that they lie in.
    pub row_groups: usize,
    /// Size of the file.
    pub bytes: u64,
    /// What it consumed: journal chunks, or for `sites` and `modules` string ids.
    pub consumed: Range,
    /// Lowest and highest `seq`; none without rows.
    pub seq: Option<Range>,
    /// Names of the parts that it replaces.
    pub supersedes: Vec<String>,
}

impl Part {
    /// Opens the part at `path` and checks its checksum, version, table, columns and types.
    pub fn open(path: &Path, table: Table) -> Result<Self> {
        let (mut file, metadata) = open_reader(path)?;
        checksum::verify_parquet(&mut file, path, || true)?;
        Self::describe(path, table, &file, &metadata)
    }

    /// As [`Self::open`], but reads no more than the footer, and so not the checksum.
    pub fn peek(path: &Path, table: Table) -> Result<Self> {
        let (file, metadata) = open_reader(path)?;
        Self::describe(path, table, &file, &metadata)
    }

    fn describe(path: &Path, table: Table, file: &File, metadata: &ArrowReaderMetadata) -> Result<Self> {
        let bytes = file.metadata().map_err(Error::io("reading", path))?.len();
        let file_metadata = metadata.metadata().file_metadata();
        let value = |key: &str| {
            let pairs = file_metadata.key_value_metadata()?;
            pairs.iter().find(|pair| pair.key == key)?.value.as_deref()
        };
        let found = value(KEY_TABLE).unwrap_or("none");
        let Some(version) = value(KEY_FORMAT_VERSION).filter(|_| found != "none") else {
            return Err(Error::WrongTable {
                expected: table.name(),
                found: "none".into(),
                path: path.into(),
            });
        };
        let bad = |key: &'static str, expected: &'static str, found: &str| Error::BadMetadata {
            key,
            expected,
            found: found.to_owned(),
            path: path.to_owned(),
        };
        let version = version.parse().map_err(|_| bad(KEY_FORMAT_VERSION, "a number", version))?;
        Error::check_version(version, path)?;
        if found != table.name() {
            return Err(Error::WrongTable { expected: table.name(), found: found.into(), path: path.into() });
        }
        check_columns(metadata.schema(), table, path)?;
        let range = |key: &'static str| {
            value(key).map(|text| Range::parse(text).ok_or_else(|| bad(key, "FIRST-LAST", text))).transpose()
        };
        let consumed = range(KEY_CONSUMED)?.ok_or_else(|| bad(KEY_CONSUMED, "FIRST-LAST", "missing"))?;
        let supersedes = value(KEY_SUPERSEDES).unwrap_or_default();
        Ok(Self {
            path: path.to_owned(),
            table,
            rows: u64::try_from(file_metadata.num_rows()).unwrap_or(0),
            row_groups: metadata.metadata().num_row_groups(),
            bytes,
            consumed,
            seq: range(KEY_SEQ)?,
            supersedes: supersedes.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect(),
        })
    }

    /// The name of its file.
    #[must_use]
    pub fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Reads the named columns, `batch_rows` at a time, in the order of the file.
    pub fn batches(
        &self,
        columns: &[&str],
        batch_rows: usize,
    ) -> Result<impl Iterator<Item = Result<RecordBatch>> + Send + use<>> {
        let (file, metadata) = open_reader(&self.path).map_err(|error| match error {
            Error::Io { source, path, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                Error::PartGone { path }
            }
            error => error,
        })?;
        let path = self.path.clone();
        let damaged = move |source| Error::DamagedPart { path: path.clone(), source };
        let options = ArrowReaderOptions::new()
            .with_schema(Arc::new(as_read(metadata.schema(), self.table)))
            .with_skip_arrow_metadata(true);
        let metadata = ArrowReaderMetadata::try_new(Arc::clone(metadata.metadata()), options)
            .map_err(damaged.clone())?;
        // What the file says to be null throughout need not be decoded.
        let (unknown, known): (Vec<&str>, Vec<&str>) =
            columns.iter().partition(|column| is_unknown(metadata.metadata(), column));
        let is_complete = unknown.is_empty();
        let wanted: Vec<FieldRef> = columns
            .iter()
            .filter_map(|column| metadata.schema().field_with_name(column).ok().cloned().map(Arc::new))
            .collect();
        let wanted = Arc::new(Schema::new(wanted));
        let mask = ProjectionMask::columns(metadata.parquet_schema(), known.iter().copied());
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata)
            .with_projection(mask)
            .with_batch_size(batch_rows)
            .build()
            .map_err(damaged.clone())?;
        let complete = move |batch: RecordBatch| {
            if is_complete {
                return Ok(batch);
            }
            let columns = wanted.fields().iter().map(|field| match batch.column_by_name(field.name()) {
                Some(column) => Arc::clone(column),
                None => new_null_array(field.data_type(), batch.num_rows()),
            });
            RecordBatch::try_new(Arc::clone(&wanted), columns.collect())
        };
        Ok(reader.map(move |batch| batch.and_then(&complete).map_err(|source| damaged(source.into()))))
    }
}

/// Whether a column is null in every row, by what the footer says.
fn is_unknown(metadata: &ParquetMetaData, column: &str) -> bool {
    metadata.row_groups().iter().all(|group| {
        let chunk = group.columns().iter().find(|chunk| chunk.column_path().string() == column);
        let nulls = chunk.and_then(|chunk| chunk.statistics()?.null_count_opt());
        nulls.is_some_and(|nulls| i64::try_from(nulls) == Ok(group.num_rows()))
    })
}

pub(crate) fn open_reader(path: &Path) -> Result<(File, ArrowReaderMetadata)> {
    let mut file = File::open(path).map_err(Error::io("opening", path))?;
    let found_bytes = file.metadata().map_err(Error::io("reading", path))?.len();
    let mut tail = [0; 4];
    // Magic at both ends and eight bytes of footer length: less is no Parquet file.
    let whole = found_bytes >= 12
        && file.seek(SeekFrom::End(-4)).is_ok()
        && file.read_exact(&mut tail).is_ok()
        && &tail == b"PAR1";
    if !whole {
        return Err(Error::TruncatedPart { found_bytes, path: path.to_owned() });
    }
    let metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new().with_skip_arrow_metadata(true))
        .map_err(|source| Error::DamagedPart { path: path.to_owned(), source })?;
    Ok((file, metadata))
}

fn check_columns(found: &Schema, table: Table, path: &Path) -> Result<()> {
    for column in table.columns() {
        let Ok(field) = found.field_with_name(column.name) else {
            return Err(Error::MissingColumn {
                column: column.name,
                table: table.name(),
                path: path.to_owned(),
            });
        };
        if !column.column_type.accepts(field.data_type()) {
            return Err(Error::WrongType {
                column: column.name,
                table: table.name(),
                expected: column.column_type.name(),
                found: field.data_type().to_string(),
                path: path.to_owned(),
            });
        }
    }
    Ok(())
}

/// The file's schema with text as dictionaries, as they lie in the file anyway.
fn as_read(found: &Schema, table: Table) -> Schema {
    let field = |field: &FieldRef| {
        let column = table.columns().iter().find(|column| column.name == field.name());
        column.map_or_else(
            || Arc::clone(field),
            |column| Arc::new(field.as_ref().clone().with_data_type(column.column_type.arrow())),
        )
    };
    Schema::new(found.fields().iter().map(field).collect::<Vec<_>>())
}
