//! `tidegauge import`: recordings that other tools made become a trace.
//!
//! The trace is written beside its place, under a name that begins with a dot and without the `run.json` that would make it
//! a trace, and takes its place as a whole at the end: an import that is cut off leaves nothing that could be taken for
//! one. The same recordings give the same bytes.

mod destination;
mod parts;

use std::path::{Path, PathBuf};

use tidegauge_schemas::run::sync_folder;
use tidegauge_schemas::{Table, layout};

use crate::error::{Error, Result};
use crate::foreign::{self, ForeignProcess};
use crate::load::run_info;
use destination::Destination;

/// What was imported.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Imported {
    /// Processes.
    pub processes: usize,
    /// Allocation events.
    pub events: u64,
    /// Rows of all tables.
    pub rows: u64,
    /// Size of the parts.
    pub bytes: u64,
    /// What to know before believing the figures.
    pub warnings: Vec<String>,
}

/// Makes the trace `run` of the recordings at `paths`, which may be patterns and are of one run; with `replaces`, in the
/// place of a trace that is there.
///
/// # Errors
/// If a file cannot be read, something else is at `run`, or it cannot be written. Nothing of it is there then.
pub fn import<P: AsRef<Path>>(paths: &[P], run: &Path, replaces: bool) -> Result<Imported> {
    // Before files of many GB are read.
    let destination = Destination::new(run, replaces)?;
    let paths: Vec<&Path> = paths.iter().map(AsRef::as_ref).collect();
    let expanded = foreign::expand(&paths)?;
    if let Some(folder) = expanded.iter().find(|path| path.is_dir()) {
        return Err(match tidegauge_schemas::Trace::open(folder) {
            Ok(_) => Error::IsTrace { path: folder.clone() },
            Err(error) => error.into(),
        });
    }
    write(&foreign::open(&expanded)?, destination)
}

/// Makes the trace `run` of recordings that were read already; see [`import`].
///
/// # Errors
/// If something else is at `run`, or it cannot be written.
pub fn write_trace(recordings: &[ForeignProcess], run: &Path, replaces: bool) -> Result<Imported> {
    write(recordings, Destination::new(run, replaces)?)
}

fn write(recordings: &[ForeignProcess], destination: Destination) -> Result<Imported> {
    let mut info = run_info(recordings);
    info.run_id = run_id(recordings, info.started_unix_nanos);
    let folder = destination.begin()?;
    let mut imported = Imported { processes: recordings.len(), ..Imported::default() };
    for recording in recordings {
        write_process(recording, folder.path(), &info.run_id, &mut imported)?;
    }
    // Last: it is what makes the folder a trace.
    info.create(folder.path())?;
    folder.finish()?;
    Ok(imported)
}

fn write_process(
    recording: &ForeignProcess,
    run: &Path,
    run_id: &str,
    imported: &mut Imported,
) -> Result<()> {
    let home = layout::process_folder(run, recording.id);
    std::fs::create_dir_all(&home).map_err(Error::io("creating", &home))?;
    for table in Table::ALL {
        let written = parts::write_table(recording, table, run, run_id)?;
        imported.rows += written.rows;
        imported.bytes += written.bytes;
        imported.events += if table == Table::Events { written.rows } else { 0 };
    }
    let mut description = recording.description();
    run_id.clone_into(&mut description.run_id);
    if description.started.is_empty() {
        let started = recording.first_nanos().map(i128::from);
        let started = started.and_then(|nanos| jiff::Timestamp::from_nanosecond(nanos).ok());
        description.started = started.map_or_else(String::new, |time| time.to_string());
    }
    let notes = description.notes.iter();
    imported.warnings.extend(notes.map(|note| format!("{}: {note}", recording.id)));
    description.write(&home.join(layout::PROCESS_FILE))?;
    sync_folder(&home)?;
    Ok(())
}

/// An id that the recordings alone decide: what is imported twice is the same run.
fn run_id(recordings: &[ForeignProcess], started_nanos: i64) -> String {
    let mut sum = 0;
    let mut add = |bytes: &[u8]| sum = crc32c::crc32c_append(sum, bytes);
    for recording in recordings {
        add(recording.id.to_string().as_bytes());
        for event in recording.events().chunks().flatten() {
            let row = event.row();
            for word in [row.time_nanos, row.address.unwrap_or(0).cast_signed(), row.size_bytes.unwrap_or(0)]
            {
                add(&word.to_le_bytes());
            }
        }
        for row in recording.checkpoints() {
            add(&row.time_nanos.to_le_bytes());
            add(row.name.as_deref().unwrap_or_default().as_bytes());
        }
        for row in recording.samples().iter().chain(recording.node_samples()) {
            add(&row.time_nanos.to_le_bytes());
            add(&row.value.to_bits().to_le_bytes());
        }
    }
    format!("import-{started_nanos:x}-{sum:08x}")
}

/// A path beside `run`, which nobody else uses: `.NAME.PURPOSE-PID`.
fn sibling(run: &Path, purpose: &str) -> Option<PathBuf> {
    let name = run.file_name()?.to_string_lossy();
    let numbered =
        |number: u32| run.with_file_name(format!(".{name}.{purpose}-{}-{number}", std::process::id()));
    // In containers process numbers come again: what a killed one has left is in nobody's way.
    (0..).map(numbered).find(|path| path.symlink_metadata().is_err())
}
