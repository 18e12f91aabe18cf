//! What reading a profiler's trace costs: a gigabyte of it, in a process that does nothing else.
//!
//! Budget: 300 MB, whatever the length. Figures, not a test. `TIDEGAUGE_BENCH_KINETO_BYTES` sets the length;
//! `TIDEGAUGE_BENCH_KINETO_FILE` names a file to read instead.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench prints, and one that cannot go on stops"
)]

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use tidegauge_analyzer::analysis::summary;
use tidegauge_analyzer::load::{Selection, Source};
use tidegauge_analyzer::replay::Window;
use tidegauge_tests::profiler_trace;
use tidegauge_tests::programs::{output_of, status_kib};

/// Names the file that this program is to read instead of measuring.
const FILE_VARIABLE: &str = "TIDEGAUGE_BENCH_KINETO_RUN";

fn main() {
    if let Some(path) = std::env::var_os(FILE_VARIABLE) {
        return read(Path::new(&path));
    }
    if let Some(path) = std::env::var_os("TIDEGAUGE_BENCH_KINETO_FILE") {
        return measure(Path::new(&path));
    }
    let bytes = std::env::var("TIDEGAUGE_BENCH_KINETO_BYTES").ok().and_then(|text| text.parse().ok());
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path: PathBuf = folder.path().join("trace.json");
    let out = BufWriter::with_capacity(1 << 20, File::create(&path).unwrap());
    let written = profiler_trace::write(out, bytes.unwrap_or(1 << 30)).unwrap();
    println!("{written:?}");
    measure(&path);
}

fn measure(path: &Path) {
    let own = std::env::current_exe().unwrap();
    for _ in 0..3 {
        print!("{}", output_of(Command::new(&own).env(FILE_VARIABLE, path)));
    }
}

fn read(path: &Path) {
    let megabytes = std::fs::metadata(path).unwrap().len() as f64 / 1e6;
    let start = Instant::now();
    let source = Source::open(&[path], &Selection::default()).unwrap();
    let opened = start.elapsed().as_secs_f64();
    let open_kib: f64 = status_kib("VmHWM").to_string().parse().unwrap();
    let summary = summary(&source, |_| Ok(Window::ALL), |_| true).unwrap();
    let peak_kib: f64 = status_kib("VmHWM").to_string().parse().unwrap();
    let devices = summary.processes.iter().flat_map(|process| &process.devices);
    let peaks: Vec<i64> = devices.map(|device| device.allocated.bytes).collect();
    println!(
        "{megabytes:.0} MB read in {opened:.2} s, {:.0} MB/s; summary after {:.2} s; peak RSS {:.1} MB when read, {:.1} MB at \
         the end; peaks {peaks:?}",
        megabytes / opened,
        start.elapsed().as_secs_f64(),
        open_kib * 1.024e-3,
        peak_kib * 1.024e-3,
    );
}
