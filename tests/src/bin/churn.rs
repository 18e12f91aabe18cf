//! Allocates and frees in a known order, as a recorder is told to by the environment.
//!
//! `churn COUNTS EVENTS STEP_EVENTS EPOCH_STEPS`: event `n` is [`Churn::event`] of `n`; once its call has returned, counter
//! 0 of the file COUNTS is `n + 1`. A step is STEP_EVENTS events, an epoch EPOCH_STEPS steps.
//!
//! In the environment: CHURN_DUMP_EVERY=N, after every N events what is kept is asked for; CHURN_OOM_AT=N, after N events
//! the host is out of memory; CHURN_PAUSE_AT=N, after N events it waits until counter 1 is not 0; CHURN_LEAK_BYTES=N,
//! each step begins with an allocation of N bytes, for good; CHURN_STEP_MILLIS=N, it sleeps so long between steps;
//! CHURN_LIFE=N, blocks are alive for N events. With CHURN_RECORDINGS=N it only starts and stops N recorders.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tidegauge_recorder::{self as tg, Existing, Recorder};
use tidegauge_tests::churn::{Churn, LIFE};
use tidegauge_tests::counts::Counts;

/// Open descriptors, and threads.
fn open_things() -> Result<[usize; 2]> {
    let count = |folder: &str| anyhow::Ok(std::fs::read_dir(folder)?.count());
    Ok([count("/proc/self/fd")?, count("/proc/self/task")?])
}

/// Starts and stops so many recorders one after the other; what stays open must not depend on how many.
fn record_again_and_again(recordings: u64) -> Result<()> {
    let before = open_things()?;
    for _ in 0..recordings {
        let recorder = Recorder::from_environment().context("TIDEGAUGE is not set")?;
        let recorder = recorder.existing(Existing::Join).start()?;
        (0..1000).for_each(|n| tg::alloc(-1, n, 8));
        tg::mark("done");
        recorder.stop()?;
    }
    ensure!(open_things()? == before, "{:?} descriptors and threads, before {before:?}", open_things()?);
    Ok(())
}

fn main() -> Result<()> {
    if let Some(recordings) = std::env::var("CHURN_RECORDINGS").ok().and_then(|text| text.parse().ok()) {
        return record_again_and_again(recordings);
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number =
        |at: usize| arguments.get(at).context("a number is missing")?.parse::<u64>().context("number");
    let variable = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let counts = Counts::open(Path::new(&arguments[0]))?;
    let (events, step_events, epoch_steps) = (number(1)?, number(2)?, number(3)?);
    let builder = Recorder::from_environment().context("TIDEGAUGE is not set")?;
    let recorder = builder.existing(Existing::Join).counters_at_checkpoints(false).start()?;
    let (dump_every, oom_at) = (variable("CHURN_DUMP_EVERY"), variable("CHURN_OOM_AT"));
    let life = variable("CHURN_LIFE").unwrap_or(LIFE);
    let step_pause = Duration::from_millis(variable("CHURN_STEP_MILLIS").unwrap_or(0));
    let (pause_at, leak) = (variable("CHURN_PAUSE_AT"), variable("CHURN_LEAK_BYTES"));
    let (mut epoch, mut step) = (None, None);
    for n in 0..events {
        if n % step_events == 0 {
            drop(step.take());
            std::thread::sleep(step_pause);
            let number = n / step_events;
            if number % epoch_steps == 0 {
                drop(epoch.take());
                epoch = Some(tg::epoch((number / epoch_steps) as u32));
            }
            step = Some(tg::step(number as i64));
            if let Some(bytes) = leak {
                tg::alloc(-1, 1 << 50 | number, bytes);
            }
        }
        match Churn::event(n, life) {
            Churn::Alloc { address, size_bytes } => tg::alloc(-1, address, size_bytes),
            Churn::Free { address } => tg::free(-1, address),
        }
        counts.set(0, n + 1);
        if dump_every.is_some_and(|every| n % every == every - 1) {
            tg::dump();
        }
        if oom_at == Some(n + 1) {
            tg::oom(-1, 1 << 40);
        }
        while pause_at == Some(n + 1) && counts.get(1) == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    drop(step);
    drop(epoch);
    recorder.stop()?;
    Ok(())
}
