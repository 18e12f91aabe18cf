//! What the user pointed at, and which processes of it are meant.

use std::path::{Path, PathBuf};

use tidegauge_schemas::Trace;
use tidegauge_schemas::layout::ProcessId;
use tidegauge_schemas::run::RunInfo;

use super::process::Process;
use crate::error::{Error, Result, chain, described};
use crate::foreign::{self, ForeignProcess};

/// Which part of a trace is looked at; `None` is all.
#[derive(Debug, Clone, Copy, Default)]
pub struct Selection {
    /// Rank.
    pub rank: Option<u32>,
    /// Process within the rank.
    pub process: Option<u32>,
    /// Device: −1 the host, 0… accelerators.
    pub device: Option<i16>,
    /// Nanoseconds since the trace's first record: what is before is replayed and not shown.
    pub start_nanos: Option<i64>,
    /// And what is after.
    pub end_nanos: Option<i64>,
}

impl Selection {
    /// Whether a row is shown; one of no device is, unless a device is asked for.
    #[must_use]
    pub fn shows_row(&self, device: Option<i16>) -> bool {
        device.map_or(self.device.is_none(), |device| self.shows_device(device))
    }

    /// Whether rows of that device are shown.
    #[must_use]
    pub fn shows_device(&self, device: i16) -> bool {
        self.device.is_none_or(|wanted| wanted == device)
    }
}

/// What was opened, with the processes that were selected.
#[derive(Debug)]
pub struct Source {
    /// The path as the user gave it; the first of several.
    pub path: PathBuf,
    /// What is said of the run.
    pub info: RunInfo,
    /// Its processes, by rank and number; at least one.
    pub processes: Vec<Process>,
    /// Processes that could not be opened while others could, with the reason.
    pub unreadable: Vec<(ProcessId, String)>,
    /// Ranks that the processes say there are, and of which there is nothing; empty where a selection left some out.
    pub missing_ranks: Vec<u32>,
}

impl Source {
    /// Opens the trace, or the recordings of other tools, at `paths`, which may be patterns.
    ///
    /// # Errors
    /// If it is neither, cannot be read, or has no process of that rank and number.
    pub fn open<P: AsRef<Path>>(paths: &[P], selection: &Selection) -> Result<Self> {
        let is_selected = |id: ProcessId| {
            selection.rank.is_none_or(|rank| rank == id.rank)
                && selection.process.is_none_or(|process| process == id.process)
        };
        let paths: Vec<&Path> = paths.iter().map(AsRef::as_ref).collect();
        let path = paths.first().copied().unwrap_or(Path::new("")).to_owned();
        let expanded = foreign::expand(&paths)?;
        let are_files = expanded.iter().all(|path| path.is_file());
        if let (false, [_, _, ..]) = (are_files, &*expanded) {
            let folder = expanded.iter().find(|path| !path.is_file());
            return Err(Error::SeveralRuns { path: folder.unwrap_or(&path).clone() });
        }
        let mut unreadable = Vec::new();
        let (info, found, processes) = if are_files {
            let Self { info, mut processes, .. } = Self::of_recordings(&path, foreign::open(&expanded)?);
            let found = processes.iter().map(|process| process.id).collect();
            processes.retain(|process| is_selected(process.id));
            (info, found, processes)
        } else {
            let trace = Trace::open(expanded.first().unwrap_or(&path))?;
            let selected = trace.processes().iter().copied().filter(|id| is_selected(*id));
            let mut processes = Vec::new();
            let mut first_error = None;
            for id in selected {
                match trace.process(id) {
                    Ok(process) => processes.push(Process::from(process)),
                    Err(error) => {
                        unreadable.push((id, described(chain(&error))));
                        first_error.get_or_insert(error);
                    }
                }
            }
            // The rest of a run is worth looking at; where there is no rest, what is wrong is the answer.
            if let (true, Some(error)) = (processes.is_empty(), first_error) {
                return Err(error.into());
            }
            (trace.info.clone(), trace.processes().to_vec(), processes)
        };
        if processes.is_empty() {
            let found = found.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let found = if found.is_empty() { "none".to_owned() } else { found };
            return Err(Error::NoSuchProcess { found, path });
        }
        let is_whole = selection.rank.is_none() && selection.process.is_none();
        let missing_ranks = if is_whole { missing_ranks(&processes, &unreadable) } else { Vec::new() };
        Ok(Self { path, info, processes, unreadable, missing_ranks })
    }

