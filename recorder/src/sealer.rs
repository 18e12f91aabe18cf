//! Turns full chunks into Parquet parts and gives the chunks back. Runs on a thread of its own.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tidegauge_schemas::journal::{ClockMap, Counter, FIRST_ENTRY_OFFSET, SLOTS_PER_CHUNK, StringTable};
use tidegauge_schemas::part::Range;
use tidegauge_schemas::part_target::{PartTarget, RangeSeal};
use tidegauge_schemas::rows::SlotRows;
use tidegauge_schemas::string_rows::STRING_TABLES;
use tidegauge_schemas::{Error, Result, Table};

use crate::alert_follower::{AlertFollower, RaisedAlert};
use crate::journal::open::Open;
use crate::journal::{ChunkState, Journal, MappedChunk, reserved_in};
use crate::kept_events::KeptEvents;
use crate::ticks;

/// Chunks in a part: a quarter of a million records, about a megabyte, so that the journal stays small.
const CHUNKS_PER_PART: usize = 8;
/// Full chunks wait no longer than this for others to share their part with.
const MAX_WAIT: Duration = Duration::from_secs(10);
/// A chunk with a slot that is not committed after this is set aside: its thread died, or sleeps.
const COMMIT_GRACE: Duration = Duration::from_millis(250);
/// After a failed attempt (disk full, folder gone), the next one.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The state of sealing.
#[derive(Debug)]
pub(crate) struct Sealer {
    journal: &'static Journal,
    target: PartTarget,
    next_index: u64,
    /// Committed chunks with consecutive indices, not sealed yet.
    pending: Vec<MappedChunk<'static>>,
    pending_since: Instant,
    /// An attempt at sealing the pending chunks has begun: their range must stay as it is until it succeeds.
    is_attempted: bool,
    /// Records that were reserved, as of the last look.
    reserved: u64,
    /// Recording is over and no thread holds a slot: chunks that come back are not needed any more.
    is_over: bool,
    /// Records in sealed parts.
    records: u64,
    /// Tables of the pending chunks that an attempt which then failed has sealed already.
    sealed_tables: Vec<Table>,
    /// Chunks that a slot is missing in.
    aside: Vec<MappedChunk<'static>>,
    /// What is kept, if not all events are.
    kept: Option<KeptEvents>,
    follower: Option<AlertFollower>,
    /// Sealed chunks that a thread may still store to.
    late: Vec<MappedChunk<'static>>,
    /// Dumps that others asked for, as of the last look.
    dump_requests: u64,
    /// What is kept is to be written as soon as these chunks have been collected.
    dumps_after: Vec<u64>,
    stuck_since: Option<Instant>,
    retry_at: Option<Instant>,
    strings: StringTable,
    strings_end: usize,
    /// For each of the tables that strings are rows of, the last string that is sealed.
    strings_sealed: [u32; STRING_TABLES.len()],
}

/// What was left when everything had been tried.
#[derive(Debug)]
pub(crate) struct Finished {
    /// True if no thread can hold a slot any more.
    pub(crate) all_committed: bool,
    /// Why something could not be sealed.
    pub(crate) failure: Option<Error>,
    /// Anchors for `process.json`: first and last.
    pub(crate) anchors: Vec<tidegauge_schemas::journal::Anchor>,
    /// Records in sealed parts.
    pub(crate) records: u64,
    /// What there is to say of the clock, and of alerts.
    pub(crate) notes: Vec<String>,
}

impl Sealer {
    pub(crate) fn new(
        journal: &'static Journal,
        target: PartTarget,
        kept: Option<KeptEvents>,
        follower: Option<AlertFollower>,
    ) -> Self {
        let now = Instant::now();
        let sealer = Self {
            journal,
            target,
            next_index: 0,
            pending: Vec::with_capacity(CHUNKS_PER_PART),
            pending_since: now,
            is_attempted: false,
            reserved: 0,
            is_over: false,
            records: 0,
            sealed_tables: Vec::new(),
            aside: Vec::new(),
            kept,
            follower,
            late: Vec::new(),
            dump_requests: 0,
            dumps_after: Vec::new(),
            stuck_since: None,
            retry_at: None,
            strings: StringTable::default(),
            strings_end: FIRST_ENTRY_OFFSET,
            strings_sealed: [0; STRING_TABLES.len()],
        };
        sealer.take_anchor();
        sealer
    }

