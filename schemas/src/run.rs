//! `run.json`: what the whole run is.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::checksum;
use crate::error::{Error, Result};
use crate::layout;
use crate::version::FORMAT_VERSION;

/// What the user said of a run, by key.
pub type Config = Map<String, Value>;

/// Contents of `run.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunInfo {
    /// Version of the format.
    pub format_version: u32,
    /// Id of the run, made from time and process.
    pub run_id: String,
    /// When it started, RFC 3339, UTC.
    pub started: String,
    /// When it started, nanoseconds since 1970.
    pub started_unix_nanos: i64,
    /// What the user said of the run: batch size, precision, anything.
    #[serde(default)]
    pub config: Config,
}

impl RunInfo {
    /// A run of the current version.
    #[must_use]
    pub fn new(run_id: String, started: String, started_unix_nanos: i64, config: Config) -> Self {
        Self { format_version: FORMAT_VERSION, run_id, started, started_unix_nanos, config }
    }

    /// Reads `run.json` of the trace folder `run`; checks the version before anything else in it.
    pub fn read(run: &Path) -> Result<Self> {
        let not_a_trace = |reason: &str| Error::NotATrace { reason: reason.to_owned(), path: run.to_owned() };
        let path = layout::run_file(run);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(_) if !run.exists() => return Err(not_a_trace("no such file or folder")),
            Err(_) if !run.is_dir() => return Err(not_a_trace("not a folder")),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(not_a_trace("it has no run.json"));
            }
            Err(error) => return Err(Error::io("reading", path)(error)),
        };
        let value: Value =
            serde_json::from_slice(&text).map_err(|source| Error::Json { path: path.clone(), source })?;
        let Some(version) = value.get("format_version").and_then(Value::as_u64) else {
            return Err(not_a_trace("its run.json has no format_version"));
        };
        Error::check_version(u32::try_from(version).unwrap_or(u32::MAX), &path)?;
        checksum::verify_json(&text, &value, &path)?;
        serde_json::from_value(value).map_err(|source| Error::Json { path, source })
    }

    /// Writes `run.json` unless there is one: the first of several processes wins. True if this call made it.
    pub fn create(&self, run: &Path) -> Result<bool> {
        let path = layout::run_file(run);
        // Unique also among containers, which share folders and have the same pids.
        let nanos = std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_nanos());
        let temporary = run.join(format!("{}run-{}-{nanos:x}", layout::TEMPORARY_PREFIX, std::process::id()));
        let text = to_json(self, &path)?;
        write_synced(&temporary, &text)?;
        // A hard link fails where the name exists, which a rename does not: no other process's file is replaced.
        let mut linked = std::fs::hard_link(&temporary, &path);
        if linked.as_ref().is_err_and(is_without_links) {
            linked = std::fs::File::create_new(&path).and_then(|mut file| {
                use std::io::Write as _;
                file.write_all(&text)?;
                file.sync_all()
            });
        }
        // If it cannot be removed it is only in the way of nobody.
        let _ = std::fs::remove_file(&temporary);
        match linked {
            Ok(()) => {
                sync_folder(run)?;
                Ok(true)
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(Error::io("creating", path)(error)),
        }
    }

    /// Writes `run.json` anew, as a whole or not at all.
    pub fn replace(&self, run: &Path) -> Result<()> {
        let path = layout::run_file(run);
        replace(&path, &to_json(self, &path)?)
    }
}

/// Several network and user-space file systems have no hard links.
fn is_without_links(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::Unsupported)
}

/// Pretty JSON with its checksum and a final newline.
pub(crate) fn to_json<T: Serialize>(value: &T, path: &Path) -> Result<Vec<u8>> {
    let mut text =
        serde_json::to_vec_pretty(value).map_err(|source| Error::Json { path: path.to_owned(), source })?;
    text.push(b'\n');
    checksum::sum_json(&mut text);
    Ok(text)
}

/// Writes a file and waits until it is on the disk.
pub(crate) fn write_synced(path: &Path, bytes: &[u8]) -> Result<()> {
    use std::io::Write as _;
    let mut file = std::fs::File::create(path).map_err(Error::io("creating", path))?;
    file.write_all(bytes).map_err(Error::io("writing", path))?;
    file.sync_all().map_err(Error::io("syncing", path))
}

/// Makes names in a folder durable.
pub fn sync_folder(folder: &Path) -> Result<()> {
    let handle = std::fs::File::open(folder).map_err(Error::io("opening", folder))?;
    handle.sync_all().map_err(Error::io("syncing", folder))
}

/// Replaces `path` as a whole or not at all: temporary name, fsync, rename, fsync of the folder.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = folder.join(format!("{}{name}-{}", layout::TEMPORARY_PREFIX, std::process::id()));
    let written = write_synced(&temporary, bytes)
        .and_then(|()| std::fs::rename(&temporary, path).map_err(Error::io("renaming", &temporary)));
    if written.is_err() {
        // On a full disk it would keep what little space there is.
        let _ = std::fs::remove_file(&temporary);
    }
    written?;
    sync_folder(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info() -> RunInfo {
        RunInfo::new("r1".into(), "2026-01-01T00:00:00Z".into(), 1_767_225_600_000_000_000, Map::new())
    }

    #[test]
    fn first_writer_wins_and_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        assert!(info().create(folder.path()).unwrap());
        let other = RunInfo { run_id: "r2".into(), ..info() };
        assert!(!other.create(folder.path()).unwrap());
        assert_eq!(RunInfo::read(folder.path()).unwrap(), info());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file stays");
    }

    #[test]
    fn versions_have_errors_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let write = |text: &str| std::fs::write(folder.path().join("run.json"), text).unwrap();
        assert!(matches!(RunInfo::read(folder.path()), Err(Error::NotATrace { .. })));
        write(r#"{"format_version": 99, "and": "unknown fields"}"#);
        assert!(matches!(RunInfo::read(folder.path()), Err(Error::TooNew { found: 99, .. })));
        write(r#"{"format_version": 0}"#);
        assert!(matches!(RunInfo::read(folder.path()), Err(Error::TooOld { found: 0, .. })));
        write(r#"{"name": "something else"}"#);
        assert!(matches!(RunInfo::read(folder.path()), Err(Error::NotATrace { .. })));
        write("{");
        assert!(matches!(RunInfo::read(folder.path()), Err(Error::Json { .. })));
        let file = folder.path().join("run.json");
        assert!(matches!(RunInfo::read(&file), Err(Error::NotATrace { .. })));
        assert!(matches!(RunInfo::read(Path::new("/nonexistent")), Err(Error::NotATrace { .. })));
    }
}
