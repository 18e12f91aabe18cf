//! A disk of a few MiB with a victim on it.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tidegauge_tests::programs::{Running, wait_until};

use crate::victim::Victim;

/// A tmpfs in a mount namespace of the victim's own. It stays until this is dropped, whatever becomes of the victim.
pub(crate) struct SmallDisk {
    root: File,
}

impl SmallDisk {
    /// Whether this user may make one.
    pub(crate) fn is_permitted() -> bool {
        let folder = tempfile::tempdir().unwrap();
        let mount = |folder: &Path| {
            Command::new("unshare").args(["-Urm", "mount", "-t", "tmpfs", "t"]).arg(folder).output()
        };
        mount(folder.path()).is_ok_and(|output| output.status.success())
    }

    /// Starts a victim whose run folder lies on a disk of `mebibytes`, of which a file takes `filled`. Returns when it
    /// records.
    pub(crate) fn start(folder: &Path, mebibytes: u32, filled: u32, victim: &mut Victim) -> (Self, Running) {
        let disk = folder.join("disk");
        std::fs::create_dir(&disk).unwrap();
        victim.run = disk.join("run");
        // Each becomes the next, so that the program started is the victim itself.
        let script = format!(
            "mount -t tmpfs -o size={mebibytes}m t \"$0\" && \
             head -c {filled}M /dev/zero > \"$0/filler\" && exec \"$@\""
        );
        let words = ["unshare", "-Urm", "sh", "-c", &script].map(OsString::from);
        victim.starter = words.into_iter().chain([disk.clone().into()]).collect();
        let mut child = victim.start();
        let counts = victim.counts();
        wait_until("the victim records on its disk", || {
            assert!(child.try_wait().unwrap().is_none(), "it ended early:\n{}", victim.errors());
            counts.get(0) > 0
        });
        let inside = format!("/proc/{}/root{}", child.id(), disk.display());
        let disk = Self { root: File::open(inside).unwrap() };
        victim.run = disk.path("run");
        (disk, child)
    }

    /// A path on the disk, which other programs can open as well.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), self.root.as_raw_fd())).join(name)
    }
}