    /// The alerts that were raised since the last call.
    pub(crate) fn take_raised(&mut self) -> Vec<RaisedAlert> {
        self.follower.as_mut().map_or_else(Vec::new, AlertFollower::take_raised)
    }

    /// Seals what is full. Called again and again while recording goes on.
    pub(crate) fn advance(&mut self) {
        if let Some(follower) = &mut self.follower {
            follower.follow(self.journal);
        }
        if self.retry_at.is_some_and(|at| Instant::now() < at) {
            return;
        }
        self.take_dump_requests();
        let reserved = self.journal.reserved();
        self.reserved = reserved;
        let attempt = self.collect(reserved, false).and_then(|()| {
            // On a disk that is full a small part now is better than a large one later.
            if self.pending_since.elapsed() >= MAX_WAIT || self.journal.take_starved() {
                self.seal_pending()?;
            }
            self.seal_returned()
        });
        self.retry_at = attempt.is_err().then(|| {
            self.journal.control.count(Counter::FailedSeals, 1);
            Instant::now() + RETRY_AFTER
        });
        self.publish();
    }

    /// Says what is still open, and so which parts may be merged.
    fn publish(&self) {
        let held_back = self.kept.as_ref().and_then(|kept| kept.ring.front());
        let first = self.pending.first().or(held_back);
        let chunks_end = first.map_or(self.next_index, |chunk| chunk.index);
        let aside = self.aside.iter().map(|chunk| chunk.index).collect();
        let sealed = self.strings_sealed.into_iter().min().unwrap_or(0);
        self.journal.open.set(Open { chunks_end, aside, strings_end: u64::from(sealed) + 1 });
    }

    /// Seals everything: of the journal, closed with `reserved` records, nothing remains if all goes well.
    pub(crate) fn finish(mut self, reserved: u64) -> Finished {
        self.take_dump_requests();
        // On a full disk the last parts need their space.
        self.journal.remove_unneeded_chunks(reserved);
        let deadline = Instant::now() + 4 * COMMIT_GRACE;
        while !self.is_committed_up_to(reserved) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        let all_committed = self.is_committed_up_to(reserved);
        self.reserved = reserved;
        self.is_over = all_committed;
        let attempt = self.collect(reserved, true).and_then(|()| self.dump());
        let attempt = attempt.and_then(|()| self.seal_end()).and_then(|()| {
            while let Some(chunk) = self.aside.pop() {
                self.seal_alone(chunk)?;
            }
            self.seal_new_strings()
        });
        if attempt.is_err() {
            self.journal.control.count(Counter::FailedSeals, 1);
        }
        let clock = self.clock();
        let anchors =
            [clock.anchors().first(), clock.anchors().last()].into_iter().flatten().copied().collect();
        let mut notes = self.follower.map_or_else(Vec::new, |follower| follower.notes());
        notes.extend(clock.step_note());
        Finished { all_committed, failure: attempt.err(), anchors, records: self.records, notes }
    }

    fn is_committed_up_to(&self, reserved: u64) -> bool {
        let kept = self.kept.iter().flat_map(KeptEvents::chunks).chain(&self.pending);
        let mut held = self.aside.iter().chain(&self.late).chain(kept);
        let aside = held.all(|chunk| chunk.is_committed(reserved_in(chunk.index, reserved)));
        aside
            && (self.next_index..reserved.div_ceil(SLOTS_PER_CHUNK)).all(|index| {
                match self.journal.chunk(index) {
                    ChunkState::Ready(chunk) => chunk.is_committed(reserved_in(index, reserved)),
                    ChunkState::Skipped => true,
                    ChunkState::Missing => false,
                }
            })
    }

    /// Moves over the chunks that are full (or, `to_the_end`, begun) and seals whenever there are enough for a part.
    fn collect(&mut self, reserved: u64, to_the_end: bool) -> Result<()> {
        loop {
            if self.is_attempted || self.pending.len() >= CHUNKS_PER_PART {
                self.seal_pending()?;
            }
            self.give_up_surplus()?;
            self.dump_if_due()?;
            let index = self.next_index;
            let needed = reserved_in(index, reserved);
            if needed == 0 || (needed < SLOTS_PER_CHUNK && !to_the_end) {
                return Ok(());
            }
            match self.journal.chunk(index) {
                ChunkState::Ready(chunk) if chunk.is_committed(needed) => {
                    self.take_in(chunk);
                }
                // Neither is part of a range: the pending range ends before it.
                ChunkState::Skipped => self.seal_pending()?,
                ChunkState::Missing if to_the_end || self.is_stuck() => {
                    self.journal.skip_chunk(index);
                    continue;
                }
                ChunkState::Ready(chunk) if to_the_end || self.is_stuck() => match self.kept {
                    // Which events are kept follows from those before: this one cannot come later.
                    Some(_) => self.take_in(chunk),
                    None => {
                        self.seal_pending()?;
                        self.follow_through(&chunk);
                        self.aside.push(chunk);
                    }
                },
                ChunkState::Ready(_) | ChunkState::Missing => return Ok(()),
            }
            self.stuck_since = None;
            self.next_index += 1;
        }
    }

