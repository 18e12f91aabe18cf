//! Finding and claiming a place in a trace folder.
//!
//! A recorder never writes where another did: a trace of another run makes it take `RUN-2`, and within a run each
//! process claims its number with `mkdir`, which only one can win.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use rustix::fs::StatFs;
use serde_json::{Map, Value};
use tidegauge_schemas::layout::{self, ProcessId};
use tidegauge_schemas::run::RunInfo;

use crate::environment::RUN_ID_VARIABLE;
use crate::error::{Error, Result};
use crate::ticks;

/// A place claimed for this process.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) run: PathBuf,
    pub(crate) info: RunInfo,
    pub(crate) id: ProcessId,
}

/// What to do if the folder holds a trace already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Record into `RUN-2`, `RUN-3`, … unless the environment says that this process belongs to the same job.
    NewFolder,
    /// Join the run as a further process.
    Join,
}

/// Claims a place for `rank` in `wished`.
pub(crate) fn claim(
    wished: &Path,
    rank: u32,
    existing: Existing,
    config: Map<String, Value>,
) -> Result<Claim> {
    let started_unix_nanos = ticks::unix_nanos();
    let job = std::env::var(RUN_ID_VARIABLE).ok();
    let run_id = job.clone().unwrap_or_else(|| format!("{started_unix_nanos:x}-{:x}", std::process::id()));
    let info = RunInfo::new(run_id, rfc3339(started_unix_nanos), started_unix_nanos, config);
    let mut number = 1;
    loop {
        let run = numbered(wished, number);
        std::fs::create_dir_all(&run).map_err(|source| Error::Folder { path: run.clone(), source })?;
        let made = info.create(&run)?;
        let info = if made { info.clone() } else { RunInfo::read(&run)? };
        let joins = existing == Existing::Join
            || job.as_ref() == Some(&info.run_id)
            || is_same_job(&run, rank, &info);
        if made || joins {
            if number > 1 && made {
                say(&format!("{} holds another run, recording into {}", wished.display(), run.display()));
            }
            let id = claim_process(&run, rank)?;
            return Ok(Claim { run, info, id });
        }
        number += 1;
    }
}

/// Ranks of one distributed job start within a few minutes of each other: another rank's run is ours too if the
/// launcher says that there are several, it has just begun, and nobody of this rank has been here.
fn is_same_job(run: &Path, rank: u32, info: &RunInfo) -> bool {
    const MINUTES_APART: i64 = 10;
    let several = world_size().is_some_and(|size| size > 1);
    let apart = ticks::unix_nanos().saturating_sub(info.started_unix_nanos).saturating_abs();
    several
        && apart < MINUTES_APART * 60 * 1_000_000_000
        && !run.join(layout::PROCESS_FOLDER).join(format!("rank={rank}")).exists()
}

/// A line on standard error; unlike `eprintln!` it does not panic where that is closed or full.
pub(crate) fn say(line: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "tidegauge: {line}");
}

fn numbered(wished: &Path, number: u32) -> PathBuf {
    if number == 1 {
        return wished.to_owned();
    }
    let mut name: OsString = wished.file_name().unwrap_or_default().to_owned();
    name.push(format!("-{number}"));
    wished.with_file_name(name)
}

fn claim_process(run: &Path, rank: u32) -> Result<ProcessId> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Folder { path, source }
    };
    let rank_folder = run.join(layout::PROCESS_FOLDER).join(format!("rank={rank}"));
    std::fs::create_dir_all(&rank_folder).map_err(failed(&rank_folder))?;
    let mut process = 0;
    loop {
        let id = ProcessId { rank, process };
        let folder = layout::process_folder(run, id);
        match std::fs::create_dir(&folder) {
            Ok(()) => return Ok(id),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => process += 1,
            Err(source) => return Err(failed(&folder)(source)),
        }
    }
}

fn variable_number(names: &[&str]) -> Option<u32> {
    names.iter().find_map(|name| std::env::var(name).ok()?.parse().ok())
}

