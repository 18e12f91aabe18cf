//! What an event of a trace is in the terms of a snapshot.

use rustc_hash::FxHashMap;
use tidegauge_schemas::EventKind;

use crate::load::EventRow;
use crate::replay::{Block, Observed, Segments};

/// What became of blocks and segments. Sizes are known here also of what is freed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// A block that was alive at the start.
    Found { address: u64, size_bytes: i64, site: u32, is_pending: bool },
    /// A block was allocated.
    Alloc { address: u64, size_bytes: i64, site: u32 },
    /// A block was given up.
    Requested { address: u64, size_bytes: i64 },
    /// A block is gone.
    Completed { address: u64, size_bytes: i64 },
    /// A block that is alive is of this site.
    Annotated { address: u64, site: u32 },
    /// Memory that was held from the device at the start.
    SegmentFound { address: u64 },
    /// Memory was taken from the device.
    SegmentTaken { address: u64, size_bytes: i64, is_mapped: bool },
    /// Memory was returned to the device.
    SegmentReturned { address: u64, size_bytes: i64, is_mapped: bool },
    /// An allocation failed; what was held from the device then.
    Oom { size_bytes: i64, reserved_bytes: i64 },
    /// A snapshot was taken.
    Snapshot,
    /// Memory without an address came, went or was there.
    Anonymous,
}

/// One device, event by event.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Blocks that were given up and are still active, with their sizes.
    pending: FxHashMap<u64, i64>,
    segments: Segments,
    has_begun: bool,
}

impl Changes {
    /// Whether anything was allocated or freed since the start: what is found alive from then on was not there at it.
    pub(super) fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Memory that is held from the device.
    pub(super) fn segments(&self) -> &Segments {
        &self.segments
    }

    /// Calls `each` with what an event, as a replay tells of it, comes to: mostly one change, or two, or none.
    pub(super) fn of(&mut self, observed: &Observed<'_>, mut each: impl FnMut(Change)) {
        let Observed::Event { event, block, replaced, annotated, .. } = observed else { return };
        let Some(kind) = event.kind else { return };
        let is_baseline =
            matches!(kind, EventKind::Baseline | EventKind::BaselinePending | EventKind::SegmentBaseline);
        let is_start = is_baseline && !self.has_begun;
        self.has_begun |= matches!(kind, EventKind::Alloc | EventKind::Free | EventKind::FreeCompleted);
        match (kind, event.address) {
            (EventKind::Snapshot, _) => each(Change::Snapshot),
            (EventKind::Oom, _) => each(Change::Oom {
                size_bytes: event.size_bytes.unwrap_or(0),
                reserved_bytes: self.segments.total_bytes(),
            }),
            (EventKind::Annotate, Some(address)) if annotated.is_some() && event.site != 0 => {
                each(Change::Annotated { address, site: event.site });
            }
            (EventKind::Annotate, _) => {}
            (_, None) => {
                if event.size_bytes.is_some() {
                    each(Change::Anonymous);
                }
            }
            (
                EventKind::SegmentAlloc
                | EventKind::SegmentMap
                | EventKind::SegmentBaseline
                | EventKind::SegmentFree
                | EventKind::SegmentUnmap,
                Some(address),
            ) => self.segment(kind, address, event.size_bytes, is_start).into_iter().for_each(each),
            (_, Some(address)) => {
                if let Some(block) = block {
                    self.block(kind, address, event, block, *replaced, is_start, each);
                }
            }
        }
    }

    fn segment(
        &mut self,
        kind: EventKind,
        address: u64,
        size_bytes: Option<i64>,
        is_start: bool,
    ) -> Option<Change> {
        let is_mapped = matches!(kind, EventKind::SegmentMap | EventKind::SegmentUnmap);
        if matches!(kind, EventKind::SegmentFree | EventKind::SegmentUnmap) {
            let size_bytes = self.segments.remove(address, size_bytes)?;
            return Some(Change::SegmentReturned { address, size_bytes, is_mapped });
        }
        // What was held already, its return having been missed, is not taken again.
        let size_bytes = size_bytes? - self.segments.insert(address, size_bytes?);
        Some(if is_start {
            Change::SegmentFound { address }
        } else {
            Change::SegmentTaken { address, size_bytes, is_mapped }
        })
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of one observation")]
    fn block(
        &mut self,
        kind: EventKind,
        address: u64,
        event: &EventRow,
        block: &Block,
        replaced: Option<&Block>,
        is_start: bool,
        mut each: impl FnMut(Change),
    ) {
        let Block { size_bytes, site, .. } = *block;
        match kind {
            EventKind::FreeRequested => {
                if self.pending.insert(address, size_bytes).is_none() {
                    each(Change::Requested { address, size_bytes });
                }
            }
            EventKind::Free | EventKind::FreeCompleted => {
                if self.pending.remove(&address).is_none() {
                    each(Change::Requested { address, size_bytes });
                }
                each(Change::Completed { address, size_bytes });
            }
            _ => {
                // The free of what was at the address was missed.
                if let Some(old_bytes) = self.pending.remove(&address) {
                    each(Change::Completed { address, size_bytes: old_bytes });
                } else if let Some(old) = replaced {
                    each(Change::Requested { address, size_bytes: old.size_bytes });
                    each(Change::Completed { address, size_bytes: old.size_bytes });
                }
                let is_pending = kind == EventKind::BaselinePending;
                if is_pending {
                    self.pending.insert(address, size_bytes);
                }
                if is_start {
                    return each(Change::Found { address, size_bytes, site, is_pending });
                }
                each(Change::Alloc {
                    address,
                    size_bytes,
                    site: if event.site == 0 { site } else { event.site },
                });
                if is_pending {
                    each(Change::Requested { address, size_bytes });
                }
            }
        }
    }
}
