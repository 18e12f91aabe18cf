//! A file of `/proc/PID`, kept open where descriptors are plentiful.
//!
//! An open one names that very process: after its end a read fails (ESRCH), even if the pid has been given to another.
//! Opening costs more than reading: 1 µs for a kept `statm`, several for one that is opened anew.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Files that are kept open now.
static KEPT: AtomicU64 = AtomicU64::new(0);

/// The most files that are kept open: half of what this process may have, since the rest of it needs some too.
fn most_kept() -> u64 {
    static MOST: OnceLock<u64> = OnceLock::new();
    *MOST.get_or_init(|| {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        limit.unwrap_or(u64::MAX) / 2
    })
}

/// Whether to keep a file open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// If fewer than this share of the descriptors that may be kept are taken: 1 all of them, 2 half of them, …
    IfFewer { than_one_in: u64 },
    /// Opened anew for each read.
    Never,
}

/// A descriptor that counts as kept.
#[derive(Debug)]
struct Kept(File);

impl Drop for Kept {
    fn drop(&mut self) {
        KEPT.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A file of a process.
#[derive(Debug)]
pub(crate) struct ProcFile {
    pid: u32,
    name: &'static str,
    kept: Option<Kept>,
}

impl ProcFile {
    /// The file `name` of the process that has this pid now. One that is not kept is looked for at the first read only.
    pub(crate) fn open(pid: u32, name: &'static str, keep: Keep) -> io::Result<Self> {
        let Keep::IfFewer { than_one_in } = keep else { return Ok(Self { pid, name, kept: None }) };
        if KEPT.load(Ordering::Relaxed) >= most_kept() / than_one_in.max(1) {
            return Ok(Self { pid, name, kept: None });
        }
        let file = open(pid, name)?;
        KEPT.fetch_add(1, Ordering::Relaxed);
        Ok(Self { pid, name, kept: Some(Kept(file)) })
    }

    /// Whether a read can only be of the process that this was opened for.
    pub(crate) fn is_kept(&self) -> bool {
        self.kept.is_some()
    }

    /// Reads from the beginning, at most as much as there is room for.
    pub(crate) fn read<'buffer>(&self, buffer: &'buffer mut [u8]) -> io::Result<&'buffer [u8]> {
        let length = match &self.kept {
            Some(Kept(file)) => file.read_at(buffer, 0)?,
            None => open(self.pid, self.name)?.read_at(buffer, 0)?,
        };
        Ok(buffer.get(..length).unwrap_or_default())
    }
}

fn open(pid: u32, name: &str) -> io::Result<File> {
    File::open(format!("/proc/{pid}/{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_file_and_one_opened_anew_say_the_same() {
        let pid = std::process::id();
        let kept = ProcFile::open(pid, "comm", Keep::IfFewer { than_one_in: 1 }).unwrap();
        let anew = ProcFile::open(pid, "comm", Keep::Never).unwrap();
        assert!(kept.is_kept() && !anew.is_kept());
        let (mut one, mut other) = ([0; 64], [0; 64]);
        assert_eq!(kept.read(&mut one).unwrap(), anew.read(&mut other).unwrap());
        let scarce = ProcFile::open(pid, "comm", Keep::IfFewer { than_one_in: u64::MAX });
        assert!(!scarce.unwrap().is_kept());
    }

    #[test]
    fn a_short_buffer_is_filled_and_no_more() {
        let file = ProcFile::open(std::process::id(), "status", Keep::Never).unwrap();
        assert_eq!(file.read(&mut [0; 5]).unwrap(), b"Name:");
    }
}
