//! A process as another tool recorded it: the rows that a trace of it would have, in memory.
//!
//! An importer pushes rows in the order in which they happened; `seq` is given out here. Events are packed; sites,
//! checkpoints and samples are few.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use tidegauge_schemas::CheckpointKind;
use tidegauge_schemas::layout::ProcessId;
use tidegauge_schemas::process::{Cost, Ended, Losses, ProcessInfo};
use tidegauge_schemas::retention::Retention;
use tidegauge_schemas::version::FORMAT_VERSION;

use super::events::{EventStore, ForeignEvent, StoredEvent};
use super::operators::Operator;
use super::sites::Sites;
use crate::load::{CheckpointRow, SampleRow};

/// `clock_source` of a recording whose file tells the times.
const FILE_CLOCK: &str = "file";
/// `clock_source` of a recording without times: its entries are shown a microsecond apart.
pub const NO_CLOCK: &str = "none";

/// A process, read from a file that is no trace.
#[derive(Debug)]
pub struct ForeignProcess {
    /// Rank and number.
    pub id: ProcessId,
    /// What the file says of the process; `notes` are warnings.
    pub info: ProcessInfo,
    /// Which part of the program the recording covers, in sentences.
    pub coverage: Vec<String>,
    /// Who allocated.
    pub sites: Sites,
    /// The profiler's operators, where the file has them.
    pub operators: Option<Vec<Operator>>,
    /// What the file says of the run.
    pub config: serde_json::Map<String, serde_json::Value>,
    events: EventStore,
    checkpoints: Vec<CheckpointRow>,
    samples: Vec<SampleRow>,
    node_samples: Vec<SampleRow>,
    /// By device, what rounding has added to the blocks that are alive at the end.
    rounding_bytes: BTreeMap<i16, i64>,
    streams: Numbered<u64>,
    pools: Numbered<String>,
    next_seq: u32,
    first_nanos: Option<i64>,
}

impl ForeignProcess {
    /// Of that rank; `kind` is what the file is called in `versions`, for instance `pytorch snapshot`.
    #[must_use]
    pub fn new(id: ProcessId, kind: &str) -> Self {
        Self {
            id,
            info: info(id, kind),
            coverage: Vec::new(),
            sites: Sites::default(),
            operators: None,
            config: serde_json::Map::new(),
            events: EventStore::default(),
            checkpoints: Vec::new(),
            samples: Vec::new(),
            node_samples: Vec::new(),
            rounding_bytes: BTreeMap::new(),
            streams: Numbered::default(),
            pools: Numbered::default(),
            next_seq: 0,
            first_nanos: None,
        }
    }

    /// Says that the file has no times.
    pub fn set_timeless(&mut self) {
        NO_CLOCK.clone_into(&mut self.info.clock_source);
    }

    /// Whether the file tells times.
    #[must_use]
    pub fn has_times(&self) -> bool {
        self.info.clock_source != NO_CLOCK
    }

    /// A warning.
    pub fn note(&mut self, note: String) {
        self.info.notes.push(note);
    }

    /// Gives the process another rank or number.
    pub fn set_id(&mut self, id: ProcessId) {
        self.id = id;
        self.info.rank = id.rank;
        self.info.process = id.process;
    }

    /// Adds an event after everything that was added before.
    pub fn push_event(&mut self, event: &ForeignEvent) {
        let seq = self.take_seq(event.time_nanos);
        self.events.push(StoredEvent::new(seq, event));
    }

    /// Adds a checkpoint; its `seq` is given here.
    pub fn push_checkpoint(&mut self, row: CheckpointRow) {
        let seq = u64::from(self.take_seq(row.time_nanos));
        self.checkpoints.push(CheckpointRow { seq, ..row });
    }

    /// Adds a boundary of a step or phase, of which nothing more is known.
    pub fn push_boundary(
        &mut self,
        kind: CheckpointKind,
        name: Option<String>,
        step: Option<i64>,
        time_nanos: i64,
    ) {
        self.push_checkpoint(CheckpointRow {
            seq: 0,
            time_nanos,
            kind: Some(kind),
            name,
            step,
            epoch: None,
            thread: 0,
            value: None,
            batch_size: None,
        });
    }

    /// Adds a sample of the process; its `seq` is given here.
    pub fn push_sample(&mut self, row: SampleRow) {
        let seq = u64::from(self.take_seq(row.time_nanos));
        self.samples.push(SampleRow { seq, ..row });
    }

