//! Starting and stopping.

mod describing;
mod watching;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Map, Value};
use tidegauge_schemas::journal::{CHUNK_BYTES, CONTROL_FILE, Control, Counter, SLOTS_PER_CHUNK};
use tidegauge_schemas::part_target::PartTarget;
use tidegauge_schemas::process::{Cost, Ended, ProcessInfo, Watched};
use tidegauge_schemas::retention::{Retention, Windows};
use tidegauge_schemas::run::sync_folder;

use crate::active::{Active, active};
use crate::alert_follower::{AlertFollower, RaisedAlert};
use crate::alerts::Alert;
use crate::background::{self, StopSignal};
use crate::environment;
use crate::error::{Error, Result};
use crate::guard::OwnWork;
use crate::identity;
use crate::journal::{Journal, MAX_CHUNKS};
use crate::kept_events::KeptEvents;
use crate::on_alert::OnAlert;
use crate::recover::remove_journal;
use crate::run_folder::{self, Claim, Existing};
use crate::sealer::Finished;
use crate::ticks;

/// The journal's default cap: what a writer that has fallen behind (or a full disk) may cost.
pub const DEFAULT_JOURNAL_CAP_BYTES: u64 = 512 << 20;
/// How often the process's memory is sampled by default.
pub const DEFAULT_INTERVAL: Duration = Duration::from_millis(100);
/// The longest ring: half of the chunks that a journal can have, the others are for what a writer that has fallen behind
/// may cost.
const MAX_RING_RECORDS: u64 = MAX_CHUNKS / 2 * SLOTS_PER_CHUNK;
/// How long a stop waits at most until alerts have been looked at once more.
const LAST_LOOK: Duration = Duration::from_secs(2);
/// The shortest interval: below it the sampler would be what it measures.
const MIN_INTERVAL: Duration = Duration::from_millis(1);

/// How to record. Made by [`Recorder::builder`].
#[derive(Debug, Clone)]
#[must_use]
pub struct RecorderBuilder {
    run: PathBuf,
    config: Map<String, Value>,
    existing: Existing,
    interval: Duration,
    journal_cap_bytes: u64,
    counters_at_checkpoints: bool,
    rank: Option<u32>,
    retention: Retention,
    alerts: Vec<Alert>,
    on_alert: OnAlert,
    /// What is recorded from outside, if that is not this process.
    watched_command: Option<Vec<String>>,
}

impl RecorderBuilder {
    /// Adds to the run's configuration (batch size, precision, …), which analyses and comparisons can refer to.
    pub fn config(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.config.insert(key.to_owned(), value.into());
        self
    }

    /// What to do if the folder holds a trace already; by default a new folder is taken.
    pub fn existing(mut self, existing: Existing) -> Self {
        self.existing = existing;
        self
    }

