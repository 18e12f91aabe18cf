//! The processes below one: its children, theirs, and so on.
//!
//! `/proc` is listed about twice a second and only pids that were not there before are looked at; the processes that
//! are known are sampled much more often, from files that are kept open. A process belongs to the tree if the chain of
//! its parents leads to the root, and stays a member whatever becomes of its parents. One whose parent dies before it
//! was first seen is found if orphans go to the root, that is if the root is a child subreaper; else it is missed.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::time::Instant;

use tidegauge_schemas::metrics::{self, Metric};

use super::process::{ProcessProbe, stat_of};
use super::process_stat::ProcessStat;
use super::{Reading, Sink};

/// A process of the tree.
#[derive(Debug)]
struct Member {
    start_ticks: u64,
    /// None for one that has ended and is still listed, and for one that may not be looked at.
    probe: Option<ProcessProbe>,
    /// CPU time at the last sample; none if it was running when the tree was first looked at and has not been sampled.
    cpu_nanos: Option<u64>,
    /// Number of the last listing that it was in.
    listed: u64,
}

/// A process that does not belong to the tree.
#[derive(Debug, Clone, Copy)]
struct Stranger {
    listed: u64,
}

/// A process tree.
#[derive(Debug)]
pub(crate) struct ProcessTree {
    root_pid: u32,
    includes_root: bool,
    /// Nothing descends from the root's pid any more: whoever bears it now is another process.
    is_root_gone: bool,
    members: BTreeMap<u32, Member>,
    strangers: HashMap<u32, Stranger>,
    /// Listings of `/proc` so far.
    listings: u64,
    cpu_sampled_at: Option<Instant>,
    peak_rss_bytes: Option<u64>,
    notes: Notes,
}

/// What there is to say, once.
#[derive(Debug, Default)]
struct Notes {
    pending: Vec<String>,
    is_denial_said: bool,
    is_listing_said: bool,
}

impl Notes {
    fn denied(&mut self) {
        if !std::mem::replace(&mut self.is_denial_said, true) {
            let note = "some processes cannot be looked at (/proc mounted with hidepid, or of another user): if they are \
                        of the process tree, they are not in its figures";
            self.pending.push(note.to_owned());
        }
    }

    fn not_listed(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.is_listing_said, true) {
            self.pending.push(format!("/proc cannot be listed ({error}): the process tree is not known"));
        }
    }
}

impl ProcessTree {
    /// A process and all that it starts. Nothing is known before [`Self::discover`].
    pub(crate) fn new(root_pid: u32) -> Self {
        Self {
            root_pid,
            includes_root: true,
            is_root_gone: false,
            members: BTreeMap::new(),
            strangers: HashMap::new(),
            listings: 0,
            cpu_sampled_at: None,
            peak_rss_bytes: None,
            notes: Notes::default(),
        }
    }

    /// All that a process starts, without itself: for a launcher, its own pid.
    pub(crate) fn below(root_pid: u32) -> Self {
        Self { includes_root: false, ..Self::new(root_pid) }
    }

    /// Leaves a process, and what it starts from now on, out of the tree: one that the launcher starts for itself.
    pub(crate) fn leave_out(&mut self, pid: u32) {
        self.members.remove(&pid);
        self.strangers.insert(pid, Stranger { listed: self.listings });
    }

