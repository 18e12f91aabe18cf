//! The map against a model of it that knows no intervals: an array of units of 512 bytes, each of which is held or not, and
//! of a block or free.

use proptest::prelude::*;
use tidegauge_schemas::EventKind;

use super::rules::AllocatorRules;
use super::segment_map::SegmentMap;
use crate::load::EventRow;

/// Bytes of a unit: everything is a multiple of it.
const UNIT: u64 = 512;
/// Units of the address space.
const UNITS: usize = 96;

fn event(kind: EventKind, unit: usize, units: usize) -> EventRow {
    EventRow {
        seq: 0,
        time_nanos: 0,
        kind: Some(kind),
        device: 0,
        address: Some(UNIT * unit as u64),
        size_bytes: Some((UNIT * units as u64).cast_signed()),
        site: 0,
        category: None,
        stream: Some(0),
        pool: 0,
    }
}

/// What a unit of the address space is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Unheld,
    /// Of the segment with that number.
    Free(usize),
    /// Of that segment, and of the block that begins at that unit.
    Used(usize, usize),
}

/// The naive model. Expandable memory is one segment, whatever it was mapped in.
struct Naive {
    units: Vec<Unit>,
    segments: usize,
    is_expandable: bool,
}

impl Naive {
    fn hold(&mut self, unit: usize, units: usize) {
        self.segments += 1;
        let number = if self.is_expandable { 0 } else { self.segments };
        self.units[unit..unit + units].fill(Unit::Free(number));
    }

    fn segment_of(&self, unit: usize) -> Option<usize> {
        match self.units[unit] {
            Unit::Unheld => None,
            Unit::Free(number) | Unit::Used(number, _) => Some(number),
        }
    }

    /// Lengths of the stretches of neighbouring units of one segment that are free.
    fn holes(&self) -> Vec<i64> {
        let mut holes: Vec<i64> = Vec::new();
        let mut last = Unit::Unheld;
        for unit in &self.units {
            if let Unit::Free(_) = unit {
                match holes.last_mut() {
                    Some(hole) if last == *unit => *hole += UNIT as i64,
                    _ => holes.push(UNIT as i64),
                }
            }
            last = *unit;
        }
        holes
    }

    fn bytes(&self, is_counted: impl Fn(&Unit) -> bool) -> i64 {
        self.units.iter().filter(|unit| is_counted(unit)).count() as i64 * UNIT as i64
    }

    /// Free memory of segments that have no block in them.
    fn cached(&self) -> i64 {
        let in_use =
            |number: usize| self.units.iter().any(|unit| matches!(unit, Unit::Used(of, _) if *of == number));
        self.bytes(|unit| matches!(unit, Unit::Free(number) if !in_use(*number)))
    }
}

#[derive(Debug, Clone, Copy)]
enum Deed {
    Hold(usize, usize),
    GiveBack(usize, usize),
    Alloc(usize, usize),
    Free(usize),
}

fn deed() -> impl Strategy<Value = Deed> {
    let unit = 0..UNITS;
    prop_oneof![
        2 => (unit.clone(), 1usize..24).prop_map(|(unit, units)| Deed::Hold(unit, units)),
        1 => (unit.clone(), 1usize..24).prop_map(|(unit, units)| Deed::GiveBack(unit, units)),
        5 => (unit.clone(), 1usize..8).prop_map(|(unit, units)| Deed::Alloc(unit, units)),
        4 => unit.prop_map(Deed::Free),
    ]
}

/// Carries a deed out in both, if an allocator could do it.
fn carry_out(deed: Deed, naive: &mut Naive, map: &mut SegmentMap) {
    match deed {
        Deed::Hold(unit, units) => {
            let units = units.min(UNITS - unit);
            if naive.units[unit..unit + units].iter().any(|unit| *unit != Unit::Unheld) {
                return;
            }
            naive.hold(unit, units);
            let kind = if naive.is_expandable { EventKind::SegmentMap } else { EventKind::SegmentAlloc };
            map.apply(&event(kind, unit, units));
        }
        Deed::GiveBack(unit, units) => {
            let (mut start, mut end) = (unit, (unit + units).min(UNITS));
            if !naive.is_expandable {
                // As a whole.
                let Some(number) = naive.segment_of(unit) else { return };
                let is_of = |at: &usize| naive.segment_of(*at) == Some(number);
                start = (0..UNITS).find(is_of).unwrap();
                end = (0..UNITS).rfind(is_of).unwrap() + 1;
            }
            if naive.units[start..end].iter().any(|unit| !matches!(unit, Unit::Free(_))) {
                return;
            }
            naive.units[start..end].fill(Unit::Unheld);
            let kind = if naive.is_expandable { EventKind::SegmentUnmap } else { EventKind::SegmentFree };
            map.apply(&event(kind, start, end - start));
        }
        Deed::Alloc(unit, units) => {
            let Some(number) = naive.segment_of(unit) else { return };
            let is_free = |at: usize| at < UNITS && naive.units[at] == Unit::Free(number);
            if !(unit..unit + units).all(is_free) {
                return;
            }
            naive.units[unit..unit + units].fill(Unit::Used(number, unit));
            // One byte less is rounded up to the same.
            let asked = event(EventKind::Alloc, unit, units);
            map.apply(&EventRow { size_bytes: asked.size_bytes.map(|bytes| bytes - 1), ..asked });
        }
        Deed::Free(unit) => {
            let Unit::Used(_, start) = naive.units[unit] else { return };
            for at in &mut naive.units {
                if let Unit::Used(number, of) = *at
                    && of == start
                {
                    *at = Unit::Free(number);
                }
            }
            map.apply(&event(EventKind::FreeCompleted, start, 1));
        }
    }
}

