//! The account of one device: what was there before, and how each event moves the curve.
//!
//! Where the file tells totals, the curve is Total Allocated, exactly: what events do not explain is put right by rows
//! that are blocks of no address. Where it tells none (2021), the curve is the running sum, from zero or from as much as
//! keeps it from falling below; and since addresses are missing too, a free is taken to be of the newest block of its size.

use std::collections::HashMap;

use rustc_hash::FxHashMap;
use tidegauge_schemas::EventKind;

use super::recording::Memory;
use crate::foreign::ForeignEvent;

/// What is known of a device's events as a whole.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Account {
    /// Allocated before the first event.
    pub(super) initial_bytes: i64,
    /// Of that, in blocks that are freed later and hence known.
    pub(super) known_initial_bytes: i64,
    /// Events that tell no Total Allocated.
    pub(super) without_totals: u64,
    /// Events that tell no address.
    pub(super) without_addresses: u64,
    /// Frees without an address for which there is no block of that size.
    pub(super) unpaired_frees: u64,
    /// How often Total Allocated changed by what no event says.
    pub(super) unexplained: u64,
    /// How much it rose so, in all.
    pub(super) unexplained_rise_bytes: i64,
    /// How much it fell so, in all.
    pub(super) unexplained_fall_bytes: i64,
}

/// A block at an address.
#[derive(Debug, Clone, Copy)]
enum Slot {
    Live(i64),
    Freed,
}

/// Events of one time, of which the order is not known.
#[derive(Debug, Default)]
struct Moment {
    time_nanos: i64,
    /// What was allocated before it.
    before_bytes: i64,
    /// What its events add up to.
    sum_bytes: i64,
    /// What was allocated in all after each of them.
    totals: Vec<i64>,
}

/// Follows one device from event to event.
#[derive(Debug, Default)]
pub(super) struct Books {
    pub(super) account: Account,
    /// Blocks that are freed and not allocated in the file: address and size, in the order of their frees.
    opening: Vec<(u64, i64)>,
    first_reserved_bytes: Option<i64>,
    /// What the file says is allocated.
    told_bytes: i64,
    /// What the rows so far add up to.
    replayed_bytes: i64,
    reserved_bytes: Option<i64>,
    slots: FxHashMap<u64, Slot>,
    /// Made-up addresses of live blocks by size, the newest last.
    by_size: HashMap<i64, Vec<u64>>,
    made_up: u64,
    moment: Moment,
}

