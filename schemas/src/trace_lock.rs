//! What keeps parts from being merged away under a reader's hands.
//!
//! A reader opens parts by their names, some of them long after it has listed them. So it holds a shared lock on the
//! process's folder, and a recorder that merges takes the exclusive one before it lets a merged part take the place of
//! its inputs: it waits for readers, readers wait for the milliseconds that this takes. A folder can be locked by who
//! may only read it. Where there are no locks (some network file systems) both go on without, and a reader that loses a
//! part says so.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// Longer than a recorder holds the exclusive lock, unless its disk hangs.
const MAX_WAIT: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(2);

/// A lock on a folder, given up when dropped.
#[derive(Debug)]
pub struct TraceLock {
    folder: File,
}

impl TraceLock {
    /// The lock of a reader of the process whose folder this is; none if there is no lock to be had.
    #[must_use]
    pub fn to_read(process_folder: &Path) -> Option<Self> {
        let folder = File::open(process_folder).ok()?;
        let deadline = Instant::now() + MAX_WAIT;
        loop {
            match flock(&folder, FlockOperation::NonBlockingLockShared) {
                Ok(()) => return Some(Self { folder }),
                Err(Errno::WOULDBLOCK) if Instant::now() < deadline => std::thread::sleep(POLL),
                Err(_) => return None,
            }
        }
    }

    /// The lock of a recorder that replaces parts by a merged one; `Ok(None)` if there is none to be had.
    ///
    /// # Errors
    /// If somebody reads: [`Busy`].
    pub fn to_merge(process_folder: &Path) -> Result<Option<Self>, Busy> {
        let Ok(folder) = File::open(process_folder) else { return Ok(None) };
        match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { folder })),
            Err(Errno::WOULDBLOCK) => Err(Busy),
            Err(_) => Ok(None),
        }
    }
}

impl Drop for TraceLock {
    fn drop(&mut self) {
        // Closing would not do: a child that was forked meanwhile has the descriptor, and with it the lock, too.
        let _ = flock(&self.folder, FlockOperation::Unlock);
    }
}

/// Somebody reads the process's parts, or merges them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Busy;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_merges_waits_for_every_reader() {
        let folder = tempfile::tempdir().unwrap();
        let merge = || TraceLock::to_merge(folder.path()).map(|lock| lock.is_some());
        let readers = [(); 2].map(|()| TraceLock::to_read(folder.path()).unwrap());
        assert_eq!(merge(), Err(Busy));
        let [one, two] = readers;
        drop(one);
        assert_eq!(merge(), Err(Busy));
        drop(two);
        assert_eq!(merge(), Ok(true));
        let merging = TraceLock::to_merge(folder.path()).unwrap();
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| TraceLock::to_read(folder.path()).is_some());
            assert_eq!(merge(), Err(Busy));
            drop(merging);
            assert!(reader.join().unwrap());
        });
        assert!(TraceLock::to_read(&folder.path().join("absent")).is_none());
    }
}
