//! The raw form: an entry for each change of a storage, made into blocks.
//!
//! The file names no storage. What an entry frees or moves to another category is taken to be the newest block of that
//! category and size; any other choice gives the same curves. Torch sorts entries of one time by what they are, not by
//! what came first, so of each time only the result is shown: a peak within it would be one of the sorting.

use rustc_hash::FxHashMap;
use tidegauge_schemas::EventKind;

use super::{DEVICE, UNPLACED};
use crate::foreign::{ForeignEvent, ForeignProcess};

/// Time, action, bytes, category.
pub(super) const ENTRY_NUMBERS: usize = 4;

/// Torch's numbers of actions.
const PREEXISTING: i64 = 1;
const CREATE: i64 = 2;
const INCREMENT_VERSION: i64 = 3;
const DESTROY: i64 = 4;

/// A storage was written to: of two entries the one that takes it out of the category that it was in.
#[derive(Debug, Clone, Copy)]
struct TakenOut {
    time_nanos: i64,
    bytes: i64,
    category: i64,
}

/// What entries of one time did to a block.
#[derive(Debug, Clone, Copy)]
struct Change {
    address: u64,
    bytes: i64,
    /// Its category before; `None` if it is new.
    before: Option<i64>,
    /// Its category now; `None` if it is gone.
    after: Option<i64>,
}

/// Takes entries in and pushes events.
pub(super) struct RawEntries<'a> {
    process: &'a mut ForeignProcess,
    /// Entries so far.
    entries: u64,
    /// What was alive before, until the first time is known.
    preexisting: Option<Vec<(i64, i64)>>,
    /// Addresses of live blocks by category and size; the newest is the last.
    live: FxHashMap<(i64, i64), Vec<u64>>,
    /// Blocks so far, which is the address of the newest.
    blocks: u64,
    /// The time that is being taken in, and what it has done.
    time_nanos: i64,
    changes: Vec<Change>,
    changed: FxHashMap<u64, usize>,
    /// Freed at that time without a block that it could be.
    unmatched_bytes: i64,
    taken_out: Option<TakenOut>,
    counts: Counts,
}

/// What does not add up.
#[derive(Debug, Default)]
struct Counts {
    unmatched: u64,
    unmatched_bytes: i64,
    timeless_blocks: u64,
    late_preexisting: u64,
    unknown_actions: u64,
    unknown_categories: u64,
    steps_back: u64,
}

impl<'a> RawEntries<'a> {
    pub(super) fn new(process: &'a mut ForeignProcess) -> Self {
        Self {
            process,
            entries: 0,
            preexisting: Some(Vec::new()),
            live: FxHashMap::default(),
            blocks: 0,
            time_nanos: 0,
            changes: Vec::new(),
            changed: FxHashMap::default(),
            unmatched_bytes: 0,
            taken_out: None,
            counts: Counts::default(),
        }
    }

    /// Takes in an entry.
    ///
    /// # Errors
    /// If it is none: the reason.
    pub(super) fn add(&mut self, entry: &[i64]) -> Result<(), String> {
        let number = self.entries;
        self.entries += 1;
        let failed = |reason: &str| Err(format!("entry {number}: {reason}"));
        let &[time_nanos, action, bytes, category] = entry else {
            return failed("expected a time, an action, bytes and a category");
        };
        self.counts.unknown_categories += u64::from(super::category(category).is_none());
        if let Some(taken_out) = self.taken_out.take() {
            let is_other_half = action == INCREMENT_VERSION
                && taken_out.bytes.checked_add(bytes) == Some(0)
                && taken_out.time_nanos == time_nanos;
            if !is_other_half {
                return failed(
                    "expected the second half of an increment, which puts back what the one before took",
                );
            }
            self.recategorize(bytes, taken_out.category, category);
            return Ok(());
        }
        let is_falling = matches!(action, INCREMENT_VERSION | DESTROY);
        if matches!(action, PREEXISTING..=DESTROY) && (if is_falling { bytes > 0 } else { bytes < 0 }) {
            return failed("its bytes have the wrong sign for its action");
        }
        if action == PREEXISTING {
            match &mut self.preexisting {
                Some(blocks) => {
                    blocks.push((bytes, category));
                    return Ok(());
                }
                None => self.counts.late_preexisting += 1,
            }
        }
        self.move_to(time_nanos);
        match action {
            PREEXISTING | CREATE => self.create(bytes, category),
            INCREMENT_VERSION => self.taken_out = Some(TakenOut { time_nanos, bytes, category }),
            // The lowest number has no positive one.
            DESTROY => self.destroy(bytes.saturating_neg(), category),
            _ => self.counts.unknown_actions += 1,
        }
        Ok(())
    }

