//! Builds traces row by row: a test reads like the trace that it describes.

use std::path::{Path, PathBuf};

use tidegauge_schemas::journal::{
    CheckpointSlot, ClockMap, EventSlot, SampleSlot, Slot, StringTable, StringUse, entry_check, entry_head,
};
use tidegauge_schemas::layout::{self, ProcessId};
use tidegauge_schemas::part::{PartWriter, Range};
use tidegauge_schemas::process::{Cost, Ended, Losses, ProcessInfo};
use tidegauge_schemas::rows::SlotRows;
use tidegauge_schemas::run::{Config, RunInfo};
use tidegauge_schemas::string_rows::string_rows;
use tidegauge_schemas::version::FORMAT_VERSION;
use tidegauge_schemas::{CheckpointKind, EventKind, Table};

/// The process that built traces have.
pub const PROCESS: ProcessId = ProcessId { rank: 0, process: 0 };
/// Time of the first row, nanoseconds since 1970; each further row is a microsecond later.
pub const ORIGIN_NANOS: u64 = 1_767_225_600_000_000_000;

/// Rows of a trace, in the order in which they are added; `seq` counts them.
#[derive(Debug, Default, Clone)]
pub struct TraceBuilder {
    slots: Vec<Slot>,
    names: Vec<(String, StringUse)>,
    part_rows: Option<usize>,
    config: Config,
    paused_nanos: u64,
    device: i16,
}

impl TraceBuilder {
    /// Without rows.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Has a new part begin every so many rows.
    #[must_use]
    pub fn parts_of(mut self, rows: usize) -> Self {
        self.part_rows = Some(rows);
        self
    }

