//! What goes wrong around a recorder costs records, which are counted, and the program nothing.

use std::path::Path;

use tidegauge_recorder as tg;
use tidegauge_schemas::Trace;
use tidegauge_schemas::journal::{CONTROL_FILE, Control, Counter};
use tidegauge_schemas::process::Ended;
use tidegauge_tests::programs::{say, wait_until};

use crate::small_disk::SmallDisk;
use crate::victim::{Found, Victim, warnings};

/// Nobody, who owns nothing.
const NOBODY: u32 = 65534;

fn assert_warns(run: &Path, what: &str) {
    let warnings = warnings(run);
    assert!(warnings.iter().any(|warning| warning.contains(what)), "{what}: {warnings:?}");
}

/// Of a victim whose disk has been full to its end: what could not be recorded is missing and counted, the rest is
/// there.
fn assert_full_disk(victim: &Victim, called: u64) -> Found {
    Trace::open(&victim.run).unwrap().validate().unwrap();
    let found = victim.found();
    found.assert_counted(called);
    assert_warns(&victim.run, "records were dropped because the journal was full or could not grow");
    found
}

/// A counter of a process that records.
fn counted(run: &Path, counter: Counter) -> u64 {
    let control = run.join("_process/rank=0/process=0/journal").join(CONTROL_FILE);
    Control::read(&control).map_or(0, |control| control.counter(counter))
}

/// A file where the folder of the events' parts should be, before anything is recorded.
fn put_in_the_way(victim: &Victim) -> std::path::PathBuf {
    let file = victim.run.join("events");
    std::fs::create_dir(&victim.run).unwrap();
    std::fs::write(&file, "").unwrap();
    file
}

#[test]
fn a_full_disk_costs_records_and_nothing_else() {
    if !SmallDisk::is_permitted() {
        say("SKIPPED here, and injected by a test of its own: no mount namespace for this user");
        return;
    }
    say("a disk of 8 MiB");
    let folder = tempfile::tempdir().unwrap();
    let mut victim = Victim::new(folder.path(), "full", 2, 1000).events(900_000).goes_on();
    let (_disk, mut child) = SmallDisk::start(folder.path(), 8, 0, &mut victim);
    victim.assert_went_on(child.wait().unwrap(), 900_000);
    let found = assert_full_disk(&victim, 1_800_000);
    // Three chunks fit on the disk: what is more went through chunks that were sealed and used again.
    assert!(found.rows() > 150_000, "recording goes on while there is a little space: {}", found.rows());
}

#[test]
fn a_disk_that_is_full_at_the_end_has_room_for_the_last_parts() {
    if !SmallDisk::is_permitted() {
        say("SKIPPED: no mount namespace for this user");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    // All in the first chunk; the next ones have been made ready.
    let mut victim = Victim::new(folder.path(), "full", 2, 20).events(15_000).goes_on();
    let (disk, mut child) = SmallDisk::start(folder.path(), 16, 0, &mut victim);
    wait_until("chunks are there", || victim.counts().get(0) > 5000);
    let mut filler = std::fs::File::create(disk.path("filler")).unwrap();
    let full = std::io::copy(&mut std::io::repeat(0), &mut filler).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    victim.assert_went_on(child.wait().unwrap(), 15_000);
    assert_eq!(victim.errors(), "", "stop succeeds");
    assert_eq!(victim.found().ended, Ended::Clean);
    assert!(victim.process().journal().is_none());
}

#[test]
fn writes_that_find_no_space_cost_records_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let victim = Victim::new(folder.path(), "full", 2, 1000).events(400_000);
    let victim = victim.deed("no_space", 150_000).goes_on();
    victim.assert_went_on(victim.finish(), 400_000);
    let errors = victim.errors();
    assert!(errors.contains("stop: ") && errors.contains("No space left"), "{errors}");
    let found = assert_full_disk(&victim, 800_000);
    assert!(found.has_all(0, 0..150_000), "what came before is there");
    assert!(found.losses.failed_seals > 0);
    assert_warns(&victim.run, "attempts to write a part failed");
    // Another process has space.
    let recovered = tg::recover(&victim.run).unwrap();
    assert!(recovered[0].records > 0 && recovered[0].damage.is_empty(), "{recovered:?}");
    assert_eq!(victim.found(), found, "recovery keeps the counts as well");
    let said = victim.process().info.unwrap().losses;
    assert_eq!(said, found.losses, "in process.json");
}

#[test]
fn recording_goes_on_when_space_comes_back() {
    if !SmallDisk::is_permitted() {
        say("SKIPPED: no mount namespace for this user");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut victim = Victim::new(folder.path(), "full", 2, 200).events(800_000);
    // One chunk fits, then nothing until the filler goes.
    let (disk, mut child) = SmallDisk::start(folder.path(), 64, 61, &mut victim);
    wait_until("the disk is full", || counted(&victim.run, Counter::Dropped) > 0);
    std::fs::remove_file(disk.path("filler")).unwrap();
    victim.assert_went_on(child.wait().unwrap(), 800_000);
    Trace::open(&victim.run).unwrap().validate().unwrap();
    let found = victim.found();
    assert_eq!(found.ended, Ended::Clean);
    found.assert_counted(1_600_000);
    assert!(found.has_all(0, 600_000..800_000) && found.has_all(1, 600_000..800_000), "the time after it");
    assert_eq!(victim.process().info.unwrap().losses, found.losses, "in process.json");
    assert_warns(&victim.run, "records were dropped");
}

#[test]
fn a_folder_that_is_deleted_stays_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let victim = Victim::new(folder.path(), "gone", 2, 100).events(300_000).goes_on();
    let mut child = victim.start_and_record(50_000);
    wait_until("the folder is gone", || std::fs::remove_dir_all(&victim.run).is_ok() || !victim.run.exists());
    let at = victim.counts().get(0);
    assert!(at < 200_000, "half of the time is left, in which it could come back: {at}");
    victim.assert_went_on(child.wait().unwrap(), 300_000);
    assert!(!victim.run.exists(), "nothing brings it back");
    let errors = victim.errors();
    assert!(errors.contains("stop: ") && errors.contains(&*victim.run.to_string_lossy()), "{errors}");
}

