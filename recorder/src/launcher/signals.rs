//! Signals, taken one by one instead of being delivered: which of them the recorded program has got already, and which
//! are to be passed on.
//!
//! All are blocked while a command runs. A signal that the terminal raises goes to the whole foreground process group,
//! of which the command is a member: it has it. One that a process sends to the launcher alone is passed on, once.
//! Nobody can tell that from one that a process sends to the group as a whole (`kill -TERM -PGID`): such a signal reaches
//! the command twice, once directly.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

/// A signal that has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arrived {
    pub(crate) number: i32,
    /// Who raised it: a process if not positive, else the kernel.
    code: i32,
    sender: u32,
    /// What came with it, of one that was queued.
    value: u64,
}

impl Arrived {
    /// True if a process has sent it, to this one.
    pub(crate) fn is_from_a_process(&self) -> bool {
        self.code <= libc::SI_USER
    }

    /// Whether the command is to get it from us: not what this process has raised itself (a closed pipe does that), and
    /// not what the recorded program has sent to its own group.
    pub(crate) fn is_to_be_passed_on(&self) -> bool {
        let own = std::process::id();
        if !self.is_from_a_process() {
            return self.is_for_us_alone();
        }
        self.number != libc::SIGCHLD && self.sender != own && !is_descendant(self.sender, own)
    }

    /// Whether the kernel raised it for this one process, and not for all that the terminal has in front: a timer that was
    /// set before we began, and a terminal that is gone, which only the leader of the session is told.
    fn is_for_us_alone(&self) -> bool {
        match self.number {
            libc::SIGALRM | libc::SIGVTALRM | libc::SIGPROF => true,
            // SAFETY: both take and give numbers.
            libc::SIGHUP => unsafe { libc::getsid(0) == libc::getpid() },
            _ => false,
        }
    }

    /// Sends it to a child that has not been waited for.
    pub(crate) fn pass_on(&self, child: libc::pid_t) {
        // SAFETY: the calls take numbers; the value is only handed on. A child that is over takes no harm.
        unsafe {
            if self.code == libc::SI_QUEUE {
                let value = libc::sigval { sival_ptr: std::ptr::without_provenance_mut(self.value as usize) };
                libc::sigqueue(child, self.number, value);
            } else {
                libc::kill(child, self.number);
            }
        }
    }
}

/// Whether process `pid` descends from `ancestor`; false if that can no longer be told.
fn is_descendant(pid: u32, ancestor: u32) -> bool {
    // Deeper is no tree but a loop of pids that were used again while we looked.
    const MAX_DEPTH: u32 = 64;
    let mut pid = pid;
    for _ in 0..MAX_DEPTH {
        let Some(parent) = parent(pid) else { return false };
        if parent == ancestor {
            return true;
        }
        pid = parent;
    }
    false
}

