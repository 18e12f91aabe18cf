//! SIGKILL while four threads record: everything whose call had returned is there, once and whole.

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use arrow::array::AsArray as _;
use arrow::datatypes::{Int64Type, UInt64Type};
use tidegauge_schemas::process::Ended;
use tidegauge_schemas::{Table, Trace};
use tidegauge_tests::counts::Counts;
use tidegauge_tests::programs::{Running, output_of, program};

const THREADS: usize = 4;
/// Events per millisecond and thread: all together, a chunk is full every few milliseconds.
const RATE: u64 = 1000;
const KILLS: u64 = 20;

fn start(run: &Path, counts: &Path) -> Running {
    let mut command = Command::new(env!("CARGO_BIN_EXE_record-victim"));
    command.args([run.as_os_str(), counts.as_os_str()]).args([THREADS.to_string(), RATE.to_string()]);
    Running::start(command.stderr(Stdio::null()))
}

/// Every event below the counts is there exactly once, and none that was not begun.
fn check(run: &Path, counts: &Counts) -> u64 {
    let trace = Trace::open(run).unwrap();
    let process = trace.process(trace.processes()[0]).unwrap();
    assert!(process.damage.is_empty(), "{:?}", process.damage);
    assert_eq!(process.ended, Ended::Killed);
    assert_eq!(process.losses().dropped_records, 0);
    let mut seen: Vec<Vec<u8>> =
        (0..THREADS).map(|thread| vec![0; counts.get(thread) as usize + 1]).collect();
    let mut last_seq = None;
    for batch in process.batches(Table::Events, &["seq", "address", "size_bytes"]) {
        let batch = batch.unwrap();
        let seqs = batch.column_by_name("seq").unwrap().as_primitive::<UInt64Type>();
        let addresses = batch.column_by_name("address").unwrap().as_primitive::<UInt64Type>();
        let sizes = batch.column_by_name("size_bytes").unwrap().as_primitive::<Int64Type>();
        for row in 0..batch.num_rows() {
            assert!(last_seq < Some(seqs.value(row)), "seq {} after {last_seq:?}", seqs.value(row));
            last_seq = Some(seqs.value(row));
            let (thread, n) = ((addresses.value(row) >> 40) as usize, addresses.value(row) & ((1 << 40) - 1));
            assert_eq!(sizes.value(row) as u64, 16 + 8 * n, "torn: thread {thread} event {n}");
            seen[thread][n as usize] += 1;
        }
    }
    for (thread, seen) in seen.iter().enumerate() {
        let returned = &seen[..counts.get(thread) as usize];
        assert_eq!(returned.iter().position(|&times| times != 1), None, "thread {thread}: lost or twice");
        assert!(seen[returned.len()] <= 1, "the one call that was under way");
    }
    seen.iter().map(|seen| seen.len() as u64 - 1).sum()
}

#[test]
fn nothing_is_lost_by_sigkill() {
    let folder = tempfile::tempdir().unwrap();
    let mut events = 0;
    for kill in 0..KILLS {
        let (run, counts) =
            (folder.path().join(format!("run{kill}")), folder.path().join(format!("counts{kill}")));
        let mut child = start(&run, &counts);
        let counts = Counts::open(&counts).unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while counts.get(0) == 0 {
            assert!(Instant::now() < deadline, "the program does not record");
            std::thread::sleep(Duration::from_millis(1));
        }
        // Moments that fall into every part of a chunk's life, from a few records to several parts.
        std::thread::sleep(Duration::from_micros(kill * kill * 2500 % 900_000));
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));

        let before = check(&run, &counts);
        let recover = || output_of(program("tidegauge-record").arg("recover").arg(&run));
        let _ = recover();
        assert_eq!(check(&run, &counts), before, "recovery changes nothing that is read");
        let files = || listing(&run);
        let recovered = files();
        let _ = recover();
        assert_eq!(files(), recovered, "a second recovery changes nothing");
        assert!(recovered.iter().all(|(name, _)| !name.contains("journal")), "{recovered:?}");
        events += before;
        std::fs::remove_dir_all(&run).unwrap();
    }
    println!("{KILLS} kills, {events} events, none lost");
}

/// Names and contents of all files.
fn listing(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.push((path.display().to_string(), std::fs::read(&path).unwrap()));
            }
        }
    }
    files.sort();
    files
}
