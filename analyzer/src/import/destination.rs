//! Where an import goes: a place that is free, or one that a trace is at and may be replaced.
//!
//! What is no trace is never removed, nor a trace with something else in its folder, nor one that is being recorded.

use std::path::{Path, PathBuf};

use tidegauge_schemas::process::{ProcessInfo, journal_folder};
use tidegauge_schemas::run::sync_folder;
use tidegauge_schemas::{Table, Trace, layout, liveness};

use super::sibling;
use crate::error::{Error, Result};

/// A place that was found fit.
#[derive(Debug)]
pub(super) struct Destination {
    run: PathBuf,
    replaces: bool,
}

impl Destination {
    /// Looks at what is there.
    pub(super) fn new(run: &Path, replaces: bool) -> Result<Self> {
        let destination = Self { run: run.to_owned(), replaces };
        destination.check()?;
        Ok(destination)
    }

    /// True if there is a trace that is to be replaced.
    fn check(&self) -> Result<bool> {
        let found = match self.run.symlink_metadata() {
            Ok(found) => found,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(Error::io("looking at", &self.run)(error)),
        };
        if found.is_dir() && is_empty(&self.run)? {
            return Ok(false);
        }
        if !self.replaces {
            return Err(Error::Exists { path: self.run.clone() });
        }
        let refuse = |reason: String| Error::NotReplaced { reason, path: self.run.clone() };
        if !found.is_dir() {
            return Err(refuse("it is no folder".to_owned()));
        }
        let trace = Trace::open(&self.run)
            .map_err(|error| refuse(format!("it is not a trace that can be read ({error})")))?;
        if let Some(stranger) = stranger(&self.run)? {
            return Err(refuse(format!("`{}` in it is not part of a trace", stranger.display())));
        }
        for &id in trace.processes() {
            let home = layout::process_folder(&self.run, id);
            let info = ProcessInfo::read(&home.join(layout::PROCESS_FILE)).ok();
            if liveness::is_live(info.as_ref(), &journal_folder(&home, info.as_ref())) {
                return Err(refuse(format!("{id} is still being recorded")));
            }
        }
        Ok(true)
    }

    /// Makes the folder that is written into until [`Unfinished::finish`].
    pub(super) fn begin(self) -> Result<Unfinished> {
        let parent = self.run.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new(".")).to_owned();
        std::fs::create_dir_all(&parent).map_err(Error::io("creating", &parent))?;
        let no_name = || Error::NotReplaced { reason: "it has no name".to_owned(), path: self.run.clone() };
        let folder = sibling(&self.run, "import").ok_or_else(no_name)?;
        std::fs::create_dir(&folder).map_err(Error::io("creating", &folder))?;
        Ok(Unfinished { destination: self, parent, folder, is_finished: false })
    }
}

fn is_empty(folder: &Path) -> Result<bool> {
    Ok(std::fs::read_dir(folder).map_err(Error::io("listing", folder))?.next().is_none())
}

/// What no trace has, somewhere in a folder: its path in it.
fn stranger(run: &Path) -> Result<Option<PathBuf>> {
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let path = run.join(&folder);
        for entry in std::fs::read_dir(&path).map_err(Error::io("listing", &path))? {
            let entry = entry.map_err(Error::io("listing", &path))?;
            let inside = folder.join(entry.file_name());
            let is_folder = entry.file_type().map_err(Error::io("looking at", &path))?.is_dir();
            if !is_of_trace(&inside, is_folder) {
                return Ok(Some(inside));
            }
            // The journal's files are the recorder's own.
            if is_folder && entry.file_name() != layout::JOURNAL_FOLDER {
                folders.push(inside);
            }
        }
    }
    Ok(None)
}

/// Whether a trace has something of that path in its folder.
fn is_of_trace(path: &Path, is_folder: bool) -> bool {
    let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
    let Some((last, above)) = parts.split_last() else { return true };
    let is_temporary = last.starts_with(layout::TEMPORARY_PREFIX);
    let is_numbered = |key: &str| {
        last.strip_prefix(key).is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let is_table = |name: &str| Table::ALL.iter().any(|table| table.name() == name);
    match (above.len(), is_folder) {
        (0, true) => *last == layout::PROCESS_FOLDER || is_table(last),
        (0, false) => {
            *last == layout::RUN_FILE || last.starts_with(&format!("{}run", layout::TEMPORARY_PREFIX))
        }
        (1, true) => is_numbered("rank=") || last.starts_with("host="),
        (2, true) => is_numbered("process="),
        // Parts of `node_samples` lie a folder higher.
        (2 | 3, false) if above[0] != layout::PROCESS_FOLDER => {
            last.ends_with(&format!(".{}", layout::PART_ENDING)) || is_temporary
        }
        (3, true) => above[0] == layout::PROCESS_FOLDER && *last == layout::JOURNAL_FOLDER,
        (3, false) => *last == layout::PROCESS_FILE || last.starts_with('.'),
        _ => false,
    }
}

/// A trace that is being written. Dropped without [`Self::finish`], it leaves nothing behind.
#[derive(Debug)]
pub(super) struct Unfinished {
    destination: Destination,
    parent: PathBuf,
    folder: PathBuf,
    is_finished: bool,
}

impl Unfinished {
    /// The folder to write into.
    pub(super) fn path(&self) -> &Path {
        &self.folder
    }

    /// Puts the trace into its place.
    pub(super) fn finish(mut self) -> Result<()> {
        let run = self.destination.run.clone();
        // Once more: writing may have taken minutes.
        let retired = if self.destination.check()? { sibling(&run, "replaced") } else { None };
        if let Some(retired) = &retired {
            std::fs::rename(&run, retired).map_err(Error::io("renaming", &run))?;
        }
        // Of a folder that has come in the meantime the system says that it is not empty: nothing is overwritten.
        if let Err(error) = std::fs::rename(&self.folder, &run) {
            if let Some(retired) = &retired {
                std::fs::rename(retired, &run).map_err(Error::io("renaming", retired))?;
            }
            let is_taken = error.kind() == std::io::ErrorKind::DirectoryNotEmpty;
            return Err(if is_taken {
                Error::Exists { path: run }
            } else {
                Error::io("renaming", &run)(error)
            });
        }
        self.is_finished = true;
        sync_folder(&self.parent)?;
        if let Some(retired) = retired {
            std::fs::remove_dir_all(&retired).map_err(Error::io("removing", &retired))?;
        }
        Ok(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.is_finished {
            // What cannot be removed has no `run.json`, or a name that nobody looks at.
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}
