//! A Parquet file that is no part of a trace: rows on their way to another tool.
//!
//! Written as parts are, with plain Parquet types and the same encodings, but without the metadata and the checksum of a
//! part, and to wherever the caller likes.

use std::io::Write;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;

use crate::error::{Error, Result};
use crate::part::{write_error, writer_properties};

/// A file being written. Rows are in memory, encoded, until there are a million of them: a row group.
pub struct ParquetFile<W: Write + Send> {
    writer: ArrowWriter<W>,
    path: PathBuf,
}

impl<W: Write + Send> ParquetFile<W> {
    /// Begins a file with these columns in `out`; `path` is what errors call it.
    pub fn create(out: W, schema: SchemaRef, path: &Path) -> Result<Self> {
        // Without Arrow's own metadata every reader sees the plain Parquet types: text, not dictionaries of text.
        let options =
            ArrowWriterOptions::new().with_properties(writer_properties()).with_skip_arrow_metadata(true);
        let writer = ArrowWriter::try_new_with_options(out, schema, options)
            .map_err(|source| write_error(path, source))?;
        Ok(Self { writer, path: path.to_owned() })
    }

    /// Adds rows.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.writer.write(batch).map_err(|source| write_error(&self.path, source))
    }

    /// Ends the file and gives back what it was written to.
    pub fn finish(mut self) -> Result<W> {
        let path = self.path;
        self.writer.flush().map_err(|source| write_error(&path, source))?;
        self.writer.sync().map_err(Error::io("writing", &path))?;
        self.writer.into_inner().map_err(|source| write_error(&path, source))
    }
}

impl<W: Write + Send> std::fmt::Debug for ParquetFile<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ParquetFile").field("path", &self.path).finish_non_exhaustive()
    }
}