    /// How often the process's memory is sampled; [`DEFAULT_INTERVAL`] by default.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval.max(MIN_INTERVAL);
        self
    }

    /// The most bytes that the journal may have; [`DEFAULT_JOURNAL_CAP_BYTES`] by default. Beyond it records are
    /// dropped and counted.
    pub fn journal_cap_bytes(mut self, bytes: u64) -> Self {
        self.journal_cap_bytes = bytes;
        self
    }

    /// Whether each checkpoint reads the process's memory (about a microsecond); true by default.
    pub fn counters_at_checkpoints(mut self, read: bool) -> Self {
        self.counters_at_checkpoints = read;
        self
    }

    /// The rank, if the environment does not say it.
    pub fn rank(mut self, rank: u32) -> Self {
        self.rank = Some(rank);
        self
    }

    /// Keeps only the newest `records`: a flight recorder. They are written on [`crate::oom`], when an allocation
    /// through [`crate::RecordingAllocator`] fails, on [`crate::dump`], when another process asks for it
    /// ([`crate::request_dump`]), and at the end, however that comes. What is written begins with the blocks that were
    /// alive, so curves are absolute. Checkpoints and samples are kept throughout.
    ///
    /// The ring is made of whole chunks of 2 MiB, so it may hold 32,768 records more.
    pub fn ring(mut self, records: u64) -> Self {
        self.retention = Retention::Ring { records: records.clamp(1, MAX_RING_RECORDS) };
        self
    }

    /// Keeps only the allocations of chosen steps: the first `first` of each epoch, and those whose number within the
    /// epoch is divided by `every` (0 for none). Each window begins with the blocks that were alive, so curves are
    /// absolute. Checkpoints and samples are kept throughout, and at each end of a step what was allocated.
    pub fn windows(mut self, first: u64, every: u64) -> Self {
        self.retention = Retention::Windows(Windows { first, every });
        self
    }

    /// Watches an alert: when it is raised, a row in `checkpoints`, a line on standard error, and what a ring keeps is
    /// written. Evaluated in the background, a tenth of a second behind the program.
    ///
    /// ```
    /// # fn main() -> Result<(), tidegauge_recorder::AlertError> {
    /// let alert = "allocated growth > 5MiB/step over 20".parse()?;
    /// let builder = tidegauge_recorder::Recorder::builder("runs/a").alert(alert);
    /// # Ok(()) }
    /// ```
    pub fn alert(mut self, alert: Alert) -> Self {
        self.alerts.push(alert);
        self
    }

    /// Has this called, on a thread of the recorder, when an alert is raised. While it runs nothing is sealed, and what
    /// it allocates is not recorded. It must not stop the recorder, which would wait for it.
    pub fn on_alert(mut self, callback: impl Fn(&RaisedAlert) + Send + Sync + 'static) -> Self {
        self.on_alert = OnAlert(Some(Arc::new(callback)));
        self
    }

    /// Starts recording. From here on the free functions of this crate and [`crate::RecordingAllocator`] record.
    ///
    /// # Errors
    /// If another recorder of this process is on, or the folder or the journal cannot be made.
    pub fn start(self) -> Result<Recorder> {
        if active().is_some_and(|active| active.journal.is_open()) {
            return Err(Error::AlreadyRecording);
        }
        let _own = OwnWork::begin();
        let rank = self.rank.or_else(run_folder::rank).unwrap_or(0);
        // The program may change its folder.
        let run = std::path::absolute(&self.run).unwrap_or_else(|_| self.run.clone());
        let claim = run_folder::claim(&run, rank, self.existing, self.config.clone())?;
        let home = tidegauge_schemas::layout::process_folder(&claim.run, claim.id);
        let (journal_path, note) = run_folder::journal_folder(&claim)?;
        let started = self.start_in(claim, journal_path.clone(), note);
        if started.is_err() {
            // A process that never recorded leaves nothing; what cannot be removed is in the way of nobody.
            let _ = std::fs::remove_dir_all(&journal_path);
            let _ = std::fs::remove_dir_all(&home);
        }
        started
    }

    /// What the journal may have besides what a ring keeps.
    fn cap_bytes(&self) -> u64 {
        let ring = self.retention.ring_chunks().unwrap_or(0) * CHUNK_BYTES as u64;
        self.journal_cap_bytes.saturating_add(ring)
    }

    fn start_in(self, claim: Claim, journal_path: PathBuf, note: Option<String>) -> Result<Recorder> {
        static GENERATION: AtomicU32 = AtomicU32::new(1);
        let failed = |source| Error::Journal { path: journal_path.clone(), source };
        let folder = std::fs::File::open(&journal_path).map_err(failed)?;
        let generation = GENERATION.fetch_add(1, Ordering::Relaxed);
        let journal = Journal::create(folder.into(), self.cap_bytes(), generation).map_err(failed)?;
        // Both live as long as the process: a thread may be between the check and the record at any time. What they
        // hold of weight is given back by `stop`.
        let watches = self.watched_command.is_some();
        let active = Active::new(journal, self.counters_at_checkpoints);
        let active = if watches { active.without_host_probe() } else { active };
        let active: &'static Active = Box::leak(Box::new(active));
        let journal = &active.journal;
        let stop: &'static StopSignal = Box::leak(Box::default());

        let mut info = identity::process_info(&claim.info.run_id, claim.id, journal.source().as_str());
        info.retention = self.retention;
        info.notes.extend(note.clone());
        info.journal_path = note.map(|_| journal_path.clone());
        if let Some(command) = self.watched_command {
            info.command = command;
            info.watched = Some(Watched::default());
        } else if !active.has_host_probe() {
            info.notes
                .push("/proc/self/statm cannot be read: the process's memory is not sampled".to_owned());
        }
        let host = info.host.clone();
        let target = PartTarget { run: claim.run, run_id: claim.info.run_id, id: claim.id, host };
        info.write(&target.process_file())?;
        sync_folder(&target.run)?;

        let names = active.counter_names(self.retention);
        let cap_chunks = (self.journal_cap_bytes / CHUNK_BYTES as u64) as usize;
        let kept = KeptEvents::new(self.retention, names, journal_path.clone(), cap_chunks);
        let follower = AlertFollower::new(self.alerts);
        let watches_alerts = follower.is_some();
        let on_alert = self.on_alert;
        let sealer = background::spawn_sealer(active, stop, target.clone(), kept, follower, on_alert);
        let sealer = sealer.map_err(failed)?;
        let provider = background::spawn_provider(active, stop, self.interval, sealer.thread().clone());
        // Without a provider the sealer must not be left behind.
        let provider = provider.inspect_err(|_| stop.give(journal.close())).map_err(failed)?;
        // Recording goes on without it.
        let merger =
            background::spawn_merger(active, stop, target.clone(), self.journal_cap_bytes).map_err(|error| {
                info.notes.push(format!("parts are not merged, there is no thread for it: {error}"))
            });
        let threads = Threads { provider, sealer, merger: merger.ok() };
        let threads = Some(threads);
        let recorder = Recorder { active, stop, target, info, journal_path, watches_alerts, threads };
        // What this process itself allocates is of no interest where it watches another.
        if !watches && !active.install() {
            recorder.stop()?;
            return Err(Error::AlreadyRecording);
        }
        Ok(recorder)
    }
}

