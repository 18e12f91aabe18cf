//! The memory of one device as its allocator sees it: ranges that are held, the blocks and the holes in them, pool by pool.
//! Kept up to date event by event, so that the largest hole is known at any moment.

use std::collections::{BTreeMap, BTreeSet};

use tidegauge_schemas::EventKind;

use super::pool::{Holes, Pool, PoolKey, Sums};
use super::range::{Origin, Piece, Range};
use super::rules::{AllocatorRules, SizeClass};
use crate::load::EventRow;
use crate::replay::MAX_BYTES;

/// The map of a device.
#[derive(Debug, Clone)]
pub(crate) struct SegmentMap {
    rules: AllocatorRules,
    /// By address; they do not overlap.
    ranges: BTreeMap<u64, Range>,
    pools: Vec<Pool>,
    /// Ranges with blocks of which the end is not known yet: they were there when recording began.
    unsettled: BTreeSet<u64>,
}

/// A pool's figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PoolState {
    pub(crate) key: PoolKey,
    pub(crate) sums: Sums,
    pub(crate) holes: u64,
    pub(crate) largest_hole_bytes: i64,
}

impl SegmentMap {
    /// Without memory.
    pub(crate) fn new(rules: AllocatorRules) -> Self {
        Self { rules, ranges: BTreeMap::new(), pools: Vec::new(), unsettled: BTreeSet::new() }
    }

    /// Takes in what an event did.
    pub(crate) fn apply(&mut self, event: &EventRow) {
        let (Some(kind), Some(address)) = (event.kind, event.address) else { return };
        // What replay leaves out is left out here.
        if event.size_bytes.is_some_and(|bytes| !(0..=MAX_BYTES).contains(&bytes)) {
            return;
        }
        let size = event.size_bytes.map(i64::cast_unsigned);
        match kind {
            EventKind::SegmentAlloc | EventKind::SegmentMap | EventKind::SegmentBaseline => {
                let origin = match kind {
                    EventKind::SegmentAlloc => Origin::Whole,
                    EventKind::SegmentBaseline if self.rules.are_expandable != Some(true) => Origin::Found,
                    _ => Origin::Mapped,
                };
                self.hold(event, address, size.unwrap_or(0), origin);
            }
            EventKind::SegmentFree | EventKind::SegmentUnmap => self.give_back(address, size),
            EventKind::Alloc => self.place(address, event.size_bytes, false),
            EventKind::Baseline | EventKind::BaselinePending => self.place(address, event.size_bytes, true),
            EventKind::Free | EventKind::FreeCompleted => {
                self.settle();
                self.change(address, |range, holes, _| range.release(holes, address));
            }
            _ => {}
        }
    }

    /// Finds the ends of blocks that were there when recording began, once all of them are known.
    pub(crate) fn settle(&mut self) {
        for address in std::mem::take(&mut self.unsettled) {
            let Some(mut range) = self.take(address) else { continue };
            range.settle(&self.rules);
            self.put(range);
        }
    }

    /// Whether it knows of memory that is held.
    pub(crate) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Sums over all pools, the number of holes and the largest one.
    pub(crate) fn totals(&self) -> (Sums, u64, i64) {
        let mut totals = (Sums::default(), 0, 0);
        for pool in &self.pools {
            totals.0.add(pool.sums, 1);
            totals.1 += pool.holes.count();
            totals.2 = totals.2.max(pool.holes.largest_bytes());
        }
        totals
    }

    /// Pools that hold memory, by name, stream and size.
    pub(crate) fn pools(&self) -> Vec<PoolState> {
        let held = self.pools.iter().filter(|pool| pool.sums.segments > 0);
        let mut pools: Vec<PoolState> = held
            .map(|pool| PoolState {
                key: pool.key,
                sums: pool.sums,
                holes: pool.holes.count(),
                largest_hole_bytes: pool.holes.largest_bytes(),
            })
            .collect();
        pools.sort_by_key(|pool| pool.key);
        pools
    }

    /// What is held, with the key of its pool, and whether pages of it can be returned one by one; by address.
    pub(crate) fn segments(&self) -> impl Iterator<Item = (u64, u64, PoolKey, bool)> {
        let segment = |range: &Range| {
            (range.address, range.size_bytes, self.pools[range.pool].key, range.origin == Origin::Mapped)
        };
        self.ranges.values().map(segment)
    }

    /// Blocks, with what was asked for, and holes of the range at an address.
    pub(crate) fn pieces(&self, address: u64) -> impl Iterator<Item = (u64, u64, Option<i64>)> {
        let pieces = self.ranges.get(&address).into_iter().flat_map(Range::pieces);
        pieces.map(|(address, Piece { size_bytes, requested_bytes })| (address, size_bytes, requested_bytes))
    }

