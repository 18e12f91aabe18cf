//! What the launcher records while a command runs: the recorder, and the threads that sample.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tidegauge_schemas::process::Watched;

use std::sync::mpsc::{Receiver, Sender};

use super::LaunchConfig;
use super::alert_board::{AlertBoard, Raised};
use super::extremes::Extremes;
use super::journal_sink::{JournalSink, SharedAlerts};
use super::node_claim::NodeClaim;
use super::node_sampling::NodeSampler;
use super::sampling::{SamplingThread, SharedPids, Subject, TreeSampler, TreeSummary};
use super::scribe::{Message, Scribe};
use super::wake::Bell;
use crate::active::Active;
use crate::error::{Error, Result};
use crate::recorder::{DEFAULT_INTERVAL, Recorder};
use crate::run_folder::Existing;

/// What is going on.
pub(crate) struct Recording {
    run: PathBuf,
    run_id: String,
    host: String,
    journal_folder: PathBuf,
    active: &'static Active,
    scribe: Scribe,
    extremes: Arc<Mutex<Extremes>>,
    pids: SharedPids,
    helpers: SharedPids,
    alerts: SharedAlerts,
    tree: Option<SamplingThread<TreeSummary>>,
    node: Option<SamplingThread<()>>,
    summary: TreeSummary,
    raised: Vec<(String, u64)>,
}

/// What there is to say at the end.
#[derive(Debug, Default)]
pub(crate) struct Closed {
    pub(crate) run: PathBuf,
    pub(crate) extremes: Extremes,
    pub(crate) tree: TreeSummary,
    /// What could not be recorded.
    pub(crate) notes: Vec<String>,
    /// Alerts that were raised, and how often.
    pub(crate) alerts: Vec<(String, u64)>,
    /// Why the trace could not be closed.
    pub(crate) failure: Option<Error>,
}

impl Recording {
    /// Claims a place in `run` for the recording of `command`.
    pub(crate) fn open(run: &Path, command: Vec<String>) -> Result<Self> {
        let builder = Recorder::builder(run).existing(Existing::NewFolder).counters_at_checkpoints(false);
        let recorder = builder.watching(command).start()?;
        let failed = |source| Error::Journal { path: run.to_owned(), source };
        Ok(Self {
            run: recorder.run().to_owned(),
            run_id: recorder.run_id().to_owned(),
            host: recorder.host().to_owned(),
            journal_folder: recorder.journal_folder().to_owned(),
            active: recorder.active(),
            scribe: Scribe::start(recorder).map_err(failed)?,
            extremes: Arc::default(),
            pids: SharedPids::default(),
            helpers: SharedPids::default(),
            alerts: None,
            tree: None,
            node: None,
            summary: TreeSummary::default(),
            raised: Vec::new(),
        })
    }

    /// The trace folder.
    pub(crate) fn run(&self) -> &Path {
        &self.run
    }

    /// Id of the run.
    pub(crate) fn run_id(&self) -> &str {
        &self.run_id
    }

    /// The host, by the name that it bears in the trace.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// The folder of the journal, which is gone once the trace is closed or recovered.
    pub(crate) fn journal_folder(&self) -> &Path {
        &self.journal_folder
    }

    /// Processes of ours that are none of the recorded ones.
    pub(crate) fn helpers(&self) -> SharedPids {
        self.helpers.clone()
    }

    /// Watches the alerts that can be watched from here; where to find those that were raised when `bell` has rung.
    pub(crate) fn watch_alerts(&mut self, config: &LaunchConfig, bell: &Bell) -> Option<Receiver<Raised>> {
        let alerts: Vec<_> = config.alerts.iter().filter(|alert| alert.is_for_launcher()).cloned().collect();
        if alerts.is_empty() {
            return None;
        }
        let (board, raised) = AlertBoard::new(alerts, self.active, self.scribe.messages(), bell.clone());
        self.alerts = Some(Arc::new(Mutex::new(board)));
        Some(raised)
    }

    /// Begins to sample.
    pub(crate) fn watch(&mut self, subject: Subject, config: &LaunchConfig) {
        let interval = config.in_process.interval.unwrap_or(DEFAULT_INTERVAL).max(Duration::from_millis(1));
        let sink = || {
            let (extremes, alerts) = (self.extremes.clone(), self.alerts.clone());
            JournalSink::new(self.active, extremes, alerts, self.scribe.messages())
        };
        let tree = TreeSampler {
            active: self.active,
            sink: sink(),
            subject,
            interval,
            helpers: self.helpers.clone(),
            pids: self.pids.clone(),
        };
        let node = NodeSampler {
            active: self.active,
            sink: sink(),
            scribe: self.scribe.messages(),
            claim: NodeClaim::new(&self.run, &self.host),
            interval,
            devices: config.devices.clone(),
            pids: self.pids.clone(),
        };
        let tree = SamplingThread::start("tidegauge-tree", move |stop| tree.run(stop));
        let node = SamplingThread::start("tidegauge-node", move |stop| node.run(stop));
        self.tree = tree.map_err(|error| self.note(format!("processes are not sampled: {error}"))).ok();
        self.node = node.map_err(|error| self.note(format!("the node is not sampled: {error}"))).ok();
    }

    /// Where lines and notes to be written go.
    pub(crate) fn messages(&self) -> Sender<Message> {
        self.scribe.messages()
    }

    /// Adds what cannot be recorded.
    pub(crate) fn note(&self, note: String) {
        // The scribe ends after this recording only.
        let _ = self.scribe.messages().send(Message::Note(note));
    }

    /// Whether the kernel kills for want of memory is not known any more.
    pub(crate) const fn forget_oom_kills(&mut self) {
        self.summary.oom_kills = None;
    }

    /// Takes the last samples.
    pub(crate) fn end_sampling(&mut self) {
        // Both at once: each takes a last sample.
        self.tree.iter().for_each(SamplingThread::tell_to_end);
        self.node.iter().for_each(SamplingThread::tell_to_end);
        match self.tree.take().map(SamplingThread::end) {
            Some(Ok(summary)) => self.summary = summary,
            Some(Err(reason)) => self.note(format!("the thread that samples processes {reason}")),
            None => {}
        }
        if let Some(Err(reason)) = self.node.take().map(SamplingThread::end) {
            self.note(format!("the thread that samples devices and the node {reason}"));
        }
        if let Some(alerts) = self.alerts.take() {
            let alerts = alerts.lock().unwrap_or_else(PoisonError::into_inner);
            self.raised = alerts.counts().to_vec();
            alerts.notes().into_iter().for_each(|note| self.note(note));
        }
    }

    /// Highest resident size of one process, as the kernel kept it and as far as it was read; and how many processes of
    /// the control group the kernel has killed for want of memory. Both once sampling has ended.
    pub(crate) fn summary(&self) -> &TreeSummary {
        &self.summary
    }

    /// Closes the trace, in which `watched` stands then.
    pub(crate) fn close(mut self, watched: Watched) -> Closed {
        self.end_sampling();
        let extremes = self.extremes.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (tree, alerts) = (self.summary, self.raised);
        let mut closed = Closed { run: self.run, extremes, tree, alerts, ..Closed::default() };
        if let Some(mut recorder) = self.scribe.end() {
            let said = recorder.set_watched(watched);
            closed.notes = recorder.notes().to_vec();
            closed.failure = said.err();
            if let Err(failure) = recorder.stop() {
                closed.failure = Some(failure);
            }
        }
        closed
    }
}
