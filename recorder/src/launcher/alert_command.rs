//! The command that an alert runs: beside the recorded one, and no longer than the launcher lives.

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::PoisonError;

use super::alert_board::Raised;
use super::inherited::Inherited;
use super::sampling::SharedPids;

/// Environment variable of the command: the alert, as `gpu[0].used > 90%`.
const ALERT_VARIABLE: &str = "TIDEGAUGE_ALERT";
/// Its value, in the unit of the metric.
const VALUE_VARIABLE: &str = "TIDEGAUGE_ALERT_VALUE";
/// The trace folder.
const RUN_VARIABLE: &str = "TIDEGAUGE_RUN";

/// Runs commands for alerts: of each alert one at a time.
pub(crate) struct AlertCommand {
    pub(crate) script: OsString,
    pub(crate) run: PathBuf,
    pub(crate) inherited: Inherited,
    /// Processes that are none of the recorded tree's.
    pub(crate) helpers: SharedPids,
    /// Which alert's command a pid is.
    pub(crate) running: HashMap<u32, usize>,
}

impl AlertCommand {
    /// Starts the command unless the one of the last time still runs; why it could not be started.
    pub(crate) fn start(&mut self, raised: &Raised) -> std::io::Result<()> {
        if self.running.values().any(|alert| *alert == raised.alert) {
            return Ok(());
        }
        let mut command = Command::new("sh");
        command.arg("-c").arg(&self.script).stdin(Stdio::null());
        command.env(ALERT_VARIABLE, &raised.name).env(VALUE_VARIABLE, raised.value.to_string());
        command.env(RUN_VARIABLE, &self.run);
        // Standard output belongs to the recorded command, and may be its result.
        command.stdout(Stdio::from(std::io::stderr()));
        let (inherited, launcher) = (self.inherited, std::process::id().cast_signed());
        let prepare = move || {
            // SAFETY: this is the forked child; the calls take numbers.
            unsafe {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                // With what it starts it can be ended as a whole.
                libc::setpgid(0, 0);
                // It may have died before this was said.
                if libc::getppid() != launcher {
                    libc::_exit(1);
                }
                inherited.restore_signals();
            }
            Ok(())
        };
        // SAFETY: the closure makes system calls that a forked child may make, and touches no lock and no heap.
        unsafe { command.pre_exec(prepare) };
        // Held until its pid is known, so that it is never taken for one of the tree.
        let mut helpers = self.helpers.lock().unwrap_or_else(PoisonError::into_inner);
        let pid = command.spawn()?.id();
        helpers.insert(pid);
        self.running.insert(pid, raised.alert);
        Ok(())
    }

    /// A process was waited for; true if it was one of these.
    pub(crate) fn reaped(&mut self, pid: u32) -> bool {
        let is_ours = self.running.remove(&pid).is_some();
        if is_ours {
            // Its pid may come to one of the tree.
            self.helpers.lock().unwrap_or_else(PoisonError::into_inner).remove(&pid);
        }
        is_ours
    }

    /// Ends those that still run, with what they have started.
    pub(crate) fn end(&mut self) {
        for pid in self.running.keys() {
            // SAFETY: it takes numbers; a group that is gone takes no harm, and a child that was not waited for keeps its
            // number.
            unsafe { libc::kill(-pid.cast_signed(), libc::SIGKILL) };
        }
    }

    /// Whether none runs.
    pub(crate) fn is_idle(&self) -> bool {
        self.running.is_empty()
    }
}
