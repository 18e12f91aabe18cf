//! One process, as `/proc` shows it: memory from `statm`, the rest from `stat` and `status`.
//!
//! A process whose first thread has ended while others go on shows no memory (a quirk of the kernel) and counts as gone.

use std::io;
use std::sync::OnceLock;

use super::proc_file::{Keep, ProcFile};
use super::process_stat::{ProcessStat, status_bytes};

/// Memory of a process, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProcessMemory {
    pub(crate) virtual_bytes: u64,
    /// Resident, shared pages included.
    pub(crate) rss_bytes: u64,
    /// Resident pages that belong to files or shared memory.
    pub(crate) shared_bytes: u64,
}

impl ProcessMemory {
    /// Parses a `statm`, which counts pages.
    pub(crate) fn parse(statm: &[u8], page_bytes: u64) -> Option<Self> {
        let mut pages = std::str::from_utf8(statm).ok()?.split_ascii_whitespace();
        let mut next = || pages.next()?.parse::<u64>().ok()?.checked_mul(page_bytes);
        Some(Self { virtual_bytes: next()?, rss_bytes: next()?, shared_bytes: next()? })
    }
}

/// What of a process takes longer to read: tens of microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProcessUsage {
    /// Highest resident size, as the kernel kept it. It begins anew when the process becomes another program (`exec`).
    pub(crate) peak_rss_bytes: Option<u64>,
    pub(crate) swap_bytes: Option<u64>,
    /// User and system time since the process began, in steps of a clock tick.
    pub(crate) cpu_nanos: u64,
    pub(crate) minor_faults: u64,
    pub(crate) major_faults: u64,
    pub(crate) threads: u64,
}

/// A process, with its files open.
#[derive(Debug)]
pub(crate) struct ProcessProbe {
    start_ticks: u64,
    statm: ProcFile,
    stat: ProcFile,
    status: ProcFile,
}

impl ProcessProbe {
    /// The process that has this pid now.
    pub(crate) fn open(pid: u32) -> io::Result<Self> {
        // `statm` is read at every sample, the others once a second: when descriptors get scarce, they yield first.
        Self::open_keeping(pid, Keep::IfFewer { than_one_in: 1 }, Keep::IfFewer { than_one_in: 2 })
    }

    fn open_keeping(pid: u32, statm: Keep, others: Keep) -> io::Result<Self> {
        let statm = ProcFile::open(pid, "statm", statm)?;
        let stat = ProcFile::open(pid, "stat", others)?;
        let status = ProcFile::open(pid, "status", others)?;
        let start_ticks = read_stat(&stat)?.start_ticks;
        let probe = Self { start_ticks, statm, stat, status };
        // If it is still there now, the pid did not change hands between the opening of two files.
        probe.memory()?;
        Ok(probe)
    }

    /// When it began, in clock ticks since boot.
    pub(crate) fn start_ticks(&self) -> u64 {
        self.start_ticks
    }

    /// Its memory now: one system call, no heap, where the file is kept open.
    ///
    /// # Errors
    /// If it has ended, even if nobody has waited for it yet.
    pub(crate) fn memory(&self) -> io::Result<ProcessMemory> {
        // Seven numbers of at most 20 digits.
        let mut text = [0; 160];
        let text = self.statm.read(&mut text)?;
        let memory = ProcessMemory::parse(text, page_bytes()).ok_or_else(unintelligible)?;
        if memory.virtual_bytes == 0 {
            return Err(gone());
        }
        if !self.statm.is_kept() {
            self.identified_stat()?;
        }
        Ok(memory)
    }

    /// What takes longer to read.
    ///
    /// # Errors
    /// If it has ended.
    pub(crate) fn usage(&self) -> io::Result<ProcessUsage> {
        let mut text = vec![0; 4096];
        // Groups, which come before memory, can be many.
        while self.status.read(&mut text)?.len() == text.len() {
            text.resize(text.len() * 2, 0);
        }
        let stat = self.identified_stat()?;
        if stat.state == 'Z' {
            return Err(gone());
        }
        Ok(ProcessUsage {
            peak_rss_bytes: status_bytes(&text, "VmHWM"),
            swap_bytes: status_bytes(&text, "VmSwap"),
            cpu_nanos: nanos(stat.cpu_ticks),
            minor_faults: stat.minor_faults,
            major_faults: stat.major_faults,
            threads: stat.threads,
        })
    }

    /// Its `stat`, and no other's: what was read before this was its own.
    fn identified_stat(&self) -> io::Result<ProcessStat> {
        let stat = read_stat(&self.stat)?;
        if stat.start_ticks == self.start_ticks { Ok(stat) } else { Err(gone()) }
    }
}

/// The `stat` of the process that has this pid now.
pub(crate) fn stat_of(pid: u32) -> io::Result<ProcessStat> {
    read_stat(&ProcFile::open(pid, "stat", Keep::Never)?)
}

