//! Names to ids. A name is looked up without a lock; a new one is appended to the mapped strings file under a lock.
//!
//! Entries are never moved or removed. What does not fit becomes `<overflow>` and is counted.

use std::io;
use std::os::fd::AsFd;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::fs::FallocateFlags;
use tidegauge_schemas::journal::{
    FIRST_ENTRY_OFFSET, MAX_STRING_BYTES, OVERFLOW_ID, OVERFLOW_NAME, STRINGS_COUNT_WORD, STRINGS_MAGIC,
    StringUse, entry_bytes, entry_check, entry_head,
};

use crate::closable::Closable;
use crate::mapping::{Mapping, create_reserved};

/// Names at most. Beyond a million, names are not names but data.
const MAX_NAMES: usize = 1 << 20;
/// Twice the names keeps probes short.
const INDEX_LEN: usize = MAX_NAMES * 2;
/// Bytes of names at most; the file is as large as what is in it, rounded up.
const MAX_BYTES: usize = 256 << 20;
/// The file grows by this much, so that a new name seldom needs a system call.
const GROWTH_BYTES: usize = 64 << 10;

#[derive(Debug)]
struct Tail {
    next_id: u32,
    reserved: usize,
}

/// The string table of a running recorder.
#[derive(Debug)]
pub(crate) struct Interner {
    pub(super) file: Closable,
    map: Mapping,
    /// Open addressing: hash in the high half, id in the low one; 0 is free.
    index: Mapping,
    /// Word of the file at which the entry of an id begins.
    entries: Mapping,
    tail: Mutex<Tail>,
    /// Bytes of the file that hold whole entries.
    used: AtomicUsize,
}

impl Interner {
    pub(crate) fn create(folder: impl AsFd) -> io::Result<Self> {
        let file = create_reserved(folder, c"strings", GROWTH_BYTES)?;
        let interner = Self {
            map: Mapping::file(&file, MAX_BYTES)?,
            index: Mapping::anonymous(INDEX_LEN * 8)?,
            entries: Mapping::anonymous((MAX_NAMES + 2) * 8)?,
            tail: Mutex::new(Tail { next_id: OVERFLOW_ID, reserved: GROWTH_BYTES }),
            used: AtomicUsize::new(FIRST_ENTRY_OFFSET),
            file: Closable::new(file),
        };
        interner.map.words()[0].store(STRINGS_MAGIC, Ordering::Relaxed);
        interner.intern(OVERFLOW_NAME, StringUse::Name, 0, 0);
        Ok(interner)
    }

    /// The id of `text`, a new one if need be; `None` if it did not fit.
    pub(crate) fn intern(&self, text: &str, used: StringUse, seq: u64, ticks: u64) -> Option<u32> {
        let text = &text[..text.floor_char_boundary(MAX_STRING_BYTES)];
        let hash = hash(text.as_bytes(), used);
        match self.find(text, used, hash) {
            Ok(id) => Some(id),
            Err(_) => self.insert(text, used, hash, seq, ticks),
        }
    }

    /// The id, or the place in the index where it would stand.
    fn find(&self, text: &str, used: StringUse, hash: u32) -> Result<u32, usize> {
        let index = self.index.words();
        let mut place = hash as usize % INDEX_LEN;
        loop {
            // Acquire: the entry was written before its id was put here.
            let word = index[place].load(Ordering::Acquire);
            if word == 0 {
                return Err(place);
            }
            if (word >> 32) as u32 == hash && self.is_entry(word as u32, text, used) {
                return Ok(word as u32);
            }
            place = (place + 1) % INDEX_LEN;
        }
    }

    fn is_entry(&self, id: u32, text: &str, used: StringUse) -> bool {
        let at = self.entries.words()[id as usize].load(Ordering::Relaxed) as usize;
        let words = &self.map.words()[at..];
        let same_head = words[0].load(Ordering::Relaxed) == entry_head(id, used, text.len());
        same_head
            && padded_words(text.as_bytes())
                .zip(&words[3..])
                .all(|(word, stored)| word == stored.load(Ordering::Relaxed))
    }

