//! The memory of one device: blocks that are alive, and the three curves.

use tidegauge_schemas::EventKind;

use super::live_blocks::{Block, BlockSlot, LiveBlocks};
use super::phases::Place;
use super::segments::Segments;
use crate::load::EventRow;

/// Sizes above this, a pebibyte, are no sizes: such an event is left out and counted.
pub(crate) const MAX_BYTES: i64 = 1 << 50;

/// The highest point of a curve.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Peak {
    /// Its height.
    pub bytes: i64,
    /// `seq` of the event that reached it first; of the last one before, for the state at the start.
    pub seq: Option<u64>,
    /// When it was first reached, nanoseconds since 1970; `None` for the state at the start.
    pub time_nanos: Option<i64>,
    /// The event's number among those of its device, from 0; `None` for the state at the start.
    pub event_index: Option<u64>,
    /// Where the program was; known once the phase has ended.
    pub place: Place,
}

/// State of a device after an event.
#[derive(Debug, Clone, Default)]
pub struct DeviceState {
    /// −1 the host, 0… accelerators.
    pub device: i16,
    /// Bytes that the program holds.
    pub allocated_bytes: i64,
    /// Bytes that cannot be reused yet: allocated, and freed while a stream still uses them.
    pub active_bytes: i64,
    /// Bytes taken from the device; `None` until a segment event says so.
    pub reserved_bytes: Option<i64>,
    /// Highest point of allocated.
    pub allocated_peak: Peak,
    /// Highest point of active.
    pub active_peak: Peak,
    /// Highest point of reserved.
    pub reserved_peak: Option<Peak>,
    /// Events so far; the next one has this number.
    pub events: u64,
    /// Allocated when the recorded window opened.
    pub initial_bytes: i64,
    /// Active when the recorded window opened.
    pub initial_active_bytes: i64,
    /// Highest point of allocated since the last checkpoint.
    pub(super) allocated_high_bytes: i64,
    events_at_checkpoint: u64,
    /// Something was allocated or freed since recording began: blocks that are found alive are no more the first state.
    has_begun: bool,
    /// Allocated at the end of the window that is shown.
    pub end_allocated_bytes: i64,
    /// Active at the end of the window that is shown.
    pub end_active_bytes: i64,
    blocks: LiveBlocks,
    blocks_so_far: u64,
    segments: Segments,
    has_segments: bool,
}

/// What an event did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Effect {
    /// The block that was allocated or freed.
    pub block: Option<BlockSlot>,
    /// Change of allocated.
    pub allocated_delta_bytes: i64,
    /// Change of the number of allocated blocks, a replaced one not counted.
    pub allocated_delta_blocks: i64,
    /// What is out of the ordinary with it.
    pub special: Special,
}

/// What most events are not. Kept small, since every event returns one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Special {
    /// An allocation, a free.
    #[default]
    None,
    /// An annotated block as it was before and as it is now.
    Annotated(Box<(Block, Block)>),
    /// A block that a missed free had left behind, freed by this allocation of its address.
    Replaced(Box<Block>),
    /// The event frees what was never seen alive.
    UnknownFree,
    /// The event returns a segment that was never seen taken.
    UnknownSegment,
    /// The event's size is of no device.
    AbsurdSize,
}

impl From<Special> for Effect {
    fn from(special: Special) -> Self {
        Self { special, ..Self::default() }
    }
}

impl DeviceState {
    pub(super) fn new(device: i16) -> Self {
        Self { device, ..Self::default() }
    }

    /// The blocks that are alive, by address, in no order.
    pub fn blocks(&self) -> impl Iterator<Item = (u64, &Block)> {
        self.blocks.iter()
    }

    /// Blocks that it has had; the next one has this number.
    pub(crate) fn blocks_so_far(&self) -> u64 {
        self.blocks_so_far
    }

    /// Whether the addresses of what it holds from the device were recorded.
    pub(crate) fn has_segments(&self) -> bool {
        self.has_segments
    }

