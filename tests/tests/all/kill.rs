//! A program dies while four threads record: everything whose call had returned is there, once and whole.

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Output;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tidegauge_schemas::process::Ended;
use tidegauge_schemas::{Error, Trace};
use tidegauge_tests::deed::EXIT_STATUS;
use tidegauge_tests::programs::{output_of, program, say};

use crate::victim::{Victim, kill, listing};

const THREADS: usize = 4;
/// Events per millisecond and thread: all together, a chunk is full every few milliseconds.
const RATE: u64 = 1000;
/// Kills unless TIDEGAUGE_KILLS says otherwise; `make soak` does.
const KILLS: u64 = 200;
/// Victims at a time.
const AT_ONCE: usize = 2;

fn victim(folder: &Path, name: &str) -> Victim {
    Victim::new(folder, name, THREADS, RATE)
}

/// A number from 0 to 1 for each `number`, evenly spread however many are taken: multiples of the golden ratio.
fn spread(number: u64) -> f64 {
    (number as f64 * 0.618_033_988_749_895).fract()
}

/// Every event is there before and after recovery, and a second recovery changes nothing. Returns their number.
fn check(victim: &Victim) -> u64 {
    let before = victim.found();
    assert_eq!(before.ended, Ended::Killed);
    let events = before.assert_complete(&victim.counts());
    let recover = || output_of(program("tidegauge-record").arg("recover").arg(&victim.run));
    let _ = recover();
    assert_eq!(victim.found(), before, "recovery changes nothing that is read");
    let recovered = listing(&victim.run);
    let _ = recover();
    assert!(listing(&victim.run) == recovered, "a second recovery changes nothing");
    let names =
        recovered.iter().map(|(path, _)| path.strip_prefix(&victim.run).unwrap().display().to_string());
    let names = names.collect::<Vec<_>>();
    assert!(names.iter().all(|name| !name.contains("journal")), "{names:?}");
    assert!(names.iter().all(|name| !name.contains(".tmp")), "nothing half written stays: {names:?}");
    std::fs::remove_dir_all(&victim.run).unwrap();
    events
}

#[test]
fn nothing_is_lost_by_sigkill() {
    let kills = std::env::var("TIDEGAUGE_KILLS").map_or(KILLS, |number| number.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let (next, events) = (AtomicU64::new(0), AtomicU64::new(0));
    let kill_one = |number: u64| {
        let victim = victim(folder.path(), &number.to_string());
        let child = victim.start_and_record(1);
        // Moments that fall into every part of a chunk's life: most when the first chunks fill, a few after several
        // parts have been sealed.
        std::thread::sleep(Duration::from_millis(900).mul_f64(spread(number).powi(8)));
        kill(child);
        events.fetch_add(check(&victim), Ordering::Relaxed);
    };
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let number = next.fetch_add(1, Ordering::Relaxed)
                    && number < kills
                {
                    kill_one(number);
                }
            });
        }
    });
    say(&format!("{kills} kills, {} events, none lost", events.into_inner()));
}

/// The recorder makes its folders and files one by one; a kill between any two leaves nothing that trips a reader.
#[test]
fn a_kill_before_the_first_record_trips_no_reader() {
    let folder = tempfile::tempdir().unwrap();
    let mut traces = 0;
    for number in 0..60 {
        let victim = victim(folder.path(), &number.to_string());
        let child = victim.start();
        std::thread::sleep(Duration::from_millis(12).mul_f64(spread(number)));
        kill(child);
        let run = |name: &str, verb: &str| program(name).arg(verb).arg(&victim.run).output().unwrap();
        let says = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
        match Trace::open(&victim.run) {
            Err(error) => {
                assert!(matches!(error, Error::NotATrace { .. }), "{error}");
                assert_eq!(victim.counts().get(0), 0, "what was recorded lies in a trace");
                assert!(!says(&run("tidegauge-record", "recover")).contains("panicked"));
                continue;
            }
            Ok(trace) if trace.processes().is_empty() => continue,
            Ok(_) => traces += 1,
        }
        let is_begun = victim.counts().get(0) > 0;
        let process = victim.process();
        // Before it has said who it is and made a journal, there is nothing to tell by.
        assert!(process.ended == Ended::Killed || (!is_begun && process.ended == Ended::Unknown));
        assert!(process.damage.is_empty() || !is_begun, "{:?}", process.damage);
        for attempt in 0..2 {
            let recovered = run("tidegauge-record", "recover");
            assert!(recovered.status.success(), "attempt {attempt}: {}", says(&recovered));
            let summary = run("tidegauge", "summary");
            assert!(summary.status.success(), "attempt {attempt}: {}", says(&summary));
        }
        if is_begun {
            victim.found().assert_complete(&victim.counts());
        }
    }
    say(&format!("{traces} of 60 kills left a trace"));
    assert!(traces > 0, "all moments were too early");
}

