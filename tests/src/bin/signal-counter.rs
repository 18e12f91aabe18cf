//! Counts the signals that reach it, until it is told to end.
//!
//! `signal-counter COUNTS`: counter `n` of the file COUNTS is how often signal `n` has come. Counter [`READY`] becomes the
//! program's pid once all handlers are there; when counter [`END`] is set, it exits with that.

use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tidegauge_tests::counts::Counts;
use tidegauge_tests::signals::{COUNTED, END, READY};

static COUNTS: OnceLock<Counts> = OnceLock::new();

extern "C" fn count(signal: libc::c_int) {
    if let Some(counts) = COUNTS.get() {
        let signal = signal.unsigned_abs() as usize;
        counts.set(signal, counts.get(signal) + 1);
    }
}

fn main() -> Result<()> {
    let path = std::env::args_os().nth(1).context("COUNTS is missing")?;
    let counts = COUNTS.get_or_init(|| Counts::open(Path::new(&path)).expect("a mapped file"));
    for signal in COUNTED {
        // SAFETY: the handler stores to a mapped file and takes no lock; while one runs, the others wait.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = count as *const () as usize;
            libc::sigfillset(&raw mut action.sa_mask);
            action.sa_flags = libc::SA_RESTART;
            libc::sigaction(signal, &raw const action, std::ptr::null_mut());
        }
    }
    counts.set(READY, u64::from(std::process::id()));
    while counts.get(END) == 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    std::process::exit(i32::try_from(counts.get(END))?);
}
