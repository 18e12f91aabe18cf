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
}

/// Status that [`Deed::QuickExit`] and [`Deed::Exit`] end with.
pub const EXIT_STATUS: i32 = 7;

const NAMES: [(&str, Deed); 8] = [
    ("abort", Deed::Abort),
    ("segfault", Deed::Segfault),
    ("_exit", Deed::QuickExit),
    ("exit", Deed::Exit),
    ("panic", Deed::Panic),
    ("end", Deed::End),
    ("panic_in_main", Deed::PanicInMain),
    ("panic_forgotten", Deed::PanicForgotten),
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
