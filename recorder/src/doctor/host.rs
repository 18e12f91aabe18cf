//! Clock, file system, processes, node and control group.

use std::path::Path;

use rustix::process::Resource;
use tidegauge_schemas::journal::ClockSource;
use tidegauge_schemas::metrics;

use super::{Check, Status};
use crate::probes::cgroup_folder::CgroupVersion;
use crate::probes::collected::Collected;
use crate::probes::process::{ProcessProbe, stat_of};
use crate::probes::{CgroupProbe, NodeProbe};
use crate::run_folder;

/// Processes for which one wants to have descriptors.
const MANY_PROCESSES: u64 = 200;
/// Descriptors that each takes if its files are kept open.
const FILES_PER_PROCESS: u64 = 3;

pub(super) fn clock(source: ClockSource) -> Check {
    match source {
        ClockSource::Tsc => Check::works("clock", "time stamps are read from the processor's cycle counter"),
        ClockSource::Monotonic => Check::limited(
            "clock",
            "time stamps are asked of the kernel (clock_gettime): a record takes some 20 ns longer, far more on some \
             virtual machines",
            "nothing, or boot with clocksource=tsc if the processor's counter is stable",
        ),
    }
}

/// Where a trace is to go, or the next folder above that exists.
pub(super) fn folder(wished: &Path) -> Check {
    const NAME: &str = "folder";
    let absolute = std::path::absolute(wished).unwrap_or_else(|_| wished.to_owned());
    let Some(folder) = absolute.ancestors().find(|folder| folder.exists()) else {
        return Check::missing(
            NAME,
            format!("nothing exists of {}", wished.display()),
            "name another folder",
        );
    };
    let shown = folder.display();
    if !folder.is_dir() {
        return Check::missing(NAME, format!("{shown} is a file"), "name a folder");
    }
    if let Err(error) = rustix::fs::access(folder, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK)
    {
        return Check::missing(
            NAME,
            format!("nothing can be written in {shown} ({error})"),
            "name another folder",
        );
    }
    let Ok(stat) = rustix::fs::statfs(folder) else {
        return Check::limited(NAME, format!("the file system of {shown} says nothing of itself"), "try it");
    };
    let free_mib = u64::try_from(stat.f_bsize).unwrap_or(0).saturating_mul(stat.f_bavail) >> 20;
    let cap_mib = crate::DEFAULT_JOURNAL_CAP_BYTES >> 20;
    if let Some(kind) = run_folder::unreliable(&stat) {
        let finding = format!(
            "{shown} is on {kind}, which does not reserve space that is allocated: the journal goes to a local folder \
             (/dev/shm), the trace comes here, {free_mib} MiB are free"
        );
        let advice = "record to a local file system if the node may be gone after a crash: what is in the journal is \
                      lost with it";
        return Check::limited(NAME, finding, advice);
    }
    if free_mib < cap_mib {
        let finding = format!("{free_mib} MiB are free in {shown}; the journal alone may take {cap_mib} MiB");
        return Check::limited(NAME, finding, "make room: on a full disk records are dropped and counted");
    }
    Check::works(NAME, format!("{shown} can be written and keeps a journal, {free_mib} MiB are free"))
}

/// What can be seen of other processes.
pub(super) fn processes() -> Check {
    const NAME: &str = "processes";
    let own = ProcessProbe::open(std::process::id()).and_then(|probe| Ok((probe.memory()?, probe.usage()?)));
    if let Err(error) = own {
        let advice = "mount proc at /proc";
        return Check::missing(NAME, format!("/proc does not show this very process ({error})"), advice);
    }
    // With hidepid, the first process of the machine or container is hidden from all but root.
    match stat_of(1) {
        Ok(_) => {
            Check::works(NAME, "every process can be seen in /proc, with memory, faults and processor time")
        }
        Err(_) => Check::limited(
            NAME,
            "processes of other users are hidden (/proc is mounted with hidepid)",
            "nothing, as long as what is recorded runs as the same user; else record as root",
        ),
    }
}

pub(super) fn descriptors() -> Check {
    descriptors_of(rustix::process::getrlimit(Resource::Nofile).current)
}

/// Half of the limit is used for files that are kept open.
fn descriptors_of(limit: Option<u64>) -> Check {
    const NAME: &str = "open files";
    let processes = limit.map_or(u64::MAX, |limit| limit / 2 / FILES_PER_PROCESS);
    let limit = limit.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string());
    if processes >= MANY_PROCESSES {
        return Check::works(
            NAME,
            format!("limit {limit}: enough to keep the files of {MANY_PROCESSES} processes open"),
        );
    }
    Check::limited(
        NAME,
        format!(
            "limit {limit}: files of some {processes} processes are kept open, those of more cost longer to sample"
        ),
        "ulimit -n 4096, if trees of more processes are recorded",
    )
}

