//! Merging: one part that holds the row groups of several neighbours.
//!
//! Column chunks are copied as they are; nothing is decoded. The merged part is written under a temporary name and
//! synced, then renamed, then the folder is synced, and only then are the inputs removed: whatever cuts this off, every
//! row is there, and once, since the merged part names the parts that it supersedes and readers ignore those.
//!
//! Who merges sees to it that no chunk between the inputs is still open: the merged part claims to have consumed all
//! from the first to the last, and its rows are in order only if none comes in between later.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::column::writer::ColumnCloseResult;
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, RowGroupMetaData};
use parquet::file::writer::SerializedFileWriter;

use crate::checksum::{self, SummedFile};
use crate::error::{Error, Result};
use crate::layout::{TEMPORARY_PREFIX, merged_part_name};
use crate::part::{Part, Range, open_reader, write_error, writer_properties};
use crate::part_list::check_apart;
use crate::run::sync_folder;
use crate::version::{
    FORMAT_VERSION, KEY_CHECKSUM, KEY_CONSUMED, KEY_FORMAT_VERSION, KEY_RUN_ID, KEY_SEQ, KEY_SUPERSEDES,
    KEY_TABLE,
};

/// The disk gets what was written after so many bytes, so that the sync at the end has little left to wait for.
const SYNC_EVERY_BYTES: u64 = 4 << 20;

/// A merged part that is on the disk and not yet in the place of its inputs. Dropped without [`Self::publish`], it
/// leaves nothing behind.
#[derive(Debug)]
pub struct PreparedMerge {
    temporary: PathBuf,
    path: PathBuf,
    inputs: Vec<PathBuf>,
    bytes: u64,
}

impl PreparedMerge {
    /// Copies `inputs`, neighbours of one table in the order of what they consumed, into a part beside the first of
    /// them, whose name will begin with `stem`. `goes_on` is asked every few dozen KiB, with the bytes written so far;
    /// once it says no, nothing is left and the result is `None`.
    ///
    /// # Errors
    /// If an input is damaged, which a merged part with a checksum of its own would hide; if two of them overlap or
    /// have other columns; if something cannot be read or written.
    pub fn prepare(
        inputs: &[Part],
        stem: &str,
        run_id: &str,
        mut goes_on: impl FnMut(u64) -> bool,
    ) -> Result<Option<Self>> {
        let [first, .., last] = inputs else { return Ok(None) };
        for pair in inputs.windows(2) {
            let before = Range { first: 0, last: pair[0].consumed.last };
            check_apart("chunks", before, pair[1].consumed, [&pair[0], &pair[1]])?;
        }
        let consumed = Range { first: first.consumed.first, last: last.consumed.last };
        let folder = first.path.parent().unwrap_or(Path::new("."));
        // What the inputs themselves supersede must not come back once they are superseded.
        let names = inputs.iter().flat_map(|part| &part.supersedes);
        remove_superseded(&names.map(|name| folder.join(name)).collect::<Vec<_>>())?;
        let name = format!("{TEMPORARY_PREFIX}{stem}-merge-{}-{}", first.table.name(), std::process::id());
        let prepared = Self {
            temporary: folder.join(name),
            path: folder.join(merged_part_name(stem, consumed.first, consumed.last)),
            inputs: inputs.iter().map(|part| part.path.clone()).collect(),
            bytes: 0,
        };
        let seq = inputs.iter().filter_map(|part| part.seq).reduce(Range::union);
        let supersedes = inputs.iter().map(Part::name).collect::<Vec<_>>().join(",");
        let metadata = [
            (KEY_FORMAT_VERSION, Some(FORMAT_VERSION.to_string())),
            (KEY_TABLE, Some(first.table.name().to_owned())),
            (KEY_RUN_ID, Some(run_id.to_owned())),
            (KEY_SEQ, seq.map(|seq| seq.to_string())),
            (KEY_CONSUMED, Some(consumed.to_string())),
            (KEY_SUPERSEDES, Some(supersedes)),
            (KEY_CHECKSUM, Some(checksum::ZEROS.to_owned())),
        ];
        prepared.copy(metadata, &mut goes_on)
    }

