//! Memory of this process from `/proc/self/statm`, whose file is kept open: a read takes a microsecond.

use std::fs::File;

use crate::closable::Closable;
use crate::probes::process::ProcessMemory;
use crate::probes::process_stat::status_bytes;

/// Reads this process's memory.
#[derive(Debug)]
pub(crate) struct HostProbe {
    statm: Closable,
    page_bytes: u64,
}

impl HostProbe {
    pub(crate) fn open() -> Option<Self> {
        let statm = Closable::new(File::open("/proc/self/statm").ok()?.into());
        Some(Self { statm, page_bytes: rustix::param::page_size() as u64 })
    }

    pub(crate) fn read(&self) -> Option<ProcessMemory> {
        // Seven numbers of at most 20 digits. No heap: checkpoints may be set in odd places.
        let mut text = [0; 160];
        let length = self.statm.with(|statm| Ok(rustix::io::pread(statm, &mut text, 0)?)).ok()?;
        ProcessMemory::parse(text.get(..length)?, self.page_bytes)
    }

    /// Reads nothing any more.
    pub(crate) fn close(&self) {
        self.statm.close();
    }
}

/// Memory of the machine.
pub(crate) fn memory_total_bytes() -> Option<u64> {
    status_bytes(&std::fs::read("/proc/meminfo").ok()?, "MemTotal")
}

/// Highest resident size so far, as the kernel kept it: not a sampled figure.
pub(crate) fn peak_rss_bytes() -> Option<u64> {
    status_bytes(&std::fs::read("/proc/self/status").ok()?, "VmHWM")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory() {
        let memory = HostProbe::open().unwrap().read().unwrap();
        assert!(memory.rss_bytes > 100 << 10 && memory.virtual_bytes >= memory.rss_bytes, "{memory:?}");
        assert!(peak_rss_bytes().unwrap() > 100 << 10);
    }
}