/// Lets a victim die by `deed` and returns it with its status: the signal, negated, or what it exited with.
fn die(folder: &Path, deed: &str) -> (Victim, i32) {
    // In the middle of the eleventh chunk: some are sealed, some are not.
    let victim = victim(folder, deed).deed(deed, 90_000);
    let status = victim.finish();
    assert!(victim.counts().get(0) == 90_000 || deed.contains("main") || deed.contains("forgotten"));
    (victim, status.code().or_else(|| Some(-status.signal()?)).unwrap())
}

#[test]
fn nothing_is_lost_by_other_deaths() {
    let folder = tempfile::tempdir().unwrap();
    for (deed, status) in [
        ("abort", -libc::SIGABRT),
        ("segfault", -libc::SIGSEGV),
        ("_exit", EXIT_STATUS),
        ("exit", EXIT_STATUS),
        ("panic_forgotten", 101),
    ] {
        let (victim, ended) = die(folder.path(), deed);
        assert_eq!(ended, status, "{deed}:\n{}", victim.errors());
        assert!(check(&victim) >= 90_000, "{deed}");
    }
}

#[test]
fn a_panic_that_unwinds_through_the_recorder_closes_the_trace() {
    let folder = tempfile::tempdir().unwrap();
    let (victim, status) = die(folder.path(), "panic_in_main");
    assert_eq!(status, 101, "{}", victim.errors());
    let found = victim.found();
    assert_eq!(found.ended, Ended::Clean);
    // The other threads go on for a moment after the recorder has stopped: their later calls are not recorded.
    found.assert_without_gaps();
    assert!(found.rows() >= 90_000);
    assert!(victim.process().journal().is_none());
}

#[test]
fn a_thread_that_panics_or_ends_takes_nothing_with_it() {
    let folder = tempfile::tempdir().unwrap();
    for deed in ["panic", "end"] {
        let victim = victim(folder.path(), deed).events(200_000).deed(deed, 90_000);
        let status = victim.finish();
        assert!(status.success(), "{deed}:\n{}", victim.errors());
        let counts = victim.counts();
        let got = (0..THREADS).map(|thread| counts.get(thread)).collect::<Vec<_>>();
        assert_eq!(got, [90_000, 200_000, 200_000, 200_000], "{deed}: the others went on");
        let found = victim.found();
        assert_eq!((found.ended, found.losses.uncommitted_records), (Ended::Clean, 0), "{deed}");
        assert_eq!(found.assert_complete(&counts), 690_000, "{deed}");
    }
}

#[test]
fn as_many_threads_as_one_likes() {
    const MANY: usize = 64;
    let folder = tempfile::tempdir().unwrap();
    let ends = Victim::new(folder.path(), "ends", MANY, 100).events(5000);
    ends.assert_went_on(ends.finish(), 5000);
    let found = ends.found();
    assert_eq!((found.ended, found.assert_complete(&ends.counts())), (Ended::Clean, MANY as u64 * 5000));
    let killed = Victim::new(folder.path(), "killed", MANY, 100);
    kill(killed.start_and_record(3000));
    assert!(check(&killed) >= MANY as u64 * 3000);
}
