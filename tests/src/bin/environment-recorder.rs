//! Records into the run that the environment names.
//!
//! `environment-recorder COUNTS EVENTS`: makes so many allocation events, sets counter [`READY`] to its pid and waits for
//! counter [`END`]: 1 stops the recorder, 2 exits with the recorder on, 3 dies of SIGKILL, 4 touches a gibibyte and does
//! as 1.

use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tidegauge_recorder::{self as tg, Recorder};
use tidegauge_tests::counts::Counts;
use tidegauge_tests::signals::{END, READY};

fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let counts = Counts::open(Path::new(&arguments.next().context("COUNTS is missing")?))?;
    let events = arguments.next().context("EVENTS is missing")?;
    let events: u64 = events.to_string_lossy().parse()?;
    let recorder = Recorder::from_environment().context("the environment names no run")?.start()?;
    for n in 0..events {
        tg::alloc(-1, n, 16 + 8 * n);
    }
    counts.set(READY, u64::from(std::process::id()));
    while counts.get(END) == 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    match counts.get(END) {
        1 => drop(recorder.stop()?),
        4 => {
            let mut memory = vec![0u8; 1 << 30];
            memory.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
            black_box(&memory);
            recorder.stop()?;
        }
        2 => std::process::exit(2),
        // SAFETY: it takes numbers, and ends this process.
        _ => unsafe {
            libc::kill(libc::getpid(), libc::SIGKILL);
        },
    }
    Ok(())
}
