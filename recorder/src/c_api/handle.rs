//! The one recorder of the process, for programs that keep none.

use std::path::PathBuf;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::recorder::Recorder;

/// What a process that records through the C ABI has. Lives as long as the process.
#[derive(Debug)]
pub(super) struct Handle {
    pid: u32,
    kept: Mutex<Kept>,
}

/// The recorder, if one is on, and where it records or the last one did.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) recorder: Option<Recorder>,
    pub(super) run: Option<PathBuf>,
}

static HANDLE: AtomicPtr<Handle> = AtomicPtr::new(std::ptr::null_mut());

impl Handle {
    /// That of this process, if it has one. One that was inherited by fork is not looked at: another thread may have
    /// held its lock, and will never give it back here.
    pub(super) fn get() -> Option<&'static Self> {
        // SAFETY: only `get_or_make` stores here, addresses of what lives as long as the process.
        let handle = unsafe { HANDLE.load(Ordering::Acquire).as_ref() };
        handle.filter(|handle| handle.pid == std::process::id())
    }

    pub(super) fn get_or_make() -> &'static Self {
        if let Some(handle) = Self::get() {
            return handle;
        }
        let inherited = HANDLE.load(Ordering::Acquire);
        let own: &'static Self =
            Box::leak(Box::new(Self { pid: std::process::id(), kept: Mutex::default() }));
        let address = std::ptr::from_ref(own).cast_mut();
        match HANDLE.compare_exchange(inherited, address, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => own,
            // Another thread was faster; ours, of a few words, is forgotten.
            Err(_) => Self::get().unwrap_or(own),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Kept> {
        // Whatever a panic interrupted, the recorder is there or it is not.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