#[derive(Debug)]
struct Threads {
    provider: JoinHandle<()>,
    sealer: JoinHandle<Finished>,
    merger: Option<JoinHandle<Option<String>>>,
}

/// A recorder that is on. Stopped by [`Self::stop`] or when dropped.
#[derive(Debug)]
#[must_use = "recording stops when the recorder is dropped"]
pub struct Recorder {
    active: &'static Active,
    stop: &'static StopSignal,
    target: PartTarget,
    info: ProcessInfo,
    journal_path: PathBuf,
    watches_alerts: bool,
    threads: Option<Threads>,
}

impl Recorder {
    /// Records into the trace folder `run`.
    pub fn builder(run: impl Into<PathBuf>) -> RecorderBuilder {
        RecorderBuilder {
            run: run.into(),
            config: Map::new(),
            existing: Existing::NewFolder,
            interval: DEFAULT_INTERVAL,
            journal_cap_bytes: DEFAULT_JOURNAL_CAP_BYTES,
            counters_at_checkpoints: true,
            rank: None,
            retention: Retention::All,
            alerts: Vec::new(),
            on_alert: OnAlert::default(),
            watched_command: None,
        }
    }

    /// A builder as the environment says: `TIDEGAUGE` names the folder; without it there is none. See
    /// [`crate::environment`] for the others.
    #[must_use]
    pub fn from_environment() -> Option<RecorderBuilder> {
        let run = std::env::var_os(environment::RUN_VARIABLE).filter(|run| !run.is_empty())?;
        Some(environment::apply(Self::builder(run)))
    }

    /// The trace folder as an absolute path: another than was asked for if that held a trace.
    #[must_use]
    pub fn run(&self) -> &Path {
        &self.target.run
    }

