//! A file that is no trace, opened for one pass from its beginning to its end; what is compressed is decompressed on the
//! way.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use crate::error::{Error, Result};

/// Read at once: enough to tell a file's kind, little enough to stay in the cache.
const BUFFER_BYTES: usize = 256 << 10;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// An opened file.
pub struct Input {
    /// Its path as the user gave it.
    pub path: PathBuf,
    /// Size of the file, compressed if it is.
    pub file_bytes: u64,
    /// Whether it is compressed.
    pub is_gzip: bool,
    reader: BufReader<Box<dyn Read + Send>>,
}

impl Input {
    /// Opens a file.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::io("opening", path))?;
        let file_bytes = file.metadata().map_err(Error::io("reading", path))?.len();
        Self::new(path, Box::new(file), file_bytes)
    }

    /// Content that is in memory, under the name `path`.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn from_bytes(path: &Path, content: Vec<u8>) -> Result<Self> {
        let file_bytes = content.len() as u64;
        Self::new(path, Box::new(std::io::Cursor::new(content)), file_bytes)
    }

    fn new(path: &Path, file: Box<dyn Read + Send>, file_bytes: u64) -> Result<Self> {
        let mut plain = BufReader::with_capacity(BUFFER_BYTES, file);
        let is_gzip = plain.fill_buf().map_err(Error::io("reading", path))?.starts_with(&GZIP_MAGIC);
        if !is_gzip {
            return Ok(Self { path: path.to_owned(), file_bytes, is_gzip, reader: plain });
        }
        let content: Box<dyn Read + Send> = Box::new(MultiGzDecoder::new(plain));
        let reader = BufReader::with_capacity(BUFFER_BYTES, content);
        Ok(Self { path: path.to_owned(), file_bytes, is_gzip, reader })
    }

    /// What the content begins with: up to 256 KiB, which are still to be read.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn peek(&mut self) -> Result<&[u8]> {
        self.reader.fill_buf().map_err(Error::io("reading", &self.path))
    }

    /// The content.
    pub fn reader(&mut self) -> &mut BufReader<Box<dyn Read + Send>> {
        &mut self.reader
    }

    /// An error of this file: `what` it was taken for, and what is wrong with it.
    pub fn error(&self, what: &'static str, reason: impl Into<String>) -> Error {
        Error::Foreign { what, reason: reason.into(), path: self.path.clone() }
    }
}

impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Input").field("path", &self.path).field("file_bytes", &self.file_bytes).finish()
    }
}
