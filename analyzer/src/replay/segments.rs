//! Memory that is held from the device: a set of address ranges.
//!
//! Segments of the ordinary kind come and go as a whole. Those of the expandable kind are mapped and unmapped page by
//! page, in other pieces than they were mapped in: a return may take the middle out of a range, or span several.

use std::collections::BTreeMap;

/// Ranges that do not overlap, by address; neighbours are not merged, so that a return without a size finds its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Segments {
    /// Length by start.
    ranges: BTreeMap<u64, i64>,
}

impl Segments {
    /// Adds a range; returns how much of it was held already.
    pub(crate) fn insert(&mut self, address: u64, size_bytes: i64) -> i64 {
        if size_bytes <= 0 {
            return 0;
        }
        let known_bytes = self.take(address, size_bytes);
        self.ranges.insert(address, size_bytes);
        known_bytes
    }

    /// Takes a range out, or without a size the one that begins at the address; returns how much was held of it, `None` if
    /// nothing was.
    pub(crate) fn remove(&mut self, address: u64, size_bytes: Option<i64>) -> Option<i64> {
        match size_bytes {
            Some(size_bytes) => Some(self.take(address, size_bytes)).filter(|taken| *taken > 0),
            None => self.ranges.remove(&address),
        }
    }

    /// Sum of all.
    pub(crate) fn total_bytes(&self) -> i64 {
        self.ranges.values().fold(0, |sum, bytes| sum.saturating_add(*bytes))
    }

    /// Address and length of each, by address.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, i64)> {
        self.ranges.iter().map(|(address, size_bytes)| (*address, *size_bytes))
    }

    fn take(&mut self, address: u64, size_bytes: i64) -> i64 {
        let end = address.saturating_add(size_bytes.max(0).cast_unsigned());
        // The last range that begins before the end, as long as it reaches past the beginning.
        let mut taken_bytes = 0;
        while let Some((&start, &length)) = self.ranges.range(..end).next_back() {
            let stop = start.saturating_add(length.cast_unsigned());
            if stop <= address {
                break;
            }
            self.ranges.remove(&start);
            if start < address {
                self.ranges.insert(start, (address - start).cast_signed());
            }
            if stop > end {
                self.ranges.insert(end, (stop - end).cast_signed());
            }
            taken_bytes += (stop.min(end) - start.max(address)).cast_signed();
            if start <= address {
                break;
            }
        }
        taken_bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_return_may_take_the_middle_out_or_span_several() {
        let mut segments = Segments::default();
        assert_eq!(segments.insert(100, 50), 0);
        assert_eq!(segments.insert(150, 50), 0);
        assert_eq!(segments.remove(120, Some(60)), Some(60));
        assert_eq!(segments.iter().collect::<Vec<_>>(), [(100, 20), (180, 20)]);
        assert_eq!(segments.remove(100, None), Some(20), "without a size the whole range");
        assert_eq!(segments.remove(100, None), None);
        assert_eq!(segments.remove(0, Some(50)), None);
        assert_eq!(segments.insert(170, 20), 10, "memory that was held already");
        assert_eq!(segments.total_bytes(), 30);
    }

    proptest! {
        #[test]
        fn it_is_a_set_of_bytes(
            steps in prop::collection::vec((any::<bool>(), 0u64..60, 1i64..20), 0..40)
        ) {
            let mut segments = Segments::default();
            let mut naive = std::collections::BTreeSet::new();
            for (is_insert, address, size) in steps {
                let bytes = address..address + size.cast_unsigned();
                let held = bytes.clone().filter(|byte| naive.contains(byte)).count() as i64;
                if is_insert {
                    prop_assert_eq!(segments.insert(address, size), held);
                    naive.extend(bytes);
                } else {
                    prop_assert_eq!(segments.remove(address, Some(size)).unwrap_or(0), held);
                    bytes.for_each(|byte| { naive.remove(&byte); });
                }
                prop_assert_eq!(segments.total_bytes(), naive.len() as i64);
            }
        }
    }
}
