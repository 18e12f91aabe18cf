//! The slots on the heap: what they promise, one thread after the other. Runs under Miri too; every order of several
//! threads is tried in `recorder/tests/loom.rs`.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex};

use super::environment::{AtomicU64, HEADER_WORDS, SLOTS_PER_CHUNK, TABLE_LEN, commit_word};
use super::slots::{ChunkFiles, ChunkState, MappedChunk, SlotWords, Slots, Words};

/// Page-aligned zeros.
#[derive(Debug)]
struct HeapWords {
    base: *mut AtomicU64,
    layout: Layout,
}

// SAFETY: the memory is reached through atomics only and belongs to no thread.
unsafe impl Send for HeapWords {}
// SAFETY: as above.
unsafe impl Sync for HeapWords {}

impl HeapWords {
    fn zeros(words: usize) -> Self {
        let layout = Layout::from_size_align(words * 8, 4096).unwrap();
        // SAFETY: the size is not zero.
        let base: *mut AtomicU64 = unsafe { alloc_zeroed(layout) }.cast();
        if base.is_null() {
            handle_alloc_error(layout);
        }
        Self { base, layout }
    }
}

impl Drop for HeapWords {
    fn drop(&mut self) {
        // SAFETY: `zeros` allocated it with this layout.
        unsafe { dealloc(self.base.cast(), self.layout) };
    }
}

impl Words for HeapWords {
    fn words(&self) -> &[AtomicU64] {
        // SAFETY: the allocation is that long, lives as long as `self`, and zeros are an AtomicU64.
        unsafe { std::slice::from_raw_parts(self.base, self.layout.size() / 8) }
    }
}

/// Makes chunks and remembers which are there.
#[derive(Debug, Default, Clone)]
struct HeapChunks {
    present: Arc<Mutex<BTreeSet<u32>>>,
}

impl HeapChunks {
    fn present(&self) -> Vec<u32> {
        self.present.lock().unwrap().iter().copied().collect()
    }
}

impl ChunkFiles for HeapChunks {
    type Memory = HeapWords;

    fn make(&self, number: u32) -> io::Result<HeapWords> {
        assert!(self.present.lock().unwrap().insert(number), "a number is used once");
        Ok(HeapWords::zeros(HEADER_WORDS + SLOTS_PER_CHUNK as usize * 8))
    }

    fn remove(&self, number: u32) {
        assert!(self.present.lock().unwrap().remove(&number), "it was made");
    }
}

type HeapSlots = Slots<HeapChunks, HeapWords>;

fn slots(cap_chunks: usize) -> (HeapSlots, HeapChunks) {
    let chunks = HeapChunks::default();
    let (gate, table) = (HeapWords::zeros(1), HeapWords::zeros(TABLE_LEN as usize));
    (Slots::new(gate, table, chunks.clone(), cap_chunks).unwrap(), chunks)
}

fn store(seq: u64, place: SlotWords<'_>) {
    let slot = [0, seq, 1, 2, 3, 4, 5, 6];
    place.store(&slot, commit_word(seq, &slot));
}

/// As a recorder does it; false if there was no memory.
fn record(slots: &HeapSlots) -> bool {
    let (seq, place) = slots.reserve().unwrap();
    let place = place.or_else(|| slots.slot_late(seq));
    place.inspect(|place| store(seq, *place)).is_some()
}

fn ready(slots: &HeapSlots, index: u64) -> MappedChunk<'_> {
    let ChunkState::Ready(chunk) = slots.chunk(index) else { panic!("chunk {index} was provided") };
    chunk
}

#[test]
fn a_recycled_chunk_serves_another_index() {
    let (slots, chunks) = slots(4);
    for index in 0..if cfg!(miri) { 2 } else { 20 } {
        assert!((0..SLOTS_PER_CHUNK).all(|_| record(&slots)));
        let chunk = ready(&slots, index);
        assert!(chunk.is_committed(SLOTS_PER_CHUNK));
        assert_eq!(chunk.for_each(|seq, slot| assert_eq!(slot[1], seq)), SLOTS_PER_CHUNK);
        slots.recycle(&chunk);
    }
    assert_eq!(chunks.present(), [1], "one chunk served all of them");
    slots.release(true);
}

