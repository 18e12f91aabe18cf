//! The lines of a file, none of which may be longer than a line of nvidia-smi can be.

use std::borrow::Cow;
use std::io::BufRead;

/// Longest line: all of nvidia-smi's columns together are a few thousand characters.
const MAX_LINE_BYTES: usize = 64 << 10;
/// Byte order mark of UTF-8, as Windows programs write it.
const UTF_8_MARK: &[u8] = &[0xef, 0xbb, 0xbf];

/// A line.
pub(super) struct Line<'a> {
    /// Its number, from 1 on.
    pub(super) number: u64,
    /// Without its end; what is no text is replaced.
    pub(super) text: Cow<'a, str>,
    /// False for the last one, if it has no end: it may have been cut off.
    pub(super) is_ended: bool,
}

/// Reads lines.
pub(super) struct Lines<R> {
    reader: R,
    number: u64,
    bytes: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader, number: 0, bytes: Vec::new() }
    }

    /// The next line; none at the end.
    ///
    /// # Errors
    /// If the file cannot be read or the line is too long: the reason.
    pub(super) fn next(&mut self) -> Result<Option<Line<'_>>, String> {
        self.bytes.clear();
        let limit = MAX_LINE_BYTES as u64 + 1;
        let read = std::io::Read::take(&mut self.reader, limit).read_until(b'\n', &mut self.bytes);
        read.map_err(|error| format!("it cannot be read past line {}: {error}", self.number))?;
        if self.bytes.is_empty() {
            return Ok(None);
        }
        self.number += 1;
        if self.bytes.len() > MAX_LINE_BYTES {
            return Err(format!("line {} is longer than {} KiB", self.number, MAX_LINE_BYTES >> 10));
        }
        let mut text = self.bytes.as_slice();
        let is_ended = text.last() == Some(&b'\n');
        if self.number == 1 {
            text = text.strip_prefix(UTF_8_MARK).unwrap_or(text);
        }
        while let [before @ .., b'\n' | b'\r'] = text {
            text = before;
        }
        Ok(Some(Line { number: self.number, text: String::from_utf8_lossy(text), is_ended }))
    }
}