    #[cfg(test)]
    pub(crate) fn journal(&self) -> &'static Journal {
        &self.active.journal
    }

    /// Whether this is the thread that callbacks are called on, and that a stop would wait for.
    pub(crate) fn is_on_own_thread(&self) -> bool {
        let sealer = self.threads.as_ref().map(|threads| threads.sealer.thread().id());
        sealer == Some(std::thread::current().id())
    }

    /// Records dropped so far.
    #[must_use]
    pub fn dropped_records(&self) -> u64 {
        self.active.journal.control.counter(Counter::Dropped).load(Ordering::Relaxed)
    }

    /// Stops recording, seals everything and closes the trace; where it is.
    ///
    /// # Errors
    /// If something could not be sealed or written. What was recorded is then still in the journal.
    pub fn stop(mut self) -> Result<PathBuf> {
        self.close()?;
        Ok(self.target.run.clone())
    }

    fn close(&mut self) -> Result<()> {
        let Some(threads) = self.threads.take() else { return Ok(()) };
        let journal = &self.active.journal;
        self.active.uninstall();
        if journal.pid != std::process::id() {
            // A forked child: neither the threads nor the trace are its own.
            std::mem::forget(threads);
            return Ok(());
        }
        let _own = OwnWork::begin();
        self.active.sample_host(None);
        self.active.sample_peak();
        if self.watches_alerts {
            self.stop.look_once_more(&threads.sealer, LAST_LOOK);
        }
        let reserved = journal.close();
        self.stop.end_providing();
        threads.provider.thread().unpark();
        // A background thread that panicked has said so; what it had not sealed is in the journal.
        let _ = threads.provider.join();
        if let Some(merger) = threads.merger {
            merger.thread().unpark();
            self.info.notes.extend(merger.join().ok().flatten());
        }
        self.stop.give(reserved);
        threads.sealer.thread().unpark();
        let finished = threads.sealer.join().unwrap_or_else(|_| Finished {
            all_committed: false,
            failure: Some(tidegauge_schemas::Error::DamagedJournal {
                reason: "the sealing thread panicked".to_owned(),
                path: self.journal_path.clone(),
            }),
            anchors: Vec::new(),
            records: 0,
            notes: Vec::new(),
        });
        journal.release_chunks(finished.all_committed);
        let closed = self.close_info(&finished);
        if let Some(source) = finished.failure {
            return Err(Error::NotSealed { source });
        }
        closed?;
        remove_journal(&self.journal_path)?;
        // Only now: a kill before this leaves a journal that can be found.
        if self.info.journal_path.take().is_some() {
            self.info.write(&self.target.process_file())?;
        }
        self.active.close_files();
        Ok(())
    }

    fn close_info(&mut self, finished: &Finished) -> Result<()> {
        let control = &self.active.journal.control;
        let counter = |counter| control.counter(counter).load(Ordering::Relaxed);
        if let Ok(read) = Control::read(&self.journal_path.join(CONTROL_FILE)) {
            self.info.losses = read.losses();
        }
        self.info.cost = Cost {
            records: finished.records,
            left_out_events: counter(Counter::LeftOutEvents),
            background_cpu_seconds: counter(Counter::BackgroundCpuNanos) as f64 / 1e9,
            written_bytes: counter(Counter::WrittenBytes),
            merged_bytes: counter(Counter::MergedBytes),
            peak_journal_bytes: counter(Counter::PeakJournalBytes),
        };
        self.info.clock_anchors.clone_from(&finished.anchors);
        match &finished.failure {
            None => {
                self.info.ended = Some(Ended::Clean);
                self.info.notes.extend(finished.notes.iter().cloned());
            }
            // The trace is not closed: the rest of it is in the journal, for `recover`.
            Some(failure) => self.info.notes.push(format!("stop could not seal everything: {failure}")),
        }
        self.info.ended_unix_nanos = Some(ticks::unix_nanos());
        self.info.write(&self.target.process_file())?;
        Ok(())
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            run_folder::say(&error.to_string());
        }
    }
}
