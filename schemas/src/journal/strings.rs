//! The strings file: names, written once, referred to by id.
//!
//! The head of 64 bytes has a magic word and the number of entries, stored after each. Entries follow each other, each a
//! multiple of 8 bytes: head word (length, use, id), `seq` and ticks at the time, the UTF-8 bytes padded with zeros, and
//! a check word, stored last. Ids begin with 1 and ascend by one. The first entry that fails its check ends the table;
//! the number in the head tells how many that were in use are lost with it.

use std::path::Path;

use super::{check_words, word_at};
use crate::error::{Error, Result};

/// Name of the strings file.
pub const STRINGS_FILE: &str = "strings";
/// First word of the file: "TGSTRNG1".
pub const STRINGS_MAGIC: u64 = u64::from_le_bytes(*b"TGSTRNG1");
/// Word of the file that counts its entries.
pub const STRINGS_COUNT_WORD: usize = 1;
/// Byte of the first entry.
pub const FIRST_ENTRY_OFFSET: usize = 64;
/// Longest string that is kept whole.
pub const MAX_STRING_BYTES: usize = 32 << 10;
/// The id of [`OVERFLOW_NAME`], the first of every table.
pub const OVERFLOW_ID: u32 = 1;
/// Stands for names that did not fit.
pub const OVERFLOW_NAME: &str = "<overflow>";

/// What a string is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StringUse {
    /// A phase, metric, pool, …
    Name,
    /// An allocation site: its first line is the name, the others its stack.
    Site,
    /// A module of the model: a JSON object of what is known of it.
    Module,
}

/// The head word of an entry.
#[must_use]
pub fn entry_head(id: u32, used: StringUse, length: usize) -> u64 {
    (length as u64 & 0xFF_FFFF) | (used as u64) << 24 | u64::from(id) << 32
}

/// Bytes of an entry with a string of `length` bytes.
#[must_use]
pub const fn entry_bytes(length: usize) -> usize {
    24 + length.next_multiple_of(8) + 8
}

/// The check word of an entry.
#[must_use]
pub fn entry_check(head: u64, seq: u64, ticks: u64, text: &[u8]) -> u64 {
    let (whole, rest) = text.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let text =
        whole.iter().chain((!rest.is_empty()).then_some(&last)).map(|bytes| u64::from_le_bytes(*bytes));
    check_words([head, seq, ticks].into_iter().chain(text))
}

/// One string of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalString {
    /// What it is used for.
    pub used: StringUse,
    /// `seq` that would have been given next when it was interned.
    pub seq: u64,
    /// Clock ticks when it was interned.
    pub ticks: u64,
    /// The text.
    pub text: String,
}

/// The strings of a journal, by id.
#[derive(Debug, Clone, Default)]
pub struct StringTable {
    strings: Vec<JournalString>,
    expected: u64,
}

impl StringTable {
    /// Reads the strings file at `path`; what follows the last whole entry is not read.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(Error::io("reading", path))?;
        if word_at(&bytes, 0) != Some(STRINGS_MAGIC) {
            let reason = "it does not begin as a strings file does".to_owned();
            return Err(Error::DamagedJournal { reason, path: path.to_owned() });
        }
        if bytes.len() < FIRST_ENTRY_OFFSET {
            let reason = format!("it is cut short to {} bytes", bytes.len());
            return Err(Error::DamagedJournal { reason, path: path.to_owned() });
        }
        let mut table = Self::default();
        table.extend_from(&bytes, FIRST_ENTRY_OFFSET);
        table.expected = word_at(&bytes, STRINGS_COUNT_WORD * 8).unwrap_or(0);
        Ok(table)
    }

    /// Entries that the file said to have and that could not be read.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.expected.saturating_sub(self.strings.len() as u64)
    }

    /// Adds the whole entries of `bytes` from byte `at` on; returns the byte after the last of them.
    pub fn extend_from(&mut self, bytes: &[u8], mut at: usize) -> usize {
        while let Some((string, size)) = self.entry(bytes, at) {
            self.strings.push(string);
            at += size;
        }
        at
    }

    fn entry(&self, bytes: &[u8], at: usize) -> Option<(JournalString, usize)> {
        let head = word_at(bytes, at)?;
        let length = (head & 0xFF_FFFF) as usize;
        let used = match (head >> 24) & 0xFF {
            0 => StringUse::Name,
            1 => StringUse::Site,
            2 => StringUse::Module,
            _ => return None,
        };
        let (seq, ticks) = (word_at(bytes, at + 8)?, word_at(bytes, at + 16)?);
        let text = bytes.get(at + 24..at + 24 + length)?;
        let size = entry_bytes(length);
        let sound = head >> 32 == self.strings.len() as u64 + 1
            && word_at(bytes, at + size - 8)? == entry_check(head, seq, ticks, text);
        let text = String::from_utf8_lossy(text).into_owned();
        sound.then_some((JournalString { used, seq, ticks, text }, size))
    }

    /// The string with that id.
    #[must_use]
    pub fn get(&self, id: u32) -> Option<&JournalString> {
        self.strings.get((id as usize).checked_sub(1)?)
    }

    /// The id of a text.
    #[must_use]
    pub fn find(&self, text: &str, used: StringUse) -> Option<u32> {
        let index = self.strings.iter().position(|string| string.used == used && string.text == text)?;
        u32::try_from(index + 1).ok()
    }

    /// The text of that id; an id whose entry is lost still gets a name that tells it from others.
    #[must_use]
    pub fn name(&self, id: u32) -> std::borrow::Cow<'_, str> {
        match self.get(id) {
            Some(string) => string.text.as_str().into(),
            None => format!("<lost name {id}>").into(),
        }
    }

    /// Strings in the table; the highest id.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.strings.len() as u32
    }

    /// True without a string.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.strings.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: u32, used: StringUse, text: &str) -> Vec<u8> {
        let head = entry_head(id, used, text.len());
        let mut bytes = Vec::new();
        for word in [head, 9, 8] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(text.as_bytes());
        bytes.resize(entry_bytes(text.len()) - 8, 0);
        bytes.extend(entry_check(head, 9, 8, text.as_bytes()).to_le_bytes());
        bytes
    }

    #[test]
    fn entries_are_read_up_to_the_first_that_is_torn() {
        let mut bytes = entry(1, StringUse::Name, OVERFLOW_NAME);
        bytes.extend(entry(2, StringUse::Site, "conv1"));
        let whole = bytes.len();
        bytes.extend(entry(3, StringUse::Name, ""));
        for cut in whole..bytes.len() {
            let mut table = StringTable::default();
            assert_eq!(table.extend_from(&bytes[..cut], 0), whole, "cut at {cut}");
            assert_eq!(table.len(), 2);
        }
        let mut table = StringTable::default();
        table.extend_from(&bytes, 0);
        assert_eq!((table.name(2).as_ref(), table.name(3).as_ref(), table.len()), ("conv1", "", 3));
        assert_eq!(table.name(4), "<lost name 4>");
        assert_eq!(table.get(0), None);
        assert_eq!(table.get(2).unwrap().used, StringUse::Site);
    }

    #[test]
    fn a_flipped_bit_ends_the_table() {
        let good = entry(1, StringUse::Name, "forward");
        for bit in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let mut table = StringTable::default();
            table.extend_from(&bytes, 0);
            assert!(table.is_empty() || table.name(1) == "forward", "bit {bit} of the padding at most");
        }
    }
}
