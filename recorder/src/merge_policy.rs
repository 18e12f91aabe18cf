//! Which neighbouring parts are merged: those of a size, ten at a time, so that every row is copied a few times at most
//! and the number of parts grows with the logarithm of the trace.
//!
//! A part is sealed with one row group. Ten parts of fewer than ten row groups become one, ten of those again, and ten
//! of those again; then it is full. So each byte that a seal has written is written again three times at most.

use std::ops::Range;

/// Neighbours of a tier that are merged at once, and how many times a tier's parts are larger than those of the tier
/// before. With ten, what is left over in the tiers is 27 parts of a table at most.
const FAN_IN: usize = 10;
/// A part with fewer row groups than this at its tier's place is of that tier.
const TIER_ENDS: [usize; 3] = [10, 100, MAX_ROW_GROUPS];
/// The footer has some 100 bytes for each column of each row group: a reader parses it as a whole.
const MAX_ROW_GROUPS: usize = 1000;
/// A merge takes that much space for a moment.
const MAX_BYTES: u64 = 1 << 30;

/// How large a part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) row_groups: usize,
    pub(crate) bytes: u64,
}

impl Size {
    /// Two parts that are not full can always be merged.
    const fn is_full(self) -> bool {
        self.row_groups >= MAX_ROW_GROUPS / 2 || self.bytes >= MAX_BYTES / 2
    }

    fn tier(self) -> usize {
        TIER_ENDS.partition_point(|&end| end <= self.row_groups)
    }
}

/// The parts to merge next among neighbours, oldest first; none if they are few enough.
pub(crate) fn choose(parts: &[Size]) -> Option<Range<usize>> {
    (0..TIER_ENDS.len()).find_map(|tier| choose_in_tier(parts, tier))
}

/// Ten of the tier, with smaller ones that lie between them: a chunk that was sealed late leaves such a one. What comes
/// of them is of a higher tier, or full.
fn choose_in_tier(parts: &[Size], tier: usize) -> Option<Range<usize>> {
    let mut begin = 0;
    let mut of_tier = 0;
    for (at, part) in parts.iter().enumerate() {
        if part.is_full() || part.tier() > tier {
            begin = at + 1;
            of_tier = 0;
        } else if part.tier() == tier {
            of_tier += 1;
        }
        if of_tier == FAN_IN {
            return Some(begin..begin + fitting(&parts[begin..=at]));
        }
    }
    None
}

/// How many of them fit into one part: two at least.
fn fitting(parts: &[Size]) -> usize {
    let sums = parts.iter().scan(Size { row_groups: 0, bytes: 0 }, |sum, part| {
        *sum = Size { row_groups: sum.row_groups + part.row_groups, bytes: sum.bytes + part.bytes };
        Some(*sum)
    });
    sums.take_while(|sum| sum.row_groups <= MAX_ROW_GROUPS && sum.bytes <= MAX_BYTES).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table over time: how many parts there were at most, how many there are at the end, and how often a byte was
    /// written.
    struct Simulation {
        parts: Vec<Size>,
        most: usize,
        sealed_bytes: u64,
        merged_bytes: u64,
    }

    impl Simulation {
        fn run(sealed: impl Iterator<Item = Size>) -> Self {
            let mut table = Self { parts: Vec::new(), most: 0, sealed_bytes: 0, merged_bytes: 0 };
            for size in sealed {
                table.parts.push(size);
                table.sealed_bytes += size.bytes;
                table.merge();
                table.most = table.most.max(table.parts.len());
            }
            table
        }

        fn merge(&mut self) {
            while let Some(range) = choose(&self.parts) {
                assert!(range.len() >= 2, "a merge makes fewer parts");
                let inputs = &self.parts[range.clone()];
                let sum = Size {
                    row_groups: inputs.iter().map(|part| part.row_groups).sum(),
                    bytes: inputs.iter().map(|part| part.bytes).sum(),
                };
                assert!(sum.row_groups <= MAX_ROW_GROUPS && sum.bytes <= MAX_BYTES);
                let highest = inputs.iter().map(|part| part.tier()).max().unwrap();
                assert!(sum.is_full() || sum.tier() > highest, "no byte is written twice for one tier");
                self.merged_bytes += sum.bytes;
                self.parts.splice(range, [sum]);
            }
        }

        fn times_written(&self) -> f64 {
            1.0 + self.merged_bytes as f64 / self.sealed_bytes as f64
        }
    }

    /// A day at 50,000 records a second, each part of eight chunks.
    const PARTS_OF_A_DAY: usize = 24 * 3600 * 50_000 / (8 * 32_768) + 1;

    fn day(bytes: u64) -> Simulation {
        Simulation::run((0..PARTS_OF_A_DAY).map(|_| Size { row_groups: 1, bytes }))
    }

    #[test]
    fn a_day_at_fifty_thousand_events_a_second_is_under_300_files() {
        // From a record that takes a byte to one that takes twelve: events, and tables of few rows.
        let tables = [1 << 12, 1 << 18, 1 << 20, 3 << 20].map(day);
        for table in &tables {
            assert!(table.most <= 80 && table.times_written() <= 4.0, "{}", table.most);
        }
        // Events, checkpoints, samples, node_samples, and sites if new ones are named all day long; `run.json` and
        // `process.json`. At any moment, not only at the end.
        let events = tables.iter().map(|table| table.most).max().unwrap();
        let others = tables[0].most * 4;
        assert!(events + others + 2 < 300, "{events} + {others}");
        assert!(tables[0].parts.len() < 50 && tables[3].parts.len() < 80);
    }

    #[test]
    fn a_short_run_is_left_alone() {
        let table = Simulation::run((0..9).map(|_| Size { row_groups: 1, bytes: 1 << 20 }));
        assert_eq!((table.parts.len(), table.merged_bytes), (9, 0));
    }

    #[test]
    fn sizes_of_all_kinds_stay_few_and_are_written_a_few_times() {
        // A generator of numbers that need not be good, but always the same.
        let mut state = 1_u64;
        let mut random = move |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let sizes: Vec<Size> = (0..20_000)
            .map(|_| Size { row_groups: 1 + random(3) as usize, bytes: 1 << random(24) })
            .collect();
        let table = Simulation::run(sizes.into_iter());
        assert!(table.most < 120 && table.times_written() <= 4.0, "{} {}", table.most, table.times_written());
    }

    #[test]
    fn a_small_part_between_large_ones_goes_with_them() {
        let (small, large) = (Size { row_groups: 1, bytes: 1 }, Size { row_groups: 10, bytes: 10 });
        let mut parts = vec![large; 10];
        parts.insert(4, small);
        parts.push(small);
        assert_eq!(choose(&parts), Some(0..11));
        // A full one divides.
        parts[5] = Size { row_groups: MAX_ROW_GROUPS, bytes: 1 };
        assert_eq!(choose(&parts), None);
    }
}