    /// Adds a sample of a device or of the node; its `seq` is given here.
    pub fn push_node_sample(&mut self, row: SampleRow) {
        let seq = u64::from(self.take_seq(row.time_nanos));
        self.node_samples.push(SampleRow { seq, ..row });
    }

    /// The number by which events name a stream.
    pub fn stream_number(&mut self, stream: u64) -> u16 {
        self.streams.number(stream)
    }

    /// The number by which events name a pool.
    pub fn pool_number(&mut self, pool: String) -> u16 {
        self.pools.number(pool)
    }

    /// The stream of that number.
    #[must_use]
    pub fn stream(&self, number: u16) -> Option<u64> {
        self.streams.values.get(usize::from(number).checked_sub(1)?).copied()
    }

    /// The pool of that number.
    #[must_use]
    pub fn pool(&self, number: u16) -> Option<&str> {
        self.pools.values.get(usize::from(number).checked_sub(1)?).map(String::as_str)
    }

    /// Says by how much the blocks of a device that are alive at the end are larger than what was asked for.
    pub(super) fn set_rounding_bytes(&mut self, device: i16, bytes: i64) {
        self.rounding_bytes.insert(device, bytes);
    }

    /// By how much they are larger, if the file tells it.
    #[must_use]
    pub fn rounding_bytes(&self, device: i16) -> Option<i64> {
        self.rounding_bytes.get(&device).copied()
    }

    /// Events.
    #[must_use]
    pub fn events(&self) -> &EventStore {
        &self.events
    }

    /// Checkpoints.
    #[must_use]
    pub fn checkpoints(&self) -> &[CheckpointRow] {
        &self.checkpoints
    }

    /// Samples of the process.
    #[must_use]
    pub fn samples(&self) -> &[SampleRow] {
        &self.samples
    }

    /// Samples of devices and of the node.
    #[must_use]
    pub fn node_samples(&self) -> &[SampleRow] {
        &self.node_samples
    }

    /// What `process.json` says of it once it is imported.
    #[must_use]
    pub fn description(&self) -> ProcessInfo {
        ProcessInfo {
            // How the program ended no such file tells.
            ended: Some(Ended::Unknown),
            coverage: self.coverage.clone(),
            operators: self.operators.clone(),
            ..self.info.clone()
        }
    }

    /// The earliest time of any row, nanoseconds since 1970; `None` without rows or times.
    #[must_use]
    pub fn first_nanos(&self) -> Option<i64> {
        self.first_nanos.filter(|_| self.has_times())
    }

    fn take_seq(&mut self, time_nanos: i64) -> u32 {
        self.first_nanos = Some(self.first_nanos.map_or(time_nanos, |first| first.min(time_nanos)));
        let seq = self.next_seq;
        // Four thousand million rows would need 200 GB.
        self.next_seq = self.next_seq.saturating_add(1);
        seq
    }
}

/// Values by number, from 1 on; what comes after the last number is unknown, 0.
#[derive(Debug)]
struct Numbered<T> {
    values: Vec<T>,
    numbers: FxHashMap<T, u16>,
}

impl<T> Default for Numbered<T> {
    fn default() -> Self {
        Self { values: Vec::new(), numbers: FxHashMap::default() }
    }
}

impl<T: Clone + Eq + std::hash::Hash> Numbered<T> {
    fn number(&mut self, value: T) -> u16 {
        if let Some(number) = self.numbers.get(&value) {
            return *number;
        }
        let Ok(number) = u16::try_from(self.values.len() + 1) else { return 0 };
        self.values.push(value.clone());
        self.numbers.insert(value, number);
        number
    }
}

fn info(id: ProcessId, kind: &str) -> ProcessInfo {
    ProcessInfo {
        format_version: FORMAT_VERSION,
        run_id: String::new(),
        rank: id.rank,
        process: id.process,
        local_rank: None,
        world_size: None,
        host: String::new(),
        boot_id: None,
        pid: 0,
        pid_start_ticks: None,
        command: Vec::new(),
        watched: None,
        started: String::new(),
        ended: None,
        ended_unix_nanos: None,
        devices: Vec::new(),
        versions: BTreeMap::from([("recording".to_owned(), kind.to_owned())]),
        clock_source: FILE_CLOCK.to_owned(),
        clock_anchors: Vec::new(),
        journal_path: None,
        retention: Retention::default(),
        losses: Losses::default(),
        cost: Cost::default(),
        notes: Vec::new(),
        coverage: Vec::new(),
        operators: None,
    }
}
