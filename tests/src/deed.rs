//! What a thread of `record-victim` does in the middle of recording: mostly, the ways in which programs die.

use std::str::FromStr;

/// One deed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// `abort()`.
    Abort,
    /// A store to an address that nothing is mapped at.
    Segfault,
    /// `_exit`: no destructor, no exit handler.
    QuickExit,
    /// `std::process::exit`: exit handlers, but no destructor.
    Exit,
    /// A panic in this thread.
    Panic,
    /// This thread ends, the others go on.
    End,
    /// A panic in the main thread, which unwinds through the recorder.
    PanicInMain,
    /// A panic in the main thread, with a recorder that nobody drops.
    PanicForgotten,
    /// From here on no file of this process has space.
    NoSpace,
    /// Forks a child that records, and waits for it.
    Fork,
    /// Forks a child that starts a recorder of its own, into `RUN.child`, and waits for it.
    ForkRecord,
    /// Forks a child that does nothing for a minute, and leaves its pid in [`Counts`](crate::counts::Counts).
    ForkStay,
    /// Runs another program that does nothing for a minute, and leaves its pid there.
    ExecStay,
}

/// The counter that a child's pid is left in.
pub const CHILD_COUNTER: usize = 63;
/// How long a child stays that nobody ends.
pub const STAY_SECONDS: u32 = 60;

/// Status that [`Deed::QuickExit`] and [`Deed::Exit`] end with.
pub const EXIT_STATUS: i32 = 7;

const NAMES: [(&str, Deed); 13] = [
    ("abort", Deed::Abort),
    ("segfault", Deed::Segfault),
    ("_exit", Deed::QuickExit),
    ("exit", Deed::Exit),
    ("panic", Deed::Panic),
    ("end", Deed::End),
    ("panic_in_main", Deed::PanicInMain),
    ("panic_forgotten", Deed::PanicForgotten),
    ("no_space", Deed::NoSpace),
    ("fork", Deed::Fork),
    ("fork_record", Deed::ForkRecord),
    ("fork_stay", Deed::ForkStay),
    ("exec_stay", Deed::ExecStay),
];

impl FromStr for Deed {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> anyhow::Result<Self> {
        let known = NAMES.iter().find(|(known, _)| *known == name);
        known.map(|(_, deed)| *deed).ok_or_else(|| anyhow::anyhow!("no such deed: {name}"))
    }
}

/// Has the kernel write no core file when this process dies.
pub fn leave_no_core() {
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure is whole and only read.
    unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const none) };
}

/// Stores where nothing is mapped. Rust's own handler of that signal gives the default one back, so the store is
/// repeated and kills.
pub fn store_nowhere() {
    // SAFETY: none. The kernel never maps this page, so nothing is overwritten; dying of it is the purpose.
    unsafe { std::ptr::with_exposed_provenance_mut::<u64>(8).write_volatile(1) };
}

/// Forks, and returns the child's pid; the child ends with the status that it returns.
///
/// # Errors
/// If there can be no further process.
///
/// # Safety
/// Of the threads of this process the child has only the calling one: it must not wait for a lock that another one may
/// hold.
pub unsafe fn fork(child: impl FnOnce() -> i32) -> std::io::Result<libc::pid_t> {
    // SAFETY: the caller's promise; the child leaves without running destructors of what it shares.
    match unsafe { libc::fork() } {
        -1 => Err(std::io::Error::last_os_error()),
        // SAFETY: it does not return.
        0 => unsafe { libc::_exit(child()) },
        pid => Ok(pid),
    }
}

/// Waits for a child; its exit status if it has one.
#[must_use]
pub fn wait_for(child: libc::pid_t) -> Option<i32> {
    let mut status = 0;
    // SAFETY: `status` is ours.
    let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
    (waited == child && libc::WIFEXITED(status)).then(|| libc::WEXITSTATUS(status))
}

/// Does nothing for [`STAY_SECONDS`], or until it is killed.
pub fn stay() {
    // SAFETY: both calls take no memory; the alarm's signal ends the process.
    unsafe {
        libc::alarm(STAY_SECONDS);
        loop {
            libc::pause();
        }
    }
}
