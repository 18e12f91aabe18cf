//! The bytes of a pickle, one after the other, with their offset.

use std::io::Read;

use super::error::{PickleError, Result};

const BUFFER_BYTES: usize = 256 << 10;
/// No text of a snapshot is longer; what claims to be is read no further.
const MAX_TEXT_BYTES: u64 = 64 << 20;

/// A reader with a buffer of its own, since most reads are of one byte.
pub(super) struct Bytes<'a> {
    reader: &'a mut dyn Read,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Offset in the content of the buffer's begin.
    buffer_offset: u64,
    /// Length of the content, where it is known.
    total_bytes: Option<u64>,
}

impl<'a> Bytes<'a> {
    pub(super) fn new(reader: &'a mut dyn Read, total_bytes: Option<u64>) -> Self {
        Self { reader, buffer: vec![0; BUFFER_BYTES], start: 0, end: 0, buffer_offset: 0, total_bytes }
    }

    /// Offset of the next byte.
    #[inline]
    pub(super) fn offset(&self) -> u64 {
        self.buffer_offset + self.start as u64
    }

    #[inline]
    pub(super) fn byte(&mut self) -> Result<u8> {
        if self.start == self.end {
            self.fill(1)?;
        }
        let byte = self.buffer[self.start];
        self.start += 1;
        Ok(byte)
    }

    #[inline]
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        if self.end - self.start < N {
            self.fill(N)?;
        }
        let mut array = [0; N];
        array.copy_from_slice(&self.buffer[self.start..self.start + N]);
        self.start += N;
        Ok(array)
    }

    /// The next `length` bytes; `what` they are is for the error if there cannot be as many.
    #[inline]
    pub(super) fn take(&mut self, length: u64, what: &'static str) -> Result<&[u8]> {
        if length > (self.end - self.start) as u64 {
            self.check(length, MAX_TEXT_BYTES, what)?;
            self.fill(length as usize)?;
        }
        let start = self.start;
        self.start += length as usize;
        Ok(&self.buffer[start..self.start])
    }

    /// Refuses a length beyond `limit` or the end of the content.
    pub(super) fn check(&self, length: u64, limit: u64, what: &'static str) -> Result<()> {
        let offset = self.offset();
        let left = self.total_bytes.map_or(u64::MAX, |total| total.saturating_sub(offset));
        let available = left.min(limit);
        if length > available {
            return Err(PickleError::TooLong { what, claimed: length, available, offset });
        }
        Ok(())
    }

    /// The bytes up to the next line feed, without it.
    pub(super) fn line(&mut self) -> Result<Vec<u8>> {
        let mut line = Vec::new();
        loop {
            match self.byte()? {
                b'\n' => return Ok(line),
                byte if (line.len() as u64) < MAX_TEXT_BYTES => line.push(byte),
                _ => self.check(u64::MAX, MAX_TEXT_BYTES, "a line")?,
            }
        }
    }

    /// Makes at least `needed` bytes available from `start` on. Memory grows with what was read, not with what was
    /// promised.
    #[cold]
    fn fill(&mut self, needed: usize) -> Result<()> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.buffer_offset += self.start as u64;
        self.end -= self.start;
        self.start = 0;
        while self.end < needed {
            if self.end == self.buffer.len() {
                self.buffer.resize(self.buffer.len() * 2, 0);
            }
            let offset = self.buffer_offset + self.end as u64;
            match self.reader.read(&mut self.buffer[self.end..]) {
                Ok(0) => return Err(PickleError::Truncated { offset }),
                Ok(read) => self.end += read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(source) => return Err(PickleError::Read { offset, source }),
            }
        }
        Ok(())
    }
}