    fn follow_through(&mut self, chunk: &MappedChunk<'_>) {
        if let Some(follower) = &mut self.follower {
            follower.pass(self.journal, chunk);
        }
    }

    /// A chunk that is to be sealed, now or when a ring gives it up.
    fn take_in(&mut self, chunk: MappedChunk<'static>) {
        self.follow_through(&chunk);
        if let Some(kept) = self.kept.as_mut().filter(|kept| kept.is_ring()) {
            kept.ring.push_back(chunk);
            return;
        }
        if self.pending.is_empty() {
            self.pending_since = Instant::now();
        }
        self.pending.push(chunk);
    }

    /// Seals what a ring has too many of; what fails stays pending.
    fn give_up_surplus(&mut self) -> Result<()> {
        while let Some(kept) = self.kept.as_mut().filter(|kept| kept.surplus() >= CHUNKS_PER_PART) {
            self.pending.extend(kept.ring.drain(..CHUNKS_PER_PART));
            self.seal_pending()?;
        }
        Ok(())
    }

    fn take_dump_requests(&mut self) {
        let mut places: Vec<u64> = self.journal.take_dump_requests().collect();
        let requests = self.journal.control.counter(Counter::DumpRequests).load(Ordering::Relaxed);
        if requests != self.dump_requests {
            self.dump_requests = requests;
            places.push(self.journal.reserved());
        }
        let last_records = places.into_iter().filter_map(|seq| seq.checked_sub(1));
        self.dumps_after.extend(last_records.map(|seq| seq / SLOTS_PER_CHUNK));
        // Who asks for a dump does not wait for the chunk to become full.
        if self.dumps_after.contains(&(self.journal.reserved() / SLOTS_PER_CHUNK)) {
            self.journal.fill_chunk();
        }
    }

    fn dump_if_due(&mut self) -> Result<()> {
        let next = self.next_index;
        if self.dumps_after.iter().any(|chunk| *chunk < next) {
            self.dump()?;
            self.dumps_after.retain(|chunk| *chunk >= next);
        }
        Ok(())
    }

    /// Writes what is kept.
    fn dump(&mut self) -> Result<()> {
        self.seal_pending()?;
        if !self.kept.as_ref().is_some_and(KeptEvents::is_ring) {
            return Ok(());
        }
        self.set_open(true)?;
        while let Some(kept) = self.kept.as_mut().filter(|kept| !kept.ring.is_empty()) {
            let chunks = kept.ring.len().min(CHUNKS_PER_PART);
            self.pending.extend(kept.ring.drain(..chunks));
            self.seal_pending()?;
        }
        self.set_open(false)
    }

    fn set_open(&mut self, is_open: bool) -> Result<()> {
        let recycle = recycler(self.journal, self.reserved, &mut self.late);
        self.kept.as_mut().map_or(Ok(()), |kept| kept.set_open(is_open, recycle))
    }

    /// Seals what follows from all records together: as if of a chunk that never comes.
    fn seal_end(&mut self) -> Result<()> {
        let clock = self.clock();
        let Some(kept) = &mut self.kept else { return Ok(()) };
        kept.catch_up()?;
        let events = [Table::Events].into_iter();
        let mut seal = RangeSeal::begin(&self.target, events, &clock, &self.strings);
        kept.finish(|seq, slot| seal.push(seq, slot));
        self.records += seal.records();
        let consumed = Range { first: self.next_index, last: self.next_index };
        let left_out = kept.take_left_out();
        let written_bytes = seal.seal(consumed, &mut Vec::new())?;
        self.journal.control.count(Counter::WrittenBytes, written_bytes);
        self.journal.control.count(Counter::LeftOutEvents, left_out.cast_unsigned());
        Ok(())
    }

    fn is_stuck(&mut self) -> bool {
        self.stuck_since.get_or_insert_with(Instant::now).elapsed() >= COMMIT_GRACE
    }

