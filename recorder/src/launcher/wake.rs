//! Waking the launcher's main thread, which waits for signals.

use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

/// Rung by other threads.
#[derive(Debug, Clone)]
pub(crate) struct Bell {
    fd: Arc<OwnedFd>,
}

impl Bell {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: the descriptor is new and nobody else's.
        let fd = unsafe {
            let fd = libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK);
            if fd == -1 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(fd)
        };
        Ok(Self { fd: Arc::new(fd) })
    }

    pub(crate) fn ring(&self) {
        let one = 1u64;
        // SAFETY: the kernel reads eight bytes of `one`. A counter that is full rings as well.
        unsafe { libc::write(self.fd.as_raw_fd(), (&raw const one).cast(), size_of::<u64>()) };
    }

    /// Silent again, until it is next rung.
    pub(crate) fn quiet(&self) {
        let mut count = 0u64;
        // SAFETY: the kernel writes eight bytes to `count`; there is nothing to read if it was not rung.
        unsafe { libc::read(self.fd.as_raw_fd(), (&raw mut count).cast(), size_of::<u64>()) };
    }

    /// To wait for.
    pub(crate) fn fd(&self) -> i32 {
        self.fd.as_raw_fd()
    }
}

/// Waits until one of these descriptors can be read, or for so long. Which of them can.
pub(crate) fn wait_for(fds: &[i32], timeout: Option<Duration>) -> Vec<bool> {
    let mut entries: Vec<libc::pollfd> =
        fds.iter().map(|&fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 }).collect();
    // A millisecond more than asked for rather than less: a caller that looks at the clock must not spin.
    let millis = timeout.map_or(-1, |timeout| i32::try_from(timeout.as_millis() + 1).unwrap_or(i32::MAX));
    // SAFETY: the kernel reads and writes as many entries as there are. Whatever ends the wait, the caller looks.
    unsafe { libc::poll(entries.as_mut_ptr(), entries.len() as libc::nfds_t, millis) };
    entries.iter().map(|entry| entry.revents != 0).collect()
}
