//! A file's content as a window that moves over it: what has been read is let go of, so memory does not grow with the file.

use std::io::{ErrorKind, Read as _};

use super::cursor::{Cursor, Parsed, Stop};
use crate::error::{Error, Result};
use crate::foreign::input::Input;

/// What a file of this kind is called in errors.
const WHAT: &str = "Kineto or Chrome trace";
/// Bytes that are read at once: hundreds of events, and they stay in the cache.
const CHUNK_BYTES: usize = 512 << 10;
/// Bytes of the largest value that is looked at; the events that profilers write are of some hundred bytes.
const MAX_VALUE_BYTES: usize = 64 << 20;

/// A window on the content of an [`Input`].
#[derive(Debug)]
pub(super) struct Stream<'a> {
    input: &'a mut Input,
    buffer: Vec<u8>,
    /// What is still to be read begins here.
    start: usize,
    /// Offset of `buffer` in the content.
    offset: u64,
    /// Why reading failed, once what was read before has been looked at: an error in that is the more telling one.
    failure: Option<std::io::Error>,
    /// Events so far, for errors.
    pub(super) events: u64,
}

impl<'a> Stream<'a> {
    pub(super) fn new(input: &'a mut Input) -> Self {
        Self {
            input,
            buffer: Vec::with_capacity(2 * CHUNK_BYTES),
            start: 0,
            offset: 0,
            failure: None,
            events: 0,
        }
    }

    /// Lets `read` read a value, again from its beginning with more content if that is not all there, and moves on.
    pub(super) fn parse<T>(&mut self, mut read: impl FnMut(&mut Cursor<'_>) -> Parsed<T>) -> Result<T> {
        loop {
            let mut cursor = Cursor::new(&self.buffer[self.start..]);
            match read(&mut cursor) {
                Ok(value) => {
                    self.start += cursor.at();
                    return Ok(value);
                }
                Err(Stop::More) => {
                    if !self.fill()? {
                        return Err(self.cut_off(""));
                    }
                }
                Err(Stop::Wrong { at, expected }) => {
                    let found = self.buffer.get(self.start + at).map_or(String::new(), |byte| {
                        format!(" instead of `{}`", std::ascii::escape_default(*byte))
                    });
                    let offset = self.offset + (self.start + at) as u64;
                    return Err(self.error(format!("at byte {offset} {expected} should be{found}")));
                }
            }
        }
    }

    /// That nothing but white space is left.
    pub(super) fn expect_end(&mut self) -> Result<()> {
        loop {
            let rest = &self.buffer[self.start..];
            // Some writers end files with a zero byte.
            let space = rest.iter().position(|byte| !byte.is_ascii_whitespace() && *byte != 0);
            self.start += space.unwrap_or(rest.len());
            if space.is_some() {
                let offset = self.offset + self.start as u64;
                return Err(self.error(format!("at byte {offset} it should have ended, and goes on")));
            }
            if !self.fill()? {
                return Ok(());
            }
        }
    }

    /// An error of this file.
    pub(super) fn error(&self, reason: String) -> Error {
        self.input.error(WHAT, reason)
    }

    fn cut_off(&self, why: &str) -> Error {
        let end = self.offset + self.buffer.len() as u64;
        let of = if self.input.is_gzip { " of its decompressed content" } else { "" };
        self.error(format!(
            "it ends in the middle, at byte {end}{of}, after {} whole events{why}: was the program killed while it wrote it?",
            self.events
        ))
    }

    /// Reads more behind what is there; false at the end.
    fn fill(&mut self) -> Result<bool> {
        self.buffer.drain(..self.start);
        self.offset += self.start as u64;
        self.start = 0;
        if self.buffer.len() > MAX_VALUE_BYTES {
            let mebibytes = MAX_VALUE_BYTES >> 20;
            return Err(
                self.error(format!("the value at byte {} is of more than {mebibytes} MiB", self.offset))
            );
        }
        // As much again as is there, so that a long value is not read from its beginning too often.
        let wanted = self.buffer.len().max(CHUNK_BYTES) as u64;
        let before = self.buffer.len();
        let read = match self.failure.take() {
            Some(failure) => Err(failure),
            None => self.input.reader().take(wanted).read_to_end(&mut self.buffer),
        };
        match read {
            Ok(_) => Ok(self.buffer.len() > before),
            Err(error) if self.buffer.len() > before => {
                self.failure = Some(error);
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                Err(self.cut_off(" (the compressed file is cut off)"))
            }
            Err(source) if self.input.is_gzip => Err(self.error(format!(
                "it cannot be decompressed past byte {} of its content, after {} events: {source}",
                self.offset + self.buffer.len() as u64,
                self.events
            ))),
            Err(source) => Err(Error::io("reading", &self.input.path)(source)),
        }
    }
}