    /// Pushes what is left, and warnings.
    ///
    /// # Errors
    /// If the last entry is only half of what it says.
    pub(super) fn finish(mut self) -> Result<(), String> {
        if self.taken_out.is_some() {
            return Err(format!("entry {}: the second half of this increment is missing", self.entries - 1));
        }
        if let Some(blocks) = self.preexisting.take() {
            self.process.set_timeless();
            self.push_preexisting(&blocks);
        }
        self.push_changes();
        let counts = &self.counts;
        let notes = [
            (
                counts.unmatched,
                format!(
                    "frees are of {} bytes that the timeline never shows alive in their category: they lower the curve \
                     and no category",
                    counts.unmatched_bytes
                ),
            ),
            (
                counts.timeless_blocks,
                "blocks were created and destroyed at one time and are left out".to_owned(),
            ),
            (
                counts.late_preexisting,
                "blocks are said to have existed before, and stand after others".to_owned(),
            ),
            (counts.unknown_actions, "entries have an action that this version does not know".to_owned()),
            (counts.unknown_categories, "entries have a category that this version does not know".to_owned()),
            (counts.steps_back, "times step back; entries are taken in their order".to_owned()),
        ];
        for (count, what) in notes {
            if count > 0 {
                self.process.note(format!("{count} {what}"));
            }
        }
        Ok(())
    }

    fn move_to(&mut self, time_nanos: i64) {
        if let Some(blocks) = self.preexisting.take() {
            self.time_nanos = time_nanos;
            self.push_preexisting(&blocks);
        } else if time_nanos != self.time_nanos {
            self.push_changes();
            self.counts.steps_back += u64::from(time_nanos < self.time_nanos);
            self.time_nanos = time_nanos;
        }
    }

    fn create(&mut self, bytes: i64, category: i64) {
        self.blocks += 1;
        let address = self.blocks;
        self.live.entry((category, bytes)).or_default().push(address);
        self.change(Change { address, bytes, before: None, after: Some(category) });
    }

    fn destroy(&mut self, bytes: i64, category: i64) {
        match self.take(bytes, category) {
            Some(address) => self.change(Change { address, bytes, before: Some(category), after: None }),
            None => self.unmatched(bytes),
        }
    }

    fn recategorize(&mut self, bytes: i64, before: i64, after: i64) {
        match self.take(bytes, before) {
            Some(address) => {
                self.live.entry((after, bytes)).or_default().push(address);
                if before != after {
                    self.change(Change { address, bytes, before: Some(before), after: Some(after) });
                }
            }
            None => {
                self.unmatched(bytes);
                self.create(bytes, after);
            }
        }
    }

    /// The newest live block of that size and category, which is it no more.
    fn take(&mut self, bytes: i64, category: i64) -> Option<u64> {
        let addresses = self.live.get_mut(&(category, bytes))?;
        let address = addresses.pop();
        if addresses.is_empty() {
            self.live.remove(&(category, bytes));
        }
        address
    }

    fn unmatched(&mut self, bytes: i64) {
        self.counts.unmatched += 1;
        self.counts.unmatched_bytes = self.counts.unmatched_bytes.saturating_add(bytes);
        self.unmatched_bytes = self.unmatched_bytes.saturating_add(bytes);
    }

    fn change(&mut self, change: Change) {
        let at = *self.changed.entry(change.address).or_insert(self.changes.len());
        match self.changes.get_mut(at) {
            Some(known) => known.after = change.after,
            None => self.changes.push(change),
        }
    }

    /// What was freed comes first and what is new last, so that the curve is never above where it is at the end.
    fn push_changes(&mut self) {
        if self.unmatched_bytes != 0 {
            let size_bytes = Some(self.unmatched_bytes);
            self.push(EventKind::Free, None, size_bytes, None);
            self.unmatched_bytes = 0;
        }
        let changes = std::mem::take(&mut self.changes);
        for change in changes.iter().filter(|change| change.after.is_none()) {
            match change.before {
                Some(_) => self.push_free(change),
                None => self.counts.timeless_blocks += 1,
            }
        }
        for change in &changes {
            if let (Some(before), Some(after)) = (change.before, change.after)
                && before != after
            {
                self.push_free(change);
                self.push(EventKind::Alloc, Some(change.address), Some(change.bytes), Some(after));
            }
        }
        for change in changes.iter().filter(|change| change.before.is_none()) {
            if let Some(after) = change.after {
                self.push(EventKind::Alloc, Some(change.address), Some(change.bytes), Some(after));
            }
        }
        self.changes = changes;
        self.changes.clear();
        self.changed.clear();
    }

    fn push_preexisting(&mut self, blocks: &[(i64, i64)]) {
        for &(bytes, category) in blocks {
            self.blocks += 1;
            self.live.entry((category, bytes)).or_default().push(self.blocks);
            self.push(EventKind::Baseline, Some(self.blocks), Some(bytes), Some(category));
        }
    }

    fn push_free(&mut self, change: &Change) {
        self.push(EventKind::Free, Some(change.address), Some(change.bytes), change.before);
    }

    fn push(
        &mut self,
        kind: EventKind,
        address: Option<u64>,
        size_bytes: Option<i64>,
        category: Option<i64>,
    ) {
        self.process.push_event(&ForeignEvent {
            time_nanos: self.time_nanos,
            kind: Some(kind),
            device: DEVICE,
            address,
            size_bytes,
            category: category
                .and_then(|number| super::category(number).or_else(|| super::category(UNPLACED))),
            ..ForeignEvent::default()
        });
    }
}
