//! The recorder's own threads: one provides chunks and takes samples, one seals, one merges parts.
//!
//! They take no signals, and what they allocate is not recorded.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use tidegauge_schemas::journal::{Counter, SLOTS_PER_CHUNK};
use tidegauge_schemas::part_target::PartTarget;

use crate::active::Active;
use crate::alert_follower::AlertFollower;
use crate::guard::OwnWork;
use crate::kept_events::KeptEvents;
use crate::merger::Merger;
use crate::on_alert::OnAlert;
use crate::sealer::{Finished, Sealer};
use crate::ticks;

/// Chunks made ready beforehand at least: 2 MiB each.
const MIN_AHEAD: u64 = 2;
/// And at most, when records come in fast: 64 MiB, which at ten million records a second last for 0.1 s.
const MAX_AHEAD: u64 = 32;
/// How often the provider looks if nothing wakes it.
const PROVIDER_TICK: Duration = Duration::from_millis(100);
/// How often it is looked whether there are parts to merge.
const MERGER_TICK: Duration = Duration::from_secs(1);
/// Of the merging thread, from 0 to 19: behind the program's own threads, but not so far that a stop would wait for it
/// where they take all processors.
const MERGER_NICENESS: libc::c_int = 10;
/// How often clocks are compared.
const ANCHOR_EVERY: Duration = Duration::from_secs(1);
/// How often the kernel's own peak is read, which costs more than the current size.
const PEAK_EVERY: Duration = Duration::from_secs(1);

const ASKED: u8 = 1;
const LOOKED: u8 = 2;

/// Tells the threads to end.
#[derive(Debug, Default)]
pub(crate) struct StopSignal {
    no_more_chunks: AtomicBool,
    stopping: AtomicBool,
    /// Whether a look at alerts before the end was asked for, and taken.
    last_look: AtomicU8,
    reserved: AtomicU64,
}

impl StopSignal {
    /// The gate is closed: the provider ends, and the merger. The sealer goes on, since it must have the journal to itself at the end.
    pub(crate) fn end_providing(&self) {
        self.no_more_chunks.store(true, Ordering::Release);
    }

    fn is_ending(&self) -> bool {
        self.no_more_chunks.load(Ordering::Acquire)
    }

    /// No more than `reserved` records will come.
    pub(crate) fn give(&self, reserved: u64) {
        self.reserved.store(reserved, Ordering::Relaxed);
        self.stopping.store(true, Ordering::Release);
    }

    /// Has the sealer look at alerts up to here, while they can still be recorded; waits until it has.
    pub(crate) fn look_once_more(&self, sealer: &JoinHandle<Finished>, at_most: Duration) {
        let deadline = Instant::now() + at_most;
        self.last_look.store(ASKED, Ordering::Release);
        sealer.thread().unpark();
        while self.last_look.load(Ordering::Acquire) == ASKED
            && !sealer.is_finished()
            && Instant::now() < deadline
        {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn given(&self) -> Option<u64> {
        self.stopping.load(Ordering::Acquire).then(|| self.reserved.load(Ordering::Relaxed))
    }
}

/// Starts the thread that provides chunks, samples, and wakes the sealer.
pub(crate) fn spawn_provider(
    active: &'static Active,
    stop: &'static StopSignal,
    interval: Duration,
    sealer: std::thread::Thread,
) -> std::io::Result<JoinHandle<()>> {
    spawn("tidegauge-feed", move || {
        active.journal.set_provider(std::thread::current());
        provide(active, stop, interval, &sealer);
    })
}

/// Starts the thread that seals.
pub(crate) fn spawn_sealer(
    active: &'static Active,
    stop: &'static StopSignal,
    target: PartTarget,
    kept: Option<KeptEvents>,
    follower: Option<AlertFollower>,
    on_alert: OnAlert,
) -> std::io::Result<JoinHandle<Finished>> {
    spawn("tidegauge-seal", move || {
        let mut cpu = CpuMeter::default();
        let mut sealer = Sealer::new(&active.journal, target, kept, follower);
        loop {
            if let Some(reserved) = stop.given() {
                let finished = sealer.finish(reserved);
                cpu.count(active);
                return finished;
            }
            let is_last_look = stop.last_look.load(Ordering::Acquire) == ASKED;
            sealer.advance();
            sealer.take_raised().iter().for_each(|alert| on_alert.raise(active, alert));
            if is_last_look {
                stop.last_look.store(LOOKED, Ordering::Release);
            }
            cpu.count(active);
            std::thread::park_timeout(PROVIDER_TICK);
        }
    })
}

/// Starts the thread that merges parts; when it ends, it says what went wrong, if something did.
pub(crate) fn spawn_merger(
    active: &'static Active,
    stop: &'static StopSignal,
    target: PartTarget,
    journal_cap_bytes: u64,
) -> std::io::Result<JoinHandle<Option<String>>> {
    spawn("tidegauge-merge", move || {
        // SAFETY: it takes numbers; on Linux, 0 is the calling thread. A refusal changes nothing.
        unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, MERGER_NICENESS) };
        let mut cpu = CpuMeter::default();
        let mut merger = Merger::new(&active.journal, target, journal_cap_bytes);
        while !stop.is_ending() {
            merger.advance(&|| !stop.is_ending());
            cpu.count(active);
            std::thread::park_timeout(MERGER_TICK);
        }
        merger.note()
    })
}

