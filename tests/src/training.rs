//! A trace like that of a training loop, of any length: 2000 allocations a step, addresses reused, sizes repeated from
//! step to step, times with jitter.

use std::path::Path;

use tidegauge_schemas::journal::{CheckpointSlot, ClockMap, SLOTS_PER_CHUNK, Slot, StringTable};
use tidegauge_schemas::part::Range;
use tidegauge_schemas::part_target::{PartTarget, RangeSeal};
use tidegauge_schemas::rows::SlotRows;
use tidegauge_schemas::{CheckpointKind, EventKind};

use crate::trace_builder::{ORIGIN_NANOS, PROCESS, begin_trace, device_event};

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

/// About that many records. In each step blocks are allocated, half of them freed soon, the others in reverse order at
/// the end of the step; a freed address is the next one to be given out, as a caching allocator does.
#[must_use]
pub fn slots(shape: TrainingTrace, records: usize) -> Vec<Slot> {
    let mut slots = Vec::with_capacity(records + 2 * shape.allocs_per_step as usize);
    let mut state = 0x2545_F491_4F6C_DD1Du64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut ticks = ORIGIN_NANOS;
    let mut free_addresses: Vec<u64> =
        (0..shape.allocs_per_step).rev().map(|n| 0x7f00_0000_0000 + n * 0x20_0000).collect();
    let mut step = 0;
    while slots.len() < records {
        let mut kept = Vec::new();
        slots.push(checkpoint(ticks, CheckpointKind::StepBegin, step));
        for n in 0..shape.allocs_per_step {
            ticks += 2000 + random() % 3000;
            let address = free_addresses.pop().unwrap_or(0);
            let size_bytes = 512 * (1 + (n * 2_654_435_761) % 4096);
            slots.push(device_event(
                ticks,
                EventKind::Alloc,
                address,
                Some(size_bytes),
                1 + (n as u32 % shape.sites),
            ));
            if n % 2 == 0 {
                ticks += 500 + random() % 800;
                slots.push(device_event(ticks, EventKind::Free, address, None, 0));
                free_addresses.push(address);
            } else {
                kept.push(address);
            }
        }
        for address in kept.into_iter().rev() {
            ticks += 700 + random() % 900;
            slots.push(device_event(ticks, EventKind::Free, address, None, 0));
            free_addresses.push(address);
        }
        slots.push(checkpoint(ticks, CheckpointKind::StepEnd, step));
        step += 1;
    }
    slots
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

/// Writes the records as a trace, in parts as the recorder makes them; bytes written.
///
/// # Panics
/// If it cannot be written.
pub fn write_parts(slots: &[Slot], run: &Path) -> u64 {
    begin_trace(run).unwrap_or_else(|error| panic!("{error}"));
    let chunks: Vec<&[Slot]> = slots.chunks(SLOTS_PER_CHUNK as usize).collect();
    let parts = (0..).zip(chunks.chunks(CHUNKS_PER_PART));
    parts
        .map(|(number, chunks)| write_part(number, chunks, run).unwrap_or_else(|error| panic!("{error}")))
        .sum()
}

fn write_part(number: u64, chunks: &[&[Slot]], run: &Path) -> tidegauge_schemas::Result<u64> {
    let (clock, strings) = (ClockMap::new(Vec::new()), StringTable::default());
    let target = PartTarget { run: run.to_owned(), run_id: "built".to_owned(), id: PROCESS };
    let mut seal = RangeSeal::begin(&target, SlotRows::TABLES.into_iter(), &clock, &strings);
    let first = number * CHUNKS_PER_PART as u64;
    for (index, chunk) in (first..).zip(chunks) {
        for (seq, slot) in (index * SLOTS_PER_CHUNK..).zip(*chunk) {
            seal.push(seq, slot);
        }
    }
    seal.seal(Range { first, last: first + chunks.len() as u64 - 1 }, &mut Vec::new())
}
