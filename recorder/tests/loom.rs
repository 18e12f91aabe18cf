//! The journal's protocol (reserve, commit, consume, recycle) under the model checker: the recorder's own sources, with
//! loom's atomics, chunks of two slots and a table of two places, in every order that the memory model allows.
//!
//! `LOOM_MAX_PREEMPTIONS` widens the search; what CI runs fits into seconds.

#![allow(clippy::unwrap_used, reason = "a model that cannot be set up has failed")]

use std::io;

use loom::model::Builder;
use loom::sync::Arc;
use loom::thread;
use tidegauge_schemas::journal::SLOT_WORDS;

#[path = "../src/journal/slots/mod.rs"]
#[allow(dead_code, unreachable_pub, reason = "the recorder uses the rest")]
mod slots;

/// What `slots` stands on here.
mod environment {
    pub(crate) use loom::sync::atomic::AtomicU64;
    pub(crate) use loom::sync::{Mutex, MutexGuard};

    pub(crate) const HEADER_WORDS: usize = 2;
    pub(crate) const SLOTS_PER_CHUNK: u64 = 2;
    pub(crate) const TABLE_LEN: u64 = 2;
    /// Looking again tells the model nothing that another order of threads does not.
    pub(crate) const LATE_SPINS: u32 = 1;

    pub(crate) fn spin_loop() {
        loom::thread::yield_now();
    }

    /// Without the check of the fields, which would forgive a wrong order of stores by taking the slot for uncommitted.
    pub(crate) fn commit_word(seq: u64, _: &tidegauge_schemas::journal::Slot) -> u64 {
        seq + 1
    }
}

use environment::{AtomicU64, HEADER_WORDS, SLOTS_PER_CHUNK, commit_word};
use slots::{ChunkFiles, ChunkState, MappedChunk, Slots, Words};

const CHUNK_WORDS: usize = HEADER_WORDS + SLOTS_PER_CHUNK as usize * SLOT_WORDS;

#[derive(Debug)]
#[repr(align(4096))]
struct Page([AtomicU64; CHUNK_WORDS]);

#[derive(Debug)]
struct Memory(Box<Page>);

impl Memory {
    fn zeros() -> Self {
        Self(Box::new(Page(std::array::from_fn(|_| AtomicU64::new(0)))))
    }
}

impl Words for Memory {
    fn words(&self) -> &[AtomicU64] {
        &self.0.0
    }
}

#[derive(Debug)]
struct Chunks;

impl ChunkFiles for Chunks {
    type Memory = Memory;

    fn make(&self, _: u32) -> io::Result<Memory> {
        Ok(Memory::zeros())
    }

    fn remove(&self, _: u32) {}
}

type TestSlots = Slots<Chunks, Memory>;

fn slots(cap_chunks: usize) -> Arc<TestSlots> {
    Arc::new(Slots::new(Memory::zeros(), Memory::zeros(), Chunks, cap_chunks).unwrap())
}

/// As the recorder does it: the number, and whether there was memory for the record; `None` once closed.
fn record(slots: &TestSlots, mark: u64) -> Option<(u64, bool)> {
    let (seq, place) = slots.reserve()?;
    let Some(place) = place.or_else(|| slots.slot_late(seq)) else { return Some((seq, false)) };
    let slot = [0, mark, !mark, seq, 0, 0, 0, mark];
    place.store(&slot, commit_word(seq, &slot));
    Some((seq, true))
}

/// Marks of the records in a chunk, each found whole.
fn marks(chunk: &MappedChunk<'_>) -> Vec<u64> {
    let mut marks = Vec::new();
    chunk.for_each(|seq, slot| {
        assert_eq!((slot[2], slot[3], slot[7]), (!slot[1], seq, slot[1]), "torn");
        marks.push(slot[1]);
    });
    marks
}

/// Takes chunk `index` if all of it is there, as the sealer does.
fn consume(slots: &TestSlots, index: u64) -> Option<Vec<u64>> {
    let ChunkState::Ready(chunk) = slots.chunk(index) else { return None };
    chunk.is_committed(SLOTS_PER_CHUNK).then(|| {
        let marks = marks(&chunk);
        slots.recycle(&chunk);
        marks
    })
}

fn check(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(2));
    builder.check(model);
}

#[test]
fn what_is_committed_is_seen_whole() {
    check(|| {
        let slots = slots(2);
        let writers: Vec<_> = [10, 20]
            .map(|mark| {
                let slots = Arc::clone(&slots);
                thread::spawn(move || record(&slots, mark))
            })
            .into();
        let early = consume(&slots, 0);
        for writer in writers {
            assert!(writer.join().unwrap().is_some_and(|(_, stored)| stored));
        }
        let mut seen = early.or_else(|| consume(&slots, 0)).unwrap();
        seen.sort_unstable();
        assert_eq!(seen, [10, 20]);
    });
}