    /// Finds processes that came, and forgets those that are not listed any more. Costs about a microsecond for each
    /// process of the node, and tens for each new one.
    pub(crate) fn discover(&mut self) {
        let pids = match listed_pids() {
            Ok(pids) => pids,
            Err(error) => return self.notes.not_listed(&error),
        };
        self.listings += 1;
        let now = self.listings;
        let mut came = HashMap::new();
        for pid in pids {
            if let Some(member) = self.members.get_mut(&pid) {
                member.listed = now;
                // One that has ended holds its pid until it is waited for; then another may get it.
                if member.probe.is_none()
                    && stat_of(pid).is_ok_and(|stat| stat.start_ticks != member.start_ticks)
                {
                    self.members.remove(&pid);
                } else {
                    continue;
                }
            } else if let Some(stranger) = self.strangers.get_mut(&pid) {
                stranger.listed = now;
                continue;
            }
            match stat_of(pid) {
                Ok(stat) => drop(came.insert(pid, stat)),
                Err(error) if is_denied(&error) => {
                    self.notes.denied();
                    self.strangers.insert(pid, Stranger { listed: now });
                }
                // It came and went.
                Err(_) => {}
            }
        }
        self.members.retain(|_, member| member.listed == now);
        self.strangers.retain(|_, stranger| stranger.listed == now);
        let is_root_listed = came.contains_key(&self.root_pid)
            || self.members.contains_key(&self.root_pid)
            || self.strangers.contains_key(&self.root_pid);
        self.is_root_gone |= !is_root_listed;
        for (pid, stat) in &came {
            match self.descends(*pid, &came) {
                Some(true) => self.admit(*pid, stat),
                Some(false) => drop(self.strangers.insert(*pid, Stranger { listed: now })),
                // Its parent came after the listing, or went before it was looked at: the next one will tell.
                None => {}
            }
        }
    }

    /// Whether a process that came is of the tree; none if the chain of its parents breaks off.
    fn descends(&self, pid: u32, came: &HashMap<u32, ProcessStat>) -> Option<bool> {
        let is_root = |pid| pid == self.root_pid && !self.is_root_gone;
        if is_root(pid) {
            return Some(self.includes_root);
        }
        let mut child = pid;
        // Parents that change hands while they are looked up could form a circle.
        for _ in 0..=came.len() {
            let parent = came.get(&child)?.parent_pid;
            if is_root(parent) || self.members.contains_key(&parent) {
                return Some(true);
            }
            if parent == 0 || self.strangers.contains_key(&parent) {
                return Some(false);
            }
            child = parent;
        }
        None
    }

    fn admit(&mut self, pid: u32, stat: &ProcessStat) {
        let probe = match ProcessProbe::open(pid) {
            Ok(probe) if probe.start_ticks() == stat.start_ticks => Some(probe),
            // It went, and another came; the next listing will tell.
            Ok(_) => return,
            Err(error) => {
                if is_denied(&error) {
                    self.notes.denied();
                }
                None
            }
        };
        // All that it has used since it began was used since the tree was first looked at.
        let cpu_nanos = (self.listings > 1).then_some(0);
        let member = Member { start_ticks: stat.start_ticks, probe, cpu_nanos, listed: self.listings };
        self.members.insert(pid, member);
    }

    /// Hands on the memory of every known process and of all together, and, if `is_full`, what takes longer to read and
    /// is asked for about once a second: address space, peak, swap, processor time, faults, threads. Those that have
    /// ended are dropped.
    pub(crate) fn sample(&mut self, is_full: bool, sink: &mut dyn Sink) {
        self.notes.pending.drain(..).for_each(|note| sink.note(note));
        if self.listings == 0 {
            return;
        }
        let now = Instant::now();
        let (mut total, mut read) = (Total::default(), 0);
        for (pid, member) in &mut self.members {
            let Some(probe) = &member.probe else { continue };
            let sampled = sample_process(*pid, probe, is_full, &mut member.cpu_nanos, &mut total, sink);
            match sampled {
                Ok(peak_rss_bytes) => {
                    read += 1;
                    self.peak_rss_bytes = self.peak_rss_bytes.max(Some(peak_rss_bytes));
                }
                Err(error) => {
                    member.probe = None;
                    if is_denied(&error) {
                        self.notes.denied();
                    }
                }
            }
        }
        // Of a tree that has ended there is nothing to say: it did not come down to 0.
        if read == 0 {
            return;
        }
        let mut hand_on = |metric, value: f64| sink.reading(reading(metric, None, value));
        hand_on(metrics::TREE_RSS, total.rss_bytes as f64);
        hand_on(metrics::TREE_UNSHARED, total.unshared_bytes as f64);
        if !is_full {
            return;
        }
        hand_on(metrics::TREE_PROCESSES, total.processes as f64);
        hand_on(metrics::TREE_THREADS, total.threads as f64);
        if !total.is_swap_unknown {
            hand_on(metrics::TREE_SWAP, total.swap_bytes as f64);
        }
        if let Some(before) = self.cpu_sampled_at.replace(now) {
            let nanos = now.saturating_duration_since(before).as_nanos().max(1);
            hand_on(metrics::TREE_CPU, 100.0 * total.cpu_nanos as f64 / nanos as f64);
        }
    }