pub(super) fn privileges() -> Check {
    Check::works(
        "privileges",
        "none are needed for processes of the same user: neither root nor ptrace nor performance events",
    )
}

/// Memory of the node, and how long tasks wait for it.
pub(super) fn node() -> [Check; 2] {
    let (mut probe, mut sink) = (NodeProbe::new(), Collected::default());
    probe.sample(&mut sink);
    let total = sink.of(metrics::MEMORY_TOTAL).first().copied();
    let memory = match total {
        Some(bytes) => Check::works("node", format!("{:.1} GiB of memory", bytes / f64::from(1 << 30))),
        None => Check::missing("node", sink.notes.join("; "), "mount proc at /proc"),
    };
    let pressure = if probe.has_pressure() {
        Check::works("pressure", "the kernel says how long tasks wait for memory")
    } else {
        Check::missing(
            "pressure",
            "the kernel does not say how long tasks wait for memory (/proc/pressure/memory)",
            "boot with psi=1, if that matters; needs Linux 4.20",
        )
    };
    [memory, pressure]
}

/// Limits of the control group and whether a kill for want of memory can be told from another.
pub(super) fn cgroup() -> [Check; 2] {
    let mut sink = Collected::default();
    let probe = CgroupProbe::of(std::process::id(), &mut sink);
    let Some(mut probe) = probe else {
        return cgroup_missing(&sink.notes.join("; "));
    };
    probe.sample(&mut sink);
    let version = match probe.version() {
        CgroupVersion::One => "version 1",
        CgroupVersion::Two => "version 2",
    };
    let limit = probe.limit_bytes().map_or_else(
        || "no limit".to_owned(),
        |bytes| format!("limit {:.1} GiB", bytes as f64 / f64::from(1 << 30)),
    );
    let finding = format!("{} ({version}): {limit}", probe.folder().display());
    let group = match probe.version() {
        CgroupVersion::Two => Check::works("control group", finding),
        CgroupVersion::One => Check::limited(
            "control group",
            format!("{finding}; no pressure of the group, and no kills in groups below it"),
            "boot with systemd.unified_cgroup_hierarchy=1 for version 2",
        ),
    };
    let kills = if probe.oom_kills().is_some() {
        Check::works("kills", "the control group counts kills for want of memory: they are told from others")
    } else {
        kills_unknown("the control group does not count kills for want of memory".to_owned())
    };
    [group, kills]
}

fn cgroup_missing(why: &str) -> [Check; 2] {
    let advice = "start it in a group of its own: systemd-run --user --scope tidegauge-record …";
    let group = Check { status: Status::Limited, ..Check::missing("control group", why, advice) };
    [group, kills_unknown("no control group counts kills for want of memory".to_owned())]
}

fn kills_unknown(finding: String) -> Check {
    Check::limited(
        "kills",
        finding,
        "whether a SIGKILL was the kernel's for want of memory is then in its log only (dmesg)",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_are_told_apart() {
        assert_eq!(clock(ClockSource::Tsc).status, Status::Works);
        assert_eq!(clock(ClockSource::Monotonic).status, Status::Limited);
    }

    #[test]
    fn a_folder_is_judged_by_what_exists_of_it() {
        let place = tempfile::tempdir().unwrap();
        let missing = folder(&place.path().join("a/b/c"));
        assert_ne!(missing.status, Status::Missing, "{missing:?}");
        assert!(missing.finding.contains(&place.path().display().to_string()), "{missing:?}");
        let file = place.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert_eq!(folder(&file).status, Status::Missing);
        assert_eq!(folder(&file.join("below")).status, Status::Missing);
    }

    #[test]
    fn few_descriptors_are_a_limit() {
        for (limit, status) in [
            (None, Status::Works),
            (Some(1 << 20), Status::Works),
            (Some(1200), Status::Works),
            (Some(1199), Status::Limited),
            (Some(0), Status::Limited),
        ] {
            assert_eq!(descriptors_of(limit).status, status, "{limit:?}");
        }
    }

    #[test]
    fn without_a_control_group_kills_cannot_be_told() {
        let checks = cgroup_missing("none");
        assert!(checks.iter().all(|check| check.status == Status::Limited && check.advice.is_some()));
    }
}
