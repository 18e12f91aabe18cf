//! Blocks of a framework's own allocator: what it says of them beyond that they came and went.

use tidegauge_schemas::journal::EventSlot;
use tidegauge_schemas::{Category, EventKind};

use crate::active::active;

/// What a framework's allocator did. What is `None` is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockEvent<'a> {
    /// What happened; FORMAT.md says which curve each kind moves.
    pub kind: EventKind,
    /// −1 the host, 0… accelerators.
    pub device: i16,
    /// Of the block or the segment.
    pub address: Option<u64>,
    /// As it was asked for.
    pub size_bytes: Option<u64>,
    /// The stream that it was allocated for.
    pub stream: Option<u64>,
    /// The pool that it is of, where there are several.
    pub pool: Option<&'a str>,
}

/// Records what a framework's allocator did, by the order of the calls.
pub fn block_event(event: &BlockEvent<'_>) {
    if let Some(active) = active() {
        let pool = event.pool.map_or(0, |pool| active.name(pool));
        let BlockEvent { kind, device, address, size_bytes, stream, .. } = *event;
        let slot = EventSlot { kind, device, address, size_bytes, stream, pool, ..EventSlot::BARE };
        let is_alloc = matches!(kind, EventKind::Alloc | EventKind::SegmentAlloc | EventKind::SegmentMap);
        let site = if is_alloc { active.here().site } else { 0 };
        active.event(&EventSlot { site, ..slot });
    }
}

/// Records a block that was alive before allocations were recorded, of a category if that is known.
pub fn baseline(device: i16, address: u64, size_bytes: u64, category: Option<Category>, site: Option<&str>) {
    if let Some(active) = active() {
        let slot = EventSlot { kind: EventKind::Baseline, device, address: Some(address), ..EventSlot::BARE };
        let site = site.map_or(0, |site| active.site_id(site));
        active.event(&EventSlot { size_bytes: Some(size_bytes), category, site, ..slot });
    }
}

/// Records what a living block is used for; that applies to the whole life of it.
pub fn annotate(device: i16, address: u64, category: Option<Category>, site: Option<&str>) {
    if let Some(active) = active() {
        let slot = EventSlot { kind: EventKind::Annotate, device, address: Some(address), ..EventSlot::BARE };
        let site = site.map_or(0, |site| active.site_id(site));
        active.event(&EventSlot { category, site, ..slot });
    }
}