    /// Gives the run a configuration.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    fn ticks(&self) -> u64 {
        ORIGIN_NANOS + self.slots.len() as u64 * 1000 + self.paused_nanos
    }

    /// Lets so much time go by before the next row.
    #[must_use]
    pub fn pause(mut self, nanos: u64) -> Self {
        self.paused_nanos += nanos;
        self
    }

    fn id(&mut self, name: &str, used: StringUse) -> u32 {
        let known = self.names.iter().position(|(text, of)| text == name && *of == used);
        let index = known.unwrap_or_else(|| {
            self.names.push((name.to_owned(), used));
            self.names.len() - 1
        });
        index as u32 + 1
    }

    /// Has all further events be of that device; they are of device 0 before.
    #[must_use]
    pub fn on_device(mut self, device: i16) -> Self {
        self.device = device;
        self
    }

    /// Any event of the device.
    #[must_use]
    pub fn event(
        mut self,
        kind: EventKind,
        address: u64,
        size_bytes: Option<u64>,
        site: Option<&str>,
    ) -> Self {
        let site = site.map_or(0, |site| self.id(site, StringUse::Site));
        let event =
            EventSlot { device: self.device, ..of_device_0(self.ticks(), kind, address, size_bytes, site) };
        self.slots.push(event.encode());
        self
    }

    /// An allocation.
    #[must_use]
    pub fn alloc(self, address: u64, size_bytes: u64) -> Self {
        self.event(EventKind::Alloc, address, Some(size_bytes), None)
    }

    /// A free.
    #[must_use]
    pub fn free(self, address: u64) -> Self {
        self.event(EventKind::Free, address, None, None)
    }

    fn checkpoint(
        mut self,
        kind: CheckpointKind,
        name: Option<&str>,
        step: Option<i64>,
        value: Option<f64>,
    ) -> Self {
        let name = name.map_or(0, |name| self.id(name, StringUse::Name));
        let checkpoint = CheckpointSlot {
            ticks: self.ticks(),
            kind,
            name,
            step,
            epoch: None,
            thread: 1,
            value,
            batch_size: None,
        };
        self.slots.push(checkpoint.encode());
        self
    }

    /// A failed allocation, as the allocator and then the framework tell it.
    #[must_use]
    pub fn oom(self, size_bytes: u64) -> Self {
        self.event(EventKind::Oom, 0, Some(size_bytes), None).raised()
    }

    /// The framework has raised out-of-memory, and nothing more is known.
    #[must_use]
    pub fn raised(self) -> Self {
        self.checkpoint(CheckpointKind::Oom, None, None, None)
    }

    /// An alert of that rule, at that value of its metric.
    #[must_use]
    pub fn alert(self, rule: &str, value: f64) -> Self {
        self.checkpoint(CheckpointKind::Alert, Some(rule), None, Some(value))
    }

    /// A mark.
    #[must_use]
    pub fn mark(self, name: &str) -> Self {
        self.checkpoint(CheckpointKind::Mark, Some(name), None, None)
    }

    /// A phase with what is in it.
    #[must_use]
    pub fn span(self, name: &str, inside: impl FnOnce(Self) -> Self) -> Self {
        let begun = self.checkpoint(CheckpointKind::SpanBegin, Some(name), None, None);
        inside(begun).checkpoint(CheckpointKind::SpanEnd, Some(name), None, None)
    }

    /// A step with what is in it.
    #[must_use]
    pub fn step(self, number: i64, loss: f64, inside: impl FnOnce(Self) -> Self) -> Self {
        let begun = self.checkpoint(CheckpointKind::StepBegin, None, Some(number), None);
        inside(begun).checkpoint(CheckpointKind::StepEnd, None, Some(number), Some(loss))
    }

    /// The beginning of a step, which may have no end.
    #[must_use]
    pub fn step_begin(self, number: i64) -> Self {
        self.checkpoint(CheckpointKind::StepBegin, None, Some(number), None)
    }

    /// The end of a step, which may have had no beginning.
    #[must_use]
    pub fn step_end(self, number: i64) -> Self {
        self.checkpoint(CheckpointKind::StepEnd, None, Some(number), None)
    }

    /// An epoch with what is in it.
    #[must_use]
    pub fn epoch(self, inside: impl FnOnce(Self) -> Self) -> Self {
        let begun = self.checkpoint(CheckpointKind::EpochBegin, None, None, None);
        inside(begun).checkpoint(CheckpointKind::EpochEnd, None, None, None)
    }

    /// A black-box optimizer has evaluated the loss.
    #[must_use]
    pub fn evaluation(self, loss: f64) -> Self {
        self.checkpoint(CheckpointKind::LossEvaluation, None, None, Some(loss))
    }

    /// A sample of the process's resident size.
    #[must_use]
    pub fn rss(self, bytes: u64) -> Self {
        self.sample(bytes, None)
    }

    /// A sample of the process's resident size that was read at the checkpoint just before.
    #[must_use]
    pub fn rss_at_checkpoint(self, bytes: u64) -> Self {
        let checkpoint = (self.slots.len() as u64).checked_sub(1);
        self.sample(bytes, checkpoint)
    }

    fn sample(mut self, bytes: u64, checkpoint: Option<u64>) -> Self {
        let metric = self.id("rss_bytes", StringUse::Name);
        let ticks = self.ticks();
        let value = bytes as f64;
        let slot = SampleSlot { ticks, metric, device: -1, pid: None, value, checkpoint, thread: 1 };
        self.slots.push(slot.encode());
        self
    }

    /// Writes the trace into `folder` and returns its path.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn write(&self, folder: &Path) -> PathBuf {
        self.try_write(folder).unwrap_or_else(|error| panic!("{error}"))
    }

    fn try_write(&self, folder: &Path) -> tidegauge_schemas::Result<PathBuf> {
        let run = folder.join("run");
        begin_configured_trace(&run, self.config.clone())?;

        // Ticks are nanoseconds since 1970 already.
        let clock = ClockMap::new(Vec::new());
        let strings = self.strings();
        let part_rows = self.part_rows.unwrap_or(self.slots.len()).max(1);
        for (number, slots) in (0u64..).zip(self.slots.chunks(part_rows)) {
            let mut rows = SlotRows::new(&clock, &strings);
            for (seq, slot) in (number * part_rows as u64..).zip(slots) {
                rows.push(seq, slot);
            }
            for table in SlotRows::TABLES {
                let batch = rows.finish(table);
                if batch.num_rows() > 0 {
                    let mut part = PartWriter::create(
                        &layout::table_folder(&run, table, PROCESS),
                        "part",
                        table,
                        "built",
                    )?;
                    part.write(&batch)?;
                    part.seal(Range { first: number, last: number })?;
                }
            }
        }
        let ids: Vec<u32> = (1..=strings.len()).collect();
        for ids in ids.chunks(part_rows) {
            let rows = string_rows(Table::Sites, ids.iter().copied(), &strings, &clock);
            if rows.num_rows() == 0 {
                continue;
            }
            let mut part = PartWriter::create(
                &layout::table_folder(&run, Table::Sites, PROCESS),
                "part",
                Table::Sites,
                "built",
            )?;
            part.write(&rows)?;
            part.seal(Range { first: u64::from(ids[0]), last: u64::from(ids[ids.len() - 1]) })?;
        }
        Ok(run)
    }

    fn strings(&self) -> StringTable {
        string_table(&self.names)
    }
}

