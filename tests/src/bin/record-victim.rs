//! Records allocations from several threads, as fast as asked, until it is killed or has recorded enough.
//!
//! `record-victim RUN COUNTS THREADS EVENTS_PER_MILLISECOND [EVENTS]`: thread `t`'s `n`-th event allocates address
//! `t << 40 | n` of `16 + 8 * n` bytes; once the call has returned, counter `t` of the file COUNTS is `n + 1`.
//!
//! In the environment:
//! * VICTIM_SITE_AFTER=N: threads are at no site before event N, and at site `late` from there on.
//! * VICTIM_DEED=NAME, VICTIM_AT=N: after its N-th event, thread 0 does that, see [`Deed`].
//! * VICTIM_CAP_BYTES=N: the journal has no more than that.
//! * VICTIM_GO_ON=1: a recorder that cannot be started or stopped is complained of on standard error, and nothing else.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use tidegauge_recorder::{self as tg, Existing, Recorder, RecordingAllocator};
use tidegauge_tests::counts::Counts;
use tidegauge_tests::deed::{
    CHILD_COUNTER, Deed, EXIT_STATUS, STAY_SECONDS, fork, leave_no_core, stay, store_nowhere, wait_for,
};
use tidegauge_tests::no_space;

#[global_allocator]
static ALLOCATOR: RecordingAllocator = RecordingAllocator::system().with_min_bytes(1 << 20);

/// What a thread is to do.
#[derive(Debug, Clone)]
struct Task {
    run: PathBuf,
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
        run: PathBuf::from(&arguments[0]),
        counts: Arc::new(Counts::open(Path::new(&arguments[1]))?),
        per_millisecond: number(3)?,
        events: if arguments.len() > 4 { number(4)? } else { u64::MAX },
        site_after: variable_number("VICTIM_SITE_AFTER")?,
        deed: deed.zip(variable_number("VICTIM_AT")?),
    };
    let mut builder = Recorder::builder(&task.run).existing(Existing::Join);
    if let Some(bytes) = variable_number("VICTIM_CAP_BYTES")? {
        builder = builder.journal_cap_bytes(bytes);
    }
    let goes_on = variable("VICTIM_GO_ON").is_some();
    let recorder = match builder.start() {
        Ok(recorder) => Some(recorder),
        Err(error) if goes_on => {
            eprintln!("start: {error}");
            None
        }
        Err(error) => return Err(error.into()),
    };
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
    match recorder.map(Recorder::stop) {
        Some(Err(error)) if goes_on => eprintln!("stop: {error}"),
        Some(Err(error)) => bail!(error),
        _ => {}
    }
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
            && !carry_out(deed, task)
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
fn carry_out(deed: Deed, task: &Task) -> bool {
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
        Deed::NoSpace => no_space::begin().expect("a filter of system calls"),
        Deed::Fork => assert_eq!(run_child(record_in_child), Some(EXIT_STATUS)),
        Deed::ForkRecord => assert_eq!(run_child(|| record_a_run_of_its_own(task)), Some(EXIT_STATUS)),
        Deed::ForkStay => {
            // SAFETY: the child does nothing.
            let child = unsafe {
                fork(|| {
                    stay();
                    0
                })
            };
            leave_pid(task, child.expect("a child").cast_unsigned());
        }
        Deed::ExecStay => {
            let child = std::process::Command::new("sleep").arg(STAY_SECONDS.to_string()).spawn();
            leave_pid(task, child.expect("a child").id());
        }
    }
    true
}

fn leave_pid(task: &Task, pid: u32) {
    task.counts.set(CHILD_COUNTER, u64::from(pid));
}

fn run_child(child: impl FnOnce() -> i32) -> Option<i32> {
    // SAFETY: what children here call takes locks of the C library, which are free in a forked child, and of the
    // recorder, which has been forgotten.
    wait_for(unsafe { fork(child) }.expect("a child"))
}

fn record_in_child() -> i32 {
    for n in 0..100_000 {
        tg::alloc(-1, n, 0);
        tg::mark("in the child");
    }
    EXIT_STATUS
}

/// As thread 0 of a victim.
fn record_a_run_of_its_own(task: &Task) -> i32 {
    let run = task.run.with_extension("child");
    let Ok(recorder) = Recorder::builder(run).start() else { return 1 };
    for n in 0..100_000 {
        tg::alloc(-1, n, 16 + 8 * n);
    }
    if recorder.stop().is_ok() { EXIT_STATUS } else { 2 }
}