#[test]
fn a_folder_that_may_not_be_written_to_is_named() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = tempfile::tempdir().unwrap();
    let allow = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    // Root may write to any folder, so the victim is somebody else.
    allow(folder.path(), 0o777);
    let forbidden = folder.path().join("forbidden");
    std::fs::create_dir(&forbidden).unwrap();
    allow(&forbidden, 0o555);
    let run = forbidden.join("run");
    let mut victim = Victim::new(folder.path(), "forbidden", 2, 1000).into(run).events(10_000).goes_on();
    // SAFETY: it only asks.
    if unsafe { libc::geteuid() } == 0 {
        // The build's folders may be closed to others.
        let program = folder.path().join("record-victim");
        std::fs::copy(env!("CARGO_BIN_EXE_record-victim"), &program).unwrap();
        victim = victim.program(program).user(NOBODY);
    }
    victim.assert_went_on(victim.finish(), 10_000);
    let errors = victim.errors();
    let expected = ["start: ", "Permission denied", &*victim.run.to_string_lossy()];
    assert!(expected.iter().all(|part| errors.contains(part)), "{errors}");
    assert!(!victim.run.exists());
}

#[test]
fn a_file_where_the_run_should_be_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let victim = Victim::new(folder.path(), "file", 2, 1000).events(10_000).goes_on();
    std::fs::write(&victim.run, "precious").unwrap();
    victim.assert_went_on(victim.finish(), 10_000);
    let errors = victim.errors();
    assert!(errors.contains("start: ") && errors.contains(&*victim.run.to_string_lossy()), "{errors}");
    assert_eq!(std::fs::read(&victim.run).unwrap(), b"precious");
}

#[test]
fn a_file_in_the_way_of_parts_leaves_all_in_the_journal() {
    let folder = tempfile::tempdir().unwrap();
    let victim = Victim::new(folder.path(), "way", 2, 500).events(400_000).goes_on();
    let in_the_way = put_in_the_way(&victim);
    victim.assert_went_on(victim.finish(), 400_000);
    let errors = victim.errors();
    assert!(errors.contains("stop: ") && errors.contains(&*in_the_way.to_string_lossy()), "{errors}");
    std::fs::remove_file(&in_the_way).unwrap();
    Trace::open(&victim.run).unwrap().validate().unwrap();
    let found = victim.found();
    assert_eq!(found.assert_complete(&victim.counts()), 800_000);
    assert!(found.losses.failed_seals > 0);
    assert_warns(&victim.run, "attempts to write a part failed");
    tg::recover(&victim.run).unwrap();
    assert_eq!(victim.found(), found);
    assert!(victim.process().journal().is_none());
}

#[test]
fn sealing_goes_on_when_what_was_in_the_way_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let victim = Victim::new(folder.path(), "way", 2, 150).events(800_000);
    let in_the_way = put_in_the_way(&victim);
    let mut child = victim.start();
    wait_until("an attempt fails", || counted(&victim.run, Counter::FailedSeals) > 0);
    std::fs::remove_file(&in_the_way).unwrap();
    wait_until("a part is sealed", || in_the_way.join("rank=0/process=0/part-000000.parquet").exists());
    assert!(child.try_wait().unwrap().is_none(), "not only as it ends");
    victim.assert_went_on(child.wait().unwrap(), 800_000);
    Trace::open(&victim.run).unwrap().validate().unwrap();
    let found = victim.found();
    assert_eq!(found.ended, Ended::Clean);
    assert!(victim.process().journal().is_none());
    assert_eq!(found.assert_complete(&victim.counts()), 1_600_000);
    assert!(found.losses.failed_seals > 0);
    assert_warns(&victim.run, "attempts to write a part failed");
}

#[test]
fn at_the_cap_records_are_dropped_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let victim = Victim::new(folder.path(), "cap", 2, 1000).events(500_000).cap_bytes(8 << 20).goes_on();
    // Nothing is sealed, and so nothing given back.
    let in_the_way = put_in_the_way(&victim);
    victim.assert_went_on(victim.finish(), 500_000);
    let journal = victim.run.join("_process/rank=0/process=0/journal");
    let bytes = std::fs::read_dir(journal).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len());
    assert!(bytes.sum::<u64>() < 9 << 20, "chunks up to the cap, names and counters");
    std::fs::remove_file(&in_the_way).unwrap();
    let found = assert_full_disk(&victim, 1_000_000);
    assert!(found.rows() > 90_000, "four chunks: {}", found.rows());
    tg::recover(&victim.run).unwrap();
    assert_eq!(victim.found(), found);
    assert_eq!(victim.process().info.unwrap().losses, found.losses, "in process.json");
}
