//! The control group that a process is in: what it may use, what it uses, how often the kernel killed in it.
//!
//! Its files are kept open. The group is the one that the process was in at the beginning; limits above the mount
//! point, which a container does not see, are not known.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use tidegauge_schemas::metrics::{self, Metric};

use super::cgroup_folder::{CgroupFolder, CgroupVersion};
use super::pressure::Pressure;
use super::{Reading, Sink};

/// From here on a limit means that there is none: version 1 gives the largest multiple of a page for it.
const NO_LIMIT_BYTES: u64 = 1 << 62;

/// A control group with memory accounting.
#[derive(Debug)]
pub(crate) struct CgroupProbe {
    version: CgroupVersion,
    folder: PathBuf,
    current: Option<File>,
    peak: Option<File>,
    /// Version 2: swap. Version 1: memory and swap together.
    swap: Option<File>,
    /// Of the group and of those above it.
    limits: Vec<File>,
    events: Option<File>,
    pressure: Option<File>,
    is_loss_said: bool,
}

impl CgroupProbe {
    /// The control group that the process is in now. None, and a note, if it is in none that memory is accounted for in.
    pub(crate) fn of(pid: u32, sink: &mut dyn Sink) -> Option<Self> {
        let read = |path: String| std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"));
        let texts = read(format!("/proc/{pid}/cgroup"))
            .and_then(|cgroup| Ok((cgroup, read("/proc/self/mountinfo".to_owned())?)));
        let found = match texts {
            Ok((cgroup, mountinfo)) => CgroupFolder::find(&cgroup, &mountinfo)
                .ok_or_else(|| "the process is in none that memory is accounted for in".to_owned()),
            Err(error) => Err(error),
        };
        found
            .map(|folder| Self::at(&folder))
            .inspect_err(|why| sink.note(format!("no figures of a control group: {why}")))
            .ok()
    }

    fn at(folder: &CgroupFolder) -> Self {
        let own = folder.folders.first().cloned().unwrap_or_default();
        let file = |name: &str| File::open(own.join(name)).ok();
        let (current, peak, swap, limit, events) = match folder.version {
            CgroupVersion::Two => {
                ("memory.current", "memory.peak", "memory.swap.current", "memory.max", "memory.events")
            }
            CgroupVersion::One => (
                "memory.usage_in_bytes",
                "memory.max_usage_in_bytes",
                "memory.memsw.usage_in_bytes",
                "memory.limit_in_bytes",
                "memory.oom_control",
            ),
        };
        Self {
            version: folder.version,
            current: file(current),
            peak: file(peak),
            swap: file(swap),
            limits: folder.folders.iter().filter_map(|folder| File::open(folder.join(limit)).ok()).collect(),
            events: file(events),
            pressure: file("memory.pressure"),
            folder: own,
            is_loss_said: false,
        }
    }

    /// Its folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The version of its interface.
    pub(crate) fn version(&self) -> CgroupVersion {
        self.version
    }

    /// Hands on what it uses and may use. Costs some ten microseconds.
    pub(crate) fn sample(&mut self, sink: &mut dyn Sink) {
        let mut hand_on = |metric: Metric, value: Option<f64>| {
            if let Some(value) = value {
                sink.reading(Reading { metric, device: -1, pid: None, value });
            }
        };
        let bytes = |file: &Option<File>| number(&text(file.as_ref()?)?);
        let current = bytes(&self.current);
        let swap = match self.version {
            CgroupVersion::Two => bytes(&self.swap),
            CgroupVersion::One => {
                bytes(&self.swap).zip(current).map(|(both, memory)| both.saturating_sub(memory))
            }
        };
        hand_on(metrics::CGROUP_CURRENT, current.map(|bytes| bytes as f64));
        hand_on(metrics::CGROUP_PEAK, bytes(&self.peak).map(|bytes| bytes as f64));
        hand_on(metrics::CGROUP_SWAP, swap.map(|bytes| bytes as f64));
        hand_on(metrics::CGROUP_LIMIT, self.limit_bytes().map(|bytes| bytes as f64));
        hand_on(metrics::CGROUP_OOM_KILLS, self.oom_kills().map(|kills| kills as f64));
        let pressure = self.pressure.as_ref().and_then(text).and_then(|text| Pressure::parse(&text));
        hand_on(metrics::CGROUP_PSI_MEMORY_SOME, pressure.map(|pressure| pressure.some_percent));
        hand_on(metrics::CGROUP_PSI_MEMORY_FULL, pressure.and_then(|pressure| pressure.full_percent));
        if current.is_none() && !std::mem::replace(&mut self.is_loss_said, true) {
            sink.note(format!("the control group can be read no more: {}", self.folder.display()));
        }
    }

    /// The smallest limit of the group and of those above it; none if there is none.
    pub(crate) fn limit_bytes(&self) -> Option<u64> {
        let limits = self.limits.iter().filter_map(|file| number(&text(file)?));
        limits.filter(|limit| *limit < NO_LIMIT_BYTES).min()
    }

    /// Processes that the kernel has killed in it for want of memory, since the group was made; in groups below it too
    /// (version 2 only).
    pub(crate) fn oom_kills(&self) -> Option<u64> {
        let text = text(self.events.as_ref()?)?;
        number(text.lines().find_map(|line| line.strip_prefix("oom_kill "))?)
    }
}

