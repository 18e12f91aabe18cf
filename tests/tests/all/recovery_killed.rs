//! Recovery that is itself killed: at each of its system calls that change files, and at moments that nobody chose.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tidegauge_schemas::process::Ended;
use tidegauge_schemas::{Table, Trace};
use tidegauge_tests::deed::EXIT_STATUS;
use tidegauge_tests::programs::{Running, output_of, program, say};
use tidegauge_tests::traced::{TracedEnd, run_traced};

use crate::victim::{Found, Victim, folder_in_memory, listing};

const THREADS: usize = 2;

fn recover(run: &Path) -> Command {
    let mut command = program("tidegauge-record");
    command.arg("recover").arg(run).stderr(Stdio::null());
    command
}

fn found(run: &Path) -> Found {
    let trace = Trace::open(run).unwrap();
    Found::read(&trace.process(trace.processes()[0]).unwrap(), THREADS)
}

/// A trace whose journal holds all of at least so many events, since none could be sealed before the program died.
fn killed_trace(folder: &Path, events: u64) -> (PathBuf, Found) {
    let victim = Victim::new(folder, "killed", THREADS, 250).deed("_exit", events);
    // Sites are sealed first, and cannot be while a file is where their folder should be.
    let in_the_way = victim.run.join("sites");
    let mut child = victim.start_and_record(1);
    std::fs::write(&in_the_way, "").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(EXIT_STATUS), "{}", victim.errors());
    std::fs::remove_file(&in_the_way).unwrap();
    let before = victim.found();
    assert_eq!(before.ended, Ended::Killed);
    before.assert_complete(&victim.counts());
    assert!(victim.process().parts(Table::Events).is_empty());
    (victim.run, before)
}

/// A copy of a trace. Files are linked: recovery replaces and removes files, and never writes into one that is there.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::hard_link(entry.path(), target).unwrap();
        }
    }
}

/// What a killed recovery left is complete, and a repeated one finishes.
fn check(run: &Path, before: &Found, killed: &str) {
    let after_kill = found(run);
    assert_eq!(&after_kill, before, "killed {killed}");
    let _ = output_of(recover(run).stderr(Stdio::piped()));
    assert_eq!(&found(run), before, "killed {killed}, then repeated");
    let files = listing(run);
    let names = files.iter().map(|(path, _)| path.strip_prefix(run).unwrap().display().to_string());
    let left: Vec<String> = names.filter(|name| name.contains("journal") || name.contains(".tmp")).collect();
    assert_eq!(left, Vec::<String>::new(), "killed {killed}, then repeated: left over");
}

#[test]
fn recovery_can_be_killed_at_each_of_its_system_calls() {
    let folder = folder_in_memory();
    let (pristine, before) = killed_trace(folder.path(), 40_000);
    let mut killed: BTreeMap<&str, u64> = BTreeMap::new();
    for kill_at in 0.. {
        let run = folder.path().join(format!("copy-{kill_at}"));
        copy(&pristine, &run);
        match run_traced(&mut recover(&run), kill_at) {
            Err(error) => {
                say(&format!("SKIPPED: tracing is not permitted here: {error}"));
                return;
            }
            Ok(TracedEnd::KilledBefore(call)) => {
                *killed.entry(call).or_default() += 1;
                check(&run, &before, &format!("before its call {kill_at}, {call}"));
            }
            Ok(TracedEnd::After(calls, is_fine)) => {
                assert!(is_fine && calls == kill_at, "it ended by itself after {calls} calls");
                break;
            }
        }
        std::fs::remove_dir_all(&run).unwrap();
    }
    say(&format!("killed before each of {killed:?}"));
    for call in ["fsync", "openat", "write"] {
        assert!(killed.get(call).is_some_and(|times| *times > 3), "{call}: {killed:?}");
    }
}

#[test]
fn recovery_can_be_killed_at_any_moment_and_again() {
    let folder = tempfile::tempdir().unwrap();
    let (pristine, before) = killed_trace(folder.path(), 600_000);
    let run = folder.path().join("copy");
    let start = Instant::now();
    copy(&pristine, &run);
    let _ = output_of(recover(&run).stderr(Stdio::piped()));
    let whole = start.elapsed();
    std::fs::remove_dir_all(&run).unwrap();
    // Recovery after recovery, each with a little more time, until one gets through.
    copy(&pristine, &run);
    let mut kills = 0;
    loop {
        let mut child = Running::start(&mut recover(&run));
        let until = Instant::now() + whole.mul_f64(f64::from(kills) / 16.0);
        while Instant::now() < until && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_micros(100));
        }
        let _ = child.kill();
        // It may have got through after all.
        if child.wait().unwrap().signal().is_none() {
            break;
        }
        kills += 1;
        assert_eq!(found(&run), before, "killed {kills} times");
    }
    say(&format!("killed {kills} times within {whole:?}"));
    assert!(kills >= 4, "it was too fast for the test: {whole:?}");
    check(&run, &before, "many times");
}