    /// Whether it is one of the tree, as far as is known.
    #[cfg(test)]
    pub(crate) fn contains(&self, pid: u32) -> bool {
        self.members.get(&pid).is_some_and(|member| member.probe.is_some())
    }

    /// Processes that are known and have not ended.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.pids().count()
    }

    /// Their pids, in order.
    pub(crate) fn pids(&self) -> impl Iterator<Item = u32> {
        self.members.iter().filter(|(_, member)| member.probe.is_some()).map(|(pid, _)| *pid)
    }

    /// The highest resident size of any one process that was sampled, as the kernel kept it. What a process reached
    /// after its last full sample is not in it.
    pub(crate) fn peak_rss_bytes(&self) -> Option<u64> {
        self.peak_rss_bytes
    }
}

/// Figures of the tree, of one sample.
#[derive(Debug, Default)]
struct Total {
    processes: u64,
    rss_bytes: u64,
    unshared_bytes: u64,
    swap_bytes: u64,
    is_swap_unknown: bool,
    threads: u64,
    /// Since the full sample before.
    cpu_nanos: u64,
}

/// Hands on what a process says and adds it to the total; its highest resident size, as far as was asked for.
fn sample_process(
    pid: u32,
    probe: &ProcessProbe,
    is_full: bool,
    cpu_nanos: &mut Option<u64>,
    total: &mut Total,
    sink: &mut dyn Sink,
) -> io::Result<u64> {
    let mut hand_on = |metric, value: f64| sink.reading(reading(metric, Some(pid), value));
    let memory = probe.memory()?;
    total.rss_bytes += memory.rss_bytes;
    total.unshared_bytes += memory.rss_bytes.saturating_sub(memory.shared_bytes);
    hand_on(metrics::RSS, memory.rss_bytes as f64);
    hand_on(metrics::SHARED, memory.shared_bytes as f64);
    if !is_full {
        return Ok(memory.rss_bytes);
    }
    let usage = probe.usage()?;
    hand_on(metrics::VIRTUAL, memory.virtual_bytes as f64);
    hand_on(metrics::CPU, usage.cpu_nanos as f64 / 1e9);
    hand_on(metrics::MINOR_FAULTS, usage.minor_faults as f64);
    hand_on(metrics::MAJOR_FAULTS, usage.major_faults as f64);
    hand_on(metrics::THREADS, usage.threads as f64);
    if let Some(peak) = usage.peak_rss_bytes {
        hand_on(metrics::PEAK_RSS, peak as f64);
    }
    match usage.swap_bytes {
        Some(bytes) => {
            hand_on(metrics::SWAP, bytes as f64);
            total.swap_bytes += bytes;
        }
        None => total.is_swap_unknown = true,
    }
    total.processes += 1;
    total.threads += usage.threads;
    let before = cpu_nanos.replace(usage.cpu_nanos);
    total.cpu_nanos += before.map_or(0, |before| usage.cpu_nanos.saturating_sub(before));
    Ok(usage.peak_rss_bytes.unwrap_or(0).max(memory.rss_bytes))
}

fn reading(metric: Metric, pid: Option<u32>, value: f64) -> Reading {
    Reading { metric, device: -1, pid, value }
}

fn is_denied(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

/// Pids of all processes that may be seen.
fn listed_pids() -> io::Result<Vec<u32>> {
    let mut pids = Vec::with_capacity(256);
    for entry in std::fs::read_dir("/proc")? {
        // Names that are no number are of the kernel's other files.
        pids.extend(entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()));
    }
    Ok(pids)
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
