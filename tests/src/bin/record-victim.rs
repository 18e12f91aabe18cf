//! Records allocations from several threads, as fast as asked, until it is killed or has recorded enough.
//!
//! `record-victim RUN COUNTS THREADS EVENTS_PER_MILLISECOND [EVENTS]`: thread `t`'s `n`-th event allocates address
//! `t << 40 | n` of `16 + 8 * n` bytes; once the call has returned, counter `t` of the file COUNTS is `n + 1`.
//!
//! In the environment:
//! * VICTIM_SITE_AFTER=N: threads are at no site before event N, and at site `late` from there on.
//! * VICTIM_DEED=NAME, VICTIM_AT=N: after its N-th event, thread 0 does that, see [`Deed`].

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tidegauge_recorder::{self as tg, Existing, Recorder, RecordingAllocator};
use tidegauge_tests::counts::Counts;
use tidegauge_tests::deed::{Deed, EXIT_STATUS, leave_no_core, store_nowhere};

#[global_allocator]
static ALLOCATOR: RecordingAllocator = RecordingAllocator::system().with_min_bytes(1 << 20);

/// What a thread is to do.
#[derive(Debug, Clone)]
struct Task {
    counts: Arc<Counts>,
    per_millisecond: u64,
    events: u64,
    site_after: Option<u64>,
    deed: Option<(Deed, u64)>,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number =
        |at: usize| arguments.get(at).context("a number is missing")?.parse::<u64>().context("not a number");
    let variable = |name: &str| std::env::var(name).ok();
    let variable_number =
        |name: &str| variable(name).map(|text| text.parse::<u64>()).transpose().context("not a number");
    let deed = variable("VICTIM_DEED").map(|name| name.parse::<Deed>()).transpose()?;
    let task = Task {
        counts: Arc::new(Counts::open(Path::new(&arguments[1]))?),
        per_millisecond: number(3)?,
        events: if arguments.len() > 4 { number(4)? } else { u64::MAX },
        site_after: variable_number("VICTIM_SITE_AFTER")?,
        deed: deed.zip(variable_number("VICTIM_AT")?),
    };
    let recorder = Recorder::builder(&arguments[0]).existing(Existing::Join).start()?;
    let threads: Vec<_> = (0..number(2)? as usize)
        .map(|thread| {
            let task = task.clone();
            std::thread::spawn(move || record(thread, &task))
        })
        .collect();
    if let Some((deed @ (Deed::PanicInMain | Deed::PanicForgotten), at)) = task.deed {
        while task.counts.get(0) < at {
            std::thread::sleep(Duration::from_millis(1));
        }
        if deed == Deed::PanicForgotten {
            std::mem::forget(recorder);
        }
        panic!("as asked");
    }
    for (thread, handle) in threads.into_iter().enumerate() {
        let panicked = handle.join().is_err();
        let meant = thread == 0 && task.deed.is_some_and(|(deed, _)| deed == Deed::Panic);
        ensure!(panicked == meant, "thread {thread} panicked: {panicked}");
    }
    recorder.stop()?;
    Ok(())
}

fn record(thread: usize, task: &Task) {
    let mut site = task.site_after.is_none().then(|| tg::site(&format!("thread{thread}")));
    let deed = task.deed.filter(|_| thread == 0);
    let start = Instant::now();
    for n in 0..task.events {
        if Some(n) == task.site_after {
            site = Some(tg::site("late"));
        }
        tg::alloc(-1, (thread as u64) << 40 | n, 16 + 8 * n);
        task.counts.set(thread, n + 1);
        if let Some((deed, at)) = deed
            && at == n + 1
            && !carry_out(deed)
        {
            return;
        }
        if n % task.per_millisecond == task.per_millisecond - 1 {
            tg::mark("pause");
            let due = Duration::from_millis((n + 1) / task.per_millisecond);
            std::thread::sleep(due.saturating_sub(start.elapsed()));
        }
    }
    drop(site);
}

/// Whether the thread goes on afterwards.
fn carry_out(deed: Deed) -> bool {
    leave_no_core();
    match deed {
        Deed::Abort => std::process::abort(),
        Deed::Segfault => store_nowhere(),
        // SAFETY: it never returns, and asks nothing of the program's state.
        Deed::QuickExit => unsafe { libc::_exit(EXIT_STATUS) },
        Deed::Exit => std::process::exit(EXIT_STATUS),
        Deed::Panic => panic!("as asked"),
        Deed::End => return false,
        // The main thread has been waiting for this event.
        Deed::PanicInMain | Deed::PanicForgotten => {}
    }
    true
}
