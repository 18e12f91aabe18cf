//! The launcher's main thread while a command runs: it waits for children and signals, passes these on, stops when the
//! command is stopped, and touches no file meanwhile, so that a disk that hangs holds up no signal.

use std::io;
use std::mem::MaybeUninit;
use std::time::Instant;

use super::child::ChildEnd;
use super::signals::{Arrived, SignalQueue, stop_self};
use super::wake::{Bell, wait_for};

/// What the main thread does besides, while it waits.
pub(crate) trait Companion {
    /// Something was put before it by another thread.
    fn rung(&mut self) {}
    /// The dump signal has come.
    fn dump(&mut self) {}
    /// A process that is not the command, but was one of its tree or of our own helpers, was waited for.
    fn reaped(&mut self, _process: Reaped) {}
    /// When it next wants to be called although nothing has happened.
    fn due(&self) -> Option<Instant> {
        None
    }
    /// That time has come.
    fn overdue(&mut self) {}
}

/// A process that is over and was waited for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reaped {
    pub(crate) pid: u32,
    pub(crate) end: ChildEnd,
    /// The kernel's record of the largest of it and its own children that it had waited for.
    pub(crate) max_rss_bytes: u64,
}

/// Waits for the command.
#[derive(Debug)]
pub(crate) struct Supervisor<'a> {
    child: libc::pid_t,
    signals: &'a SignalQueue,
    bell: &'a Bell,
    dump_signal: Option<i32>,
    /// Whether the terminal of a shell with job control is ours: then the shell waits to see us stop.
    has_terminal: bool,
    /// The signal that the command is stopped by.
    stopped_by: Option<i32>,
    /// We were stopped and continued as a job, and so was the command: it needs no further SIGCONT.
    was_continued: bool,
}

impl<'a> Supervisor<'a> {
    pub(crate) fn new(
        child: libc::pid_t,
        signals: &'a SignalQueue,
        bell: &'a Bell,
        dump_signal: Option<i32>,
    ) -> Self {
        let has_terminal = std::fs::File::open("/dev/tty").is_ok();
        Self { child, signals, bell, dump_signal, has_terminal, stopped_by: None, was_continued: false }
    }

    /// Until the command is over.
    pub(crate) fn wait(&mut self, companion: &mut dyn Companion) -> Reaped {
        loop {
            // Before children: the signal that tells of one is read here, and is not to be read after the look at it.
            while let Some(signal) = self.signals.next() {
                self.take(signal, companion);
            }
            if let Some(ended) = self.reap(companion) {
                return ended;
            }
            self.bell.quiet();
            companion.rung();
            let due = companion.due();
            if due.is_some_and(|due| due <= Instant::now()) {
                companion.overdue();
                continue;
            }
            let timeout = due.map(|due| due.saturating_duration_since(Instant::now()));
            wait_for(&[self.signals.fd(), self.bell.fd()], timeout);
        }
    }

    fn take(&mut self, signal: Arrived, companion: &mut dyn Companion) {
        if Some(signal.number) == self.dump_signal && signal.number != libc::SIGCHLD {
            companion.dump();
            return;
        }
        match signal.number {
            libc::SIGTSTP if !signal.is_from_a_process() && self.stopped_by.is_some() => {
                // The terminal wants us to stop as well, whatever has stopped the command before.
                self.stop_with_the_command(libc::SIGTSTP);
            }
            libc::SIGCONT if self.was_continued => {
                self.was_continued = false;
                self.continue_the_command();
            }
            _ if signal.is_to_be_passed_on() => signal.pass_on(self.child),
            _ => {}
        }
    }

    /// Waits for every child that has changed; the command, if it is over.
    fn reap(&mut self, companion: &mut dyn Companion) -> Option<Reaped> {
        while let Some((pid, status, max_rss_bytes)) = changed_child() {
            if pid != self.child {
                if is_over(status) {
                    let end = ChildEnd::of_status(status);
                    companion.reaped(Reaped { pid: pid.cast_unsigned(), end, max_rss_bytes });
                }
            } else if libc::WIFSTOPPED(status) {
                self.stopped_by = Some(libc::WSTOPSIG(status));
                // A command that somebody has stopped otherwise, for a debugger or to make room, will be continued
                // alone: then nobody would continue us.
                let is_job_control =
                    matches!(libc::WSTOPSIG(status), libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU);
                if is_job_control && self.has_terminal {
                    self.stop_with_the_command(libc::WSTOPSIG(status));
                }
            } else if libc::WIFCONTINUED(status) {
                self.stopped_by = None;
            } else if is_over(status) {
                let end = ChildEnd::of_status(status);
                return Some(Reaped { pid: pid.cast_unsigned(), end, max_rss_bytes });
            }
        }
        None
    }

    fn stop_with_the_command(&mut self, signal: i32) {
        stop_self(signal);
        // The SIGCONT that ended this is among the signals that come next.
        self.was_continued = true;
    }

    /// A shell continues the process group; a command that has a group of its own is not in it.
    fn continue_the_command(&self) {
        if is_stopped(self.child) {
            // SAFETY: the child has not been waited for, so the pid is its own.
            unsafe { libc::kill(self.child, libc::SIGCONT) };
        }
    }
}

fn is_stopped(pid: libc::pid_t) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| {
        stat.rsplit_once(')').is_some_and(|(_, fields)| fields.trim_start().starts_with('T'))
    })
}

fn is_over(status: i32) -> bool {
    libc::WIFEXITED(status) || libc::WIFSIGNALED(status)
}

/// A child that has ended, stopped or gone on, its status and its largest resident size.
pub(crate) fn changed_child() -> Option<(libc::pid_t, i32, u64)> {
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    let flags = libc::WNOHANG | libc::WUNTRACED | libc::WCONTINUED;
    // SAFETY: both are ours; the structure is plain numbers and was zeroed.
    let (pid, usage) = unsafe {
        let pid = libc::wait4(-1, &raw mut status, flags, usage.as_mut_ptr());
        (pid, usage.assume_init())
    };
    let max_rss_bytes = u64::try_from(usage.ru_maxrss).unwrap_or(0) * 1024;
    (pid > 0).then_some((pid, status, max_rss_bytes))
}

/// Makes this process the parent of what its descendants leave behind, so that these are still found.
pub(crate) fn become_subreaper() -> io::Result<()> {
    // SAFETY: the call takes numbers.
    let result = unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
