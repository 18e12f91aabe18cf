//! A map of segments and blocks at a moment, for plots: a second pass, once the moment is known.

use std::collections::HashMap;

use super::moment::PoolMemory;
use super::rules::{AllocatorRules, SizeClass};
use super::segment_map::SegmentMap;
use crate::load::PoolNames;
use crate::replay::{Block, Observed, Observer};

/// What a stretch of a segment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockState {
    /// The program holds it.
    Allocated,
    /// The program gave it up, and a stream still uses it.
    Pending,
    /// Nobody uses it.
    Free,
}

impl BlockState {
    /// The word in data and reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allocated => "allocated",
            Self::Pending => "pending",
            Self::Free => "free",
        }
    }
}

/// A stretch of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MappedBlock {
    /// Where it begins in the segment.
    pub offset_bytes: u64,
    /// Its size, rounded.
    pub size_bytes: u64,
    /// What was asked for; `None` of free memory.
    pub requested_bytes: Option<i64>,
    /// What it is.
    pub state: BlockState,
    /// Who allocated it; 0 where that is not known.
    pub site: u32,
}

/// A segment, or a mapped range of an expandable one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MappedSegment {
    /// −1 the host, 0… accelerators.
    pub device: i16,
    /// Where it begins.
    pub address: u64,
    /// Its size.
    pub size_bytes: u64,
    /// Its stream, where that is known.
    pub stream: Option<u64>,
    /// Its pool; `None` for the default one.
    pub pool: Option<String>,
    /// The size of its blocks.
    pub class: SizeClass,
    /// Whether pages of it can come and go.
    pub is_expandable: bool,
    /// Blocks and holes, which fill it, by address.
    pub blocks: Vec<MappedBlock>,
}

impl MappedSegment {
    /// Of it, in blocks.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        let used = self.blocks.iter().filter(|block| block.state != BlockState::Free);
        used.map(|block| block.size_bytes).sum()
    }
}

impl PoolMemory {
    /// Whether a segment is of this pool.
    #[must_use]
    pub fn has(&self, segment: &MappedSegment) -> bool {
        (&self.pool, self.stream, self.class) == (&segment.pool, segment.stream, segment.class)
    }
}

/// Observes until the event is there, then keeps the map.
#[derive(Debug)]
pub(super) struct MapAt<'a> {
    device: i16,
    seq: u64,
    map: SegmentMap,
    names: &'a PoolNames,
    blocks: HashMap<u64, Block>,
    is_done: bool,
}

impl<'a> MapAt<'a> {
    /// After the event of `device` with that `seq`.
    pub(super) fn new(device: i16, seq: u64, rules: AllocatorRules, names: &'a PoolNames) -> Self {
        Self { device, seq, map: SegmentMap::new(rules), names, blocks: HashMap::new(), is_done: false }
    }

    /// The segments, by address.
    pub(super) fn finish(mut self) -> Vec<MappedSegment> {
        self.map.settle();
        let mut segments = Vec::new();
        for (address, size_bytes, key, is_expandable) in self.map.segments() {
            let block = |(at, size_bytes, requested_bytes): (u64, u64, Option<i64>)| {
                let known = self.blocks.get(&at);
                let state = match (requested_bytes, known) {
                    (None, _) => BlockState::Free,
                    (_, Some(block)) if block.is_pending => BlockState::Pending,
                    _ => BlockState::Allocated,
                };
                let site = known.filter(|_| state != BlockState::Free).map_or(0, |block| block.site);
                MappedBlock { offset_bytes: at - address, size_bytes, requested_bytes, state, site }
            };
            segments.push(MappedSegment {
                device: self.device,
                address,
                size_bytes,
                stream: key.stream,
                pool: self.names.name(key.name).map(str::to_owned),
                class: key.class,
                is_expandable,
                blocks: self.map.pieces(address).map(block).collect(),
            });
        }
        segments
    }
}

impl Observer for MapAt<'_> {
    fn observe(&mut self, observed: &Observed<'_>) {
        let Observed::Event { event, device, .. } = observed else { return };
        if device.device != self.device || self.is_done {
            return;
        }
        self.map.apply(event);
        if event.seq == self.seq {
            self.is_done = true;
            self.blocks = device.blocks().map(|(address, block)| (address, *block)).collect();
        }
    }
}