    fn copy(
        mut self,
        metadata: impl IntoIterator<Item = (&'static str, Option<String>)>,
        goes_on: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Option<Self>> {
        let failed = |source| write_error(&self.temporary, source);
        let mut output: Option<SerializedFileWriter<SummedFile>> = None;
        let mut synced_bytes = 0;
        for path in &self.inputs {
            let (mut file, input) = open_reader(path)?;
            let so_far = output.as_ref().map_or(0, |output| output.bytes_written() as u64);
            if !checksum::verify_parquet(&mut file, path, || goes_on(so_far))? {
                return Ok(None);
            }
            let input = input.metadata();
            let output = match &mut output {
                Some(output) => output,
                None => {
                    let schema = input.file_metadata().schema_descr().root_schema_ptr();
                    let file = SummedFile::create(&self.temporary)
                        .map_err(Error::io("creating", &self.temporary))?;
                    let properties = Arc::new(writer_properties());
                    output.insert(SerializedFileWriter::new(file, schema, properties).map_err(failed)?)
                }
            };
            for group in input.row_groups() {
                if !copy_row_group(output, &file, group, goes_on).map_err(failed)? {
                    return Ok(None);
                }
                let written_bytes = output.bytes_written() as u64;
                if written_bytes - synced_bytes >= SYNC_EVERY_BYTES {
                    output.inner().sync_data().map_err(Error::io("syncing", &self.temporary))?;
                    synced_bytes = written_bytes;
                }
            }
        }
        let Some(mut output) = output else { return Ok(None) };
        for (key, value) in metadata {
            if value.is_some() {
                output.append_key_value_metadata(KeyValue::new(key.to_owned(), value));
            }
        }
        let file = output.into_inner().map_err(failed)?;
        let file = file.finish().map_err(Error::io("writing", &self.temporary))?;
        file.sync_all().map_err(Error::io("syncing", &self.temporary))?;
        self.bytes = file.metadata().map_err(Error::io("reading", &self.temporary))?.len();
        Ok(Some(self))
    }

    /// Size of the merged part.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Gives the merged part its name and removes its inputs; its path. Readers of a running process are to be kept out
    /// meanwhile, see [`crate::trace_lock`].
    ///
    /// # Errors
    /// If the folder cannot be changed or synced. If that is after the rename, the inputs that are left are superseded,
    /// and for [`remove_superseded`].
    pub fn publish(self) -> Result<PathBuf> {
        std::fs::rename(&self.temporary, &self.path).map_err(Error::io("renaming", &self.temporary))?;
        remove_superseded(&self.inputs)?;
        Ok(self.path.clone())
    }
}

impl Drop for PreparedMerge {
    fn drop(&mut self) {
        // After a rename the name is gone already; a failure here leaves a file that no reader looks at.
        let _ = std::fs::remove_file(&self.temporary);
    }
}

/// False if it was broken off.
fn copy_row_group(
    output: &mut SerializedFileWriter<SummedFile>,
    file: &std::fs::File,
    group: &RowGroupMetaData,
    goes_on: &mut dyn FnMut(u64) -> bool,
) -> Result<bool, ParquetError> {
    let mut written_bytes = output.bytes_written() as u64;
    let mut copy = output.next_row_group()?;
    for column in group.columns() {
        if !goes_on(written_bytes) {
            return Ok(false);
        }
        let column_bytes = u64::try_from(column.compressed_size()).unwrap_or(0);
        let close = ColumnCloseResult {
            bytes_written: column_bytes,
            rows_written: u64::try_from(group.num_rows()).unwrap_or(0),
            metadata: column.clone(),
            // Parts have none of these.
            bloom_filter: None,
            column_index: None,
            offset_index: None,
        };
        copy.append_column(file, close)?;
        written_bytes += column_bytes;
    }
    copy.close()?;
    Ok(true)
}

/// Removes parts that another one supersedes, as far as they are there.
///
/// # Errors
/// If one cannot be removed, or their folder cannot be synced.
pub fn remove_superseded(paths: &[PathBuf]) -> Result<()> {
    for siblings in paths.chunk_by(|one, two| one.parent() == two.parent()) {
        let present: Vec<&PathBuf> = siblings.iter().filter(|path| path.exists()).collect();
        let Some(folder) = present.first().and_then(|path| path.parent()) else { continue };
        // The name of the part that supersedes them may not be on the disk yet.
        sync_folder(folder)?;
        for path in present {
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::io("removing", path)(error));
                }
                _ => {}
            }
        }
        sync_folder(folder)?;
    }
    Ok(())
}
