//! All entries of a snapshot, in chunks: a list that doubles when it is full would need three times its size.

use super::parts::Entry;

const CHUNK_ENTRIES: usize = 1 << 15;

/// Entries by number.
#[derive(Debug, Default)]
pub(super) struct Entries {
    chunks: Vec<Vec<Entry>>,
    length: usize,
}

impl Entries {
    /// Adds one; its number is the length before.
    #[inline]
    pub(super) fn push(&mut self, entry: Entry) {
        if self.length.is_multiple_of(CHUNK_ENTRIES) {
            // The first chunk of a small file stays small.
            self.chunks.push(Vec::with_capacity(if self.length == 0 { 64 } else { CHUNK_ENTRIES }));
        }
        if let Some(chunk) = self.chunks.last_mut() {
            chunk.push(entry);
            self.length += 1;
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// An entry that was added.
    #[inline]
    pub(super) fn get(&self, number: u32) -> &Entry {
        let number = number as usize;
        &self.chunks[number / CHUNK_ENTRIES][number % CHUNK_ENTRIES]
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.chunks.iter().flatten()
    }
}
