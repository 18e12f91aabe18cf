//! What a summary of a PyTorch memory snapshot costs, beside CPython's `pickle.load` of the same file alone.
//!
//! Budget: a million events with 25-frame shared stacks in 0.6 × of its time and 300 MB; a gigabyte in less than three
//! times the file's size. Figures, not a test. `TIDEGAUGE_BENCH_SNAPSHOT_ENTRIES` sets the length of the large one.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench prints, and one that cannot go on stops"
)]

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use tidegauge_analyzer::analysis::summary;
use tidegauge_analyzer::load::{Selection, Source};
use tidegauge_analyzer::render::summary_json;
use tidegauge_analyzer::replay::Window;
use tidegauge_tests::programs::{output_of, status_kib};
use tidegauge_tests::snapshot_maker::{SnapshotShape, make_snapshot};

/// Names the file that this program is to read instead of measuring.
const FILE_VARIABLE: &str = "TIDEGAUGE_BENCH_SNAPSHOT_RUN";
const ROUNDS: usize = 7;
const ENTRIES: usize = 1_000_000;
/// A gigabyte.
const LARGE_ENTRIES: usize = 13_000_000;
const PICKLE_LOAD: &str = "
import pickle, resource, sys, time
with open(sys.argv[1], 'rb') as file:
    start = time.perf_counter()
    pickle.load(file)
    seconds = time.perf_counter() - start
print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
";

fn main() {
    if let Some(path) = std::env::var_os(FILE_VARIABLE) {
        return read(Path::new(&path));
    }
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = folder.path().join("snapshot.pickle");
    make(&path, ENTRIES);
    let mut ratios = Vec::new();
    for _ in 0..ROUNDS {
        let ours = figures(&output_of(own().env(FILE_VARIABLE, &path)));
        let python = output_of(Command::new("python3").arg("-c").arg(PICKLE_LOAD).arg(&path));
        let theirs = figures(&python);
        println!(
            "{ENTRIES} entries: summary {:.3} s, {:.0} MiB; pickle.load {:.3} s, {:.0} MiB; {:.3} x",
            ours.0,
            ours.1,
            theirs.0,
            theirs.1,
            ours.0 / theirs.0
        );
        ratios.push(ours.0 / theirs.0);
    }
    ratios.sort_by(f64::total_cmp);
    println!("median ratio {:.3} (budget 0.6)", ratios[ratios.len() / 2]);
    let entries = std::env::var("TIDEGAUGE_BENCH_SNAPSHOT_ENTRIES").ok().and_then(|text| text.parse().ok());
    make(&path, entries.unwrap_or(LARGE_ENTRIES));
    let file_mib = std::fs::metadata(&path).unwrap().len() as f64 / f64::from(1 << 20);
    let (seconds, peak_mib) = figures(&output_of(own().env(FILE_VARIABLE, &path)));
    println!(
        "{file_mib:.0} MiB: summary {seconds:.2} s, {peak_mib:.0} MiB, {:.2} x the file (budget 3)",
        peak_mib / file_mib
    );
}

fn own() -> Command {
    Command::new(std::env::current_exe().unwrap())
}

fn make(path: &Path, entries: usize) {
    let out = BufWriter::with_capacity(1 << 20, File::create(path).unwrap());
    make_snapshot(out, SnapshotShape { entries, stacks: 5000, depth: 25, live: 5000 }).unwrap();
}

/// Seconds, and MiB.
fn figures(line: &str) -> (f64, f64) {
    let mut numbers = line.split_whitespace().map(|number| number.parse().unwrap());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

/// Everything that `tidegauge summary` does.
fn read(path: &Path) {
    let start = Instant::now();
    let source = Source::open(&[path], &Selection::default()).unwrap();
    let summary = summary(&source, |_| Ok(Window::ALL), |_| true).unwrap();
    assert!(summary_json(&summary).to_string().len() > 100);
    let seconds = start.elapsed().as_secs_f64();
    let peak_kib: f64 = status_kib("VmHWM").to_string().parse().unwrap();
    println!("{seconds} {}", peak_kib / 1024.0);
}