impl Books {
    /// Learns what was there before the first event; `rows` are the device's events in order.
    pub(super) fn open<'a>(rows: impl Iterator<Item = &'a Memory>) -> Self {
        let mut books = Self::default();
        let (mut sum, mut lowest): (i64, i64) = (0, 0);
        let mut seen: FxHashMap<u64, ()> = FxHashMap::default();
        let mut first_total = None;
        for row in rows {
            // A file that tells totals at some events only begins with an unknown sum where the first tells none.
            if let (None, Some(total)) = (first_total, row.total_allocated()) {
                first_total = Some(total.saturating_sub(row.bytes).saturating_sub(sum));
            }
            if books.first_reserved_bytes.is_none() {
                books.first_reserved_bytes = row.total_reserved();
            }
            sum = sum.saturating_add(row.bytes);
            lowest = lowest.min(sum);
            books.account.without_totals += u64::from(row.total_allocated().is_none());
            if let Some(address) = row.address {
                let is_first = seen.insert(address, ()).is_none();
                if is_first && row.bytes < 0 {
                    books.opening.push((address, -row.bytes));
                }
            } else {
                books.account.without_addresses += u64::from(row.bytes != 0);
            }
        }
        let known_bytes = books.opening.iter().fold(0i64, |sum, (_, size)| sum.saturating_add(*size));
        books.account.known_initial_bytes = known_bytes;
        books.account.initial_bytes = first_total.unwrap_or(known_bytes.max(-lowest));
        books.moment.before_bytes = books.account.initial_bytes;
        books.told_bytes = books.account.initial_bytes;
        books.replayed_bytes = books.account.initial_bytes;
        books.slots = books.opening.iter().map(|(address, size)| (*address, Slot::Live(*size))).collect();
        books
    }

    /// Tells the state before the first event.
    pub(super) fn tell_opening(&mut self, device: i16, time_nanos: i64, mut tell: impl FnMut(&ForeignEvent)) {
        let row = |kind, address, size_bytes| ForeignEvent {
            time_nanos,
            kind: Some(kind),
            device,
            address,
            size_bytes: Some(size_bytes),
            ..ForeignEvent::default()
        };
        // The rest comes first: it may be negative, and the state at the start is a peak.
        let rest_bytes = self.account.initial_bytes.saturating_sub(self.account.known_initial_bytes);
        if rest_bytes != 0 {
            tell(&row(EventKind::Baseline, None, rest_bytes));
        }
        for (address, size_bytes) in std::mem::take(&mut self.opening) {
            tell(&row(EventKind::Baseline, Some(address), size_bytes));
        }
        self.reserved_bytes = self.first_reserved_bytes;
        if let Some(reserved_bytes) = self.first_reserved_bytes {
            tell(&row(EventKind::SegmentBaseline, None, reserved_bytes));
        }
    }

    /// Tells the rows that an event stands for: its own, and around it what puts the curves right.
    pub(super) fn tell(
        &mut self,
        memory: &Memory,
        time_nanos: i64,
        thread: u32,
        mut tell: impl FnMut(&ForeignEvent),
    ) {
        let own = ForeignEvent {
            time_nanos,
            device: memory.device,
            thread,
            site: memory.site,
            ..ForeignEvent::default()
        };
        let correction = |kind, size_bytes| ForeignEvent {
            kind: Some(kind),
            size_bytes: Some(size_bytes),
            site: 0,
            ..own
        };
        let told_bytes =
            memory.total_allocated().unwrap_or_else(|| self.told_bytes.saturating_add(memory.bytes));
        self.compare(memory, told_bytes);
        if let (Some(before), Some(now)) = (self.reserved_bytes, memory.total_reserved()) {
            // Memory is taken from the device before it is handed out.
            if now != before {
                tell(&correction(EventKind::SegmentBaseline, now - before));
            }
        }
        self.reserved_bytes = memory.total_reserved().or(self.reserved_bytes);
        let (kind, address, delta_bytes) = self.apply(memory);
        let missing_bytes = told_bytes.saturating_sub(self.replayed_bytes.saturating_add(delta_bytes));
        // A fall before the event and a rise behind it: in between, the curve is never above what the file says.
        if missing_bytes < 0 {
            tell(&correction(EventKind::Baseline, missing_bytes));
        }
        let size_bytes = Some(memory.bytes.abs());
        tell(&ForeignEvent { kind: Some(kind), address, size_bytes, ..own });
        if missing_bytes > 0 {
            tell(&correction(EventKind::Baseline, missing_bytes));
        }
        self.told_bytes = told_bytes;
        self.replayed_bytes = told_bytes;
    }

    /// The moment is over: if no order of its events explains what is allocated, that counts.
    pub(super) fn close_moment(&mut self) {
        let moment = &mut self.moment;
        let Some(&last_bytes) = moment.totals.last() else { return };
        let explained_bytes = moment.before_bytes.saturating_add(moment.sum_bytes);
        moment.sum_bytes = 0;
        if moment.totals.contains(&explained_bytes) {
            moment.before_bytes = explained_bytes;
            moment.totals.clear();
            return;
        }
        moment.before_bytes = last_bytes;
        moment.totals.clear();
        let missing_bytes = last_bytes.saturating_sub(explained_bytes);
        let account = &mut self.account;
        let sum = if missing_bytes > 0 {
            &mut account.unexplained_rise_bytes
        } else {
            &mut account.unexplained_fall_bytes
        };
        *sum = sum.saturating_add(missing_bytes.saturating_abs());
        account.unexplained += 1;
    }

    /// Sets Total Allocated against the events' own sizes.
    fn compare(&mut self, memory: &Memory, told_bytes: i64) {
        if self.moment.time_nanos != memory.time_nanos {
            self.close_moment();
            self.moment.time_nanos = memory.time_nanos;
        }
        self.moment.sum_bytes = self.moment.sum_bytes.saturating_add(memory.bytes);
        self.moment.totals.push(told_bytes);
    }

    /// The event's row, kind and address, and what replay will make of it.
    fn apply(&mut self, memory: &Memory) -> (EventKind, Option<u64>, i64) {
        let bytes = memory.bytes;
        if bytes == 0 {
            return (EventKind::Alloc, None, 0);
        }
        let Some(address) = memory.address else { return self.apply_without_address(bytes) };
        if bytes > 0 {
            let replaced = self.slots.insert(address, Slot::Live(bytes));
            let replaced_bytes = if let Some(Slot::Live(size)) = replaced { size } else { 0 };
            return (EventKind::Alloc, Some(address), bytes - replaced_bytes);
        }
        match self.slots.insert(address, Slot::Freed) {
            Some(Slot::Live(size)) => (EventKind::Free, Some(address), -size),
            // Freed twice: of which block the second one was is not known.
            Some(Slot::Freed) | None => (EventKind::Free, None, bytes),
        }
    }

    fn apply_without_address(&mut self, bytes: i64) -> (EventKind, Option<u64>, i64) {
        if bytes > 0 {
            self.made_up += 1;
            self.by_size.entry(bytes).or_default().push(self.made_up);
            return (EventKind::Alloc, Some(self.made_up), bytes);
        }
        let newest = self.by_size.get_mut(&-bytes).and_then(Vec::pop);
        self.account.unpaired_frees += u64::from(newest.is_none());
        (EventKind::Free, newest, bytes)
    }
}
