//! Processes that the kernel killed for want of memory: they say nothing themselves. What a launcher sampled of their
//! control group, their node and their tree tells how near the limit they were, and who held what.

use std::collections::BTreeMap;

use tidegauge_schemas::layout::ProcessId;
use tidegauge_schemas::metrics;
use tidegauge_schemas::process::Ended;

use crate::error::{Result, described};
use crate::load::{CheckpointRow, Process, Rows, SampleRow, Source};
use crate::replay::{EndedPhase, Observed, Observer, replay_checkpoints};

/// Processes of a tree whose last sample is at most so much older than the tree's last are alive at its end.
const ALIVE_NANOS: i64 = 5_000_000_000;
/// From this part of a limit on, a process that was killed by nobody known is suspected to have met it.
const NEAR_LIMIT: f64 = 0.9;
const SIGKILL: i32 = 9;

/// What one process held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessRss {
    /// Its pid, in the recorder's pid namespace.
    pub pid: u32,
    /// Resident as of its last sample.
    pub rss_bytes: i64,
}

/// A process, or a command with its tree, that was killed for want of host memory.
#[derive(Debug, Clone, PartialEq)]
pub struct HostKill {
    /// Which one; of a command that recorded nothing itself, its launcher's.
    pub process: ProcessId,
    /// Its pid, where it is known.
    pub pid: Option<u32>,
    /// Command line.
    pub command: Vec<String>,
    /// The kernel says so. False where only the circumstances do: killed by SIGKILL, near a limit.
    pub is_certain: bool,
    /// The last record of it, nanoseconds since 1970.
    pub time_nanos: Option<i64>,
    /// And since its recording began.
    pub since_start_nanos: Option<i64>,
    /// Processes that the kernel killed in the control group meanwhile.
    pub kills: Option<i64>,
    /// Limit of the control group.
    pub limit_bytes: Option<i64>,
    /// What the group held at most, as the kernel kept it, or the highest sample.
    pub group_peak_bytes: Option<i64>,
    /// Memory of the node, and what was available at the last sample.
    pub node_total_bytes: Option<i64>,
    /// Available on the node at the last sample before the end.
    pub node_available_bytes: Option<i64>,
    /// Sum over the tree at its first sample, at the highest, and at the last one before it ended.
    pub tree_first_bytes: Option<i64>,
    /// Highest.
    pub tree_peak_bytes: Option<i64>,
    /// Highest resident size of one process, as the kernel kept it, or the highest sample.
    pub rss_peak_bytes: Option<i64>,
    /// Processes of the tree with what they held at last, largest first.
    pub processes: Vec<ProcessRss>,
    /// The last step that began.
    pub step: Option<i64>,
    /// The last phase that began or ended.
    pub phase: Option<String>,
    /// Steps that it had completed.
    pub steps: usize,
}

impl HostKill {
    /// Nothing known.
    const fn of(process: ProcessId) -> Self {
        Self {
            process,
            pid: None,
            command: Vec::new(),
            is_certain: false,
            time_nanos: None,
            since_start_nanos: None,
            kills: None,
            limit_bytes: None,
            group_peak_bytes: None,
            node_total_bytes: None,
            node_available_bytes: None,
            tree_first_bytes: None,
            tree_peak_bytes: None,
            rss_peak_bytes: None,
            processes: Vec::new(),
            step: None,
            phase: None,
            steps: 0,
        }
    }

    /// The limit that it met: its control group's, where that is below what the node has.
    #[must_use]
    pub fn met_limit_bytes(&self) -> Option<i64> {
        match (self.limit_bytes, self.node_total_bytes) {
            (Some(limit), Some(total)) => Some(limit.min(total)),
            (limit, total) => limit.or(total),
        }
    }

    /// By how much the tree, or the process, grew while it was recorded.
    #[must_use]
    pub fn growth_bytes(&self) -> Option<i64> {
        Some(self.tree_peak_bytes? - self.tree_first_bytes?)
    }
}

