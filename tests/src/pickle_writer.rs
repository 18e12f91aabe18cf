//! Writes pickles as CPython's pickler does: protocol 4, frames of 64 KiB, everything in the memo, lists in batches of a
//! thousand.

use std::collections::HashMap;
use std::io::{Result, Write};

const FRAME_BYTES: usize = 64 << 10;
/// Elements between a mark and what appends them.
pub const BATCH: usize = 1000;

/// Number of an object in the memo.
pub type MemoId = u32;

/// A pickle that is being written.
pub struct PickleWriter<W> {
    out: W,
    frame: Vec<u8>,
    memo: MemoId,
    texts: HashMap<String, MemoId>,
}

impl<W: Write> PickleWriter<W> {
    /// Begins a pickle.
    pub fn new(mut out: W) -> Result<Self> {
        out.write_all(&[0x80, 4])?;
        Ok(Self { out, frame: Vec::new(), memo: 0, texts: HashMap::new() })
    }

    fn op(&mut self, bytes: &[u8]) -> Result<()> {
        self.frame.extend_from_slice(bytes);
        if self.frame.len() >= FRAME_BYTES { self.flush_frame() } else { Ok(()) }
    }

    fn flush_frame(&mut self) -> Result<()> {
        self.out.write_all(&[0x95])?;
        self.out.write_all(&(self.frame.len() as u64).to_le_bytes())?;
        self.out.write_all(&self.frame)?;
        self.frame.clear();
        Ok(())
    }

    /// Stores what is on the top in the memo.
    pub fn memoize(&mut self) -> Result<MemoId> {
        self.op(&[0x94])?;
        self.memo += 1;
        Ok(self.memo - 1)
    }

    /// Something that was stored in the memo.
    pub fn get(&mut self, id: MemoId) -> Result<()> {
        match u8::try_from(id) {
            Ok(id) => self.op(&[b'h', id]),
            Err(_) => {
                let [a, b, c, d] = id.to_le_bytes();
                self.op(&[b'j', a, b, c, d])
            }
        }
    }

    /// A text; a second time it is only referred to.
    pub fn text(&mut self, text: &str) -> Result<()> {
        if let Some(&id) = self.texts.get(text) {
            return self.get(id);
        }
        let mut bytes = match u8::try_from(text.len()) {
            Ok(length) => vec![0x8c, length],
            Err(_) => [&b"X"[..], &(text.len() as u32).to_le_bytes()].concat(),
        };
        bytes.extend_from_slice(text.as_bytes());
        self.op(&bytes)?;
        let id = self.memoize()?;
        self.texts.insert(text.to_owned(), id);
        Ok(())
    }

    /// An integer in the fewest bytes.
    pub fn int(&mut self, number: i64) -> Result<()> {
        if let Ok(byte) = u8::try_from(number) {
            return self.op(&[b'K', byte]);
        }
        if let Ok(short) = u16::try_from(number) {
            return self.op(&[&b"M"[..], &short.to_le_bytes()].concat());
        }
        if let Ok(word) = i32::try_from(number) {
            return self.op(&[&b"J"[..], &word.to_le_bytes()].concat());
        }
        let bytes = number.to_le_bytes();
        // As many as keep the sign.
        let length = (1..=8)
            .find(|&length| {
                let high = if bytes[length - 1] & 0x80 != 0 { 0xff } else { 0 };
                (high == 0xff) == (number < 0) && bytes[length..].iter().all(|byte| *byte == high)
            })
            .unwrap_or(8);
        self.op(&[&[0x8a, length as u8], &bytes[..length]].concat())
    }

    /// Begins a dict of several items, and its one batch.
    pub fn begin_dict(&mut self) -> Result<MemoId> {
        self.op(b"}")?;
        let id = self.memoize()?;
        self.op(b"(")?;
        Ok(id)
    }

    /// Ends it.
    pub fn end_dict(&mut self) -> Result<()> {
        self.op(b"u")
    }

    /// Begins a list.
    pub fn begin_list(&mut self) -> Result<MemoId> {
        self.op(b"]")?;
        self.memoize()
    }

    /// Before up to [`BATCH`] elements of a list.
    pub fn begin_batch(&mut self, length: usize) -> Result<()> {
        if length == 1 { Ok(()) } else { self.op(b"(") }
    }

    /// After them.
    pub fn end_batch(&mut self, length: usize) -> Result<()> {
        self.op(if length == 1 { b"a" } else { b"e" })
    }

    /// Ends the pickle.
    pub fn finish(mut self) -> Result<W> {
        self.op(b".")?;
        self.flush_frame()?;
        self.out.flush()?;
        Ok(self.out)
    }
}
