//! Who samples the node: of all launchers on one host that record into one run, one at a time.
//!
//! It is the one that holds a record lock on `RUN/_process/node-HOST.lock`. The kernel gives the lock up with its
//! process, and another takes over. The file stays: to remove it would let two hold the lock, each on a file of its own.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use rustix::io::Errno;
use tidegauge_schemas::layout;

use crate::run_folder;

/// The claim to the node.
#[derive(Debug)]
pub(crate) struct NodeClaim {
    path: PathBuf,
    /// Open once it was tried: closing any descriptor of the file would give the lock up.
    file: Option<File>,
    is_held: bool,
}

impl NodeClaim {
    pub(crate) fn new(run: &Path, host: &str) -> Self {
        let folder = layout::node_folder(run, host);
        let host = folder.file_name().unwrap_or_default().to_string_lossy();
        let name = format!("node-{}.lock", host.trim_start_matches("host="));
        Self { path: run.join(layout::PROCESS_FOLDER).join(name), file: None, is_held: false }
    }

    /// Whether this process is the one, from now on if it was not.
    pub(crate) fn is_held(&mut self) -> bool {
        self.is_held = self.is_held || self.take();
        self.is_held
    }

    fn take(&mut self) -> bool {
        if self.file.is_none() {
            let opened = OpenOptions::new().write(true).create(true).truncate(false).open(&self.path);
            self.file = opened.ok();
        }
        let Some(file) = &self.file else { return is_first_on_host() };
        match rustix::fs::fcntl_lock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => true,
            Err(Errno::AGAIN | Errno::ACCESS) => false,
            // No locks here, as on some network file systems.
            Err(_) => is_first_on_host(),
        }
    }
}

/// Without locks, ranks tell who is the first; without ranks everybody is.
fn is_first_on_host() -> bool {
    run_folder::local_rank().is_none_or(|rank| rank == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_taken_once_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(layout::PROCESS_FOLDER)).unwrap();
        let mut claim = NodeClaim::new(folder.path(), "a/b");
        assert!(claim.is_held() && claim.is_held());
        assert!(folder.path().join("_process/node-a_b.lock").exists());
    }

    #[test]
    fn without_a_folder_ranks_decide() {
        let mut claim = NodeClaim::new(Path::new("/nonexistent"), "host");
        assert_eq!(claim.is_held(), is_first_on_host());
    }
}
