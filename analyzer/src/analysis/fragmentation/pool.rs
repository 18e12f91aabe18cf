//! One pool of an allocator: what it holds from the device, and the holes in it. Memory of one is never used by another.

use std::collections::BTreeMap;

use super::rules::SizeClass;

/// What tells a pool from the others of its device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PoolKey {
    /// Number of its name; 0 the default one, others are private, of CUDA graphs for instance.
    pub(crate) name: u32,
    /// Its stream, where that is known.
    pub(crate) stream: Option<u64>,
    /// Whether its blocks are small.
    pub(crate) class: SizeClass,
}

/// What ranges of a pool come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    /// Segments; of expandable ones, ranges that are mapped.
    pub(crate) segments: i64,
    /// Blocks in them.
    pub(crate) blocks: i64,
    /// Held from the device.
    pub(crate) reserved_bytes: i64,
    /// Of it, in no block.
    pub(crate) free_bytes: i64,
    /// Of that, in segments without a block, or in whole pages of expandable ones: what `empty_cache` gives back.
    pub(crate) cached_bytes: i64,
    /// Size of blocks less what was asked for.
    pub(crate) rounding_bytes: i64,
}

impl Sums {
    /// Adds others, or takes them away.
    pub(super) const fn add(&mut self, other: Self, sign: i64) {
        self.segments += sign * other.segments;
        self.blocks += sign * other.blocks;
        self.reserved_bytes += sign * other.reserved_bytes;
        self.free_bytes += sign * other.free_bytes;
        self.cached_bytes += sign * other.cached_bytes;
        self.rounding_bytes += sign * other.rounding_bytes;
    }

    /// Free memory in segments that are partly in use, which nothing can give back.
    pub(crate) const fn split_bytes(&self) -> i64 {
        self.free_bytes - self.cached_bytes
    }
}

/// Sizes of holes, each with how many there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Holes {
    sizes: BTreeMap<u64, u64>,
    count: u64,
}

impl Holes {
    pub(super) fn add(&mut self, size_bytes: u64) {
        *self.sizes.entry(size_bytes).or_default() += 1;
        self.count += 1;
    }

    pub(super) fn remove(&mut self, size_bytes: u64) {
        if let Some(count) = self.sizes.get_mut(&size_bytes) {
            *count -= 1;
            self.count -= 1;
            if *count == 0 {
                self.sizes.remove(&size_bytes);
            }
        }
    }

    /// How many there are.
    pub(super) const fn count(&self) -> u64 {
        self.count
    }

    /// The largest; 0 without any.
    pub(super) fn largest_bytes(&self) -> i64 {
        self.sizes.last_key_value().map_or(0, |(size_bytes, _)| size_bytes.cast_signed())
    }
}

/// A pool.
#[derive(Debug, Clone)]
pub(super) struct Pool {
    pub(super) key: PoolKey,
    pub(super) sums: Sums,
    pub(super) holes: Holes,
}