    /// The block that an event was about.
    #[inline]
    pub(super) fn block(&self, slot: BlockSlot) -> &Block {
        self.blocks.get(slot)
    }

    /// Calls `each` for the peak of every curve that there is.
    pub(super) fn for_each_peak(&mut self, each: impl FnMut(&mut Peak)) {
        [Some(&mut self.allocated_peak), Some(&mut self.active_peak), self.reserved_peak.as_mut()]
            .into_iter()
            .flatten()
            .for_each(each);
    }

    /// A checkpoint: what was highest since the last one was highest at `place`.
    pub(super) fn fold(&mut self, place: Place) {
        let since = self.events_at_checkpoint;
        self.for_each_peak(|peak| {
            if peak.event_index.is_some_and(|index| index >= since) {
                peak.place = place;
            }
        });
        self.events_at_checkpoint = self.events;
        self.allocated_high_bytes = self.allocated_bytes;
    }

    /// The window that is shown begins here: peaks before it do not count.
    pub(super) fn forget_peaks(&mut self, seq: u64) {
        let at = |bytes| Peak { bytes, seq: Some(seq), ..Peak::default() };
        self.allocated_peak = at(self.allocated_bytes);
        self.active_peak = at(self.active_bytes);
        self.reserved_peak = self.reserved_bytes.map(at);
    }

    /// Applies an event; `raises` is false past the window that is shown.
    #[inline(always)]
    pub(super) fn apply(&mut self, event: &EventRow, kind: EventKind, raises: bool) -> Effect {
        // A later window begins with baselines too: of blocks whose allocation was left out.
        let is_baseline =
            matches!(kind, EventKind::Baseline | EventKind::BaselinePending | EventKind::SegmentBaseline);
        let is_start = is_baseline && !self.has_begun;
        self.has_begun |= matches!(kind, EventKind::Alloc | EventKind::Free | EventKind::FreeCompleted);
        // What balances books is no event of the device: what puts allocated right belongs to the event before, memory taken
        // from the device to the one that it was taken for.
        let is_balance = is_baseline && event.address.is_none();
        let is_of_last = is_balance && kind != EventKind::SegmentBaseline;
        let index = self.events.saturating_sub(u64::from(is_of_last));
        // What was there at the start happened before the first event.
        self.events += u64::from(!is_start && !is_balance);
        // And it may be negative.
        let low_bytes = if is_balance { -MAX_BYTES } else { 0 };
        if event.size_bytes.is_some_and(|size| !(low_bytes..=MAX_BYTES).contains(&size)) {
            return Special::AbsurdSize.into();
        }
        let effect = match kind {
            EventKind::Alloc => self.alloc(event),
            EventKind::Baseline => {
                let effect = self.alloc(event);
                if is_start {
                    if let Some(slot) = effect.block {
                        self.blocks.get_mut(slot).is_from_start = true;
                    }
                    self.initial_bytes = self.initial_bytes.saturating_add(effect.allocated_delta_bytes);
                    self.initial_active_bytes =
                        self.initial_active_bytes.saturating_add(effect.allocated_delta_bytes);
                }
                effect
            }
            EventKind::BaselinePending => {
                let effect = self.pending(event);
                if is_start {
                    self.initial_active_bytes =
                        self.initial_active_bytes.saturating_add(event.size_bytes.unwrap_or(0));
                }
                effect
            }
            EventKind::Free => self.free(event),
            EventKind::FreeRequested => self.free_requested(event),
            EventKind::FreeCompleted => self.free(event),
            EventKind::SegmentAlloc | EventKind::SegmentMap | EventKind::SegmentBaseline => {
                self.reserve(event)
            }
            EventKind::SegmentFree | EventKind::SegmentUnmap => self.unreserve(event),
            EventKind::Annotate => self.annotate(event),
            // They move no curve.
            _ => Effect::default(),
        };
        self.allocated_high_bytes = self.allocated_high_bytes.max(self.allocated_bytes);
        if !raises {
            return effect;
        }
        // The state at the start was made by no event.
        let at = |bytes| Peak {
            bytes,
            seq: Some(event.seq),
            time_nanos: (!is_start).then_some(event.time_nanos),
            event_index: (!is_start).then_some(index),
            ..Peak::default()
        };
        self.end_allocated_bytes = self.allocated_bytes;
        self.end_active_bytes = self.active_bytes;
        raise(&mut self.allocated_peak, self.allocated_bytes, at);
        raise(&mut self.active_peak, self.active_bytes, at);
        if let Some(reserved) = self.reserved_bytes {
            raise(self.reserved_peak.get_or_insert_default(), reserved, at);
        }
        effect
    }

