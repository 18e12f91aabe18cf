//! Processes that come of a recorded one, and several that record into one run.

use std::path::{Path, PathBuf};

use tidegauge_schemas::Trace;
use tidegauge_schemas::process::Ended;
use tidegauge_tests::deed::CHILD_COUNTER;
use tidegauge_tests::programs::{output_of, program, wait_until};

use crate::victim::{Found, Victim, kill};

/// A process that nobody waits for; killed when dropped.
struct Orphan {
    pid: libc::pid_t,
}

impl Orphan {
    /// The child that a victim says it has.
    fn of(victim: &Victim) -> Self {
        let counts = victim.counts();
        wait_until("there is a child", || counts.get(CHILD_COUNTER) > 0);
        Self { pid: i32::try_from(counts.get(CHILD_COUNTER)).unwrap() }
    }

    fn lives(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid));
        stat.is_ok_and(|stat| !stat.rsplit_once(')').unwrap().1.trim_start().starts_with('Z'))
    }

    fn open_files(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(format!("/proc/{}/fd", self.pid)).unwrap();
        entries.map(|entry| std::fs::read_link(entry.unwrap().path()).unwrap()).collect()
    }
}

impl Drop for Orphan {
    fn drop(&mut self) {
        // SAFETY: it takes numbers; the pid is that of a process which a victim of this test has made, and which ends
        // by nothing else while the test lasts.
        unsafe { libc::kill(self.pid, libc::SIGKILL) };
    }
}

#[test]
fn a_forked_child_forgets_the_recorder() {
    let folder = tempfile::tempdir().unwrap();
    let victim = Victim::new(folder.path(), "fork", 4, 1000).events(100_000).deed("fork", 50_000);
    // The victim asks how the child ended, and panics if that was not well.
    victim.assert_went_on(victim.finish(), 100_000);
    Trace::open(&victim.run).unwrap().validate().unwrap();
    let found = victim.found();
    assert_eq!((found.ended, found.losses.uncommitted_records), (Ended::Clean, 0));
    assert_eq!(found.assert_complete(&victim.counts()), 400_000, "and none of the child's");
}

#[test]
fn a_forked_child_can_record_a_run_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let victim = Victim::new(folder.path(), "fork", 4, 1000).events(100_000).deed("fork_record", 50_000);
    victim.assert_went_on(victim.finish(), 100_000);
    assert_eq!(victim.found().assert_complete(&victim.counts()), 400_000);
    let run = victim.run.with_extension("child");
    let trace = Trace::open(&run).unwrap();
    trace.validate().unwrap();
    let process = trace.process(trace.processes()[0]).unwrap();
    let found = Found::read(&process, 1);
    assert_eq!((found.ended, found.rows()), (Ended::Clean, 100_000));
    assert!(found.has_all(0, 0..100_000));
    let (pid, parent) = (process.info.unwrap().pid, victim.process().info.unwrap().pid);
    assert_ne!(pid, parent);
}

/// Kills a victim whose child lives on: its trace must not be taken for one that is still recorded.
fn kill_before_child(folder: &Path, deed: &str) -> (Victim, Orphan) {
    let victim = Victim::new(folder, deed, 4, 1000).deed(deed, 50_000);
    let child = victim.start();
    let orphan = Orphan::of(&victim);
    wait_until("the victim goes on", || victim.counts().get(0) > 60_000);
    kill(child);
    let found = victim.found();
    assert_eq!(found.ended, Ended::Killed);
    found.assert_complete(&victim.counts());
    let _ = output_of(program("tidegauge-record").arg("recover").arg(&victim.run));
    assert_eq!(victim.found(), found);
    assert!(orphan.lives(), "all this with the child there");
    (victim, orphan)
}

#[test]
fn a_forked_child_that_lives_on_does_not_record_on() {
    let folder = tempfile::tempdir().unwrap();
    let _ = kill_before_child(folder.path(), "fork_stay");
}

#[test]
fn a_program_that_the_victim_runs_inherits_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (victim, orphan) = kill_before_child(folder.path(), "exec_stay");
    let files = orphan.open_files();
    assert!(!files.is_empty());
    let inherited: Vec<_> = files.iter().filter(|path| path.starts_with(&victim.run)).collect();
    assert!(inherited.is_empty(), "{inherited:?}");
    assert!(!files.iter().any(|path| path.ends_with("statm")), "{files:?}");
}

#[test]
fn two_processes_share_a_run_and_restarts_join_it() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let victim = |name: &str| Victim::new(folder.path(), name, 2, 1000).into(run.clone());
    let both = [victim("one").events(100_000), victim("two").events(100_000)];
    let mut children = [both[0].start(), both[1].start()];
    for (victim, child) in both.iter().zip(&mut children) {
        victim.assert_went_on(child.wait().unwrap(), 100_000);
    }
    let killed = victim("killed");
    kill(killed.start_and_record(50_000));
    // Into the folder that the killed one has left as it was.
    let restarted = victim("restarted").events(100_000);
    restarted.assert_went_on(restarted.finish(), 100_000);

    let check = || {
        let trace = Trace::open(&run).unwrap();
        trace.validate().unwrap();
        let ids: Vec<u32> = trace.processes().iter().map(|id| id.process).collect();
        assert_eq!(ids, [0, 1, 2, 3]);
        let found: Vec<Found> =
            trace.processes().iter().map(|&id| Found::read(&trace.process(id).unwrap(), 2)).collect();
        assert_eq!(found.iter().map(|found| found.ended).collect::<Vec<_>>(), {
            [Ended::Clean, Ended::Clean, Ended::Killed, Ended::Clean]
        });
        for (found, victim) in found.iter().zip([&both[0], &both[1], &killed, &restarted]) {
            found.assert_complete(&victim.counts());
        }
    };
    check();
    let _ = output_of(program("tidegauge-record").arg("recover").arg(&run));
    check();
    let pids = |trace: &Trace| -> std::collections::BTreeSet<u32> {
        let pid = |&id| trace.process(id).unwrap().info.unwrap().pid;
        trace.processes().iter().map(pid).collect()
    };
    assert_eq!(pids(&Trace::open(&run).unwrap()).len(), 4);
}
