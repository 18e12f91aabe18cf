//! The journal's encoding: what the recorder stores into mapped files, and what a reader makes of them.
//!
//! The journal is a folder with a `control` file (counters and clock anchors), a `strings` file (names,
//! append-only) and `chunk-NNNN` files of 64-byte slots. Everything is little-endian words of 64 bits. The files
//! are written by stores into shared mappings, so they are whole up to the last completed store whenever the
//! process ends; each unit carries a check, so that a reader can tell a torn or damaged one.
//!
//! This module holds only the encoding and the reader. The protocol by which threads fill slots is the recorder's.

mod chunk;
mod clock;
mod control;
mod slot;
mod snapshot;
mod strings;

pub use chunk::{
    CHUNK_BYTES, CHUNK_HEADER_BYTES, CHUNK_MAGIC, CHUNK_PREFIX, ChunkHead, ChunkSlots, SLOTS_PER_CHUNK, Scan,
    chunk_file_name, index_word,
};
pub use clock::{Anchor, ClockCursor, ClockMap};
pub use control::{
    ANCHOR_CAPACITY, ANCHOR_OFFSET, CONTROL_BYTES, CONTROL_FILE, ClockSource, Control, Counter, LOCK_FILE,
    anchor_words, control_head, read_anchors,
};
pub use slot::{
    CheckpointSlot, EventSlot, NodeSampleSlot, Record, SEQ_MASK, SLOT_BYTES, SLOT_WORDS, SampleSlot, Slot,
    commit_word, filler,
};
pub use snapshot::{JournalSnapshot, SnapshotChunk};
pub use strings::{
    FIRST_ENTRY_OFFSET, JournalString, MAX_STRING_BYTES, OVERFLOW_ID, OVERFLOW_NAME, STRINGS_COUNT_WORD,
    STRINGS_FILE, STRINGS_MAGIC, StringTable, StringUse, entry_bytes, entry_check, entry_head,
};

/// Spreads the bits of a word; the finalizer of SplitMix64, whose avalanche is well measured.
#[must_use]
pub(crate) const fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

/// A check over words; never zero, so that an untouched file never passes.
#[must_use]
pub(crate) fn check_words(words: impl IntoIterator<Item = u64>) -> u64 {
    let mut state = 0x7469_6465_6761_7567; // "tidegaug"
    for word in words {
        state = mix(state ^ word);
    }
    state | 1
}

/// The little-endian word at byte `offset`, or `None` past the end.
#[must_use]
pub(crate) fn word_at(bytes: &[u8], offset: usize) -> Option<u64> {
    let bytes = bytes.get(offset..offset.checked_add(8)?)?;
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}