    /// Seals chunks that had been set aside and whose threads have come back.
    fn seal_returned(&mut self) -> Result<()> {
        while let Some(at) = self.late.iter().position(|chunk| chunk.is_committed(SLOTS_PER_CHUNK)) {
            self.journal.recycle(&self.late.swap_remove(at));
        }
        while let Some(at) = self.aside.iter().position(|chunk| chunk.is_committed(SLOTS_PER_CHUNK)) {
            let chunk = self.aside.swap_remove(at);
            self.seal_alone(chunk)?;
        }
        Ok(())
    }

    fn seal_alone(&mut self, chunk: MappedChunk<'static>) -> Result<()> {
        if let Err(error) = self.seal_pending() {
            self.aside.push(chunk);
            return Err(error);
        }
        self.pending.push(chunk);
        self.seal_pending()
    }

    fn seal_pending(&mut self) -> Result<()> {
        let (Some(first), Some(last)) = (self.pending.first(), self.pending.last()) else { return Ok(()) };
        let consumed = Range { first: first.index, last: last.index };
        self.is_attempted = true;
        self.seal_new_strings()?;
        // Every record of these chunks is older than this anchor, so no later one changes their times.
        self.take_anchor();
        if let Some(kept) = &mut self.kept {
            kept.catch_up()?;
        }
        let clock = self.clock();
        let tables = SlotRows::TABLES.into_iter().filter(|table| !self.sealed_tables.contains(table));
        let mut seal = RangeSeal::begin(&self.target, tables, &clock, &self.strings);
        let mut holes = 0;
        for chunk in &self.pending {
            let committed = match &mut self.kept {
                Some(kept) => kept.pass(chunk, |seq, slot| seal.push(seq, slot)),
                None => chunk.for_each(|seq, slot| seal.push(seq, slot)),
            };
            holes += reserved_in(chunk.index, self.reserved).saturating_sub(committed);
        }
        let records = seal.records();
        let sealed = seal.seal(consumed, &mut self.sealed_tables);
        let written_bytes = sealed.inspect_err(|_| {
            self.kept.iter_mut().for_each(KeptEvents::failed);
        })?;
        self.records += records;
        self.sealed_tables.clear();
        self.is_attempted = false;
        self.journal.control.count(Counter::WrittenBytes, written_bytes);
        self.journal.control.count(Counter::Uncommitted, holes);
        self.give_back()?;
        if self.is_over {
            self.journal.remove_unneeded_chunks(self.reserved);
        }
        Ok(())
    }

    /// Recycles the chunks that are sealed.
    fn give_back(&mut self) -> Result<()> {
        let journal = self.journal;
        let Some(kept) = &mut self.kept else {
            self.pending.drain(..).for_each(|chunk| journal.recycle(&chunk));
            return Ok(());
        };
        journal.control.count(Counter::LeftOutEvents, kept.take_left_out().cast_unsigned());
        kept.done(self.pending.drain(..), recycler(journal, self.reserved, &mut self.late))
    }

    fn seal_new_strings(&mut self) -> Result<()> {
        let bytes = self.journal.interner.entries_from(self.strings_end);
        self.strings_end += self.strings.extend_from(&bytes, 0);
        let all = self.strings.len();
        for (table, sealed) in STRING_TABLES.into_iter().zip(&mut self.strings_sealed) {
            if all > *sealed {
                let ids = Range { first: u64::from(*sealed) + 1, last: u64::from(all) };
                let clock = self.journal.control.clock();
                let written_bytes = self.target.seal_strings(table, ids, &self.strings, &clock)?;
                self.journal.control.count(Counter::WrittenBytes, written_bytes);
                *sealed = all;
            }
        }
        Ok(())
    }

    fn take_anchor(&self) {
        self.journal.control.add_anchor(ticks::anchor(self.journal.source()));
    }

    /// By the anchors in the control file, as recovery would have it.
    fn clock(&self) -> ClockMap {
        self.journal.control.clock()
    }
}

/// Gives sealed chunks back, those later to which a thread may still store.
fn recycler(
    journal: &'static Journal,
    reserved: u64,
    late: &mut Vec<MappedChunk<'static>>,
) -> impl FnMut(MappedChunk<'static>) {
    move |chunk| {
        if chunk.is_committed(reserved_in(chunk.index, reserved)) {
            journal.recycle(&chunk);
        } else {
            late.push(chunk);
        }
    }
}

#[cfg(test)]
#[path = "sealer_tests.rs"]
mod tests;
