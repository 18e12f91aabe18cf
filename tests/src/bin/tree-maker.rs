//! Makes a process tree: a child in a session of its own, an orphan of a double fork that touches memory, and children
//! that come and go.
//!
//! `tree-maker COUNTS MEBIBYTES`: counter 1 becomes the pid of the child with a session of its own, 2 that of the orphan,
//! once it has touched its memory; 3 counts the children that came and went. When [`END`] is set, all end.

use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tidegauge_tests::counts::Counts;
use tidegauge_tests::deed::{fork, wait_for};
use tidegauge_tests::signals::{END, READY};

fn stay(counts: &Counts) {
    while counts.get(END) == 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let counts = Counts::open(Path::new(&arguments.next().context("COUNTS is missing")?))?;
    let mebibytes = arguments.next().context("MEBIBYTES is missing")?;
    let mebibytes: usize = mebibytes.to_string_lossy().parse()?;
    let own_session = || {
        // SAFETY: the call takes nothing.
        unsafe { libc::setsid() };
        counts.set(1, u64::from(std::process::id()));
        stay(&counts);
        0
    };
    let orphan = || {
        let mut memory = vec![0u8; mebibytes << 20];
        memory.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
        black_box(&memory);
        counts.set(2, u64::from(std::process::id()));
        stay(&counts);
        0
    };
    // SAFETY: this program has one thread, so a child may do all that it could; likewise below.
    unsafe { fork(own_session)? };
    // SAFETY: as above, twice.
    let parent = unsafe { fork(|| i32::from(fork(orphan).is_err()))? };
    ensure!(wait_for(parent) == Some(0), "there is no orphan");
    counts.set(READY, u64::from(std::process::id()));
    while counts.get(END) == 0 {
        // SAFETY: as above.
        let child = unsafe { fork(|| 0)? };
        ensure!(wait_for(child) == Some(0), "a child did not come and go");
        counts.set(3, counts.get(3) + 1);
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}