    /// The processes that recorded the node of `process` from outside at the same time: they sampled its devices.
    #[must_use]
    pub fn node_recorders(&self, process: &Process) -> Vec<&Process> {
        let host_of = |process: &Process| process.info.as_ref().map(|info| info.host.clone());
        let host = host_of(process).filter(|host| !host.is_empty());
        let is_recorder = |other: &&Process| {
            let watches = other.info.as_ref().is_some_and(|info| info.watched.is_some());
            other.id != process.id && watches && host.is_some() && host_of(other) == host
        };
        self.processes.iter().filter(is_recorder).collect()
    }

    /// Recordings of one run that other tools made and that were read already; `path` is what reports call them.
    #[must_use]
    pub fn of_recordings(path: &Path, recordings: Vec<ForeignProcess>) -> Self {
        let info = run_info(&recordings);
        Self {
            path: path.to_owned(),
            info,
            processes: recordings.into_iter().map(Process::from).collect(),
            unreadable: Vec::new(),
            missing_ranks: Vec::new(),
        }
    }

    /// What the user should know before believing the figures: damage, losses, an unclean end.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        // Files of one kind have the same to say; once is enough.
        let mut said: Vec<(String, ProcessId, usize)> = Vec::new();
        for process in &self.processes {
            let name = format!("{}: ", process.id);
            for warning in process.warnings() {
                let text = warning.strip_prefix(&name).unwrap_or(&warning);
                match said.iter_mut().find(|(known, ..)| known == text) {
                    Some((_, first, others)) => *others += usize::from(*first != process.id),
                    None => said.push((text.to_owned(), process.id, 0)),
                }
            }
        }
        let line = |(text, first, others): (String, ProcessId, usize)| match others {
            0 => format!("{first}: {text}"),
            others => format!("{first} and {others} more: {text}"),
        };
        let mut lines: Vec<String> = said.into_iter().map(line).collect();
        let unreadable = self.unreadable.iter();
        lines.extend(unreadable.map(|(id, reason)| format!("{id}: left out, it cannot be read: {reason}")));
        if !self.missing_ranks.is_empty() {
            let ranks = self.missing_ranks.iter().take(MAX_NAMED_RANKS).map(ToString::to_string);
            let mut named = ranks.collect::<Vec<_>>().join(", ");
            if let Some(more @ 1..) = self.missing_ranks.len().checked_sub(MAX_NAMED_RANKS) {
                named += &format!(" and {more} more");
            }
            lines.push(format!("there is no trace of rank {named}: sums and extremes are over the others"));
        }
        lines
    }
}

/// Ranks that a warning names.
const MAX_NAMED_RANKS: usize = 8;

/// Ranks below the world size that the processes tell of which there is nothing.
fn missing_ranks(processes: &[Process], unreadable: &[(ProcessId, String)]) -> Vec<u32> {
    // Of recordings of other tools, a file for each rank, those are meant that the user named.
    let of_trace = processes.iter().filter(|process| process.trace().is_some());
    let told = of_trace.filter_map(|process| process.info.as_ref()?.world_size).max();
    let has = |rank: &u32| {
        processes.iter().any(|process| process.id.rank == *rank)
            || unreadable.iter().any(|(id, _)| id.rank == *rank)
    };
    // Nobody trains on more; a number beyond is damage.
    (0..told.unwrap_or(0).min(1 << 16)).filter(|rank| !has(rank)).collect()
}

/// No recording is older: September 2001.
const FIRST_DATE_NANOS: i64 = 1_000_000_000_000_000_000;

/// What recordings of one run say of it; without an id.
pub(crate) fn run_info(recordings: &[ForeignProcess]) -> RunInfo {
    let started_nanos = recordings.iter().filter_map(ForeignProcess::first_nanos).min();
    let started = started_nanos
        // Clocks that count from something else than 1970 say nothing of the date.
        .filter(|nanos| *nanos >= FIRST_DATE_NANOS)
        .and_then(|nanos| jiff::Timestamp::from_nanosecond(i128::from(nanos)).ok())
        .map_or_else(String::new, |time| time.to_string());
    let mut config = tidegauge_schemas::run::Config::new();
    for recording in recordings {
        for (key, value) in &recording.config {
            config.entry(key).or_insert_with(|| value.clone());
        }
    }
    RunInfo::new(String::new(), started, started_nanos.unwrap_or(0), config)
}
