//! What was there before the first entry of a device's trace.
//!
//! The trace is a ring: what it has lost can only be inferred. The segments at the end are complete. A block was alive when
//! the window opened if it is freed in it without being allocated first, or is alive at the end without being allocated in
//! it. By another way, what was active at the start is what is active at the end less the net of the window. Both agree
//! where nothing is missing; where they do not, the latter is what the curves start from, and the difference is told.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use tidegauge_schemas::EventKind;

use super::parts::{Block, BlockState, Entry, Segment};
use crate::replay::{MAX_BYTES, Segments};

/// A block that was there when the window opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OpeningBlock {
    pub address: u64,
    pub size_bytes: i64,
    /// Given up already, and still used by a stream.
    pub is_pending: bool,
    /// Who allocated it, where it is still alive at the end.
    pub site: u32,
}

/// A range that was held from the device when the window opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OpeningSegment {
    pub address: u64,
    pub size_bytes: i64,
    /// Number of its stream.
    pub stream: u16,
    /// Number of its pool.
    pub pool: u16,
}

/// What the state at the end and the net of the window say of the state at the start, less what is known of it piece by
/// piece.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Balance {
    /// By how much the two ways differ; 0 if nothing is missing.
    pub difference_bytes: i64,
    /// What a curve starts from in addition to the pieces. Less than nothing was never there: then the difference stays.
    pub correction_bytes: i64,
}

impl Balance {
    fn new(start_bytes: i64, known_bytes: i64) -> Self {
        Self {
            difference_bytes: start_bytes.saturating_sub(known_bytes),
            correction_bytes: start_bytes.max(0).saturating_sub(known_bytes),
        }
    }
}

/// State of one device when its window opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Opening {
    /// Blocks, by address.
    pub blocks: Vec<OpeningBlock>,
    /// Books of active.
    pub active: Balance,
    /// Address ranges that were held from the device; `None` where nothing says anything of them.
    pub segments: Option<Vec<OpeningSegment>>,
    /// Books of reserved.
    pub reserved: Balance,
    /// Whether entries of kind `free_completed` were not recorded, so that a block goes when its free is requested.
    pub lacks_completions: bool,
}

impl Opening {
    /// Active when the window opened.
    pub(super) fn active_bytes(&self) -> i64 {
        let blocks = total(self.blocks.iter().map(|block| block.size_bytes));
        blocks.saturating_add(self.active.correction_bytes)
    }

    /// Reserved when the window opened.
    pub(super) fn reserved_bytes(&self) -> i64 {
        let held = total(self.segments.iter().flatten().map(|segment| segment.size_bytes));
        held.saturating_add(self.reserved.correction_bytes)
    }
}

/// State of an address as far as the window tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    Alive { size_bytes: i64, is_pending: bool },
    Gone,
}

/// Whether it is the size of anything.
fn is_size(bytes: &i64) -> bool {
    (0..=MAX_BYTES).contains(bytes)
}

/// A sum that stays at the highest number rather than pass it.
fn total(bytes: impl Iterator<Item = i64>) -> i64 {
    bytes.fold(0, i64::saturating_add)
}

/// Reconstructs the state from the window's entries and from the segments at the end, `None` if the file has none.
pub(super) fn opening<'a>(
    entries: impl DoubleEndedIterator<Item = &'a Entry> + Clone,
    segments: Option<&[&Segment]>,
) -> Opening {
    let at_end = segments.map(live_blocks);
    let skips = Skips::find(entries.clone(), at_end.as_ref());
    let mut blocks = Vec::new();
    let mut seen: FxHashMap<u64, Seen> = FxHashMap::default();
    let mut net_bytes = 0i64;
    for entry in entries.clone() {
        let (Some(kind), Some(address)) = (entry.kind(), entry.address()) else { continue };
        // What is no size is left out by the replay too, and told there.
        let Some(size_bytes) = entry.size_bytes().filter(is_size) else { continue };
        let completes = match kind {
            EventKind::Alloc => {
                net_bytes = net_bytes.saturating_add(size_bytes);
                seen.insert(address, Seen::Alive { size_bytes, is_pending: false });
                continue;
            }
            EventKind::FreeCompleted => true,
            EventKind::FreeRequested => skips.completions,
            _ => continue,
        };
        if completes {
            net_bytes = net_bytes.saturating_sub(size_bytes);
        }
        let before = if completes { Seen::Gone } else { Seen::Alive { size_bytes, is_pending: true } };
        if seen.insert(address, before).is_none() {
            let is_pending = kind == EventKind::FreeCompleted && !skips.requests;
            blocks.push(OpeningBlock { address, size_bytes, is_pending, site: 0 });
        }
    }
    let mut opening = Opening { lacks_completions: skips.completions, ..Opening::default() };
    if let Some(at_end) = &at_end {
        for (address, block) in at_end {
            if !seen.contains_key(address) {
                // Without requests a block is allocated until it is gone.
                let is_pending = block.state == BlockState::Pending && !skips.requests;
                let size_bytes = block.requested_bytes;
                blocks.push(OpeningBlock { address: *address, size_bytes, is_pending, site: block.site });
            }
        }
        // Of a block whose completion was not recorded the request has counted as its end, though it is pending yet.
        let is_gone = |address: &u64, block: &Block| {
            skips.completions && block.state == BlockState::Pending && seen.get(address) == Some(&Seen::Gone)
        };
        let in_use = at_end.iter().filter(|(address, block)| !is_gone(address, block));
        let end_bytes = total(in_use.map(|(_, block)| block.requested_bytes));
        let known_bytes = total(blocks.iter().map(|block| block.size_bytes));
        opening.active = Balance::new(end_bytes.saturating_sub(net_bytes), known_bytes);
    }
    blocks.sort_by_key(|block| block.address);
    opening.blocks = blocks;
    (opening.segments, opening.reserved) = opening_segments(entries, segments);
    opening
}

