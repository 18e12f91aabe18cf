//! The memory of one device: blocks that are alive, and the three curves.

use rustc_hash::FxHashMap;
use tidegauge_schemas::{Category, EventKind};

use super::phases::Place;
use crate::load::EventRow;

/// Sizes above this, a pebibyte, are no sizes: such an event is left out and counted.
const MAX_BYTES: i64 = 1 << 50;

/// A block that is alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// Requested size.
    pub size_bytes: i64,
    /// `seq` of its allocation.
    pub born_seq: u64,
    /// When it was allocated, nanoseconds since 1970.
    pub born_nanos: i64,
    /// Site; 0 none.
    pub site: u32,
    /// What the framework said it is.
    pub category: Option<Category>,
    /// The program has given it up and a stream still uses it: active, no longer allocated.
    pub is_pending: bool,
}

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
    /// Blocks that were alive when the recorded window opened.
    pub initial_bytes: i64,
    /// Highest point of allocated since the last checkpoint.
    pub(super) allocated_high_bytes: i64,
    events_at_checkpoint: u64,
    /// Allocated at the end of the window that is shown.
    pub end_allocated_bytes: i64,
    /// Active at the end of the window that is shown.
    pub end_active_bytes: i64,
    blocks: FxHashMap<u64, Block>,
    segments: FxHashMap<u64, i64>,
}

/// What an event did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Effect {
    /// The block that was allocated or freed.
    pub block: Option<Block>,
    /// Blocks allocated (1) or freed (−1) from allocated.
    pub allocated_delta_bytes: i64,
    /// Change of active.
    pub active_delta_bytes: i64,
    /// Change of the number of allocated blocks, a replaced one not counted.
    pub allocated_delta_blocks: i64,
    /// An annotated block as it was before and as it is now.
    pub annotated: Option<(Block, Block)>,
    /// The event returns a segment that was never seen taken.
    pub is_unknown_segment: bool,
    /// The event's size is of no device.
    pub is_absurd: bool,
    /// A block that a missed free had left behind, freed by this allocation of its address.
    pub replaced: Option<Block>,
    /// The event frees what was never seen alive.
    pub is_unknown_free: bool,
}

impl DeviceState {
    pub(super) fn new(device: i16) -> Self {
        Self { device, ..Self::default() }
    }