/// A file's text; all of these are short.
fn text(file: &File) -> Option<String> {
    let mut text = [0; 512];
    let length = file.read_at(&mut text, 0).ok()?;
    Some(std::str::from_utf8(text.get(..length)?).ok()?.to_owned())
}

/// A number; `max`, which stands for no limit, is none.
fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probes::collected::Collected;

    /// Groups `a/b` below a root, with files.
    fn folder(version: CgroupVersion, files: &[(&str, &str)]) -> (tempfile::TempDir, CgroupFolder) {
        let root = tempfile::tempdir().unwrap();
        let own = root.path().join("a/b");
        std::fs::create_dir_all(&own).unwrap();
        for (name, text) in files {
            std::fs::write(own.join(name), text).unwrap();
        }
        let folders = vec![own, root.path().join("a"), root.path().to_owned()];
        (root, CgroupFolder { version, folders })
    }

    fn sampled(probe: &mut CgroupProbe) -> Vec<(&'static str, f64)> {
        let mut sink = Collected::default();
        probe.sample(&mut sink);
        assert_eq!(sink.notes, Vec::<String>::new());
        sink.readings.iter().map(|reading| (reading.metric.name, reading.value)).collect()
    }

    #[test]
    fn version_2_is_read_and_read_again() {
        let (root, folder) = folder(
            CgroupVersion::Two,
            &[
                ("memory.current", "1000\n"),
                ("memory.peak", "2000\n"),
                ("memory.swap.current", "30\n"),
                ("memory.max", "max\n"),
                ("memory.events", "low 0\nhigh 0\nmax 5\noom 1\noom_kill 2\noom_group_kill 0\n"),
                ("memory.pressure", "some avg10=1.50 avg60=0 avg300=0 total=0\nfull avg10=0.25 avg60=0\n"),
            ],
        );
        std::fs::write(root.path().join("a/memory.max"), "4096\n").unwrap();
        let mut probe = CgroupProbe::at(&folder);
        let expected = [
            ("cgroup_current_bytes", 1000.0),
            ("cgroup_peak_bytes", 2000.0),
            ("cgroup_swap_bytes", 30.0),
            ("cgroup_limit_bytes", 4096.0),
            ("cgroup_oom_kills", 2.0),
            ("cgroup_psi_memory_some_percent", 1.5),
            ("cgroup_psi_memory_full_percent", 0.25),
        ];
        assert_eq!(sampled(&mut probe), expected);
        std::fs::write(root.path().join("a/b/memory.current"), "1500\n").unwrap();
        std::fs::write(root.path().join("a/b/memory.max"), "3000\n").unwrap();
        std::fs::write(root.path().join("a/b/memory.events"), "oom 9\noom_kill 7\n").unwrap();
        assert_eq!(sampled(&mut probe)[0], ("cgroup_current_bytes", 1500.0));
        assert_eq!((probe.limit_bytes(), probe.oom_kills()), (Some(3000), Some(7)));
    }

    #[test]
    fn version_1_says_the_same_in_other_words() {
        let (_root, folder) = folder(
            CgroupVersion::One,
            &[
                ("memory.usage_in_bytes", "1000\n"),
                ("memory.max_usage_in_bytes", "2000\n"),
                ("memory.memsw.usage_in_bytes", "1030\n"),
                ("memory.limit_in_bytes", "9223372036854771712\n"),
                ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"),
            ],
        );
        let expected = [
            ("cgroup_current_bytes", 1000.0),
            ("cgroup_peak_bytes", 2000.0),
            ("cgroup_swap_bytes", 30.0),
            ("cgroup_oom_kills", 3.0),
        ];
        assert_eq!(sampled(&mut CgroupProbe::at(&folder)), expected);
    }

    #[test]
    fn what_is_missing_or_garbage_is_absent() {
        let files = [("memory.current", "5"), ("memory.peak", "many"), ("memory.events", "oom_kill -1\n")];
        let (_root, folder) = folder(CgroupVersion::Two, &files);
        let mut probe = CgroupProbe::at(&folder);
        assert_eq!(sampled(&mut probe), [("cgroup_current_bytes", 5.0)]);
        assert_eq!((probe.limit_bytes(), probe.oom_kills()), (None, None));
    }

    #[test]
    fn a_group_that_is_gone_is_said_once() {
        let (_root, folder) = folder(CgroupVersion::Two, &[]);
        let (mut probe, mut sink) = (CgroupProbe::at(&folder), Collected::default());
        (0..3).for_each(|_| probe.sample(&mut sink));
        assert!(sink.readings.is_empty());
        assert_eq!(sink.notes.len(), 1, "{:?}", sink.notes);
    }

    /// Whatever this machine has: a group with figures that hold together, or a note.
    #[test]
    fn this_process_is_in_a_group_or_it_is_said() {
        let mut sink = Collected::default();
        let probe = CgroupProbe::of(std::process::id(), &mut sink);
        let Some(mut probe) = probe else {
            assert_eq!(sink.notes.len(), 1);
            return;
        };
        probe.sample(&mut sink);
        assert_eq!(sink.notes, Vec::<String>::new());
        let current = sink.of(metrics::CGROUP_CURRENT);
        assert!(current.iter().all(|bytes| *bytes > 0.0) && current.len() == 1);
    }

    #[test]
    fn a_process_that_is_not_there_is_in_no_group() {
        let mut sink = Collected::default();
        assert!(CgroupProbe::of(u32::MAX, &mut sink).is_none());
        assert_eq!(sink.notes.len(), 1);
    }
}
