//! One process, as `/proc` shows it.

use std::io;

/// Memory of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProcessMemory {
    pub(crate) virtual_bytes: u64,
    /// Resident, shared pages included.
    pub(crate) rss_bytes: u64,
    pub(crate) shared_bytes: u64,
}

/// What costs more to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProcessUsage {
    pub(crate) peak_rss_bytes: Option<u64>,
    pub(crate) swap_bytes: Option<u64>,
    /// User and system time since the process began.
    pub(crate) cpu_nanos: u64,
    pub(crate) minor_faults: u64,
    pub(crate) major_faults: u64,
    pub(crate) threads: u64,
}

/// A process.
#[derive(Debug)]
pub(crate) struct ProcessProbe {
    pid: u32,
}

impl ProcessProbe {
    pub(crate) fn open(pid: u32) -> io::Result<Self> {
        Ok(Self { pid })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) fn memory(&self) -> io::Result<ProcessMemory> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn usage(&self) -> io::Result<ProcessUsage> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
