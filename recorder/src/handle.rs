//! The one recorder of the process, for programs that keep none: those that record through the C ABI or a binding.

use std::path::PathBuf;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::{Error, Result};
use crate::recorder::{Recorder, RecorderBuilder};

/// What such a process has. Lives as long as the process.
#[derive(Debug)]
pub(crate) struct Handle {
    pid: u32,
    kept: Mutex<Kept>,
}

/// The recorder, if one is on, and where it records or the last one did.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    pub(crate) recorder: Option<Recorder>,
    pub(crate) run: Option<PathBuf>,
}

static HANDLE: AtomicPtr<Handle> = AtomicPtr::new(std::ptr::null_mut());

impl Handle {
    /// That of this process, if it has one. One that was inherited by fork is not looked at: another thread may have
    /// held its lock, and will never give it back here.
    pub(crate) fn get() -> Option<&'static Self> {
        // SAFETY: only `get_or_make` stores here, addresses of what lives as long as the process.
        let handle = unsafe { HANDLE.load(Ordering::Acquire).as_ref() };
        handle.filter(|handle| handle.pid == std::process::id())
    }

    pub(crate) fn get_or_make() -> &'static Self {
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

    /// Starts; the trace folder.
    pub(crate) fn start(&self, builder: RecorderBuilder) -> Result<PathBuf> {
        let mut kept = self.lock();
        let recorder = builder.start()?;
        let run = recorder.run().to_owned();
        kept.run = Some(run.clone());
        kept.recorder = Some(recorder);
        Ok(run)
    }

    /// Stops, if there is something to stop; the trace folder. The lock is not held while the rest is sealed.
    pub(crate) fn stop(&self) -> Result<Option<PathBuf>> {
        let recorder = {
            let mut kept = self.lock();
            if kept.recorder.as_ref().is_some_and(Recorder::is_on_own_thread) {
                return Err(Error::StopFromCallback);
            }
            kept.recorder.take()
        };
        recorder.map(Recorder::stop).transpose()
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Kept> {
        // Whatever a panic interrupted, the recorder is there or it is not.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
