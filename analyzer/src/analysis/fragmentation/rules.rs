//! How PyTorch's caching allocator cuts blocks out of what it has reserved: what is asked for is rounded up, and what is
//! left of a free block is split off only if it is large enough to be of use.
//!
//! A recording tells addresses and requested sizes. With these rules (`c10/cuda/CUDACachingAllocator.cpp`, the same from
//! 2.0 to 2.15) the sizes that blocks really have follow from them: `round_size`, `should_split`, `kMinBlockSize`,
//! `kSmallSize`, `kSmallBuffer`, `kLargeBuffer`.

use serde_json::{Map, Value};

/// Blocks are a multiple of this.
const MIN_BLOCK_BYTES: i64 = 512;
/// Requests up to this are served from pools of small blocks.
const SMALL_BYTES: i64 = 1 << 20;
/// What such a pool takes from the device at a time.
const SMALL_SEGMENT_BYTES: i64 = 2 << 20;
/// What an expandable segment of the other pools takes at a time.
const LARGE_PAGE_BYTES: i64 = 20 << 20;
/// Sizes from here on, 1 MiB, have a number of divisions of their own for each power of two.
const FIRST_DIVIDED_LOG: u32 = 20;
const DIVIDED_SIZES: usize = 16;

/// Which of a device's two kinds of pools memory is of: they share nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SizeClass {
    /// Blocks of up to 1 MiB.
    Small,
    /// Larger ones.
    Large,
}

impl SizeClass {
    /// The word in data and reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Large => "large",
        }
    }

    /// Of a request of that size.
    pub(crate) const fn of_request(requested_bytes: i64) -> Self {
        if requested_bytes <= SMALL_BYTES { Self::Small } else { Self::Large }
    }

    /// Of a segment of that size, before there is a block in it.
    pub(super) const fn of_segment(size_bytes: i64) -> Self {
        if size_bytes <= SMALL_SEGMENT_BYTES { Self::Small } else { Self::Large }
    }

    /// What an expandable segment is mapped and unmapped by.
    pub(super) const fn page_bytes(self) -> i64 {
        match self {
            Self::Small => SMALL_SEGMENT_BYTES,
            Self::Large => LARGE_PAGE_BYTES,
        }
    }
}

/// Settings of the allocator that its cutting depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AllocatorRules {
    /// Whether segments are expandable; `None` where the recording has no settings.
    pub(crate) are_expandable: Option<bool>,
    /// Free blocks from this size on are never split.
    max_split_bytes: i64,
    /// Into how many parts the distance between two powers of two is divided, from 1 MiB on; 0 or 1 for none.
    divisions: [i64; DIVIDED_SIZES],
}

impl Default for AllocatorRules {
    fn default() -> Self {
        Self { are_expandable: None, max_split_bytes: i64::MAX, divisions: [0; DIVIDED_SIZES] }
    }
}

impl AllocatorRules {
    /// As the `allocator_settings` of a snapshot tell them, which an import keeps in the run's configuration.
    pub(crate) fn of(config: &Map<String, Value>) -> Self {
        let mut rules = Self::default();
        let Some(settings) = config.get("allocator_settings") else { return rules };
        rules.are_expandable = settings.get("expandable_segments").and_then(Value::as_bool);
        let max_split = settings.get("max_split_size").and_then(Value::as_i64).filter(|bytes| *bytes > 0);
        rules.max_split_bytes = max_split.unwrap_or(i64::MAX);
        for (number, divisions) in rules.divisions.iter_mut().enumerate() {
            let told =
                settings.get("roundup_power2_divisions").and_then(|of| of.get((1u64 << number).to_string()));
            *divisions = told.and_then(Value::as_i64).unwrap_or(0);
        }
        rules
    }

    /// What a request of that size is rounded up to.
    pub(crate) fn rounded_bytes(&self, requested_bytes: i64) -> i64 {
        let bytes = requested_bytes.max(1);
        let number = bytes.ilog2().saturating_sub(FIRST_DIVIDED_LOG) as usize;
        let divisions = self.divisions.get(number.min(DIVIDED_SIZES - 1)).copied().unwrap_or(0);
        if divisions > 1 && bytes > MIN_BLOCK_BYTES * divisions {
            return next_division(bytes, divisions);
        }
        multiple(bytes, MIN_BLOCK_BYTES)
    }

