//! What `signal-counter` and those who look at it agree on.

/// Signals that are counted: those that programs use, and a queued one.
pub const COUNTED: [i32; 11] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGABRT,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGALRM,
    libc::SIGTERM,
    libc::SIGCONT,
    libc::SIGWINCH,
    // A realtime signal: each that is sent comes.
    40,
];
/// Counter of the program's pid, once it is ready.
pub const READY: usize = 0;
/// Counter of what it is to exit with.
pub const END: usize = 63;
