//! What a framework's own allocator does, for C.

use std::ffi::{c_char, c_void};

use tidegauge_schemas::EventKind;

use crate::blocks::{BlockEvent, block_event};

use super::recording::record_block;
use super::text::with_name;

/// A block was handed out.
pub const TIDEGAUGE_EVENT_ALLOC: i32 = 1;
/// A block was requested back and returned at once.
pub const TIDEGAUGE_EVENT_FREE: i32 = 2;
/// The program gave a block up; a stream may still use it.
pub const TIDEGAUGE_EVENT_FREE_REQUESTED: i32 = 3;
/// No stream uses the block any more.
pub const TIDEGAUGE_EVENT_FREE_COMPLETED: i32 = 4;
/// Memory was taken from the device.
pub const TIDEGAUGE_EVENT_SEGMENT_ALLOC: i32 = 5;
/// Memory was returned to the device.
pub const TIDEGAUGE_EVENT_SEGMENT_FREE: i32 = 6;
/// Pages of an expandable segment were mapped.
pub const TIDEGAUGE_EVENT_SEGMENT_MAP: i32 = 7;
/// Pages of an expandable segment were unmapped.
pub const TIDEGAUGE_EVENT_SEGMENT_UNMAP: i32 = 8;
/// A block was alive before allocations were recorded.
pub const TIDEGAUGE_EVENT_BASELINE: i32 = 12;

/// No stream in particular.
pub const TIDEGAUGE_ANY_STREAM: u64 = u64::MAX;

/// The kind with that number, of those that have an address and move a curve.
fn kind(number: i32) -> Option<EventKind> {
    Some(match number {
        TIDEGAUGE_EVENT_ALLOC => EventKind::Alloc,
        TIDEGAUGE_EVENT_FREE => EventKind::Free,
        TIDEGAUGE_EVENT_FREE_REQUESTED => EventKind::FreeRequested,
        TIDEGAUGE_EVENT_FREE_COMPLETED => EventKind::FreeCompleted,
        TIDEGAUGE_EVENT_SEGMENT_ALLOC => EventKind::SegmentAlloc,
        TIDEGAUGE_EVENT_SEGMENT_FREE => EventKind::SegmentFree,
        TIDEGAUGE_EVENT_SEGMENT_MAP => EventKind::SegmentMap,
        TIDEGAUGE_EVENT_SEGMENT_UNMAP => EventKind::SegmentUnmap,
        TIDEGAUGE_EVENT_BASELINE => EventKind::Baseline,
        _ => return None,
    })
}

/// Records what a framework's caching allocator did: one of TIDEGAUGE_EVENT_ALLOC, _FREE, _FREE_REQUESTED,
/// _FREE_COMPLETED, _SEGMENT_ALLOC, _SEGMENT_FREE, _SEGMENT_MAP, _SEGMENT_UNMAP, _BASELINE; another number is ignored. FORMAT.md says
/// which curve each moves. `size_bytes` is what was asked for; 0 where that is not known, which is well for a free.
/// `stream` may be TIDEGAUGE_ANY_STREAM. `pool` names the pool where there are several, and may be NULL.
///
/// The order of the calls is the order of the events: call it where the allocator keeps its own order.
///
/// Thread: any. Forked child: records nothing. Signal handler: no. Inside an allocator: yes, as tidegauge_alloc.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tidegauge_event(
    kind: i32,
    device: i16,
    address: *const c_void,
    size_bytes: usize,
    stream: u64,
    pool: *const c_char,
) {
    record_block(address, || {
        let Some(kind) = self::kind(kind) else { return };
        let event = BlockEvent {
            kind,
            device,
            address: Some(address.addr() as u64),
            size_bytes: (size_bytes > 0).then_some(size_bytes as u64),
            stream: (stream != TIDEGAUGE_ANY_STREAM).then_some(stream),
            pool: None,
        };
        // SAFETY: the caller's promise that it is NULL or ends with a NUL.
        let named = unsafe { with_name(pool, |pool| block_event(&BlockEvent { pool: Some(pool), ..event })) };
        if named.is_none() {
            block_event(&event);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_codes_of_the_journal() {
        let known: Vec<i32> = (0..=20).filter(|&number| kind(number).is_some()).collect();
        assert_eq!(known, [1, 2, 3, 4, 5, 6, 7, 8, 12]);
        for number in known {
            assert_eq!(kind(number).map(|kind| kind as i32), Some(number));
        }
    }
}