proptest! {
    #[test]
    fn the_map_is_the_naive_one(deeds in prop::collection::vec(deed(), 1..200), is_expandable: bool) {
        let mut naive = Naive { units: vec![Unit::Unheld; UNITS], segments: 0, is_expandable };
        let mut map = SegmentMap::new(AllocatorRules::default());
        for deed in deeds {
            carry_out(deed, &mut naive, &mut map);
            let (sums, holes, largest_bytes) = map.totals();
            let expected = naive.holes();
            prop_assert_eq!(sums.reserved_bytes, naive.bytes(|unit| *unit != Unit::Unheld));
            prop_assert_eq!(sums.free_bytes, expected.iter().sum::<i64>());
            prop_assert_eq!(holes, expected.len() as u64);
            prop_assert_eq!(largest_bytes, expected.iter().copied().max().unwrap_or(0));
            let blocks = naive.units.iter().enumerate().filter(|(at, unit)| {
                matches!(unit, Unit::Used(_, start) if start == at)
            });
            let blocks = blocks.count() as i64;
            prop_assert_eq!((sums.blocks, sums.rounding_bytes), (blocks, blocks));
            if !is_expandable {
                prop_assert_eq!(sums.cached_bytes, naive.cached());
            }
            let mut held = 0;
            for (address, size_bytes, _, _) in map.segments().collect::<Vec<_>>() {
                let mut at = address;
                for (start, size, _) in map.pieces(address) {
                    prop_assert_eq!(start, at, "pieces lie side by side");
                    at += size;
                }
                prop_assert_eq!(at, address + size_bytes);
                held += size_bytes;
            }
            prop_assert_eq!(held.cast_signed(), sums.reserved_bytes);
        }
    }
}

const MIB: i64 = 1 << 20;

fn at(kind: EventKind, address: i64, size_bytes: i64) -> EventRow {
    EventRow { address: Some(address.cast_unsigned()), size_bytes: Some(size_bytes), ..event(kind, 0, 0) }
}

#[test]
fn a_rest_that_is_not_split_off_is_of_the_block() {
    let mut map = SegmentMap::new(AllocatorRules::default());
    map.apply(&at(EventKind::SegmentAlloc, 0, 20 * MIB));
    map.apply(&at(EventKind::Alloc, 0, 12 * MIB));
    assert_eq!(map.totals().2, 8 * MIB);
    // Of 8 MiB, 7.5 MiB leave half a MiB, which would be of no use.
    map.apply(&at(EventKind::Alloc, 12 * MIB, 15 * MIB / 2));
    let (sums, holes, largest_bytes) = map.totals();
    assert_eq!((holes, largest_bytes, sums.free_bytes, sums.rounding_bytes), (0, 0, 0, MIB / 2));
    map.apply(&at(EventKind::Free, 12 * MIB, 0));
    assert_eq!(map.totals().2, 8 * MIB, "all of it is free again");
}

#[test]
fn blocks_that_were_there_end_where_the_allocator_would_have_cut_them() {
    let mut map = SegmentMap::new(AllocatorRules::default());
    map.apply(&at(EventKind::SegmentBaseline, 0, 20 * MIB));
    map.apply(&at(EventKind::SegmentBaseline, 64 * MIB, 2 * MIB));
    // Found in the order of their addresses: what is behind one is not known yet.
    map.apply(&at(EventKind::Baseline, 0, 4 * MIB - 700));
    map.apply(&at(EventKind::Baseline, 4 * MIB + MIB / 2, 6 * MIB));
    map.apply(&at(EventKind::Baseline, 64 * MIB, 100));
    map.settle();
    let (sums, holes, largest_bytes) = map.totals();
    assert_eq!((holes, largest_bytes), (2, 19 * MIB / 2), "no hole of half a MiB between large blocks");
    assert_eq!(sums.rounding_bytes, MIB / 2 + 700 + 412);
    let classes: Vec<_> =
        map.pools().iter().map(|pool| (pool.key.class.as_str(), pool.sums.reserved_bytes)).collect();
    assert_eq!(classes, [("small", 2 * MIB), ("large", 20 * MIB)]);
}

#[test]
fn whole_pages_of_an_expandable_segment_can_be_given_back() {
    let mut map = SegmentMap::new(AllocatorRules::default());
    for page in 0..3 {
        map.apply(&at(EventKind::SegmentMap, page * 20 * MIB, 20 * MIB));
    }
    assert_eq!(map.segments().count(), 1, "pages that lie together are one range");
    map.apply(&at(EventKind::Alloc, 0, 10 * MIB));
    let (sums, _, largest_bytes) = map.totals();
    assert_eq!((largest_bytes, sums.cached_bytes, sums.split_bytes()), (50 * MIB, 40 * MIB, 10 * MIB));
    map.apply(&at(EventKind::SegmentUnmap, 20 * MIB, 20 * MIB));
    assert_eq!(map.segments().map(|(address, ..)| address).collect::<Vec<_>>(), [0, 40 << 20]);
    assert_eq!(map.totals().0.cached_bytes, 20 * MIB);
}
