//! Watches alerts in the program that is recorded: reads the journal behind the program, which is slowed by nothing.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use tidegauge_schemas::journal::{
    EventSlot, FIRST_ENTRY_OFFSET, Record, SLOTS_PER_CHUNK, SampleSlot, Slot, StringTable,
};
use tidegauge_schemas::{CheckpointKind, EventKind, metrics};

use crate::alerts::{Alert, AlertWatch, Crossing, CrossingKind, Observation, Place};
use crate::host;
use crate::journal::{ChunkState, Journal, MappedChunk};
use crate::ticks;

/// What is allocated on a device.
#[derive(Debug, Clone, Copy, Default)]
struct Allocated {
    bytes: u64,
    /// Highest since it was last looked at.
    high_bytes: u64,
}

/// Follows the journal up to the first record that is not committed yet.
#[derive(Debug)]
pub(crate) struct AlertFollower {
    watch: AlertWatch,
    /// `seq` of the record that it looks at next.
    next: u64,
    /// Sizes of the blocks that are alive, if an alert is on them.
    blocks: Option<FxHashMap<(i16, u64), u64>>,
    devices: BTreeMap<i16, Allocated>,
    names: StringTable,
    names_end: usize,
    crossings: Vec<Crossing>,
}

/// An alert that was raised.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RaisedAlert {
    /// The alert, as in its row of `checkpoints`.
    pub rule: String,
    /// What was read.
    pub value: f64,
    /// What there is to say, one line.
    pub line: String,
}

impl AlertFollower {
    /// Of a journal that begins; `None` without alerts.
    pub(crate) fn new(alerts: Vec<Alert>) -> Option<Self> {
        if alerts.is_empty() {
            return None;
        }
        let mut watch = AlertWatch::new(alerts, Place::Process);
        let mut crossings = Vec::new();
        if watch.wants("memory_total_bytes")
            && let Some(bytes) = host::memory_total_bytes()
        {
            watch.observe(reading("memory_total_bytes", -1, bytes as f64), &mut crossings);
        }
        let blocks = watch.wants(metrics::ALLOCATED.name).then(FxHashMap::default);
        let (names, names_end) = (StringTable::default(), FIRST_ENTRY_OFFSET);
        Some(Self { watch, next: 0, blocks, devices: BTreeMap::new(), names, names_end, crossings })
    }

    /// Looks at what was recorded since the last call.
    pub(crate) fn follow(&mut self, journal: &Journal) {
        loop {
            let index = self.next / SLOTS_PER_CHUNK;
            match journal.chunk(index) {
                ChunkState::Ready(chunk) => {
                    let end = self.look(journal, &chunk, false);
                    if end < SLOTS_PER_CHUNK {
                        break;
                    }
                }
                ChunkState::Skipped if self.next < journal.reserved() => {}
                ChunkState::Skipped | ChunkState::Missing => break,
            }
            self.next = (index + 1) * SLOTS_PER_CHUNK;
        }
        self.observe_allocated();
    }

    /// Looks at what is left of a chunk that will be gone.
    pub(crate) fn pass(&mut self, journal: &Journal, chunk: &MappedChunk<'_>) {
        let end = (chunk.index + 1) * SLOTS_PER_CHUNK;
        if self.next < end {
            self.next = self.next.max(chunk.index * SLOTS_PER_CHUNK);
            self.look(journal, chunk, true);
            self.next = end;
        }
    }

    /// Number of the slot in the chunk that it came to.
    fn look(&mut self, journal: &Journal, chunk: &MappedChunk<'_>, over_holes: bool) -> u64 {
        let first = self.next % SLOTS_PER_CHUNK;
        let end = chunk.for_each_from(first, over_holes, |_, slot| self.take(journal, slot));
        self.next = chunk.index * SLOTS_PER_CHUNK + end;
        end
    }

    fn take(&mut self, journal: &Journal, slot: &Slot) {
        match Record::decode(slot) {
            Some(Record::Event(event)) => self.event(&event),
            Some(Record::Sample(sample)) => self.sample(journal, &sample),
            Some(Record::Checkpoint(checkpoint)) if checkpoint.kind == CheckpointKind::StepEnd => {
                self.observe_allocated();
                let now = ticks::monotonic_nanos();
                self.watch.step_ended(checkpoint.step.unwrap_or(0), now, &mut self.crossings);
            }
            _ => {}
        }
    }

    fn event(&mut self, event: &EventSlot) {
        let (Some(blocks), Some(address)) = (&mut self.blocks, event.address) else { return };
        let place = (event.device, address);
        let (gone, come) = match event.kind {
            EventKind::Alloc => {
                let bytes = event.size_bytes.unwrap_or(0);
                (blocks.insert(place, bytes), bytes)
            }
            // What a stream still uses is not allocated any more.
            EventKind::Free | EventKind::FreeRequested | EventKind::FreeCompleted => {
                (blocks.remove(&place), 0)
            }
            _ => return,
        };
        let device = self.devices.entry(event.device).or_default();
        device.bytes = device.bytes.saturating_sub(gone.unwrap_or(0)) + come;
        device.high_bytes = device.high_bytes.max(device.bytes);
    }

    fn sample(&mut self, journal: &Journal, sample: &SampleSlot) {
        if sample.metric > self.names.len() {
            let bytes = journal.interner.entries_from(self.names_end);
            self.names_end += self.names.extend_from(&bytes, 0);
        }
        let name = self.names.name(sample.metric);
        if self.watch.wants(&name) {
            let reading = Observation { pid: sample.pid, ..reading(&name, sample.device, sample.value) };
            self.watch.observe(reading, &mut self.crossings);
        }
    }

    /// The highest that there was, since it may have been there for a moment only, then what there is.
    fn observe_allocated(&mut self) {
        for (&device, allocated) in &mut self.devices {
            for bytes in [allocated.high_bytes, allocated.bytes] {
                let reading = reading(metrics::ALLOCATED.name, device, bytes as f64);
                self.watch.observe(reading, &mut self.crossings);
            }
            allocated.high_bytes = allocated.bytes;
        }
    }

    /// What was raised since the last call.
    pub(crate) fn take_raised(&mut self) -> Vec<RaisedAlert> {
        let raised = self.crossings.iter().filter(|crossing| crossing.kind == CrossingKind::Raised);
        let said = raised.filter_map(|crossing| {
            let alert = self.watch.alert(crossing.alert)?;
            let (rule, line) = (crossing.name(alert), crossing.line(alert));
            Some(RaisedAlert { rule, value: crossing.value, line })
        });
        let said = said.collect();
        self.crossings.clear();
        said
    }

    /// What there is to say in the end of alerts that were never looked at.
    pub(crate) fn notes(&self) -> Vec<String> {
        self.watch.notes()
    }
}

fn reading(metric: &str, device: i16, value: f64) -> Observation<'_> {
    Observation { monotonic_nanos: ticks::monotonic_nanos(), metric, device, pid: None, value }
}