    /// Whether of a free block a rest of that size is split off when a block of `rounded_bytes` is cut from it.
    pub(super) fn splits(
        &self,
        class: SizeClass,
        is_mapped: bool,
        rounded_bytes: i64,
        rest_bytes: i64,
    ) -> bool {
        if class == SizeClass::Small || is_mapped {
            rest_bytes >= MIN_BLOCK_BYTES
        } else {
            rounded_bytes < self.max_split_bytes && rest_bytes > SMALL_BYTES
        }
    }

    /// What the allocator asks the device for to serve such a request.
    pub(crate) fn segment_bytes(&self, rounded_bytes: i64) -> i64 {
        match SizeClass::of_request(rounded_bytes) {
            SizeClass::Small => SMALL_SEGMENT_BYTES,
            SizeClass::Large if self.are_expandable == Some(true) => {
                multiple(rounded_bytes, LARGE_PAGE_BYTES)
            }
            // Below half of the usual segment one of that size is taken, of which more can come.
            SizeClass::Large if rounded_bytes < LARGE_PAGE_BYTES / 2 => LARGE_PAGE_BYTES,
            SizeClass::Large => multiple(rounded_bytes, SMALL_SEGMENT_BYTES),
        }
    }
}

fn multiple(bytes: i64, of: i64) -> i64 {
    bytes.saturating_add(of - 1) / of * of
}

fn next_division(bytes: i64, divisions: i64) -> i64 {
    let floor = 1i64 << bytes.ilog2();
    if bytes == floor {
        return bytes;
    }
    let division = floor >> divisions.ilog2();
    if division == 0 { floor << 1 } else { multiple(bytes, division) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rules(settings: Value) -> AllocatorRules {
        let mut config = Map::new();
        config.insert("allocator_settings".to_owned(), settings);
        AllocatorRules::of(&config)
    }

    #[test]
    fn requests_are_rounded_to_512_bytes_or_to_divisions_of_a_power_of_two() {
        let plain = AllocatorRules::default();
        let cases = [(0, 512), (1, 512), (512, 512), (513, 1024), (1_500_000, 1_500_160)];
        for (requested, rounded) in cases {
            assert_eq!(plain.rounded_bytes(requested), rounded, "{requested}");
        }
        // The example of torch's documentation: 1200 with four divisions is between 1024 and 2048.
        let divided = rules(json!({"roundup_power2_divisions": {"1": 4, "2": 4}}));
        assert_eq!(divided.rounded_bytes(1200 << 10), 1280 << 10);
        assert_eq!(divided.rounded_bytes(2 << 20), 2 << 20);
        assert_eq!(divided.rounded_bytes((5 << 20) + 1), (5 << 20) + 512, "no divisions from 4 MiB on");
    }

    #[test]
    fn a_rest_is_split_off_where_it_is_of_use() {
        let plain = AllocatorRules::default();
        assert!(plain.splits(SizeClass::Small, false, 512, 512));
        assert!(!plain.splits(SizeClass::Large, false, 4 << 20, 1 << 20));
        assert!(plain.splits(SizeClass::Large, false, 4 << 20, (1 << 20) + 512));
        assert!(plain.splits(SizeClass::Large, true, 4 << 20, 512), "an expandable segment");
        let limited = rules(json!({"max_split_size": 64 << 20, "expandable_segments": false}));
        assert!(!limited.splits(SizeClass::Large, false, 64 << 20, 32 << 20));
        assert_eq!(limited.are_expandable, Some(false));
    }

    #[test]
    fn segments_have_the_sizes_of_the_allocator() {
        let plain = AllocatorRules::default();
        for (rounded, segment) in
            [(512, 2 << 20), (2 << 20, 20 << 20), (10 << 20, 10 << 20), ((30 << 20) + 512, 32 << 20)]
        {
            assert_eq!(plain.segment_bytes(rounded), segment, "{rounded}");
        }
        let expandable = rules(json!({"expandable_segments": true}));
        assert_eq!(expandable.segment_bytes(30 << 20), 40 << 20);
    }
}
