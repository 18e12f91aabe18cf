//! A trace like that of a training loop, of any length: 2000 allocations a step, addresses reused, sizes repeated from
//! step to step, times with jitter.

use std::path::Path;

use tidegauge_schemas::journal::{
    Anchor, CheckpointSlot, ClockMap, SLOTS_PER_CHUNK, Slot, StringTable, StringUse, commit_word,
};
use tidegauge_schemas::layout;
use tidegauge_schemas::part::{PartWriter, Range};
use tidegauge_schemas::part_target::{PartTarget, RangeSeal};
use tidegauge_schemas::rows::SlotRows;
use tidegauge_schemas::string_rows::string_rows;
use tidegauge_schemas::{CheckpointKind, EventKind, Table};

use crate::trace_builder::{ORIGIN_NANOS, PROCESS, begin_trace, device_event, string_table};

/// The shape of the loop.
#[derive(Debug, Clone, Copy)]
pub struct TrainingTrace {
    /// Allocations in a step.
    pub allocs_per_step: u64,
    /// Sites that they come from.
    pub sites: u32,
}

impl Default for TrainingTrace {
    fn default() -> Self {
        Self { allocs_per_step: 2000, sites: 150 }
    }
}

/// Chunks in a part, as the recorder makes them.
const CHUNKS_PER_PART: usize = 8;

/// The records of such a loop, without end. In each step blocks are allocated, half of them freed soon, the others in
/// reverse order at the end of the step; a freed address is the next one to be given out, as a caching allocator does.
#[derive(Debug)]
pub struct TrainingSlots {
    shape: TrainingTrace,
    random: u64,
    ticks: u64,
    free_addresses: Vec<u64>,
    step: i64,
    seq: u64,
    ready: std::collections::VecDeque<Slot>,
}

impl TrainingSlots {
    /// From the first step on.
    #[must_use]
    pub fn new(shape: TrainingTrace) -> Self {
        Self {
            shape,
            random: 0x2545_F491_4F6C_DD1D,
            ticks: ORIGIN_NANOS,
            free_addresses: (0..shape.allocs_per_step)
                .rev()
                .map(|n| 0x7f00_0000_0000 + n * 0x20_0000)
                .collect(),
            step: 0,
            seq: 0,
            ready: std::collections::VecDeque::new(),
        }
    }

    fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    /// Time goes on by at least that much, and up to so much more.
    fn advance(&mut self, nanos: u64, jitter: u64) {
        self.ticks += nanos + self.random() % jitter;
    }

    fn free(&mut self, address: u64) {
        self.ready.push_back(device_event(self.ticks, EventKind::Free, address, None, 0));
        self.free_addresses.push(address);
    }

    fn make_step(&mut self) {
        let mut kept = Vec::new();
        self.ready.push_back(checkpoint(self.ticks, CheckpointKind::StepBegin, self.step));
        for n in 0..self.shape.allocs_per_step {
            self.advance(2000, 3000);
            let address = self.free_addresses.pop().unwrap_or(0);
            // One in twenty depends on the data: its size is another in every step.
            let size_number = if n % 20 == 0 { self.random() } else { n * 2_654_435_761 };
            let size_bytes = 512 * (1 + size_number % 4096);
            let site = 1 + (n as u32 % self.shape.sites);
            let alloc = device_event(self.ticks, EventKind::Alloc, address, Some(size_bytes), site);
            self.ready.push_back(alloc);
            if n % 2 == 0 {
                self.advance(500, 800);
                self.free(address);
            } else {
                kept.push(address);
            }
        }
        for address in kept.into_iter().rev() {
            self.advance(700, 900);
            self.free(address);
        }
        self.ready.push_back(checkpoint(self.ticks, CheckpointKind::StepEnd, self.step));
        self.step += 1;
    }
}

impl Iterator for TrainingSlots {
    type Item = Slot;

    fn next(&mut self) -> Option<Slot> {
        if self.ready.is_empty() {
            self.make_step();
        }
        let mut slot = self.ready.pop_front()?;
        slot[0] = commit_word(self.seq, &slot);
        self.seq += 1;
        Some(slot)
    }
}

fn checkpoint(ticks: u64, kind: CheckpointKind, step: i64) -> Slot {
    let checkpoint = CheckpointSlot {
        ticks,
        kind,
        name: 0,
        step: Some(step),
        epoch: None,
        thread: 77,
        value: None,
        batch_size: None,
    };
    checkpoint.encode()
}

/// Writes the first `records` of them as a trace, in parts as the recorder makes them; bytes written.
///
/// # Panics
/// If it cannot be written.
pub fn write_trace(slots: impl Iterator<Item = Slot>, records: u64, run: &Path) -> u64 {
    begin_trace(run).unwrap_or_else(|error| panic!("{error}"));
    let mut slots = (0..records).zip(slots);
    let mut bytes = 0;
    for first in (0..records.div_ceil(SLOTS_PER_CHUNK)).step_by(CHUNKS_PER_PART) {
        let part = slots.by_ref().take(CHUNKS_PER_PART * SLOTS_PER_CHUNK as usize);
        bytes += write_part(first, part, run).unwrap_or_else(|error| panic!("{error}"));
    }
    bytes
}

fn write_part(
    first: u64,
    slots: impl Iterator<Item = (u64, Slot)>,
    run: &Path,
) -> tidegauge_schemas::Result<u64> {
    // As a recorder has it: an anchor for each second, a tick a third of a nanosecond.
    let anchors = (0..3600).map(|second| Anchor {
        ticks: ORIGIN_NANOS + second * 3_000_000_000,
        monotonic_nanos: second as i64 * 1_000_000_000,
        unix_nanos: ORIGIN_NANOS as i64 + second as i64 * 1_000_000_000,
    });
    let (clock, strings) = (ClockMap::new(anchors.collect()), StringTable::default());
    let host = "built".to_owned();
    let target = PartTarget { run: run.to_owned(), run_id: "built".to_owned(), id: PROCESS, host };
    let mut seal = RangeSeal::begin(&target, SlotRows::TABLES.into_iter(), &clock, &strings);
    let mut last = first;
    for (seq, slot) in slots {
        last = seq / SLOTS_PER_CHUNK;
        // As the sealer does.
        if slot[0] == commit_word(seq, &slot) {
            seal.push(seq, &slot);
        }
    }
    seal.seal(Range { first, last }, &mut Vec::new())
}

/// Gives the sites of such a trace, which otherwise have none, their names.
///
/// # Panics
/// If they cannot be written.
pub fn write_site_names(shape: TrainingTrace, run: &Path) {
    let names: Vec<_> =
        (1..=shape.sites).map(|site| (format!("model/layer.py:{site}"), StringUse::Site)).collect();
    let strings = string_table(&names);
    let clock = ClockMap::new(Vec::new());
    let rows = string_rows(Table::Sites, 1..=shape.sites, &strings, &clock);
    let folder = layout::table_folder(run, Table::Sites, PROCESS);
    let written = PartWriter::create(&folder, "names", Table::Sites, "built").and_then(|mut part| {
        part.write(&rows)?;
        part.seal(Range { first: 1, last: u64::from(shape.sites) })
    });
    written.unwrap_or_else(|error| panic!("{error}"));
}