#[test]
fn a_thread_that_sleeps_between_reserving_and_committing_keeps_its_slot() {
    let (slots, chunks) = slots(4);
    let (asleep, place) = slots.reserve().unwrap();
    let place = place.unwrap();
    for _ in 1..2 * SLOTS_PER_CHUNK {
        assert!(record(&slots));
    }
    assert!(!ready(&slots, 0).is_committed(SLOTS_PER_CHUNK), "so the consumer sets it aside");
    // Later chunks come and go meanwhile, in other memory.
    slots.recycle(&ready(&slots, 1));
    slots.provide(2).unwrap();
    slots.recycle(&ready(&slots, 2));
    slots.trim(0);
    assert_eq!(chunks.present(), [1]);
    store(asleep, place);
    assert!(ready(&slots, 0).is_committed(SLOTS_PER_CHUNK));
    assert_eq!(ready(&slots, 0).for_each(|_, _| ()), SLOTS_PER_CHUNK, "no hole");
    slots.release(true);
}

#[test]
fn at_the_cap_chunks_are_skipped_and_later_ones_go_on() {
    let (slots, _) = slots(4);
    for index in 0..4 {
        assert!(slots.slot_late(index * SLOTS_PER_CHUNK).is_some());
    }
    assert!(slots.slot_late(4 * SLOTS_PER_CHUNK).is_none());
    assert!(matches!(slots.chunk(4), ChunkState::Skipped));
    slots.recycle(&ready(&slots, 0));
    assert!(slots.slot_late(4 * SLOTS_PER_CHUNK + 1).is_none(), "a skipped chunk stays skipped");
    assert!(slots.slot_late(5 * SLOTS_PER_CHUNK).is_some());
    slots.release(true);
}

#[test]
fn surplus_chunks_are_removed() {
    let (slots, chunks) = slots(8);
    for index in 0..6 {
        slots.provide(index).unwrap();
        if index > 2 {
            slots.recycle(&ready(&slots, index));
        }
    }
    slots.trim(0);
    assert_eq!((chunks.present().len(), slots.peak_chunks()), (3, 4));
    slots.release(true);
}

#[test]
fn an_entry_of_another_round_is_not_mistaken() {
    let (slots, _) = slots(4);
    let late = 3 + TABLE_LEN;
    assert!(slots.slot_late(3 * SLOTS_PER_CHUNK).is_some());
    assert!(matches!(slots.chunk(late), ChunkState::Missing));
    slots.provide(late).unwrap();
    // A thread that slept for a whole round does not take the place back.
    assert!(slots.slot_late(3 * SLOTS_PER_CHUNK).is_none());
    assert!(matches!(slots.chunk(3), ChunkState::Skipped));
    slots.provide(3).unwrap();
    slots.skip(3);
    assert!(matches!(slots.chunk(late), ChunkState::Ready(_)));
    slots.release(true);
}

#[test]
fn a_closed_gate_gives_out_nothing() {
    let (slots, _) = slots(4);
    assert!(record(&slots) && record(&slots));
    assert_eq!(slots.next_seq(), Some(2));
    assert_eq!(slots.close(), 2);
    assert!(slots.reserve().is_none() && slots.next_seq().is_none());
    assert_eq!(slots.close(), 0, "closed already");
    slots.release(true);
}

#[test]
fn threads_at_once_lose_nothing() {
    let (slots, _) = slots(64);
    let (threads, records) = (4, if cfg!(miri) { 100 } else { 200_000 });
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| (0..records).for_each(|_| assert!(record(&slots))));
        }
    });
    let reserved = slots.close();
    assert_eq!(reserved, threads * records);
    let mut seen = 0;
    for index in 0..reserved.div_ceil(SLOTS_PER_CHUNK) {
        seen += ready(&slots, index).for_each(|seq, slot| assert_eq!(slot[1], seq));
    }
    assert_eq!(seen, reserved);
    slots.release(true);
}
