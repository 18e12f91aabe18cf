//! A chunk: a page of header, then slots.
//!
//! A chunk file is recycled: the same file holds chunk 3 now and chunk 11 later. Its header says which one. Slots
//! of an earlier use are told by their commit words, whose `seq` is another, so nothing is cleared on reuse.

use std::path::Path;

use super::slot::{SEQ_MASK, SLOT_BYTES, SLOT_WORDS, Slot, commit_word};
use super::{mix, word_at};
use crate::error::{Error, Result};

/// Slots in a chunk. 2 MiB a chunk: small enough that a few spare ones cost little memory, large enough that the
/// work at a chunk's edge does not show.
pub const SLOTS_PER_CHUNK: u64 = 1 << 15;
/// Bytes before the first slot: a page, so that slots are page-aligned.
pub const CHUNK_HEADER_BYTES: usize = 4096;
/// Bytes of a chunk file.
pub const CHUNK_BYTES: usize = CHUNK_HEADER_BYTES + SLOTS_PER_CHUNK as usize * SLOT_BYTES;
/// First word of a chunk file: "TGCHUNK1".
pub const CHUNK_MAGIC: u64 = u64::from_le_bytes(*b"TGCHUNK1");
/// Beginning of a chunk file's name.
pub const CHUNK_PREFIX: &str = "chunk-";

const INDEX_BITS: u32 = 40;

/// Name of the chunk file number `file`; the number has nothing to do with the chunk that it holds.
#[must_use]
pub fn chunk_file_name(file: u32) -> String {
    format!("{CHUNK_PREFIX}{file:04}")
}

/// Second word of the header while the file holds chunk `index`: the index and a check of it, stored at once.
#[must_use]
pub const fn index_word(index: u64) -> u64 {
    let index = index & ((1 << INDEX_BITS) - 1);
    // The check is never zero, so a word of zeros means "holds no chunk yet".
    index | (mix(index ^ CHUNK_MAGIC) | 1 << 63) >> INDEX_BITS << INDEX_BITS
}

/// What a chunk's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChunkHead {
    /// It was made and never used.
    Unused,
    /// It holds this chunk.
    Holds(u64),
}

impl ChunkHead {
    /// Reads the header of the chunk file `path` from its first bytes.
    pub fn parse(bytes: &[u8], path: &Path) -> Result<Self> {
        let damaged = |reason: &str| Error::DamagedChunk { reason: reason.to_owned(), path: path.to_owned() };
        let (magic, word) = (word_at(bytes, 0), word_at(bytes, 8));
        match (magic, word) {
            // Made by a process that was killed before it wrote the header: it never held a record.
            (None | Some(0), None | Some(0)) => Ok(Self::Unused),
            (Some(CHUNK_MAGIC), Some(0)) => Ok(Self::Unused),
            (Some(CHUNK_MAGIC), Some(word)) => {
                let index = word & ((1 << INDEX_BITS) - 1);
                if word == index_word(index) {
                    Ok(Self::Holds(index))
                } else {
                    Err(damaged("the header's chunk number fails its check"))
                }
            }
            _ => Err(damaged("it does not begin as a chunk does")),
        }
    }
}

/// What a pass over a chunk's slots met.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scan {
    /// Slots that hold a record.
    pub committed: u64,
    /// Slots below the last record that were never committed.
    pub holes: u64,
    /// Slots whose check failed.
    pub damaged: u64,
}

/// The slots of one chunk, as bytes that may end early.
#[derive(Debug, Clone, Copy)]
pub struct ChunkSlots<'a> {
    index: u64,
    slots: &'a [u8],
}

impl<'a> ChunkSlots<'a> {
    /// The slots of chunk `index` in the bytes of its file.
    #[must_use]
    pub fn new(index: u64, file: &'a [u8]) -> Self {
        let end = file.len().min(CHUNK_BYTES);
        Self { index, slots: file.get(CHUNK_HEADER_BYTES..end).unwrap_or(&[]) }
    }

    /// Without the slots of records after `last_seq`.
    #[must_use]
    pub fn up_to(self, last_seq: u64) -> Self {
        let first = self.index * SLOTS_PER_CHUNK;
        let slots = last_seq.saturating_add(1).saturating_sub(first).min(SLOTS_PER_CHUNK) as usize;
        Self { slots: &self.slots[..self.slots.len().min(slots * SLOT_BYTES)], ..self }
    }

    /// Calls `each` for every committed slot in order, with its `seq`.
    pub fn scan(&self, mut each: impl FnMut(u64, &Slot)) -> Scan {
        let mut scan = Scan::default();
        let mut open_holes = 0;
        let first = self.index * SLOTS_PER_CHUNK;
        for (seq, bytes) in (first..).zip(self.slots.chunks_exact(SLOT_BYTES)) {
            let mut slot: Slot = [0; SLOT_WORDS];
            for (word, bytes) in slot.iter_mut().zip(bytes.as_chunks::<8>().0) {
                *word = u64::from_le_bytes(*bytes);
            }
            if slot[0] == commit_word(seq, &slot) {
                scan.holes += open_holes;
                open_holes = 0;
                scan.committed += 1;
                each(seq, &slot);
            } else if is_earlier_use(slot[0], seq) {
                open_holes += 1;
                // A slot that was begun is a hole even where nothing follows it.
                if is_begun(&slot) {
                    scan.holes += std::mem::take(&mut open_holes);
                }
            } else {
                scan.damaged += 1;
            }
        }
        scan
    }
}

