//! The blocks that are alive at one event of one device: a second pass, once the event is known.

use crate::replay::{Block, Observed, Observer};

/// A block that is alive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveBlock {
    /// Its address.
    pub address: u64,
    /// The rest of what is known.
    pub block: Block,
}

/// Observes until the event is there, then keeps the live set.
#[derive(Debug)]
pub struct LiveSetAt {
    device: i16,
    seq: u64,
    blocks: Vec<LiveBlock>,
    allocated_bytes: i64,
    is_done: bool,
}

impl LiveSetAt {
    /// After the last event of `device` whose `seq` is at most `seq`.
    #[must_use]
    pub fn new(device: i16, seq: u64) -> Self {
        Self { device, seq, blocks: Vec::new(), allocated_bytes: 0, is_done: false }
    }

    /// The blocks, largest first, then oldest; and what they sum up to.
    #[must_use]
    pub fn finish(mut self) -> (Vec<LiveBlock>, i64) {
        self.blocks.sort_by_key(|live| (std::cmp::Reverse(live.block.size_bytes), live.block.born_seq));
        (self.blocks, self.allocated_bytes)
    }
}

impl Observer for LiveSetAt {
    #[inline]
    fn observe(&mut self, observed: &Observed<'_>) {
        let Observed::Event { event, device, .. } = observed else { return };
        if self.is_done || device.device != self.device || event.seq != self.seq {
            return;
        }
        self.is_done = true;
        self.allocated_bytes = device.allocated_bytes;
        let held = device.blocks().filter(|(_, block)| !block.is_pending);
        self.blocks = held.map(|(address, block)| LiveBlock { address, block: *block }).collect();
    }
}