    #[inline(always)]
    fn alloc(&mut self, event: &EventRow) -> Effect {
        let Some(size_bytes) = event.size_bytes else { return Effect::default() };
        let Some(address) = event.address else { return self.anonymous(size_bytes) };
        let block = self.new_block(event, size_bytes);
        let (slot, replaced) = self.blocks.insert(address, block);
        let mut effect = Effect {
            block: Some(slot),
            allocated_delta_bytes: size_bytes,
            allocated_delta_blocks: 1,
            special: Special::None,
        };
        let mut active_delta_bytes = size_bytes;
        // An address is never alive twice: if it seems so, the free in between was missed.
        if let Some(old) = replaced.map(|slot| *self.blocks.get(slot)) {
            active_delta_bytes -= old.size_bytes;
            effect.allocated_delta_bytes -= if old.is_pending { 0 } else { old.size_bytes };
            effect.special = Special::Replaced(Box::new(old));
        }
        self.move_curves(effect.allocated_delta_bytes, active_delta_bytes);
        effect
    }

    #[inline(always)]
    fn new_block(&mut self, event: &EventRow, size_bytes: i64) -> Block {
        let number = self.blocks_so_far;
        self.blocks_so_far += 1;
        Block { number, ..Block::new(event, size_bytes) }
    }

    /// A block is gone. Where its request was not recorded, the program has given it up now at the latest.
    #[inline(always)]
    fn free(&mut self, event: &EventRow) -> Effect {
        let Some(address) = event.address else {
            return event.size_bytes.map_or_else(Effect::default, |size_bytes| self.anonymous(-size_bytes));
        };
        let Some(slot) = self.blocks.remove(address) else { return Special::UnknownFree.into() };
        let mut effect = Effect { block: Some(slot), ..Effect::default() };
        let block = self.blocks.get(slot);
        let size_bytes = block.size_bytes;
        if !block.is_pending {
            effect.allocated_delta_bytes = -size_bytes;
            effect.allocated_delta_blocks = -1;
        }
        self.move_curves(effect.allocated_delta_bytes, -size_bytes);
        effect
    }

    /// The program has given a block up, and a stream may still use it.
    fn free_requested(&mut self, event: &EventRow) -> Effect {
        let Some(address) = event.address else { return Effect::default() };
        let Some(slot) = self.blocks.find(address) else { return Special::UnknownFree.into() };
        let mut effect = Effect { block: Some(slot), ..Effect::default() };
        let block = self.blocks.get_mut(slot);
        if !std::mem::replace(&mut block.is_pending, true) {
            effect.allocated_delta_bytes = -block.size_bytes;
            effect.allocated_delta_blocks = -1;
        }
        self.move_curves(effect.allocated_delta_bytes, 0);
        effect
    }

    /// Memory of which the address is not known moves the curves and is no block.
    fn anonymous(&mut self, delta_bytes: i64) -> Effect {
        self.move_curves(delta_bytes, delta_bytes);
        Effect { allocated_delta_bytes: delta_bytes, ..Effect::default() }
    }

