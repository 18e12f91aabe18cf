//! Records allocations from several threads, as fast as asked, until it is killed or has recorded enough.
//!
//! `record-victim RUN COUNTS THREADS EVENTS_PER_MILLISECOND [EVENTS]`: thread `t`'s `n`-th event allocates address
//! `t << 40 | n` of `16 + 8 * n` bytes; once the call has returned, counter `t` of the file COUNTS is `n + 1`. With
//! VICTIM_SITE_AFTER=N in the environment, threads are at no site before event N, and at site `late` from there on.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tidegauge_recorder::{self as tg, Existing, Recorder, RecordingAllocator};
use tidegauge_tests::counts::Counts;

#[global_allocator]
static ALLOCATOR: RecordingAllocator = RecordingAllocator::system().with_min_bytes(1 << 20);

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number =
        |at: usize| arguments.get(at).context("a number is missing")?.parse::<u64>().context("not a number");
    let (run, counts) = (Path::new(&arguments[0]), Counts::open(Path::new(&arguments[1]))?);
    let (threads, rate) = (number(2)? as usize, number(3)?);
    let events = if arguments.len() > 4 { number(4)? } else { u64::MAX };
    let recorder = Recorder::builder(run).existing(Existing::Join).start()?;
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let counts = &counts;
            scope.spawn(move || record(thread, counts, rate, events));
        }
    });
    recorder.stop()?;
    Ok(())
}

fn record(thread: usize, counts: &Counts, per_millisecond: u64, events: u64) {
    let late = std::env::var("VICTIM_SITE_AFTER").ok().and_then(|text| text.parse::<u64>().ok());
    let mut site = late.is_none().then(|| tg::site(&format!("thread{thread}")));
    let start = Instant::now();
    for n in 0..events {
        if Some(n) == late {
            site = Some(tg::site("late"));
        }
        tg::alloc(-1, (thread as u64) << 40 | n, 16 + 8 * n);
        counts.set(thread, n + 1);
        if n % per_millisecond == per_millisecond - 1 {
            tg::mark("pause");
            let due = Duration::from_millis((n + 1) / per_millisecond);
            std::thread::sleep(due.saturating_sub(start.elapsed()));
        }
    }
    drop(site);
}