/// The processes of a run that were killed for want of host memory, the first of them first; and a sentence for each of
/// which that cannot be told, since it cannot be read.
#[must_use]
pub fn host_kills(source: &Source) -> (Vec<HostKill>, Vec<String>) {
    let (mut kills, mut left_out) = (Vec::new(), Vec::new());
    for process in &source.processes {
        let watched = process.info.as_ref().and_then(|info| info.watched.as_ref());
        let of_watched = watched.map(|watched| {
            (
                watched.is_oom_killed,
                watched.signal == Some(SIGKILL) || watched.exit_code == Some(128 + SIGKILL),
            )
        });
        let is_suspect = match of_watched {
            // A process of the command that recorded itself tells more.
            Some((Some(true), _)) => !has_own_recorder(source, process),
            Some((None, true)) => true,
            Some(_) => false,
            None => process.ended == Ended::Oom,
        };
        if !is_suspect {
            continue;
        }
        let mut kill = match describe(source, process) {
            Ok(kill) => kill,
            Err(error) => {
                let reason = described(error.chain());
                left_out.push(format!("{}: how it was killed cannot be read: {reason}", process.id));
                continue;
            }
        };
        kill.is_certain = process.ended == Ended::Oom || matches!(of_watched, Some((Some(true), _)));
        if kill.is_certain || is_near_limit(&kill) {
            kills.push(kill);
        }
    }
    kills.sort_by_key(|kill| kill.time_nanos);
    (kills, left_out)
}

/// Whether the process that the kernel killed is in the trace with records of its own.
fn has_own_recorder(source: &Source, launcher: &Process) -> bool {
    source.processes.iter().any(|other| {
        other.id != launcher.id
            && other.ended == Ended::Oom
            && source.node_recorders(other).iter().any(|recorder| recorder.id == launcher.id)
    })
}

fn is_near_limit(kill: &HostKill) -> bool {
    let held_bytes = kill.group_peak_bytes.max(kill.tree_peak_bytes);
    let is_at_limit = |(limit, held): (i64, i64)| held as f64 >= limit as f64 * NEAR_LIMIT;
    kill.kills.is_some_and(|kills| kills > 0) || kill.limit_bytes.zip(held_bytes).is_some_and(is_at_limit)
}

fn describe(source: &Source, process: &Process) -> Result<HostKill> {
    let info = process.info.as_ref();
    let watched = info.and_then(|info| info.watched.as_ref());
    let mut kill = HostKill {
        pid: watched.map_or(info.map(|info| info.pid), |watched| Some(watched.pid)).filter(|pid| *pid != 0),
        command: info.map(|info| info.command.clone()).unwrap_or_default(),
        rss_peak_bytes: watched.and_then(|watched| i64::try_from(watched.peak_rss_bytes?).ok()),
        ..HostKill::of(process.id)
    };
    let mut progress = Progress::default();
    replay_checkpoints(process, &mut progress)?;
    (kill.step, kill.phase, kill.steps) = (progress.step, progress.phase, progress.steps);
    let mut sampled = Sampled::default();
    for row in Rows::new(process).samples() {
        sampled.take(&row?, true);
    }
    for row in Rows::new(process).node_samples() {
        sampled.take(&row?, true);
    }
    for recorder in source.node_recorders(process) {
        for row in Rows::new(recorder).samples().chain(Rows::new(recorder).node_samples()) {
            sampled.take(&row?, false);
        }
    }
    let last_nanos = progress.last_nanos.max(sampled.last_own_nanos).max(last_event_nanos(process)?);
    kill.time_nanos = last_nanos;
    kill.since_start_nanos =
        last_nanos.map(|last| -> Result<i64> { Ok(last - Rows::new(process).first_nanos()?) }).transpose()?;
    sampled.tell(&mut kill);
    Ok(kill)
}

fn last_event_nanos(process: &Process) -> Result<Option<i64>> {
    let mut last = None;
    for batch in Rows::new(process).events() {
        let batch = batch?;
        last = last.max(batch.len().checked_sub(1).map(|row| batch.row(row).time_nanos));
    }
    Ok(last)
}

/// How far a process had come.
#[derive(Debug, Default)]
struct Progress {
    step: Option<i64>,
    phase: Option<String>,
    steps: usize,
    last_nanos: Option<i64>,
}