/// Which actions the recording left out (`skip_actions`).
#[derive(Debug, Clone, Copy)]
struct Skips {
    requests: bool,
    completions: bool,
}

impl Skips {
    fn find<'a>(entries: impl Iterator<Item = &'a Entry>, at_end: Option<&FxHashMap<u64, &Block>>) -> Self {
        let (mut has_requests, mut has_completions) = (false, false);
        // A request whose block is not pending at the end has completed, recorded or not.
        let mut has_unmatched_request = false;
        let mut allocated = rustc_hash::FxHashSet::default();
        let mut completes_own = false;
        for entry in entries {
            let (Some(kind), Some(address)) = (entry.kind(), entry.address()) else { continue };
            match kind {
                EventKind::Alloc => drop(allocated.insert(address)),
                EventKind::FreeRequested => {
                    has_requests = true;
                    let state = at_end.and_then(|blocks| blocks.get(&address)).map(|block| block.state);
                    has_unmatched_request |= state != Some(BlockState::Pending);
                }
                EventKind::FreeCompleted => {
                    has_completions = true;
                    completes_own |= allocated.contains(&address);
                }
                _ => {}
            }
        }
        // A window may open between the request and the completion of one block: without a request in it, only a block of
        // its own that completes says that requests were left out.
        Self {
            requests: !has_requests && completes_own,
            completions: !has_completions && has_unmatched_request,
        }
    }
}

/// The blocks that are in use at the end, by address.
fn live_blocks<'a>(segments: &[&'a Segment]) -> FxHashMap<u64, &'a Block> {
    let mut blocks = FxHashMap::default();
    for segment in segments {
        // Old files leave it to the reader to add up where each begins.
        let mut next = segment.address;
        for block in &segment.blocks {
            let address = block.address.unwrap_or(next);
            next = address.saturating_add(block.size_bytes.max(0).cast_unsigned());
            if block.state != BlockState::Inactive && is_size(&block.requested_bytes) {
                blocks.insert(address, block);
            }
        }
    }
    blocks
}

/// The address ranges that were held when the window opened: those of the end, walked back.
fn opening_segments<'a>(
    entries: impl DoubleEndedIterator<Item = &'a Entry>,
    segments: Option<&[&Segment]>,
) -> (Option<Vec<OpeningSegment>>, Balance) {
    let mut held = Segments::default();
    // Whose memory begins at an address: as of the end, or of the return that comes first.
    let mut owners: BTreeMap<u64, (u16, u16)> = BTreeMap::new();
    let mut end_bytes = 0i64;
    for segment in segments.unwrap_or_default() {
        if !is_size(&segment.total_bytes) {
            continue;
        }
        end_bytes = total([end_bytes, segment.total_bytes].into_iter());
        held.insert(segment.address, segment.total_bytes);
        owners.insert(segment.address, (segment.stream, segment.pool));
    }
    let mut is_told = segments.is_some_and(|segments| !segments.is_empty());
    let mut net_bytes = 0i64;
    for entry in entries.rev() {
        let size_bytes = entry.size_bytes().filter(is_size);
        let (Some(kind), Some(address), Some(size_bytes)) = (entry.kind(), entry.address(), size_bytes)
        else {
            continue;
        };
        match kind {
            EventKind::SegmentAlloc | EventKind::SegmentMap => {
                net_bytes = net_bytes.saturating_add(size_bytes);
                held.remove(address, Some(size_bytes));
            }
            EventKind::SegmentFree | EventKind::SegmentUnmap => {
                net_bytes = net_bytes.saturating_sub(size_bytes);
                held.insert(address, size_bytes);
                owners.insert(address, (entry.stream, entry.pool));
            }
            _ => continue,
        }
        is_told = true;
    }
    if !is_told {
        return (None, Balance::default());
    }
    let owned = |(address, size_bytes): (u64, i64)| {
        let owner = owners.range(..=address).next_back();
        let (stream, pool) = owner.map_or((0, 0), |(_, owner)| *owner);
        OpeningSegment { address, size_bytes, stream, pool }
    };
    let ranges: Vec<OpeningSegment> = held.iter().map(owned).collect();
    let told = segments.map(|_| Balance::new(end_bytes.saturating_sub(net_bytes), held.total_bytes()));
    (Some(ranges), told.unwrap_or_default())
}
