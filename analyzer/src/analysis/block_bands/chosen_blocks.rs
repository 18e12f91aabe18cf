//! The first pass: the blocks that fill the most of a picture, size by time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rustc_hash::FxHashMap;

use crate::replay::{Block, Observed, Observer, Outcome, Window};

/// Blocks of a device that are kept. Each of the others is less than this part of the picture.
pub(super) const MOST_BLOCKS: usize = 60_000;

/// A block, and how much of the picture it fills.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ChosenBlock {
    /// Bytes times nanoseconds.
    area: i128,
    pub(super) block: Block,
    /// `None` for one that is alive at the end.
    pub(super) died_seq: Option<u64>,
}

impl Ord for ChosenBlock {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        // Of equal ones the first; it is the same in every pass.
        (self.area, other.block.number).cmp(&(other.area, self.block.number))
    }
}

impl PartialOrd for ChosenBlock {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// What is kept of a device.
#[derive(Debug, Default)]
pub(super) struct OfDevice {
    smallest_first: BinaryHeap<Reverse<ChosenBlock>>,
    /// In the order of their allocation, once all are known.
    pub(super) largest: Vec<ChosenBlock>,
    /// What blocks of each site fill, where that was asked for.
    pub(super) site_areas: FxHashMap<u32, i128>,
    /// Sites of blocks that were told after their allocation, by number of the block.
    pub(super) told_sites: FxHashMap<u64, u32>,
    /// Blocks that were alive in the window.
    pub(super) blocks: u64,
}

/// Observes the pass.
#[derive(Debug)]
pub(super) struct ChosenBlocks {
    window: Window,
    sums_sites: bool,
    devices: Vec<OfDevice>,
}

impl ChosenBlocks {
    pub(super) fn new(window: Window, sums_sites: bool) -> Self {
        Self { window, sums_sites, devices: Vec::new() }
    }

    /// Those of a device; `None` if it had none in the window.
    pub(super) fn finish(mut self, outcome: &Outcome, device: i16) -> Option<OfDevice> {
        let at = outcome.devices.iter().position(|of| of.device == device)?;
        let last_nanos = outcome.span_nanos.map_or(0, |span| span.1);
        for (_, block) in outcome.devices[at].blocks().filter(|(_, block)| !block.is_pending) {
            self.end(at, block, None, last_nanos);
        }
        let mut found = self.devices.into_iter().nth(at)?;
        found.largest = std::mem::take(&mut found.smallest_first).into_iter().map(|Reverse(of)| of).collect();
        found.largest.sort_unstable_by_key(|of| of.block.number);
        (found.blocks > 0).then_some(found)
    }

    fn end(&mut self, device_index: usize, block: &Block, died_seq: Option<u64>, died_nanos: i64) {
        let begin_nanos = block.born_nanos.max(self.window.start_nanos);
        let end_nanos = died_nanos.min(self.window.end_nanos);
        // Of threads whose times step back the free may seem to come first.
        let life_nanos = end_nanos.saturating_sub(begin_nanos);
        if life_nanos < 0 && !self.window.overlaps(block.born_nanos, died_nanos.max(block.born_nanos)) {
            return;
        }
        if self.devices.len() <= device_index {
            self.devices.resize_with(device_index + 1, OfDevice::default);
        }
        let of_device = &mut self.devices[device_index];
        of_device.blocks += 1;
        // A block that lasts for a moment fills something, too.
        let area = i128::from(block.size_bytes) * (i128::from(life_nanos.max(0)) + 1);
        if self.sums_sites {
            *of_device.site_areas.entry(block.site).or_default() += area;
        }
        let heap = &mut of_device.smallest_first;
        if heap.len() >= MOST_BLOCKS {
            if heap.peek().is_some_and(|Reverse(least)| least.area >= area) {
                return;
            }
            heap.pop();
        }
        heap.push(Reverse(ChosenBlock { area, block: *block, died_seq }));
    }
}

impl Observer for ChosenBlocks {
    #[inline]
    fn observe(&mut self, observed: &Observed<'_>) {
        let Observed::Event {
            event, device_index, block, allocated_delta_blocks, replaced, annotated, ..
        } = observed
        else {
            return;
        };
        if let Some(replaced) = replaced {
            self.end(*device_index, replaced, Some(event.seq), event.time_nanos);
        }
        if let (Some(block), -1) = (block, allocated_delta_blocks) {
            self.end(*device_index, block, Some(event.seq), event.time_nanos);
        }
        if let Some((before, after)) = annotated
            && self.sums_sites
            && before.site != after.site
        {
            if self.devices.len() <= *device_index {
                self.devices.resize_with(device_index + 1, OfDevice::default);
            }
            self.devices[*device_index].told_sites.insert(after.number, after.site);
        }
    }
}
