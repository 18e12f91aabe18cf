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
            return Err(refuse(format!("`{stranger}` in it is not part of a trace")));
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

/// The name of an entry that no trace has.
fn stranger(run: &Path) -> Result<Option<String>> {
    for entry in std::fs::read_dir(run).map_err(Error::io("listing", run))? {
        let name = entry.map_err(Error::io("listing", run))?.file_name();
        let name = name.to_string_lossy();
        let is_known = name == layout::RUN_FILE
            || name == layout::PROCESS_FOLDER
            || name.starts_with(layout::TEMPORARY_PREFIX)
            || Table::ALL.iter().any(|table| table.name() == name);
        if !is_known {
            return Ok(Some(name.into_owned()));
        }
    }
    Ok(None)
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