impl Observer for Progress {
    fn observe(&mut self, observed: &Observed<'_>) {
        match observed {
            Observed::Checkpoint { row: CheckpointRow { step, name, time_nanos, kind, .. }, .. } => {
                self.last_nanos = self.last_nanos.max(Some(*time_nanos));
                let is_step = matches!(kind, Some(tidegauge_schemas::CheckpointKind::StepBegin));
                self.step = step.filter(|_| is_step).or(self.step);
                let is_span = matches!(kind, Some(tidegauge_schemas::CheckpointKind::SpanBegin));
                if let (true, Some(name)) = (is_span, name) {
                    self.phase = Some(name.clone());
                }
            }
            Observed::Phase(EndedPhase { name, .. }) => self.phase = Some(name.clone()),
            Observed::Step { step, .. } => self.steps += usize::from(step.is_complete),
            _ => {}
        }
    }
}

/// What samples tell.
#[derive(Debug, Default)]
struct Sampled {
    kills: Option<(i64, i64)>,
    limit: Option<i64>,
    group_peak: Option<i64>,
    node_total: Option<i64>,
    node_available: Option<i64>,
    tree: Option<(i64, i64, i64)>,
    rss_peak: Option<i64>,
    processes: BTreeMap<u32, (i64, i64)>,
    last_nanos: i64,
    last_own_nanos: Option<i64>,
}

impl Sampled {
    fn take(&mut self, row: &SampleRow, is_own: bool) {
        if row.device >= 0 {
            return;
        }
        let value = row.value as i64;
        if is_own {
            self.last_own_nanos = self.last_own_nanos.max(Some(row.time_nanos));
        }
        self.last_nanos = self.last_nanos.max(row.time_nanos);
        let metric = row.metric.as_str();
        if let Some(pid) = row.pid {
            if metric == metrics::RSS.name {
                self.processes.insert(pid, (row.time_nanos, value));
                self.rss_peak = self.rss_peak.max(Some(value));
            } else if metric == metrics::PEAK_RSS.name {
                self.rss_peak = self.rss_peak.max(Some(value));
            }
            return;
        }
        if metric == metrics::CGROUP_OOM_KILLS.name {
            self.kills = Some((self.kills.map_or(value, |(first, _)| first), value));
        } else if metric == metrics::CGROUP_LIMIT.name {
            self.limit = Some(value);
        } else if metric == metrics::CGROUP_PEAK.name || metric == metrics::CGROUP_CURRENT.name {
            self.group_peak = self.group_peak.max(Some(value));
        } else if metric == metrics::MEMORY_TOTAL.name {
            self.node_total = Some(value);
        } else if metric == metrics::MEMORY_AVAILABLE.name {
            self.node_available = Some(self.node_available.map_or(value, |lowest| lowest.min(value)));
        } else if metric == metrics::TREE_RSS.name && value > 0 {
            let (first, peak, _) = self.tree.unwrap_or((value, value, value));
            self.tree = Some((first, peak.max(value), value));
        } else if metric == metrics::RSS.name || metric == metrics::PEAK_RSS.name {
            self.rss_peak = self.rss_peak.max(Some(value));
        }
    }

    fn tell(self, kill: &mut HostKill) {
        kill.kills = self.kills.map(|(first, last)| last - first);
        kill.limit_bytes = self.limit;
        kill.group_peak_bytes = self.group_peak;
        kill.node_total_bytes = self.node_total;
        kill.node_available_bytes = self.node_available;
        kill.tree_first_bytes = self.tree.map(|(first, ..)| first);
        kill.tree_peak_bytes = self.tree.map(|(_, peak, _)| peak);
        kill.rss_peak_bytes = kill.rss_peak_bytes.max(self.rss_peak);
        let alive = self
            .processes
            .iter()
            .filter(|(_, (time, bytes))| self.last_nanos - time <= ALIVE_NANOS && *bytes > 0);
        kill.processes = alive.map(|(&pid, &(_, rss_bytes))| ProcessRss { pid, rss_bytes }).collect();
        kill.processes.sort_by_key(|held| (std::cmp::Reverse(held.rss_bytes), held.pid));
    }
}