fn read_stat(file: &ProcFile) -> io::Result<ProcessStat> {
    // 52 numbers of at most 20 digits and a name.
    let mut text = [0; 1280];
    ProcessStat::parse(file.read(&mut text)?).ok_or_else(unintelligible)
}

fn gone() -> io::Error {
    rustix::io::Errno::SRCH.into()
}

fn unintelligible() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

fn page_bytes() -> u64 {
    static PAGE_BYTES: OnceLock<u64> = OnceLock::new();
    *PAGE_BYTES.get_or_init(|| rustix::param::page_size() as u64)
}

fn nanos(clock_ticks: u64) -> u64 {
    static TICKS_PER_SECOND: OnceLock<u64> = OnceLock::new();
    let per_second = *TICKS_PER_SECOND.get_or_init(|| rustix::param::clock_ticks_per_second().max(1));
    clock_ticks.saturating_mul(1_000_000_000 / per_second)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probes::test_process::TestProcess;

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_statm_counts_pages() {
        let parse = |text: &[u8]| ProcessMemory::parse(text, 4096);
        let memory = ProcessMemory { virtual_bytes: 4096 * 9, rss_bytes: 4096 * 5, shared_bytes: 4096 };
        assert_eq!(parse(b"9 5 1 2 0 3 0\n"), Some(memory));
        for garbage in [&b""[..], b"1 2", b"a b c", b"-1 2 3", b"1 2 18446744073709551615", b"1 \xff 2"] {
            assert_eq!(parse(garbage), None, "{garbage:?}");
        }
    }

    /// Every way to read agrees with the kernel's own peak, which grows with the memory that is touched.
    #[test]
    fn memory_that_is_touched_is_seen() {
        const TOUCHED: u64 = 64 * MIB;
        // Since Linux 6.2 the kernel counts pages per processor and adds them up now and then.
        const TOLERANCE: u64 = 2 * MIB;
        let mut child = TestProcess::start();
        let all = Keep::IfFewer { than_one_in: 1 };
        for (statm, others) in [(all, all), (all, Keep::Never), (Keep::Never, Keep::Never)] {
            let probe = ProcessProbe::open_keeping(child.pid(), statm, others).unwrap();
            let before = probe.memory().unwrap();
            child.ask(&format!("touch {TOUCHED}"));
            let after = probe.memory().unwrap();
            let usage = probe.usage().unwrap();
            let grown = after.rss_bytes - before.rss_bytes;
            assert!(grown.abs_diff(TOUCHED) <= TOLERANCE, "{grown}");
            assert!(
                usage.peak_rss_bytes.unwrap().abs_diff(after.rss_bytes) <= TOLERANCE,
                "{usage:?} {after:?}"
            );
            assert!(after.virtual_bytes - before.virtual_bytes >= TOUCHED);
            assert!(after.shared_bytes.abs_diff(before.shared_bytes) <= TOLERANCE, "it is its own");
            child.ask("forget");
            assert!(probe.memory().unwrap().rss_bytes <= before.rss_bytes + TOLERANCE);
            let peak = probe.usage().unwrap().peak_rss_bytes.unwrap();
            assert!(peak + TOLERANCE >= after.rss_bytes, "the peak stays");
        }
    }

    #[test]
    fn time_threads_and_faults_are_counted() {
        let mut child = TestProcess::start();
        let probe = ProcessProbe::open(child.pid()).unwrap();
        let before = probe.usage().unwrap();
        child.ask("thread");
        child.ask(&format!("touch {}", 8 * MIB));
        child.ask("burn 300");
        let after = probe.usage().unwrap();
        assert_eq!(after.threads, before.threads + 1);
        // 8 MiB are four faults if the kernel gives huge pages.
        assert!(after.minor_faults >= before.minor_faults + 4);
        let burnt = after.cpu_nanos - before.cpu_nanos;
        assert!((280_000_000..).contains(&burnt), "{burnt}");
    }

    #[test]
    fn one_that_has_ended_is_gone_before_and_after_it_was_waited_for() {
        for keep in [Keep::IfFewer { than_one_in: 1 }, Keep::Never] {
            let mut child = TestProcess::start();
            let probe = ProcessProbe::open_keeping(child.pid(), keep, keep).unwrap();
            child.end_without_waiting();
            assert!(probe.memory().is_err(), "a zombie");
            assert!(probe.usage().is_err(), "a zombie");
            child.wait();
            assert!(probe.memory().is_err() && probe.usage().is_err());
            assert!(ProcessProbe::open(child.pid()).is_err());
        }
    }

    #[test]
    fn another_process_with_the_pid_is_not_taken_for_it() {
        let pid = std::process::id();
        let mut probe = ProcessProbe::open_keeping(pid, Keep::Never, Keep::Never).unwrap();
        assert!(probe.memory().is_ok() && probe.usage().is_ok());
        probe.start_ticks += 1;
        assert!(probe.memory().is_err() && probe.usage().is_err());
    }
}
