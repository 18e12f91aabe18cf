//! The events that say what is alive now, of all that there were.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use crate::journal::{EventSlot, Record, Slot};
use crate::kinds::EventKind;

/// A block or segment: its device and address.
type Place = (i16, u64);

/// A block that is alive.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct LiveBlock {
    /// `seq` of its allocation.
    pub(super) seq: u64,
    /// Its allocation.
    pub(super) alloc: EventSlot,
    /// Whether the reader of the trace has been told of it.
    pub(super) is_told: bool,
    /// The reader takes an earlier block at this address for alive, whose free was missed.
    pub(super) hides_told: bool,
    /// The program has given it up, a stream still uses it.
    pub(super) given_up: Option<(u64, EventSlot)>,
}

/// Bytes allocated on a device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct DeviceBytes {
    pub(super) allocated: u64,
    /// Highest since the step began.
    pub(super) high: u64,
}

/// What is alive, and what a reader who knows the trace up to some point must be told to know it too.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct LiveEvents {
    pub(super) blocks: FxHashMap<Place, LiveBlock>,
    /// Events that the reader must be told as they are, by `seq`.
    held: BTreeMap<u64, Slot>,
    /// Those of them that are no frees of blocks that the reader was told of, of which there are only so many.
    unbounded: usize,
    pub(super) devices: BTreeMap<i16, DeviceBytes>,
}

impl LiveEvents {
    /// Takes in an event. `is_told` says that the reader is told of it; otherwise what matters of it is kept.
    pub(super) fn push(&mut self, seq: u64, slot: &Slot, event: &EventSlot, is_told: bool) {
        let place = event.address.map(|address| (event.device, address));
        match (event.kind, place) {
            (EventKind::Alloc | EventKind::Baseline, Some(place)) => {
                let hides_told = !is_told
                    && self.blocks.get(&place).is_some_and(|block| block.is_told || block.hides_told);
                let block = LiveBlock { seq, alloc: *event, is_told, hides_told, given_up: None };
                if let Some(replaced) = self.blocks.insert(place, block) {
                    self.lower(&replaced);
                }
                let device = self.devices.entry(event.device).or_default();
                device.allocated += event.size_bytes.unwrap_or(0);
                device.high = device.high.max(device.allocated);
            }
            (EventKind::FreeRequested, Some(place)) => {
                let Some(block) = self.blocks.get_mut(&place) else { return };
                let before = block.clone();
                block.given_up = Some((seq, *event));
                self.lower(&before);
                if !is_told && before.is_told {
                    self.hold(seq, *slot);
                }
            }
            (EventKind::Free | EventKind::FreeCompleted, Some(place)) => {
                let Some(block) = self.blocks.remove(&place) else { return };
                self.lower(&block);
                if !is_told && (block.is_told || block.hides_told) {
                    self.hold(seq, *slot);
                }
            }
            (EventKind::Annotate, Some(place)) if !is_told => match self.blocks.get_mut(&place) {
                Some(block) if !block.is_told => {
                    block.alloc.category = event.category.or(block.alloc.category);
                    block.alloc.site = if event.site == 0 { block.alloc.site } else { event.site };
                }
                Some(_) => {
                    self.hold(seq, *slot);
                }
                None => {}
            },
            // Segments are split and merged where they are mapped page by page, so these do not cancel out.
            _ if !is_told => {
                self.hold(seq, *slot);
            }
            _ => {}
        }
    }

    /// A block gives up what it adds to allocated, if it has not before.
    fn lower(&mut self, block: &LiveBlock) {
        if block.given_up.is_none() {
            let device = self.devices.entry(block.alloc.device).or_default();
            device.allocated = device.allocated.saturating_sub(block.alloc.size_bytes.unwrap_or(0));
        }
    }

    /// Tells the reader what it has missed, in the order of `seq`: each event bears its own `seq` and time, a block's
    /// allocation has become its baseline. Returns how many there were.
    pub(super) fn tell(&mut self, emit: &mut impl FnMut(u64, &Slot)) -> usize {
        let mut rows = std::mem::take(&mut self.held);
        self.unbounded = 0;
        for block in self.blocks.values_mut().filter(|block| !block.is_told) {
            block.is_told = true;
            block.hides_told = false;
            rows.insert(block.seq, EventSlot { kind: EventKind::Baseline, ..block.alloc }.encode());
            if let Some((seq, given_up)) = &block.given_up {
                rows.insert(*seq, given_up.encode());
            }
        }
        for (seq, slot) in &rows {
            emit(*seq, slot);
        }
        rows.len()
    }

    /// Has the reader be told of an event as it is.
    pub(super) fn hold(&mut self, seq: u64, slot: Slot) {
        let is_free = matches!(
            Record::decode(&slot),
            Some(Record::Event(EventSlot {
                kind: EventKind::Free | EventKind::FreeRequested | EventKind::FreeCompleted,
                ..
            }))
        );
        self.unbounded += usize::from(!is_free);
        self.held.insert(seq, slot);
    }

    /// What is held.
    pub(super) const fn held(&self) -> &BTreeMap<u64, Slot> {
        &self.held
    }

    /// How much is held of what may become ever more.
    pub(super) const fn unbounded(&self) -> usize {
        self.unbounded
    }
}