    /// A block that is active and no longer allocated.
    fn pending(&mut self, event: &EventRow) -> Effect {
        let (Some(address), Some(size_bytes)) = (event.address, event.size_bytes) else {
            return Effect::default();
        };
        let block = Block { is_pending: true, ..self.new_block(event, size_bytes) };
        let (slot, _) = self.blocks.insert(address, block);
        self.move_curves(0, size_bytes);
        Effect { block: Some(slot), ..Effect::default() }
    }

    fn annotate(&mut self, event: &EventRow) -> Effect {
        let slot = event.address.and_then(|address| self.blocks.find(address));
        let annotated = slot.map(|slot| {
            let block = self.blocks.get_mut(slot);
            Box::new((*block, block.annotate(event)))
        });
        annotated.map_or(Special::None, Special::Annotated).into()
    }

    fn move_curves(&mut self, allocated_delta_bytes: i64, active_delta_bytes: i64) {
        self.allocated_bytes = self.allocated_bytes.saturating_add(allocated_delta_bytes);
        self.active_bytes = self.active_bytes.saturating_add(active_delta_bytes);
    }

    fn move_reserved(&mut self, delta_bytes: i64) {
        let reserved_bytes = self.reserved_bytes.unwrap_or(0);
        self.reserved_bytes = Some(reserved_bytes.saturating_add(delta_bytes));
    }

    fn reserve(&mut self, event: &EventRow) -> Effect {
        let Some(size_bytes) = event.size_bytes else { return Effect::default() };
        // Memory is never taken twice: if it seems so, its return was missed.
        self.has_segments |= event.address.is_some();
        let missed_bytes = event.address.map_or(0, |address| self.segments.insert(address, size_bytes));
        self.move_reserved(size_bytes - missed_bytes);
        Effect::default()
    }

    fn unreserve(&mut self, event: &EventRow) -> Effect {
        let returned = match event.address {
            Some(address) => self.segments.remove(address, event.size_bytes),
            // Which memory it was is not known.
            None => event.size_bytes,
        };
        let Some(returned_bytes) = returned else { return Special::UnknownSegment.into() };
        self.move_reserved(-returned_bytes);
        Effect::default()
    }
}

#[inline]
fn raise(peak: &mut Peak, bytes: i64, at: impl Fn(i64) -> Peak) {
    if bytes > peak.bytes {
        *peak = at(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(seq: u64, address: Option<u64>, size_bytes: i64) -> EventRow {
        let size_bytes = Some(size_bytes);
        EventRow {
            seq,
            time_nanos: 0,
            kind: None,
            device: 0,
            address,
            size_bytes,
            site: 0,
            category: None,
            stream: None,
            pool: 0,
        }
    }

    #[test]
    fn what_balances_books_is_no_event_and_belongs_to_one() {
        let mut device = DeviceState::new(0);
        let rows = [
            (EventKind::Alloc, Some(1), 10),
            // More than the event says was allocated at it.
            (EventKind::Baseline, None, 90),
            (EventKind::SegmentBaseline, None, 500),
            (EventKind::Alloc, Some(2), 5),
            (EventKind::Baseline, None, -50),
            (EventKind::SegmentBaseline, None, -100),
            (EventKind::SegmentFree, None, 150),
        ];
        for (seq, (kind, address, size_bytes)) in (0..).zip(rows) {
            let effect = device.apply(&row(seq, address, size_bytes), kind, true);
            assert_eq!(effect.special, Special::None);
        }
        assert_eq!(device.events, 3, "two allocations and a return");
        assert_eq!((device.allocated_peak.bytes, device.allocated_peak.event_index), (105, Some(1)));
        let reserved = device.reserved_peak.unwrap();
        assert_eq!(
            (reserved.bytes, reserved.event_index),
            (500, Some(1)),
            "that of the event that it was taken for"
        );
        assert_eq!((device.allocated_bytes, device.reserved_bytes), (55, Some(250)));
        assert_eq!(device.initial_bytes, 0);
    }
}