/// The names by their numbers, from 1 on.
pub(crate) fn string_table(names: &[(String, StringUse)]) -> StringTable {
    let mut bytes = Vec::new();
    for (id, (text, used)) in (1u32..).zip(names) {
        let head = entry_head(id, *used, text.len());
        let text = text.as_bytes();
        for word in [head, 0, ORIGIN_NANOS] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(text);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes.extend(entry_check(head, 0, ORIGIN_NANOS, text).to_le_bytes());
    }
    let mut table = StringTable::default();
    table.extend_from(&bytes, 0);
    table
}

/// An event of device 0.
#[must_use]
pub fn device_event(ticks: u64, kind: EventKind, address: u64, size_bytes: Option<u64>, site: u32) -> Slot {
    of_device_0(ticks, kind, address, size_bytes, site).encode()
}

fn of_device_0(ticks: u64, kind: EventKind, address: u64, size_bytes: Option<u64>, site: u32) -> EventSlot {
    EventSlot {
        ticks,
        kind,
        device: 0,
        address: Some(address),
        size_bytes,
        stream: None,
        pool: 0,
        site,
        thread: 1,
        category: None,
    }
}

/// Makes the folder of a trace with one process, and no rows yet.
///
/// # Errors
/// If it cannot be made.
pub fn begin_trace(run: &Path) -> tidegauge_schemas::Result<()> {
    begin_configured_trace(run, Config::new())
}

fn begin_configured_trace(run: &Path, config: Config) -> tidegauge_schemas::Result<()> {
    let home = layout::process_folder(run, PROCESS);
    std::fs::create_dir_all(&home).map_err(tidegauge_schemas::Error::io("creating", &home))?;
    let started = "2026-01-01T00:00:00Z".to_owned();
    RunInfo::new("built".into(), started.clone(), ORIGIN_NANOS as i64, config).create(run)?;
    process_info(started).write(&home.join(layout::PROCESS_FILE))
}

fn process_info(started: String) -> ProcessInfo {
    ProcessInfo {
        format_version: FORMAT_VERSION,
        run_id: "built".into(),
        rank: PROCESS.rank,
        process: PROCESS.process,
        local_rank: None,
        world_size: None,
        host: "host".into(),
        boot_id: None,
        pid: 1,
        pid_start_ticks: None,
        command: vec!["built".into()],
        watched: None,
        retention: Default::default(),
        started,
        ended: Some(Ended::Clean),
        ended_unix_nanos: None,
        devices: Vec::new(),
        versions: std::collections::BTreeMap::new(),
        clock_source: "clock_monotonic".into(),
        clock_anchors: Vec::new(),
        journal_path: None,
        losses: Losses::default(),
        cost: Cost::default(),
        notes: Vec::new(),
        coverage: Vec::new(),
        operators: None,
    }
}
