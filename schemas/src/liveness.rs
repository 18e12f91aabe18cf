//! Whether a recorder still runs.
//!
//! A recorder holds a POSIX record lock on its journal's `lock` file for as long as it lives. The kernel gives
//! the lock up with the process, whatever ended it; a forked child does not inherit it. Closing any descriptor of the
//! file in the recording process would give it up as well, so the process is looked for first, and a recorder that
//! reads its own trace never opens the file.

use std::fs::File;
use std::path::Path;

use rustix::process::{Flock, FlockType, fcntl_getlk};

use crate::journal::LOCK_FILE;
use crate::process::ProcessInfo;

/// True if the recorder described by `info`, with its journal in `journal`, still runs.
#[must_use]
pub fn is_live(info: Option<&ProcessInfo>, journal: &Path) -> bool {
    info.is_some_and(process_exists) || lock_is_held(&journal.join(LOCK_FILE))
}

fn lock_is_held(path: &Path) -> bool {
    let Ok(file) = File::open(path) else { return false };
    // A read lock conflicts with the recorder's write lock, and may be asked about on a read-only descriptor.
    matches!(fcntl_getlk(&file, &Flock::from(FlockType::ReadLock)), Ok(Some(_)))
}

fn process_exists(info: &ProcessInfo) -> bool {
    info.boot_id.is_some()
        && info.boot_id == boot_id()
        && info.pid_start_ticks.is_some()
        && info.pid_start_ticks == pid_start_ticks(info.pid)
}

/// Identity of this boot of this machine.
#[must_use]
pub fn boot_id() -> Option<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(text.trim().to_owned())
}

/// Start of process `pid`, clock ticks since boot, if there is one and it is no zombie.
#[must_use]
pub fn pid_start_ticks(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command in parentheses may hold spaces and parentheses itself: count fields after the last one.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X" | "x") {
        return None;
    }
    // starttime is field 22 of the line; state was field 3.
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_a_start_and_an_absent_one_has_none() {
        assert!(pid_start_ticks(std::process::id()).is_some_and(|ticks| ticks > 0));
        assert_eq!(pid_start_ticks(u32::MAX), None);
    }
}
