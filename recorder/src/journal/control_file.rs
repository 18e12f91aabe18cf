//! The mapped control file: counters and anchors that survive the process.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::FlockOperation;
use tidegauge_schemas::journal::{
    ANCHOR_CAPACITY, ANCHOR_OFFSET, Anchor, CONTROL_BYTES, ClockSource, Counter, anchor_words, control_head,
};

use crate::mapping::{Mapping, create_reserved, store_words};
use crate::ticks;

/// Counters and anchors. Holding it holds the record lock that tells readers that the recorder lives.
#[derive(Debug)]
pub(crate) struct ControlFile {
    map: Mapping,
    anchors: AtomicU64,
    /// Closing the file would give the lock up.
    _locked: OwnedFd,
}

impl ControlFile {
    pub(crate) fn create(folder: impl AsFd, source: ClockSource) -> io::Result<Self> {
        // A file of its own: closing any descriptor of it, as readers do, would give the lock up.
        let lock = create_reserved(&folder, c"lock", 8)?;
        // Without locks (some network file systems) liveness is told by pid alone.
        let _ = rustix::fs::fcntl_lock(&lock, FlockOperation::NonBlockingLockExclusive);
        let file = create_reserved(folder, c"control", CONTROL_BYTES)?;
        let map = Mapping::file(&file, CONTROL_BYTES)?;
        store_words(map.words(), &control_head(source));
        let control = Self { map, anchors: AtomicU64::new(0), _locked: lock };
        // Two anchors a moment apart give a rate from the start on, should the process die within the first second.
        control.add_anchor(ticks::anchor(source));
        std::thread::sleep(std::time::Duration::from_millis(2));
        control.add_anchor(ticks::anchor(source));
        Ok(control)
    }

    /// A counter.
    pub(crate) fn counter(&self, counter: Counter) -> &AtomicU64 {
        &self.map.words()[counter.offset() / 8]
    }

    /// Adds to a counter.
    pub(crate) fn count(&self, counter: Counter, by: u64) {
        self.counter(counter).fetch_add(by, Ordering::Relaxed);
    }

    /// Adds an anchor; when there is no place left, the oldest but the very first makes room.
    pub(crate) fn add_anchor(&self, anchor: Anchor) {
        let number = self.anchors.fetch_add(1, Ordering::Relaxed) as usize;
        let place = if number == 0 { 0 } else { 1 + (number - 1) % ANCHOR_CAPACITY };
        let words = &self.map.words()[ANCHOR_OFFSET / 8 + place * 4..][..4];
        // The check is taken away first and given last, so a reader never sees half an anchor as a whole one.
        words[3].store(0, Ordering::Release);
        let new = anchor_words(anchor);
        store_words(&words[..3], &new[..3]);
        words[3].store(new[3], Ordering::Release);
    }
}