/// Starts a thread that takes no signals, and whose allocations are not recorded.
pub(crate) fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> std::io::Result<JoinHandle<T>> {
    let _unblocked_later = BlockedSignals::begin();
    Builder::new().name(name.to_owned()).spawn(move || {
        let _own = OwnWork::begin();
        work()
    })
}

fn provide(active: &'static Active, stop: &StopSignal, interval: Duration, sealer: &std::thread::Thread) {
    let start = Instant::now();
    let (mut next_sample, mut next_anchor, mut next_peak) = (start, start + ANCHOR_EVERY, start);
    let mut ahead = MIN_AHEAD;
    let mut seen_chunk = 0;
    let mut cpu = CpuMeter::default();
    while !stop.is_ending() {
        let now = Instant::now();
        let chunk = active.journal.reserved() / SLOTS_PER_CHUNK;
        if chunk != seen_chunk {
            // As many as were used since the last look are ready for the time until the next, which may be as long;
            // a lull lets the number sink slowly.
            ahead = (chunk.saturating_sub(seen_chunk) + 1).max(ahead - ahead / 8).clamp(MIN_AHEAD, MAX_AHEAD);
            seen_chunk = chunk;
            sealer.unpark();
        }
        active.journal.provide_ahead(ahead);
        if now >= next_sample {
            if now.duration_since(next_sample) > interval {
                active.journal.control.count(Counter::LateSamples, 1);
            }
            active.sample_host(None);
            next_sample = (next_sample + interval).max(now);
        }
        if now >= next_peak {
            active.sample_peak();
            next_peak = now + PEAK_EVERY;
        }
        if now >= next_anchor {
            active.journal.control.add_anchor(ticks::anchor(active.journal.source()));
            next_anchor = now + ANCHOR_EVERY;
        }
        cpu.count(active);
        std::thread::park_timeout(next_sample.saturating_duration_since(Instant::now()).min(PROVIDER_TICK));
    }
}

/// Adds this thread's CPU time to the trace's account.
#[derive(Debug, Default)]
struct CpuMeter {
    counted_nanos: u64,
}

impl CpuMeter {
    fn count(&mut self, active: &Active) {
        let nanos = ticks::thread_cpu_nanos();
        active.journal.control.count(Counter::BackgroundCpuNanos, nanos - self.counted_nanos);
        self.counted_nanos = nanos;
    }
}

/// While it lives, this thread has all signals blocked; a thread that it starts then has them blocked for good, so
/// that the program's signals go to the program's threads.
struct BlockedSignals {
    before: libc::sigset_t,
}

impl BlockedSignals {
    fn begin() -> Self {
        // SAFETY: both sets are initialised by the calls before they are read; pthread_sigmask touches this thread only.
        unsafe {
            let mut all = std::mem::zeroed();
            let mut before = std::mem::zeroed();
            libc::sigfillset(&raw mut all);
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
            Self { before }
        }
    }
}

impl Drop for BlockedSignals {
    fn drop(&mut self) {
        // SAFETY: `before` was filled by `begin` on this thread: the guard does not leave `spawn`.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, std::ptr::null_mut());
        }
    }
}
