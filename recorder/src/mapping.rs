//! Memory mappings: anonymous ones, and files that are filled through them.
//!
//! A mapping is seen as words that are atomics, since several threads, and readers in other processes, look at it
//! at once. All of the crate's pointers into mapped memory are made here.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{FallocateFlags, Mode, OFlags};
use rustix::mm::{Advice, MapFlags, ProtFlags};

/// A shared or anonymous mapping of whole words. Unmapped when dropped.
#[derive(Debug)]
pub(crate) struct Mapping {
    base: NonNull<AtomicU64>,
    bytes: usize,
}

// SAFETY: the memory is reached through atomics only and belongs to no thread.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Zeroed memory; pages cost nothing until they are touched.
    pub(crate) fn anonymous(bytes: usize) -> io::Result<Self> {
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory in use.
        let base = unsafe {
            rustix::mm::mmap_anonymous(
                std::ptr::null_mut(),
                bytes,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE | MapFlags::NORESERVE,
            )
        }?;
        Self::new(base, bytes)
    }

    /// The first `bytes` of a file, which may be shorter: only what it really has may be touched.
    pub(crate) fn file(file: impl AsFd, bytes: usize) -> io::Result<Self> {
        // SAFETY: as above. That others may write to the file is why all access is atomic.
        let base = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                bytes,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                file,
                0,
            )
        }?;
        Self::new(base, bytes)
    }

    fn new(base: *mut std::ffi::c_void, bytes: usize) -> io::Result<Self> {
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { base, bytes })
    }

    /// The words of the mapping.
    #[inline]
    pub(crate) fn words(&self) -> &[AtomicU64] {
        // SAFETY: the mapping is page-aligned, `bytes` long and lives as long as `self`; every bit pattern is an
        // AtomicU64.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr(), self.bytes / 8) }
    }

    /// Makes a forked child see zeros instead.
    pub(crate) fn wipe_on_fork(&self) -> io::Result<()> {
        self.advise(Advice::LinuxWipeOnFork)
    }

    /// Has every page there and writable, so that the first store to it does not fault. Kernels before 5.14 do not
    /// know the advice; there the first stores fault.
    pub(crate) fn populate(&self) -> io::Result<()> {
        self.advise(Advice::LinuxPopulateWrite)
    }

    fn advise(&self, advice: Advice) -> io::Result<()> {
        // SAFETY: the range is this mapping; neither advice drops contents of a mapping that is in use.
        unsafe { rustix::mm::madvise(self.base.as_ptr().cast(), self.bytes, advice) }?;
        Ok(())
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by `new` and nobody holds words of it beyond `self`. An error leaves it mapped.
        let _ = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.bytes) };
    }
}

/// Makes a new file `name` in `folder` and reserves `bytes` for it on the disk: a store to a mapping of a file with
/// holes would be a SIGBUS when the disk is full. No heap is used: this runs inside allocators.
pub(crate) fn create_reserved(folder: impl AsFd, name: &CStr, bytes: usize) -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&folder, name, flags, Mode::from_raw_mode(0o644))?;
    let reserved =
        without_size_signal(|| rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes as u64));
    if let Err(error) = reserved {
        let _ = rustix::fs::unlinkat(&folder, name, rustix::fs::AtFlags::empty());
        return Err(error.into());
    }
    Ok(file)
}

/// Beyond a limit on the size of files the kernel sends SIGXFSZ, which ends a program that is not prepared for it. It was
/// not the program that wrote: the error is enough.
fn without_size_signal<T>(call: impl FnOnce() -> T) -> T {
    // SAFETY: sets are initialised before they are read; mask and pending signals are this thread's own. The signal that
    // is taken is the one that this call has raised, unless it was pending or blocked before: then it is left.
    unsafe {
        let mut size: libc::sigset_t = std::mem::zeroed();
        let mut before: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut size);
        libc::sigaddset(&raw mut size, libc::SIGXFSZ);
        let is_blocked = libc::pthread_sigmask(libc::SIG_BLOCK, &raw const size, &raw mut before) == 0;
        let result = call();
        if is_blocked && libc::sigismember(&raw const before, libc::SIGXFSZ) == 0 {
            let at_once = libc::timespec { tv_sec: 0, tv_nsec: 0 };
            libc::sigtimedwait(&raw const size, std::ptr::null_mut(), &raw const at_once);
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, std::ptr::null_mut());
        }
        result
    }
}

/// Copies words into a mapping's words.
pub(crate) fn store_words(target: &[AtomicU64], words: &[u64]) {
    for (target, word) in target.iter().zip(words) {
        target.store(*word, Ordering::Relaxed);
    }
}