    #[cold]
    fn insert(&self, text: &str, used: StringUse, hash: u32, seq: u64, ticks: u64) -> Option<u32> {
        // A thread that panicked while it held the lock left whole entries behind; go on.
        let mut tail = self.tail.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let place = match self.find(text, used, hash) {
            Ok(id) => return Some(id),
            Err(place) => place,
        };
        let at = self.used.load(Ordering::Relaxed);
        let end = at + entry_bytes(text.len());
        let id = tail.next_id;
        if id as usize > MAX_NAMES || end > MAX_BYTES || !self.reserve(&mut tail, end) {
            return None;
        }
        let words = &self.map.words()[at / 8..end / 8];
        let head = entry_head(id, used, text.len());
        let body = [head, seq, ticks].into_iter().chain(padded_words(text.as_bytes()));
        for (word, value) in words.iter().zip(body) {
            word.store(value, Ordering::Relaxed);
        }
        words[words.len() - 1].store(entry_check(head, seq, ticks, text.as_bytes()), Ordering::Release);
        self.entries.words()[id as usize].store(at as u64 / 8, Ordering::Relaxed);
        self.used.store(end, Ordering::Release);
        self.index.words()[place].store(u64::from(hash) << 32 | u64::from(id), Ordering::Release);
        self.map.words()[STRINGS_COUNT_WORD].store(u64::from(id), Ordering::Release);
        tail.next_id += 1;
        Some(id)
    }

    fn reserve(&self, tail: &mut Tail, end: usize) -> bool {
        if end <= tail.reserved {
            return true;
        }
        let reserved = end.next_multiple_of(GROWTH_BYTES).min(MAX_BYTES);
        let grown = self
            .file
            .with(|file| Ok(rustix::fs::fallocate(file, FallocateFlags::empty(), 0, reserved as u64)?));
        let grown = grown.is_ok();
        if grown {
            tail.reserved = reserved;
        }
        grown
    }

    /// The bytes of whole entries from byte `from` on.
    pub(crate) fn entries_from(&self, from: usize) -> Vec<u8> {
        let used = self.used.load(Ordering::Acquire);
        self.map.words()[from / 8..used / 8]
            .iter()
            .flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes())
            .collect()
    }
}

fn padded_words(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes.chunks(8).map(|chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_le_bytes(word)
    })
}

/// FNV-1a over words, folded; never zero, because a zero word in the index is free.
fn hash(bytes: &[u8], used: StringUse) -> u32 {
    let state =
        padded_words(bytes).fold(0xCBF2_9CE4_8422_2325 ^ used as u64 ^ bytes.len() as u64, |state, word| {
            let state = (state ^ word).wrapping_mul(0x100_0000_01B3);
            state ^ (state >> 29)
        });
    ((state ^ (state >> 32)) as u32).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegauge_schemas::journal::StringTable;

    fn interner() -> (Interner, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let handle = std::fs::File::open(folder.path()).unwrap();
        (Interner::create(&handle).unwrap(), folder)
    }

    #[test]
    fn a_name_keeps_its_id_and_the_file_reads_back() {
        let (interner, folder) = interner();
        let names: Vec<String> = (0..3000).map(|i| format!("layer.{i}.conv")).collect();
        let ids: Vec<_> =
            names.iter().map(|name| interner.intern(name, StringUse::Site, 1, 2).unwrap()).collect();
        let again: Vec<_> =
            names.iter().map(|name| interner.intern(name, StringUse::Site, 3, 4).unwrap()).collect();
        assert_eq!(ids, again);
        let as_name = interner.intern(&names[0], StringUse::Name, 0, 0).unwrap();
        assert_ne!(as_name, ids[0], "a site and a name of the same text are two things");
        let table = StringTable::read(&folder.path().join("strings")).unwrap();
        assert_eq!(table.name(OVERFLOW_ID), OVERFLOW_NAME);
        for (name, id) in names.iter().zip(ids) {
            assert_eq!(table.name(id), name.as_str());
        }
        assert_eq!(table.len(), as_name);
    }

    #[test]
    fn threads_agree_on_ids() {
        let (interner, _folder) = interner();
        let intern_all = || -> Vec<_> {
            (0..500).map(|i| interner.intern(&format!("n{i}"), StringUse::Name, 0, 0).unwrap()).collect()
        };
        let all: Vec<Vec<u32>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(intern_all)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(all.windows(2).all(|pair| pair[0] == pair[1]));
    }

    #[test]
    fn long_names_are_cut_at_a_character() {
        let (interner, folder) = interner();
        let long = "ä".repeat(MAX_STRING_BYTES);
        let id = interner.intern(&long, StringUse::Name, 0, 0).unwrap();
        let table = StringTable::read(&folder.path().join("strings")).unwrap();
        assert_eq!(table.name(id).len(), MAX_STRING_BYTES);
        assert!(table.name(id).chars().all(|c| c == 'ä'));
    }
}