    fn pool(&mut self, key: PoolKey) -> usize {
        self.pools.iter().position(|pool| pool.key == key).unwrap_or_else(|| {
            self.pools.push(Pool { key, sums: Sums::default(), holes: Holes::default() });
            self.pools.len() - 1
        })
    }

    fn put(&mut self, range: Range) {
        let pool = &mut self.pools[range.pool];
        pool.sums.add(range.sums(), 1);
        range.holes().for_each(|size_bytes| pool.holes.add(size_bytes));
        self.ranges.insert(range.address, range);
    }

    fn take(&mut self, address: u64) -> Option<Range> {
        let range = self.ranges.remove(&address)?;
        let pool = &mut self.pools[range.pool];
        pool.sums.add(range.sums(), -1);
        range.holes().for_each(|size_bytes| pool.holes.remove(size_bytes));
        Some(range)
    }

    /// The address of the range that an address lies in.
    fn around(&self, address: u64) -> Option<u64> {
        let (start, range) = self.ranges.range(..=address).next_back()?;
        (address < range.end()).then_some(*start)
    }

    /// Has the range around an address changed; the pool's sums follow.
    fn change(&mut self, address: u64, change: impl FnOnce(&mut Range, &mut Holes, &AllocatorRules)) {
        let Some(start) = self.around(address) else { return };
        let Some(range) = self.ranges.get_mut(&start) else { return };
        let pool = &mut self.pools[range.pool];
        pool.sums.add(range.sums(), -1);
        change(range, &mut pool.holes, &self.rules);
        pool.sums.add(range.sums(), 1);
    }

    fn place(&mut self, address: u64, size_bytes: Option<i64>, is_found: bool) {
        let Some(size_bytes) = size_bytes else { return };
        if !is_found {
            self.settle();
        }
        let Some(start) = self.around(address) else { return };
        self.classify(start, SizeClass::of_request(size_bytes));
        self.change(address, |range, holes, rules| range.place(holes, rules, address, size_bytes, is_found));
        if is_found {
            self.unsettled.insert(start);
        }
    }

    /// A segment of small blocks has no others: the first block tells, where its size alone does not.
    fn classify(&mut self, start: u64, class: SizeClass) {
        if self.ranges.get(&start).is_none_or(|range| range.class == class) {
            return;
        }
        let Some(mut range) = self.take(start) else { return };
        range.class = class;
        range.pool = self.pool(PoolKey { class, ..self.pools[range.pool].key });
        range.count();
        self.put(range);
    }

    fn hold(&mut self, event: &EventRow, address: u64, size_bytes: u64, origin: Origin) {
        if size_bytes == 0 || address.checked_add(size_bytes).is_none() {
            return;
        }
        // Memory is never taken twice: if it seems so, its return was missed.
        self.give_back(address, Some(size_bytes));
        let mut class = SizeClass::of_segment(size_bytes.cast_signed());
        let is_neighbour = |range: &Range, pools: &[Pool]| {
            let key = pools[range.pool].key;
            (key.name, key.stream) == (event.pool, event.stream)
                && origin == Origin::Mapped
                && range.origin != Origin::Whole
        };
        let before = self.ranges.range(..address).next_back().map(|(_, range)| range);
        let before = before.filter(|range| range.end() == address && is_neighbour(range, &self.pools));
        let after = self.ranges.get(&(address + size_bytes)).filter(|range| is_neighbour(range, &self.pools));
        class = before.or(after).map_or(class, |range| range.class);
        let (before, after) = (before.map(|range| range.address), after.map(|range| range.address));
        let pool = self.pool(PoolKey { name: event.pool, stream: event.stream, class });
        let mut range = Range::new(address, size_bytes, origin, class, pool);
        let mut is_unsettled = false;
        for neighbour in [before, after].into_iter().flatten() {
            let Some(other) = self.take(neighbour) else { continue };
            is_unsettled |= self.unsettled.remove(&neighbour);
            range = if neighbour < address { other.joined(range) } else { range.joined(other) };
        }
        if is_unsettled {
            self.unsettled.insert(range.address);
        }
        self.put(range);
    }

    fn give_back(&mut self, address: u64, size_bytes: Option<u64>) {
        let Some(size_bytes) = size_bytes else {
            self.take(address);
            return;
        };
        let end = address.saturating_add(size_bytes);
        // The last range that begins before the end, as long as it reaches past the beginning.
        while let Some((&start, range)) = self.ranges.range(..end).next_back() {
            if range.end() <= address {
                break;
            }
            let is_unsettled = self.unsettled.remove(&start);
            let Some(range) = self.take(start) else { break };
            for part in range.without(address, end).into_iter().flatten() {
                if is_unsettled {
                    self.unsettled.insert(part.address);
                }
                self.put(part);
            }
            if start <= address {
                break;
            }
        }
    }
}
