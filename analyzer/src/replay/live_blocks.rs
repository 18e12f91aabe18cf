//! The blocks that are alive, by address.

use rustc_hash::FxHashMap;
use tidegauge_schemas::Category;

use crate::load::EventRow;

/// A block that is alive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Block {
    /// Requested size.
    pub size_bytes: i64,
    /// `seq` of its allocation.
    pub born_seq: u64,
    /// When it was allocated, nanoseconds since 1970.
    pub born_nanos: i64,
    /// How many blocks its device had before it, whichever they were: the same in every pass.
    pub number: u64,
    /// Site; 0 none.
    pub site: u32,
    /// What the framework said it is.
    pub category: Option<Category>,
    /// Whether it was there when the recording began.
    pub is_from_start: bool,
    /// The program has given it up and a stream still uses it: active, no longer allocated.
    pub is_pending: bool,
}

impl Block {
    /// What an event says of a block that is alive from then on.
    #[inline]
    pub(super) fn new(event: &EventRow, size_bytes: i64) -> Self {
        Self {
            size_bytes,
            born_seq: event.seq,
            born_nanos: event.time_nanos,
            number: 0,
            site: event.site,
            category: event.category,
            is_from_start: false,
            is_pending: false,
        }
    }

    /// Takes in what an annotation says, and returns the result.
    pub(crate) fn annotate(&mut self, event: &EventRow) -> Self {
        self.category = event.category.or(self.category);
        if event.site != 0 {
            self.site = event.site;
        }
        *self
    }
}

/// Where a block lies in [`LiveBlocks`].
pub(super) type BlockSlot = u32;

/// Blocks in a list, and their places in it by address: a block is written once and never moved, and stays readable
/// after its removal until the next insertion.
#[derive(Debug, Clone, Default)]
pub(super) struct LiveBlocks {
    slots: FxHashMap<u64, BlockSlot>,
    blocks: Vec<Block>,
    vacant: Vec<BlockSlot>,
}

impl LiveBlocks {
    /// Adds a block; its place, and that of the block that was at the address.
    #[inline]
    pub(super) fn insert(&mut self, address: u64, block: Block) -> (BlockSlot, Option<BlockSlot>) {
        let slot = self.vacant.pop().unwrap_or(self.blocks.len() as BlockSlot);
        match self.blocks.get_mut(slot as usize) {
            Some(place) => *place = block,
            None => self.blocks.push(block),
        }
        let replaced = self.slots.insert(address, slot);
        self.vacant.extend(replaced);
        (slot, replaced)
    }

    /// Takes the block at an address out.
    #[inline]
    pub(super) fn remove(&mut self, address: u64) -> Option<BlockSlot> {
        let slot = self.slots.remove(&address)?;
        self.vacant.push(slot);
        Some(slot)
    }

    /// Where the block at an address lies.
    #[inline]
    pub(super) fn find(&self, address: u64) -> Option<BlockSlot> {
        self.slots.get(&address).copied()
    }

    /// The block in a place that was given out.
    #[inline]
    pub(super) fn get(&self, slot: BlockSlot) -> &Block {
        &self.blocks[slot as usize]
    }

    /// As [`Self::get`], to be changed.
    pub(super) fn get_mut(&mut self, slot: BlockSlot) -> &mut Block {
        &mut self.blocks[slot as usize]
    }

    /// All of them, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &Block)> {
        self.slots.iter().map(|(address, slot)| (*address, self.get(*slot)))
    }
}
