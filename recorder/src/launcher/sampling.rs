//! The thread that samples the recorded processes.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};

use tidegauge_schemas::journal::Counter;
use tidegauge_schemas::metrics;

use super::journal_sink::JournalSink;
use super::schedule::{Due, Schedule};
use crate::active::Active;
use crate::background;
use crate::probes::{CgroupProbe, ProcessTree, Reading, Sink as _};
use crate::ticks;

/// How often new processes are looked for, which takes a walk through `/proc`.
const DISCOVER_EVERY: Duration = Duration::from_millis(500);
/// The second look comes after this, and from there on they become rarer: a program that begins starts most of its
/// processes, and a short one is over by then.
const FIRST_DISCOVERY_AFTER: Duration = Duration::from_millis(20);
/// How often what costs more is read: kernel's peaks, swap, page faults, the control group.
const FULL_EVERY: Duration = Duration::from_secs(1);
/// How long a thread may hang in the kernel at the end before it is left behind.
const PATIENCE: Duration = Duration::from_secs(2);

/// The processes of the tree, as of the last look: shared with who has to tell them from others.
pub(crate) type SharedPids = Arc<Mutex<HashSet<u32>>>;

/// Tells a sampling thread to take a last sample and end.
#[derive(Debug, Clone, Default)]
pub(crate) struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    fn set(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// A thread that samples until it is told to end, and then says something.
#[derive(Debug)]
pub(crate) struct SamplingThread<T> {
    thread: Thread,
    stop: StopFlag,
    said: Receiver<T>,
}

impl<T: Send + 'static> SamplingThread<T> {
    pub(crate) fn start(
        name: &str,
        work: impl FnOnce(&StopFlag) -> T + Send + 'static,
    ) -> std::io::Result<Self> {
        let stop = StopFlag::default();
        let (say, said) = channel();
        let seen = stop.clone();
        let handle = background::spawn(name, move || {
            // Nobody listens any more if it was left behind.
            let _ = say.send(work(&seen));
        })?;
        Ok(Self { thread: handle.thread().clone(), stop, said })
    }

    pub(crate) fn tell_to_end(&self) {
        self.stop.set();
        self.thread.unpark();
    }

    /// What it says at its end; the reason if it says nothing.
    pub(crate) fn end(self) -> Result<T, &'static str> {
        self.tell_to_end();
        self.said.recv_timeout(PATIENCE).map_err(|error| match error {
            RecvTimeoutError::Timeout => "hangs and was left behind",
            RecvTimeoutError::Disconnected => "has panicked",
        })
    }
}

/// Whose processes are sampled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    /// All that this process starts, and what that leaves behind.
    OwnChildren,
    /// That process and all that it starts.
    Process(u32),
}

/// What is known of the tree at the end.
#[derive(Debug, Default)]
pub(crate) struct TreeSummary {
    /// Highest resident size of one of its processes, as the kernel kept it and as far as it was read.
    pub(crate) peak_rss_bytes: Option<u64>,
    /// All that were ever found in it.
    pub(crate) pids: HashSet<u32>,
    /// Most of them at one moment.
    pub(crate) most_processes: usize,
    /// Processes of the control group that the kernel has killed for want of memory meanwhile.
    pub(crate) oom_kills: Option<u64>,
}

/// Samples a tree.
pub(crate) struct TreeSampler {
    pub(crate) active: &'static Active,
    pub(crate) sink: JournalSink,
    pub(crate) subject: Subject,
    pub(crate) interval: Duration,
    /// Processes of ours that are none of the tree's, by pid.
    pub(crate) helpers: SharedPids,
    pub(crate) pids: SharedPids,
}

impl TreeSampler {
    /// Until it is told to stop.
    pub(crate) fn run(mut self, stop: &StopFlag) -> TreeSummary {
        let (mut tree, root) = match self.subject {
            Subject::OwnChildren => (ProcessTree::below(std::process::id()), std::process::id()),
            Subject::Process(pid) => (ProcessTree::new(pid), pid),
        };
        // The command begins in the control group that this process is in.
        let mut cgroup = CgroupProbe::of(root, &mut self.sink);
        let oom_kills_before = cgroup.as_ref().and_then(CgroupProbe::oom_kills);
        let mut summary = TreeSummary::default();
        let start = Instant::now();
        let mut samples = Schedule::new(start, self.interval);
        let (mut next_discovery, mut pause) = (start, FIRST_DISCOVERY_AFTER);
        let mut full = Schedule::new(start, FULL_EVERY.max(self.interval));
        let mut account = Account::default();
        loop {
            let is_last = stop.is_set();
            let now = Instant::now();
            if is_last || now >= next_discovery {
                self.discover(&mut tree, &mut summary);
                next_discovery = now + pause;
                pause = (pause * 2).min(DISCOVER_EVERY);
            }
            let due = samples.take(now);
            if is_last || due.is_some() {
                let is_full = is_last || full.take(now).is_some();
                tree.sample(is_full, &mut self.sink);
                if is_full && let Some(cgroup) = &mut cgroup {
                    cgroup.sample(&mut self.sink);
                }
                account.add(due, self.interval, self.active);
                if is_full {
                    account.give(&mut self.sink, self.active);
                }
            }
            if is_last {
                break;
            }
            let next = samples.next().min(next_discovery);
            std::thread::park_timeout(next.saturating_duration_since(Instant::now()));
        }
        summary.peak_rss_bytes = tree.peak_rss_bytes();
        let oom_kills = cgroup.as_ref().and_then(CgroupProbe::oom_kills);
        summary.oom_kills =
            oom_kills.zip(oom_kills_before).map(|(after, before)| after.saturating_sub(before));
        summary
    }

    fn discover(&self, tree: &mut ProcessTree, summary: &mut TreeSummary) {
        // Held meanwhile, so that none is started that would be taken for one of the tree.
        let helpers = self.helpers.lock().unwrap_or_else(PoisonError::into_inner);
        helpers.iter().for_each(|helper| tree.leave_out(*helper));
        tree.discover();
        drop(helpers);
        let mut pids = self.pids.lock().unwrap_or_else(PoisonError::into_inner);
        pids.clear();
        pids.extend(tree.pids());
        summary.pids.extend(pids.iter());
        summary.most_processes = summary.most_processes.max(pids.len());
    }
}

/// What sampling itself did since it was last recorded.
#[derive(Debug, Default)]
struct Account {
    samples: u64,
    worst_lateness: Duration,
    cpu_nanos: u64,
}

impl Account {
    fn add(&mut self, due: Option<Due>, interval: Duration, active: &Active) {
        let Some(due) = due else { return };
        self.samples += 1;
        self.worst_lateness = self.worst_lateness.max(due.lateness);
        let control = &active.journal.control;
        if due.lateness > interval {
            control.count(Counter::LateSamples, 1);
        }
        control.count(Counter::SkippedSamples, due.skipped);
    }

    fn give(&mut self, sink: &mut JournalSink, active: &Active) {
        let cpu_nanos = ticks::thread_cpu_nanos();
        let spent_nanos = cpu_nanos - self.cpu_nanos;
        active.journal.control.count(Counter::BackgroundCpuNanos, spent_nanos);
        let samples = self.samples.max(1) as f64;
        let of_host = |metric, value| Reading { metric, device: -1, pid: None, value };
        sink.reading(of_host(metrics::SAMPLER_COST, spent_nanos as f64 / 1e9 / samples));
        sink.reading(of_host(metrics::SAMPLER_LATENESS, self.worst_lateness.as_secs_f64()));
        *self = Self { cpu_nanos, ..Self::default() };
    }
}