/// Rank as torchrun, mpirun or Slurm say it.
pub(crate) fn rank() -> Option<u32> {
    variable_number(&["RANK", "OMPI_COMM_WORLD_RANK", "SLURM_PROCID"])
}

/// Rank on this host.
pub(crate) fn local_rank() -> Option<u32> {
    variable_number(&["LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_RANK", "SLURM_LOCALID"])
}

/// Ranks in the job.
pub(crate) fn world_size() -> Option<u32> {
    variable_number(&["WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "SLURM_NTASKS"])
}

/// RFC 3339 in UTC.
pub(crate) fn rfc3339(unix_nanos: i64) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(unix_nanos)).unwrap_or_default().to_string()
}

/// A folder for the journal: below the process folder, or a local one where the file system there does not keep the
/// promise that space once allocated can be stored to.
pub(crate) fn journal_folder(claim: &Claim) -> Result<(PathBuf, Option<String>)> {
    let folder = layout::process_folder(&claim.run, claim.id);
    let inside = folder.join(layout::JOURNAL_FOLDER);
    let Some(kind) = rustix::fs::statfs(&folder).ok().and_then(|stat| unreliable(&stat)) else {
        return make(inside).map(|path| (path, None));
    };
    let local = if Path::new("/dev/shm").is_dir() { PathBuf::from("/dev/shm") } else { std::env::temp_dir() };
    // Unique, since one of an earlier run may still lie there.
    let name = format!("tidegauge-{}-{:x}", std::process::id(), ticks::unix_nanos());
    let note = format!("the journal lies in a local folder: {kind} does not reserve space that is allocated");
    make(local.join(name)).map(|path| (path, Some(note)))
}

fn make(path: PathBuf) -> Result<PathBuf> {
    match std::fs::create_dir(&path) {
        Ok(()) => Ok(path),
        Err(source) => Err(Error::Folder { path, source }),
    }
}

/// The name of a file system on which `fallocate` is no guarantee (copy on write, or not local).
pub(crate) fn unreliable(stat: &StatFs) -> Option<&'static str> {
    // Magic numbers of linux/magic.h and of the file systems' own sources.
    match stat.f_type as u64 & 0xFFFF_FFFF {
        0x9123_683E => Some("btrfs"),
        0x2FC1_2FC1 => Some("ZFS"),
        0xCA45_1A4E => Some("bcachefs"),
        0x6573_5546 => Some("FUSE"),
        0x6969 => Some("NFS"),
        0xFF53_4D42 | 0xFE53_4D42 | 0x517B => Some("SMB"),
        0x0102_1997 => Some("9p"),
        0x0BD0_0BD0 => Some("Lustre"),
        0x00C3_6400 => Some("Ceph"),
        0x4750_4653 => Some("GPFS"),
        0x1983_0326 => Some("BeeGFS"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_of_another_run_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let wished = folder.path().join("run");
        let first = claim(&wished, 0, Existing::NewFolder, Map::new()).unwrap();
        let second = claim(&wished, 0, Existing::NewFolder, Map::new()).unwrap();
        let joined = claim(&wished, 0, Existing::Join, Map::new()).unwrap();
        assert_eq!(first.run, wished);
        assert_eq!(second.run, folder.path().join("run-2"));
        assert_eq!((joined.run, joined.id.process), (wished, 1));
        assert_eq!(joined.info.run_id, first.info.run_id);
    }

    #[test]
    fn a_file_where_the_folder_should_be_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let wished = folder.path().join("run");
        std::fs::write(&wished, "not a folder").unwrap();
        assert!(matches!(claim(&wished, 0, Existing::NewFolder, Map::new()), Err(Error::Folder { .. })));
    }

    #[test]
    fn times_are_rfc_3339() {
        assert_eq!(rfc3339(1_767_225_600_000_000_000), "2026-01-01T00:00:00Z");
    }
}
