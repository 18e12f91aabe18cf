//! `process.json`: what one recorded process is, how it ended and what recording cost it.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::checksum;
use crate::error::{Error, Result};
use crate::journal::Anchor;
use crate::layout;
use crate::operator::Operator;
use crate::retention::Retention;
use crate::run;

/// How a recorded process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Ended {
    /// The recorder was stopped.
    Clean,
    /// The process is gone and the recorder was not stopped: killed, crashed or exited without stopping.
    Killed,
    /// Killed by the kernel for want of memory.
    Oom,
    /// Still recording.
    Running,
    /// Nobody can tell: `process.json` is missing or damaged, and there is no journal.
    Unknown,
}

impl Ended {
    /// The word in JSON and reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Killed => "killed",
            Self::Oom => "oom",
            Self::Running => "running",
            Self::Unknown => "unknown",
        }
    }
}

/// An accelerator that the process could see.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeviceInfo {
    /// Index in the framework's order.
    pub index: i16,
    /// Identity.
    pub uuid: Option<String>,
    /// Product name.
    pub name: Option<String>,
    /// Memory of the device.
    pub total_bytes: Option<u64>,
    /// Its place on the PCI bus.
    #[serde(default)]
    pub pci_bus_id: Option<String>,
    /// Index of the GPU that it is a MIG instance of, if it is one: its memory is part of that one's.
    #[serde(default)]
    pub parent_index: Option<i16>,
}

/// What could not be recorded as wished.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Losses {
    /// Records that were dropped: the journal had reached its cap or could not grow.
    pub dropped_records: u64,
    /// Slots that were reserved and never committed: their thread died or sleeps.
    pub uncommitted_records: u64,
    /// Slots whose contents were damaged on disk.
    pub damaged_records: u64,
    /// Names that did not fit into the string table and are shown as `<overflow>`.
    pub overflowed_names: u64,
    /// Times that a part could not be sealed (disk full, folder gone) and was tried again later.
    pub failed_seals: u64,
    /// Samples that came more than one interval late.
    pub late_samples: u64,
    /// Samples that could not be taken.
    pub skipped_samples: u64,
}

/// What recording cost the process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cost {
    /// Records that were written.
    pub records: u64,
    /// Allocation events that were left out, since only the newest or those of chosen steps are kept.
    pub left_out_events: u64,
    /// CPU time of the recorder's own threads.
    pub background_cpu_seconds: f64,
    /// Bytes of sealed parts.
    pub written_bytes: u64,
    /// Bytes written once more, as parts were merged.
    pub merged_bytes: u64,
    /// Largest size of the mapped journal.
    pub peak_journal_bytes: u64,
}

/// A program that another process recorded from outside.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Watched {
    /// Its first process.
    pub pid: u32,
    /// What it exited with; null while it runs, and if a signal ended it.
    pub exit_code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Whether the kernel killed one of its processes for want of memory; null where nobody can tell.
    pub is_oom_killed: Option<bool>,
    /// Highest resident size of the largest of its processes, as the kernel kept it.
    pub peak_rss_bytes: Option<u64>,
}

/// Contents of `process.json`. Fields that a reader does not know are ignored, absent ones are unknown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProcessInfo {
    /// Version of the format.
    pub format_version: u32,
    /// Id of the run that it belongs to.
    pub run_id: String,
    /// Rank in the distributed job.
    pub rank: u32,
    /// Number of the process within the rank.
    pub process: u32,
    /// Rank on this host, where the launcher said so.
    pub local_rank: Option<u32>,
    /// Ranks in the job, where the launcher said so.
    pub world_size: Option<u32>,
    /// Host name.
    pub host: String,
    /// Boot of that host: pids of another boot mean nothing.
    pub boot_id: Option<String>,
    /// Process id, in the recorder's pid namespace.
    pub pid: u32,
    /// Start of the process in clock ticks since boot: tells it from another that got its pid later.
    pub pid_start_ticks: Option<u64>,
    /// Command line of what is recorded.
    pub command: Vec<String>,
    /// The command that was recorded from outside, by `tidegauge-record`; none where a process recorded itself.
    #[serde(default)]
    pub watched: Option<Watched>,
    /// When recording started, RFC 3339, UTC.
    pub started: String,
    /// How it ended; null while it runs and after a crash that nobody has sealed yet.
    pub ended: Option<Ended>,
    /// When recording ended, nanoseconds since 1970.
    pub ended_unix_nanos: Option<i64>,
    /// Accelerators.
    #[serde(default)]
    pub devices: Vec<DeviceInfo>,
    /// Versions of the recorder, the framework and so on, by name.
    #[serde(default)]
    pub versions: std::collections::BTreeMap<String, String>,
    /// Where time stamps come from: `tsc` or `clock_monotonic`; of an import `file`, or `none` where that had no times.
    pub clock_source: String,
    /// Ties of that clock to the wall clock.
    #[serde(default)]
    pub clock_anchors: Vec<Anchor>,
    /// Where the journal lies if not in the trace, because the trace's file system cannot hold one.
    pub journal_path: Option<PathBuf>,
    /// Which allocation events are kept.
    #[serde(default)]
    pub retention: Retention,
    /// What could not be recorded.
    #[serde(default)]
    pub losses: Losses,
    /// What recording cost.
    #[serde(default)]
    pub cost: Cost,
    /// One line for each thing that could not be recorded as wished.
    #[serde(default)]
    pub notes: Vec<String>,
    /// Of an import: which part of the program the recording covers, in sentences.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub coverage: Vec<String>,
    /// Of an import: the profiler's operators, where the recording had them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operators: Option<Vec<Operator>>,
}

impl ProcessInfo {
    /// Reads a `process.json`; checks the version.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read(path).map_err(Error::io("reading", path))?;
        let json = |source| Error::Json { path: path.to_owned(), source };
        let value: serde_json::Value = serde_json::from_slice(&text).map_err(json)?;
        // First, since a newer version may well have other fields.
        if let Some(version) = value.get("format_version").and_then(serde_json::Value::as_u64) {
            Error::check_version(u32::try_from(version).unwrap_or(u32::MAX), path)?;
        }
        checksum::verify_json(&text, &value, path)?;
        serde_json::from_value(value).map_err(json)
    }

    /// Writes it as a whole or not at all.
    pub fn write(&self, path: &Path) -> Result<()> {
        run::replace(path, &run::to_json(self, path)?)
    }
}

/// Where the journal of a process lies.
#[must_use]
pub fn journal_folder(process_folder: &Path, info: Option<&ProcessInfo>) -> PathBuf {
    let elsewhere = info.and_then(|info| info.journal_path.clone());
    elsewhere.unwrap_or_else(|| process_folder.join(layout::JOURNAL_FOLDER))
}