fn parent(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // After the command, which may hold spaces and parentheses: state, then the parent.
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// The blocked signals of this process, to be read.
#[derive(Debug)]
pub(crate) struct SignalQueue {
    fd: OwnedFd,
}

impl SignalQueue {
    /// Of these signals, which are blocked by this and stay so; of all if there are none.
    pub(crate) fn of(signals: &[i32]) -> io::Result<Self> {
        // SAFETY: the set is initialised before it is read; the descriptor is new and nobody else's.
        unsafe {
            let mut set = MaybeUninit::uninit();
            if signals.is_empty() {
                libc::sigfillset(set.as_mut_ptr());
            } else {
                libc::sigemptyset(set.as_mut_ptr());
            }
            for signal in signals {
                libc::sigaddset(set.as_mut_ptr(), *signal);
            }
            libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut());
            let fd = libc::signalfd(-1, set.as_ptr(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
            if fd == -1 {
                return Err(io::Error::last_os_error());
            }
            Ok(Self { fd: OwnedFd::from_raw_fd(fd) })
        }
    }

    /// From here on these signals do what they always do: the way out for whoever does not want to wait for a disk that
    /// hangs.
    pub(crate) fn let_through(&self, signals: &[i32]) {
        // Those that have come were meant for the command.
        while self.next().is_some() {}
        // SAFETY: the set is initialised before it is read; the mask is that of this thread.
        unsafe {
            let mut set = MaybeUninit::uninit();
            libc::sigemptyset(set.as_mut_ptr());
            for signal in signals {
                libc::sigaddset(set.as_mut_ptr(), *signal);
            }
            libc::pthread_sigmask(libc::SIG_UNBLOCK, set.as_ptr(), std::ptr::null_mut());
        }
    }

    /// To wait for.
    pub(crate) fn fd(&self) -> i32 {
        self.fd.as_raw_fd()
    }

    /// The next that has come, if one has.
    pub(crate) fn next(&self) -> Option<Arrived> {
        let mut info = MaybeUninit::<libc::signalfd_siginfo>::zeroed();
        let bytes = size_of::<libc::signalfd_siginfo>();
        // SAFETY: the kernel writes no more than the structure, which is plain numbers and was zeroed.
        let (read, info) = unsafe {
            let read = libc::read(self.fd.as_raw_fd(), info.as_mut_ptr().cast(), bytes);
            (read, info.assume_init())
        };
        (usize::try_from(read) == Ok(bytes)).then(|| Arrived {
            number: info.ssi_signo.cast_signed(),
            code: info.ssi_code,
            sender: info.ssi_pid,
            value: info.ssi_ptr,
        })
    }
}

/// Stops this process with `signal`, as the terminal would have; returns when it is continued.
pub(crate) fn stop_self(signal: i32) {
    // SAFETY: dispositions and masks are set to what they were; the set is initialised before it is read. The signal
    // stays blocked in the other threads, so this one takes it, and the kernel stops all of them.
    unsafe {
        let before = libc::signal(signal, libc::SIG_DFL);
        let mut set = MaybeUninit::uninit();
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), signal);
        libc::raise(signal);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, set.as_ptr(), std::ptr::null_mut());
        // Stopped and continued.
        libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut());
        if before != libc::SIG_ERR {
            libc::signal(signal, before);
        }
    }
}

/// The number of a signal by its name (`USR2`, `SIGUSR2`) or number, if it can be taken.
#[must_use]
pub fn signal_number(text: &str) -> Option<i32> {
    const NAMES: [(&str, i32); 10] = [
        ("HUP", libc::SIGHUP),
        ("INT", libc::SIGINT),
        ("QUIT", libc::SIGQUIT),
        ("USR1", libc::SIGUSR1),
        ("USR2", libc::SIGUSR2),
        ("ALRM", libc::SIGALRM),
        ("TERM", libc::SIGTERM),
        ("CONT", libc::SIGCONT),
        ("WINCH", libc::SIGWINCH),
        ("IO", libc::SIGIO),
    ];
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let named = NAMES.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
    let number = named.or_else(|| name.parse().ok())?;
    let is_untakeable = matches!(number, libc::SIGKILL | libc::SIGSTOP | libc::SIGCHLD);
    ((1..=libc::SIGRTMAX()).contains(&number) && !is_untakeable).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_and_numbers() {
        for text in ["USR2", "SIGUSR2", "usr2", "12"] {
            assert_eq!(signal_number(text), Some(libc::SIGUSR2), "{text}");
        }
        for text in ["", "KILL", "9", "0", "-1", "1000", "NONSENSE"] {
            assert_eq!(signal_number(text), None, "{text}");
        }
    }

    #[test]
    fn descent_is_told_from_the_kernel_s_tree() {
        let own = std::process::id();
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        assert!(is_descendant(child.id(), own));
        assert!(!is_descendant(own, child.id()));
        assert!(!is_descendant(1, own) && !is_descendant(0, own) && !is_descendant(u32::MAX, own));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