    /// The blocks that are alive, by address, in no order.
    pub fn blocks(&self) -> impl Iterator<Item = (u64, &Block)> {
        self.blocks.iter().map(|(address, block)| (*address, block))
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
    #[inline]
    pub(super) fn apply(&mut self, event: &EventRow, kind: EventKind, raises: bool) -> Effect {
        let index = self.events;
        self.events += 1;
        if event.size_bytes.is_some_and(|size| !(0..=MAX_BYTES).contains(&size)) {
            return Effect { is_absurd: true, ..Effect::default() };
        }
        let effect = match kind {
            EventKind::Alloc => self.alloc(event),
            EventKind::Baseline => {
                let effect = self.alloc(event);
                self.initial_bytes += effect.allocated_delta_bytes;
                effect
            }
            EventKind::Free => self.free(event, true, true),
            EventKind::FreeRequested => self.free(event, true, false),
            EventKind::FreeCompleted => self.free(event, false, true),
            EventKind::SegmentAlloc | EventKind::SegmentMap => self.reserve(event),
            EventKind::SegmentFree | EventKind::SegmentUnmap => self.unreserve(event),
            EventKind::Annotate => self.annotate(event),
            // They move no curve.
            _ => Effect::default(),
        };
        // A baseline is the state at the start, which no event has made.
        let at = Peak {
            seq: Some(event.seq),
            time_nanos: (kind != EventKind::Baseline).then_some(event.time_nanos),
            event_index: (kind != EventKind::Baseline).then_some(index),
            ..Peak::default()
        };
        self.allocated_high_bytes = self.allocated_high_bytes.max(self.allocated_bytes);
        if !raises {
            return effect;
        }
        self.end_allocated_bytes = self.allocated_bytes;
        self.end_active_bytes = self.active_bytes;
        raise(&mut self.allocated_peak, self.allocated_bytes, at);
        raise(&mut self.active_peak, self.active_bytes, at);
        if let Some(reserved) = self.reserved_bytes {
            raise(self.reserved_peak.get_or_insert_default(), reserved, at);
        }
        effect
    }

    fn alloc(&mut self, event: &EventRow) -> Effect {
        let (Some(address), Some(size_bytes)) = (event.address, event.size_bytes) else {
            return Effect::default();
        };
        let block = Block {
            size_bytes,
            born_seq: event.seq,
            born_nanos: event.time_nanos,
            site: event.site,
            category: event.category,
            is_pending: false,
        };
        let mut effect = Effect {
            block: Some(block),
            allocated_delta_bytes: size_bytes,
            active_delta_bytes: size_bytes,
            allocated_delta_blocks: 1,
            ..Effect::default()
        };
        // An address is never alive twice: if it seems so, the free in between was missed.
        effect.replaced = self.blocks.insert(address, block);
        if let Some(old) = effect.replaced {
            effect.active_delta_bytes -= old.size_bytes;
            effect.allocated_delta_bytes -= if old.is_pending { 0 } else { old.size_bytes };
        }
        self.move_curves(&effect);
        effect
    }

    fn free(&mut self, event: &EventRow, requested: bool, completed: bool) -> Effect {
        let Some(address) = event.address else { return Effect::default() };
        let Some(block) = self.blocks.get_mut(&address) else {
            return Effect { is_unknown_free: true, ..Effect::default() };
        };
        let block_was = *block;
        let mut effect = Effect { block: Some(block_was), ..Effect::default() };
        // Where the request was not recorded, the program has given it up at the latest when it is completed.
        if (requested || completed) && !block_was.is_pending {
            effect.allocated_delta_bytes = -block_was.size_bytes;
            effect.allocated_delta_blocks = -1;
            block.is_pending = true;
        }
        if completed {
            effect.active_delta_bytes = -block_was.size_bytes;
            self.blocks.remove(&address);
        }
        self.move_curves(&effect);
        effect
    }

    fn annotate(&mut self, event: &EventRow) -> Effect {
        let block = event.address.and_then(|address| self.blocks.get_mut(&address));
        let annotated = block.map(|block| (*block, block.annotate(event)));
        Effect { annotated, ..Effect::default() }
    }

    fn move_curves(&mut self, effect: &Effect) {
        self.allocated_bytes = self.allocated_bytes.saturating_add(effect.allocated_delta_bytes);
        self.active_bytes = self.active_bytes.saturating_add(effect.active_delta_bytes);
    }

    fn reserve(&mut self, event: &EventRow) -> Effect {
        if let (Some(address), Some(size)) = (event.address, event.size_bytes) {
            // A segment is never taken twice: if it seems so, its return was missed.
            let old = self.segments.insert(address, size).unwrap_or(0);
            *self.reserved_bytes.get_or_insert(0) += size - old;
        }
        Effect::default()
    }

    fn unreserve(&mut self, event: &EventRow) -> Effect {
        let known = event.address.and_then(|address| Some((address, self.segments.remove(&address)?)));
        let Some((address, known_bytes)) = known else {
            return Effect { is_unknown_segment: true, ..Effect::default() };
        };
        let returned = event.size_bytes.unwrap_or(known_bytes).min(known_bytes);
        if returned < known_bytes {
            // Part of an expandable segment was unmapped from its beginning; the rest stays.
            self.segments.insert(address.wrapping_add(returned.cast_unsigned()), known_bytes - returned);
        }
        *self.reserved_bytes.get_or_insert(0) -= returned;
        Effect::default()
    }
}

impl Block {
    /// Takes in what an annotation says, and returns the result.
    pub(crate) fn annotate(&mut self, event: &EventRow) -> Self {
        self.category = event.category.or(self.category);
        if event.site != 0 {
            self.site = event.site;
        }
        *self
    }
}

#[inline]
fn raise(peak: &mut Peak, bytes: i64, at: Peak) {
    if bytes > peak.bytes {
        *peak = Peak { bytes, ..at };
    }
}