#[test]
fn a_recycled_chunk_is_nobodys_any_more() {
    check(|| {
        // Memory for two chunks only, and a table of two places: chunk 2 takes the place, and mostly the memory, of 0.
        let slots = slots(2);
        record(&slots, 1);
        let late = {
            let slots = Arc::clone(&slots);
            // Its last record ends chunk 0, the others begin chunks 1.
            thread::spawn(move || [2, 3].map(|mark| record(&slots, mark)))
        };
        let mut seen = consume(&slots, 0);
        let third = record(&slots, 4);
        let stored = late.join().unwrap();
        assert!(stored.iter().chain([&third]).all(|record| record.is_some_and(|(_, stored)| stored)));
        seen = seen.or_else(|| consume(&slots, 0));
        let mut seen = seen.unwrap();
        slots.provide(2).unwrap();
        seen.extend(consume(&slots, 1).unwrap());
        assert!(matches!(slots.chunk(2), ChunkState::Ready(chunk) if marks(&chunk).is_empty()));
        seen.sort_unstable();
        assert_eq!(seen, [1, 2, 3, 4]);
    });
}

#[test]
fn two_late_records_share_one_chunk() {
    check(|| {
        let slots = slots(4);
        record(&slots, 1);
        record(&slots, 2);
        let other = {
            let slots = Arc::clone(&slots);
            thread::spawn(move || record(&slots, 3))
        };
        let provider = {
            let slots = Arc::clone(&slots);
            thread::spawn(move || slots.provide(1).unwrap())
        };
        assert!(record(&slots, 4).is_some_and(|(_, stored)| stored));
        assert!(other.join().unwrap().is_some_and(|(_, stored)| stored));
        provider.join().unwrap();
        let mut seen = consume(&slots, 1).unwrap();
        seen.sort_unstable();
        assert_eq!(seen, [3, 4]);
    });
}

#[test]
fn without_memory_a_chunk_is_skipped_as_a_whole() {
    check(|| {
        let slots = slots(1);
        record(&slots, 1);
        record(&slots, 2);
        let consumer = {
            let slots = Arc::clone(&slots);
            thread::spawn(move || consume(&slots, 0))
        };
        let other = {
            let slots = Arc::clone(&slots);
            thread::spawn(move || record(&slots, 3).unwrap())
        };
        let mine = record(&slots, 4).unwrap();
        let theirs = other.join().unwrap();
        assert_eq!(consumer.join().unwrap(), Some(vec![1, 2]));
        match slots.chunk(1) {
            ChunkState::Ready(chunk) => {
                let stored = [(mine, 4), (theirs, 3)].into_iter().filter(|((_, stored), _)| *stored);
                let mut expected: Vec<u64> = stored.map(|(_, mark)| mark).collect();
                let mut seen = marks(&chunk);
                seen.sort_unstable();
                expected.sort_unstable();
                assert_eq!(seen, expected, "who was told of no memory has stored nothing");
            }
            ChunkState::Skipped => assert!(!mine.1 && !theirs.1),
            ChunkState::Missing => panic!("both were there"),
        }
    });
}

#[test]
fn closing_counts_what_was_given_out() {
    check(|| {
        let slots = slots(2);
        let writer = {
            let slots = Arc::clone(&slots);
            thread::spawn(move || record(&slots, 7))
        };
        let reserved = slots.close();
        let recorded = writer.join().unwrap();
        assert_eq!(recorded, (reserved == 1).then_some((0, true)));
        assert!(slots.reserve().is_none());
        let ChunkState::Ready(chunk) = slots.chunk(0) else { panic!("the first chunk is always there") };
        assert!(chunk.is_committed(reserved));
        assert_eq!(marks(&chunk).len() as u64, reserved);
    });
}

#[test]
fn a_sleeper_has_its_slot_to_itself_or_none() {
    check(|| {
        let slots = slots(2);
        let sleeper = {
            let slots = Arc::clone(&slots);
            thread::spawn(move || record(&slots, 1).unwrap())
        };
        // Fills its chunk and the next, which is used again at once: the table has gone round.
        for mark in [2, 3, 4] {
            assert!(record(&slots, mark).is_some_and(|(_, stored)| stored));
        }
        // The sealer sets a chunk aside that is not committed, and looks at it again later.
        let ChunkState::Ready(aside) = slots.chunk(0) else { panic!("the first chunk is always there") };
        let second = consume(&slots, 1);
        let went_round = second.is_some();
        if second.is_some() {
            slots.provide(2).unwrap();
        }
        let (seq, stored) = sleeper.join().unwrap();
        let mut seen = marks(&aside);
        seen.extend(second.or_else(|| consume(&slots, 1)).unwrap_or_default());
        seen.sort_unstable();
        let newest = slots.chunk(2);
        assert_eq!(
            matches!(newest, ChunkState::Ready(_)),
            went_round,
            "an old place was taken back: {newest:?}"
        );
        let all = [1, 2, 3, 4];
        assert_eq!(seen, if stored { &all } else { &all[1..] }, "seq {seq}");
    });
}
