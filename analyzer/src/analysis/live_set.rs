//! The blocks that are alive at one event of one device: a second pass, once the event is known.

use rustc_hash::FxHashMap;

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
    /// Where in `blocks` those stand that have not been freed since.
    open: FxHashMap<u64, usize>,
    allocated_bytes: i64,
    is_done: bool,
}

impl LiveSetAt {
    /// After the last event of `device` whose `seq` is at most `seq`.
    #[must_use]
    pub fn new(device: i16, seq: u64) -> Self {
        Self {
            device,
            seq,
            blocks: Vec::new(),
            open: FxHashMap::default(),
            allocated_bytes: 0,
            is_done: false,
        }
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
        let Observed::Event { event, device, block, annotated, .. } = observed else { return };
        if device.device != self.device {
            return;
        }
        if self.is_done {
            // What is said of a block applies to its whole life, also if it is said later.
            let kept = event.address.and_then(|address| self.open.get(&address));
            if let (Some(&at), Some(_)) = (kept, annotated) {
                self.blocks[at].block.annotate(event);
            } else if let (Some(address), Some(_)) = (event.address, block) {
                self.open.remove(&address);
            }
        } else if event.seq == self.seq {
            self.is_done = true;
            self.allocated_bytes = device.allocated_bytes;
            let held = device.blocks().filter(|(_, block)| !block.is_pending);
            self.blocks = held.map(|(address, block)| LiveBlock { address, block: *block }).collect();
            self.open = self.blocks.iter().enumerate().map(|(at, live)| (live.address, at)).collect();
        }
    }
}
