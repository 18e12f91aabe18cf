//! What a device's memory comes to at a moment.

use super::rules::SizeClass;
use super::segment_map::{PoolState, SegmentMap};
use crate::load::PoolNames;
use crate::replay::DeviceState;

/// Which moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MomentKind {
    /// The peak of allocated, or the moment that was asked for.
    Allocated,
    /// The peak of reserved.
    Reserved,
    /// An allocation failed.
    Oom,
    /// The end.
    End,
}

impl MomentKind {
    /// The word in data and reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allocated => "peak_allocated",
            Self::Reserved => "peak_reserved",
            Self::Oom => "oom",
            Self::End => "end",
        }
    }
}

/// What a figure stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// The recording tells it.
    Measured,
    /// It follows from addresses, requested sizes and the allocator's rules.
    Estimated,
}

impl Basis {
    /// The word in data and reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Measured => "measured",
            Self::Estimated => "estimated",
        }
    }
}

/// What the map of segments and blocks comes to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MapFigures {
    /// Segments; of expandable ones, mapped ranges.
    pub segments: i64,
    /// Blocks, those that a stream still uses included.
    pub blocks: i64,
    /// Stretches of free memory.
    pub holes: u64,
    /// The largest of them.
    pub largest_hole_bytes: i64,
    /// Free memory in segments that are partly in use: torch's inactive split bytes.
    pub split_bytes: i64,
    /// Free memory in segments, or whole pages of expandable ones, that are not in use: `empty_cache` gives it back.
    pub cached_bytes: i64,
    /// Sizes of blocks less what was asked for.
    pub rounding_bytes: i64,
}

impl MapFigures {
    /// Free in all.
    #[must_use]
    pub const fn free_bytes(&self) -> i64 {
        self.split_bytes + self.cached_bytes
    }
}

/// One device's memory at a moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryState {
    /// What the program holds, as it asked for it.
    pub allocated_bytes: i64,
    /// And what a stream still uses.
    pub active_bytes: i64,
    /// Held from the device; `None` where no segment was recorded.
    pub reserved_bytes: Option<i64>,
    /// What is where; `None` where addresses of segments were not recorded.
    pub map: Option<MapFigures>,
    /// The driver's count of the device, or the resident size of the process, less what is reserved (the host:
    /// allocated): as of the last sample before, `None` without any.
    pub outside_bytes: Option<i64>,
}

impl MemoryState {
    /// Reserved and not allocated.
    #[must_use]
    pub fn unused_bytes(&self) -> Option<i64> {
        Some(self.reserved_bytes? - self.allocated_bytes)
    }
}

/// One pool at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolMemory {
    /// Its name; `None` for the default one. Others are private: of CUDA graphs, of `torch.cuda.MemPool`.
    pub pool: Option<String>,
    /// Its stream, where that is known.
    pub stream: Option<u64>,
    /// The size of its blocks.
    pub class: SizeClass,
    /// Held from the device.
    pub reserved_bytes: i64,
    /// What is where.
    pub map: MapFigures,
}

/// A device at a moment, with names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryMoment {
    /// −1 the host, 0… accelerators.
    pub device: i16,
    /// Which moment.
    pub kind: MomentKind,
    /// `seq` of the event after which it is; `None` for a device without events.
    pub seq: Option<u64>,
    /// When, nanoseconds since 1970; `None` for the state at the start, or without times.
    pub time_nanos: Option<i64>,
    /// Step.
    pub step: Option<i64>,
    /// Phase.
    pub phase: Option<String>,
    /// What it comes to.
    pub state: MemoryState,
    /// Pool by pool.
    pub pools: Vec<PoolMemory>,
    /// What `rounding_bytes` stands on.
    pub rounding: Basis,
}

/// A moment as the pass takes it, before names and places are known.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Taken {
    pub(crate) seq: u64,
    pub(crate) time_nanos: i64,
    /// It was made by no event: the recording opens with it.
    pub(crate) is_start: bool,
    pub(crate) state: MemoryState,
    pub(crate) pools: Vec<PoolState>,
}

impl MapFigures {
    /// Of a map as it is now.
    pub(super) fn of(map: &SegmentMap) -> Self {
        let (sums, holes, largest_hole_bytes) = map.totals();
        Self {
            segments: sums.segments,
            blocks: sums.blocks,
            holes,
            largest_hole_bytes,
            split_bytes: sums.split_bytes(),
            cached_bytes: sums.cached_bytes,
            rounding_bytes: sums.rounding_bytes,
        }
    }
}

/// The figures of a device and its map.
pub(super) fn state_of(device: &DeviceState, map: &SegmentMap, outside_bytes: Option<i64>) -> MemoryState {
    MemoryState {
        allocated_bytes: device.allocated_bytes,
        active_bytes: device.active_bytes,
        // Profilers write 0 of an allocator that reserves nothing.
        reserved_bytes: device.reserved_bytes.filter(|bytes| device.device >= 0 || *bytes > 0),
        map: (device.has_segments() || !map.is_empty()).then(|| MapFigures::of(map)),
        outside_bytes,
    }
}

/// Pools with their names.
pub(crate) fn named_pools(pools: &[PoolState], names: &PoolNames) -> Vec<PoolMemory> {
    let named = |pool: &PoolState| PoolMemory {
        pool: names.name(pool.key.name).map(str::to_owned),
        stream: pool.key.stream,
        class: pool.key.class,
        reserved_bytes: pool.sums.reserved_bytes,
        map: MapFigures {
            segments: pool.sums.segments,
            blocks: pool.sums.blocks,
            holes: pool.holes,
            largest_hole_bytes: pool.largest_hole_bytes,
            split_bytes: pool.sums.split_bytes(),
            cached_bytes: pool.sums.cached_bytes,
            rounding_bytes: pool.sums.rounding_bytes,
        },
    };
    pools.iter().map(named).collect()
}
