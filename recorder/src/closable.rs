//! A file that is closed while others may still come to it.
//!
//! What a recorder is made of stays in memory when it is stopped, since a thread may be between the check and the record
//! at any time. Files need not stay open for that.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{PoisonError, RwLock};

/// A descriptor, until it is closed.
#[derive(Debug)]
pub(crate) struct Closable(RwLock<Option<OwnedFd>>);

impl Closable {
    pub(crate) const fn new(file: OwnedFd) -> Self {
        Self(RwLock::new(Some(file)))
    }

    /// Calls `use_it` with the descriptor, which stays open meanwhile; an error once it is closed. No heap.
    pub(crate) fn with<T>(&self, use_it: impl FnOnce(BorrowedFd<'_>) -> io::Result<T>) -> io::Result<T> {
        use std::os::fd::AsFd as _;
        let file = self.0.read().unwrap_or_else(PoisonError::into_inner);
        file.as_ref().map_or_else(|| Err(io::ErrorKind::BrokenPipe.into()), |file| use_it(file.as_fd()))
    }

    /// Closes it.
    pub(crate) fn close(&self) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