/// True if a commit word is of no use or of an earlier use of the slot: the record of `seq` was not committed.
fn is_earlier_use(word: u64, seq: u64) -> bool {
    let stored = word & SEQ_MASK;
    word == 0 || (stored != 0 && stored <= seq && (seq + 1 - stored).is_multiple_of(SLOTS_PER_CHUNK))
}

/// True if fields were stored over those that the commit word is of.
fn is_begun(slot: &Slot) -> bool {
    match slot[0] & SEQ_MASK {
        0 => slot.iter().any(|word| *word != 0),
        stored => slot[0] != commit_word(stored - 1, slot),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(index: u64, seqs: impl Iterator<Item = u64>) -> Vec<u8> {
        let mut bytes = vec![0; CHUNK_BYTES];
        bytes[..8].copy_from_slice(&CHUNK_MAGIC.to_le_bytes());
        bytes[8..16].copy_from_slice(&index_word(index).to_le_bytes());
        for seq in seqs {
            let mut slot: Slot = [0, seq, 1, 2, 3, 4, 5, 6];
            slot[0] = commit_word(seq, &slot);
            let at = CHUNK_HEADER_BYTES + (seq % SLOTS_PER_CHUNK) as usize * SLOT_BYTES;
            for (i, word) in slot.iter().enumerate() {
                bytes[at + i * 8..at + i * 8 + 8].copy_from_slice(&word.to_le_bytes());
            }
        }
        bytes
    }

    #[test]
    fn headers_are_told_apart() {
        let path = Path::new("chunk-0000");
        assert_eq!(ChunkHead::parse(&chunk(5, 0..0), path).unwrap(), ChunkHead::Holds(5));
        assert_eq!(ChunkHead::parse(&[0; 4096], path).unwrap(), ChunkHead::Unused);
        assert_eq!(ChunkHead::parse(&[], path).unwrap(), ChunkHead::Unused);
        for bit in 0..128 {
            let mut bytes = chunk(5, 0..0);
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(ChunkHead::parse(&bytes, path), Err(Error::DamagedChunk { .. })), "bit {bit}");
        }
    }

    #[test]
    fn earlier_use_holes_and_damage_are_told_apart() {
        let first = 5 * SLOTS_PER_CHUNK;
        // An earlier use of the file (chunk 2) shows through where chunk 5 was not written.
        let mut bytes = chunk(2, 2 * SLOTS_PER_CHUNK..3 * SLOTS_PER_CHUNK);
        let newer = chunk(5, (first..first + 10).filter(|seq| *seq != first + 4));
        for (seq, at) in (first..first + 10).zip((CHUNK_HEADER_BYTES..).step_by(SLOT_BYTES)) {
            if seq != first + 4 {
                bytes[at..at + SLOT_BYTES].copy_from_slice(&newer[at..at + SLOT_BYTES]);
            }
        }
        bytes[CHUNK_HEADER_BYTES + 7 * SLOT_BYTES + 20] ^= 4;
        let mut seen = Vec::new();
        let scan = ChunkSlots::new(5, &bytes).scan(|seq, _| seen.push(seq - first));
        assert_eq!(seen, [0, 1, 2, 3, 5, 6, 8, 9]);
        assert_eq!(scan, Scan { committed: 8, holes: 1, damaged: 1 });
    }

    #[test]
    fn no_flipped_bit_loses_a_record_unnoticed() {
        let first = 5 * SLOTS_PER_CHUNK;
        // The last record in the chunk, over slots that were used before or never: nothing after it shows the hole.
        for mut bytes in [chunk(2, 2 * SLOTS_PER_CHUNK..3 * SLOTS_PER_CHUNK), chunk(5, 0..0)] {
            let newer = chunk(5, first..first + 1);
            let slot = CHUNK_HEADER_BYTES..CHUNK_HEADER_BYTES + SLOT_BYTES;
            bytes[slot.clone()].copy_from_slice(&newer[slot.clone()]);
            bytes.truncate(CHUNK_HEADER_BYTES + 4 * SLOT_BYTES);
            for bit in slot.start * 8..slot.end * 8 {
                let mut damaged = bytes.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                let scan = ChunkSlots::new(5, &damaged).scan(|_, _| ());
                assert_eq!((scan.committed, scan.holes + scan.damaged), (0, 1), "bit {bit}");
            }
        }
    }

    #[test]
    fn a_chunk_cut_short_gives_what_is_there() {
        let bytes = chunk(0, 0..100);
        let cut = &bytes[..CHUNK_HEADER_BYTES + 10 * SLOT_BYTES + 5];
        assert_eq!(ChunkSlots::new(0, cut).scan(|_, _| ()).committed, 10);
    }
}
