//! Chunks as mapped files in the journal's folder.

use std::ffi::CStr;
use std::io;
use std::sync::Arc;

use rustix::fs::AtFlags;
use tidegauge_schemas::journal::CHUNK_BYTES;

use super::slots::{ChunkFiles, Words};
use crate::closable::Closable;
use crate::mapping::{Mapping, create_reserved};

/// The folder that they lie in.
#[derive(Debug)]
pub(crate) struct ChunkFolder(pub(super) Arc<Closable>);

impl ChunkFiles for ChunkFolder {
    type Memory = Mapping;

    fn make(&self, number: u32) -> io::Result<Mapping> {
        // It has its name only once it has its length: a chunk file that is shorter has been cut.
        let name = ChunkName::new(number);
        self.0.with(|folder| {
            let file = create_reserved(folder, name.while_made(), CHUNK_BYTES)?;
            let named = rustix::fs::renameat(folder, name.while_made(), folder, name.as_c_str());
            let made = named.map_err(io::Error::from).and_then(|()| Mapping::file(&file, CHUNK_BYTES));
            if made.is_err() {
                // It would be 2 MiB beyond the cap, again with each attempt.
                let _ = rustix::fs::unlinkat(folder, name.while_made(), AtFlags::empty());
                let _ = rustix::fs::unlinkat(folder, name.as_c_str(), AtFlags::empty());
            }
            made
        })
    }

    fn remove(&self, number: u32) {
        // A failure leaves a file with a chunk number that is sealed already.
        let _ = self.0.with(|folder| {
            Ok(rustix::fs::unlinkat(folder, ChunkName::new(number).as_c_str(), AtFlags::empty())?)
        });
    }
}

impl Words for Mapping {
    #[inline]
    fn words(&self) -> &[std::sync::atomic::AtomicU64] {
        Self::words(self)
    }

    fn populate(&self) {
        // Where the kernel cannot, the first stores fault.
        let _ = Self::populate(self);
    }
}

/// `chunk-NNNNNNNNNN`, and before that a dot, without the heap.
struct ChunkName([u8; 18]);

impl ChunkName {
    fn new(number: u32) -> Self {
        let mut name = *b".chunk-0000000000\0";
        let mut rest = number;
        // Ten digits hold every u32.
        for digit in name[7..17].iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        Self(name)
    }

    fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.0[1..]).unwrap_or(c"chunk")
    }

    fn while_made(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.0).unwrap_or(c".chunk")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_come_and_go_as_files() {
        let folder = tempfile::tempdir().unwrap();
        let handle = std::fs::File::open(folder.path()).unwrap();
        let files = ChunkFolder(Arc::new(Closable::new(handle.into())));
        let memory = files.make(4_294_967_295).unwrap();
        Words::words(&memory)[1].store(5, std::sync::atomic::Ordering::Release);
        let path = folder.path().join("chunk-4294967295");
        assert_eq!(std::fs::read(&path).unwrap()[8], 5);
        assert_eq!(std::fs::metadata(&path).unwrap().len(), CHUNK_BYTES as u64);
        files.remove(4_294_967_295);
        assert!(!path.exists());
    }
}
