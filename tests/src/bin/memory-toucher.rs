//! Touches so many bytes, says what the kernel made of it, and waits to be told to end.
//!
//! `memory-toucher COUNTS MEBIBYTES`: counter [`PEAK`] of the file COUNTS becomes VmHWM in KiB once every page is
//! touched, [`READY`] the pid; when [`END`] is set, it gives the memory back and ends.

use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tidegauge_tests::counts::Counts;
use tidegauge_tests::programs::status_kib;
use tidegauge_tests::signals::{END, READY};

/// Counter of the peak.
const PEAK: usize = 1;

fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let counts = Counts::open(Path::new(&arguments.next().context("COUNTS is missing")?))?;
    let mebibytes = arguments.next().context("MEBIBYTES is missing")?;
    let mebibytes: usize = mebibytes.to_string_lossy().parse()?;
    let mut memory = vec![0u8; mebibytes << 20];
    memory.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
    black_box(&memory);
    counts.set(PEAK, status_kib("VmHWM"));
    counts.set(READY, u64::from(std::process::id()));
    while counts.get(END) == 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}
