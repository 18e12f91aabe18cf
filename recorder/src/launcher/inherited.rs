//! What the launcher was started with and has changed for itself: the recorded program is to have it as it was.

use std::mem::MaybeUninit;
use std::ptr;

/// Standard descriptors and dispositions of this process before Rust's runtime touched them.
///
/// Rust opens `/dev/null` for a closed standard descriptor and ignores SIGPIPE, both before `main`; a program that wants
/// to pass on what it was given has to look earlier.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AtStart {
    /// Whether standard input, output and error were closed.
    pub is_closed: [bool; 3],
    /// Whether SIGPIPE was ignored.
    pub ignores_sigpipe: bool,
}

impl AtStart {
    /// Looks at the descriptors and dispositions of this process. Makes a few system calls and nothing else, so it may
    /// be called before `main`.
    #[must_use]
    pub fn look() -> Self {
        // SAFETY: F_GETFD takes a number and changes nothing.
        let is_closed = |fd: i32| unsafe { libc::fcntl(fd, libc::F_GETFD) } == -1;
        Self {
            is_closed: [is_closed(0), is_closed(1), is_closed(2)],
            ignores_sigpipe: is_ignored(libc::SIGPIPE),
        }
    }
}

/// What the recorded program inherits instead of what the launcher set for itself.
#[derive(Clone, Copy)]
pub(crate) struct Inherited {
    at_start: AtStart,
    mask: libc::sigset_t,
    ignores_sigchld: bool,
}

impl Inherited {
    /// Blocks all signals for this thread, and those that it starts, and has children waited for; what was before.
    pub(crate) fn take(at_start: AtStart) -> Self {
        let ignores_sigchld = is_ignored(libc::SIGCHLD);
        // SAFETY: the sets are initialised by the calls before they are read; the disposition is the default one, with
        // no handler to call. An ignored SIGCHLD would have the kernel throw away what children exit with.
        let mask = unsafe {
            let mut all = MaybeUninit::uninit();
            let mut before = MaybeUninit::<libc::sigset_t>::zeroed();
            libc::sigfillset(all.as_mut_ptr());
            libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
            libc::signal(libc::SIGCHLD, libc::SIG_DFL);
            before.assume_init()
        };
        Self { at_start, mask, ignores_sigchld }
    }

    /// Has children waited for, and leaves signals alone; what was before.
    pub(crate) fn with_signals(at_start: AtStart) -> Self {
        let ignores_sigchld = is_ignored(libc::SIGCHLD);
        // SAFETY: the set is initialised by the call before it is read; without a new set it only reads. The disposition
        // has no handler to call.
        let mask = unsafe {
            let mut now = MaybeUninit::<libc::sigset_t>::zeroed();
            libc::pthread_sigmask(libc::SIG_SETMASK, ptr::null(), now.as_mut_ptr());
            libc::signal(libc::SIGCHLD, libc::SIG_DFL);
            now.assume_init()
        };
        Self { at_start, mask, ignores_sigchld }
    }

    /// In a forked child, before it becomes the program: sets everything as it was.
    ///
    /// # Safety
    /// Only for a child between fork and exec: it closes standard descriptors.
    pub(crate) unsafe fn restore(&self) {
        for (fd, _) in (0..).zip(self.at_start.is_closed).filter(|(_, is_closed)| *is_closed) {
            // SAFETY: a call that a forked child may make; Rust has opened this for the launcher alone.
            unsafe { libc::close(fd) };
        }
        // SAFETY: the caller's promise.
        unsafe { self.restore_signals() };
    }

    /// As [`Self::restore`], without the descriptors.
    ///
    /// # Safety
    /// Only for a child between fork and exec: it has signals delivered again.
    pub(crate) unsafe fn restore_signals(&self) {
        // SAFETY: calls that a forked child may make; the mask is one that the kernel gave. It comes last: a signal that
        // waits is then delivered to what looks like the program.
        unsafe {
            if self.at_start.ignores_sigpipe {
                libc::signal(libc::SIGPIPE, libc::SIG_IGN);
            }
            if self.ignores_sigchld {
                libc::signal(libc::SIGCHLD, libc::SIG_IGN);
            }
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.mask, ptr::null_mut());
        }
    }
}

fn is_ignored(signal: i32) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: without a new action the call only reads; the structure is plain numbers and was zeroed.
    let action = unsafe {
        libc::sigaction(signal, ptr::null(), action.as_mut_ptr());
        action.assume_init()
    };
    action.sa_sigaction == libc::SIG_IGN
}
