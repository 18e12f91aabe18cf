//! Memory of this process from `/proc/self/statm`, whose file is kept open: a read takes a microsecond.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

/// Reads this process's memory.
#[derive(Debug)]
pub(crate) struct HostProbe {
    statm: File,
    page_bytes: u64,
}

/// Memory of the process, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HostMemory {
    pub(crate) virtual_bytes: u64,
    /// Resident, shared pages included.
    pub(crate) rss_bytes: u64,
    pub(crate) shared_bytes: u64,
}

impl HostProbe {
    pub(crate) fn open() -> Option<Self> {
        let statm = File::open("/proc/self/statm").ok()?;
        Some(Self { statm, page_bytes: rustix::param::page_size() as u64 })
    }

    pub(crate) fn read(&self) -> Option<HostMemory> {
        // Seven numbers of at most 20 digits. No heap: checkpoints may be set in odd places.
        let mut text = [0; 160];
        let length = self.statm.read_at(&mut text, 0).ok()?;
        let mut pages = std::str::from_utf8(&text[..length]).ok()?.split_ascii_whitespace();
        let mut next = || Some(pages.next()?.parse::<u64>().ok()? * self.page_bytes);
        Some(HostMemory { virtual_bytes: next()?, rss_bytes: next()?, shared_bytes: next()? })
    }
}

/// Memory of the machine.
pub(crate) fn memory_total_bytes() -> Option<u64> {
    Some(kib_after(&std::fs::read_to_string("/proc/meminfo").ok()?, "MemTotal:")? * 1024)
}

fn kib_after(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// Highest resident size so far, as the kernel kept it: not a sampled figure.
pub(crate) fn peak_rss_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    Some(kib_after(&status, "VmHWM:")? * 1024)
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
