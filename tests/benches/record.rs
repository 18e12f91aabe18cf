//! What a record costs, side by side with the least that it could cost.
//!
//! Budgets: a record at most 1.25 times (cycle counter read + store of 64 bytes to the same kind of mapping), median; a
//! call when recording is off 3 ns; Parquet from full chunks 120 ns and 5 bytes an event. Figures, not a test: it prints
//! what it finds. `TIDEGAUGE_BENCH_SECONDS` sets how long each comparison takes (45 by itself for one thread: longer than the
//! kernel keeps dirty pages, so that writeback takes part).

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench prints, and one that cannot go on stops"
)]

use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use memmap2::MmapRaw;
use tidegauge_recorder::{self as tg, Recorder};
use tidegauge_schemas::journal::{CHUNK_BYTES, SLOT_BYTES, Slot};
use tidegauge_tests::programs::{output_of, status_kib};
use tidegauge_tests::training::{self, TrainingSlots, TrainingTrace};

/// Events timed together: short enough to show outliers, long enough that reading the clock does not show.
const BURST: u64 = 256;
/// Events a second in all: what sealing keeps up with on one core beside the recording one.
const RATE: u64 = 2_000_000;
/// Has this program record for so many seconds and print what memory that took.
const MEMORY_VARIABLE: &str = "TIDEGAUGE_BENCH_MEMORY";
/// Times that the same records are sealed.
const SEALS: usize = 7;
/// And what `tracing` is given: its writer formats and writes every line.
const TRACING_RATE: u64 = 200_000;
/// Chunks that the baseline goes round in, as the recorder does.
const BASELINE_CHUNKS: usize = 4;

fn main() {
    if let Some(seconds) = std::env::var(MEMORY_VARIABLE).ok().and_then(|text| text.parse().ok()) {
        record_for_memory(Duration::from_secs_f64(seconds));
        return;
    }
    // `cargo bench … -- seal` runs the parts whose names contain the word.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let is_wanted = |part: &str| wanted.is_empty() || wanted.iter().any(|word| part.contains(word));
    let asked = std::env::var("TIDEGAUGE_BENCH_SECONDS").ok().and_then(|text| text.parse().ok());
    let span = |seconds| Duration::from_secs_f64(asked.unwrap_or(seconds));
    if is_wanted("off") {
        println!("off: {:.2} ns a call", off());
    }
    for (name, folder) in [("disk", Path::new(env!("CARGO_TARGET_TMPDIR"))), ("tmpfs", Path::new("/dev/shm"))]
    {
        if is_wanted(name) && folder.is_dir() {
            one_thread(name, folder, span(45.0));
        }
    }
    if is_wanted("threads") {
        for threads in [2, 4] {
            many_threads(threads, span(5.0));
        }
    }
    if is_wanted("tracing") {
        tracing(span(5.0));
    }
    if is_wanted("memory") {
        memory(span(20.0));
    }
    if is_wanted("seal") {
        seal();
    }
}

fn off() -> f64 {
    let calls = 100_000_000u64;
    let start = Instant::now();
    for n in 0..calls {
        tg::alloc(-1, black_box(n), 8);
    }
    start.elapsed().as_nanos() as f64 / calls as f64
}

/// The least: a time stamp and 64 bytes into a mapped, reserved file.
struct Baseline {
    map: MmapRaw,
    slot: usize,
}

impl Baseline {
    fn new(folder: &Path) -> Self {
        let file = tempfile::tempfile_in(folder).unwrap();
        let bytes = BASELINE_CHUNKS * CHUNK_BYTES;
        // Written, not only sized: a file with holes would fault and allocate.
        std::io::Write::write_all(&mut &file, &vec![1; bytes]).unwrap();
        Self { map: MmapRaw::map_raw(&file).unwrap(), slot: 0 }
    }

    #[inline]
    fn store(&mut self, n: u64) {
        let ticks = ticks();
        let at = self.slot;
        self.slot = if at + 1 == BASELINE_CHUNKS * CHUNK_BYTES / SLOT_BYTES { 0 } else { at + 1 };
        for word in 0..8 {
            // SAFETY: `at` is within the mapping, which is page-aligned; all access to it is through atomics.
            let target = unsafe { &*self.map.as_ptr().cast::<AtomicU64>().add(at * 8 + word) };
            target.store(ticks ^ n, Ordering::Relaxed);
        }
    }
}

#[inline]
fn ticks() -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 processor has the instruction.
    unsafe {
        core::arch::x86_64::_rdtsc()
    }
    #[cfg(not(target_arch = "x86_64"))]
    0
}

fn timed(burst: impl FnOnce()) -> f64 {
    let start = Instant::now();
    burst();
    start.elapsed().as_nanos() as f64 / BURST as f64
}

fn one_thread(name: &str, folder: &Path, span: Duration) {
    let folder = tempfile::tempdir_in(folder).unwrap();
    let recorder = Recorder::builder(folder.path().join("run")).start().unwrap();
    let mut baseline = Baseline::new(folder.path());
    let (mut least, mut ours) = (Vec::new(), Vec::new());
    let start = Instant::now();
    let mut n = 0;
    while start.elapsed() < span {
        let mut time_least =
            || least.push(timed(|| (n..n + BURST).for_each(|n| baseline.store(black_box(n)))));
        let mut time_ours =
            || ours.push(timed(|| (n..n + BURST).for_each(|n| tg::alloc(-1, black_box(n), 8))));
        // In turn, so that neither always comes first after the wait.
        if n % (2 * BURST) == 0 {
            time_least();
            time_ours();
        } else {
            time_ours();
            time_least();
        }
        n += BURST;
        wait_until(start + Duration::from_nanos(n * 1_000_000_000 / RATE));
    }
    let dropped = recorder.dropped_records();
    recorder.stop().unwrap();
    let (least, ours) = (Quantiles::of(least), Quantiles::of(ours));
    println!(
        "{name} ({}), one thread: {ours} a record; least possible {least}; ratio of medians {:.2}; {n} records, {dropped} dropped",
        file_system(folder.path()),
        ours.median / least.median
    );
}

fn many_threads(threads: u64, span: Duration) {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let recorder = Recorder::builder(folder.path().join("run")).start().unwrap();
    // Bursts of all threads fall together: what they cost each other is part of the figure.
    let start = Instant::now() + Duration::from_millis(10);
    let work = |_| {
        let mut bursts = Vec::new();
        wait_until(start);
        let mut n = 0;
        while start.elapsed() < span {
            bursts.push(timed(|| (n..n + BURST).for_each(|n| tg::alloc(-1, black_box(n), 8))));
            n += BURST;
            wait_until(start + Duration::from_nanos(n * threads * 1_000_000_000 / RATE));
        }
        bursts
    };
    let bursts: Vec<f64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|thread| scope.spawn(move || work(thread))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let dropped = recorder.dropped_records();
    recorder.stop().unwrap();
    println!("disk, {threads} threads: {} a record; {dropped} dropped", Quantiles::of(bursts));
}

fn wait_until(moment: Instant) {
    while Instant::now() < moment {
        std::hint::spin_loop();
    }
}

/// The same fields through `tracing` and its non-blocking file appender, as structured logs are kept out of the way.
fn tracing(span: Duration) {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let recorder = Recorder::builder(folder.path().join("run")).start().unwrap();
    let file = tracing_appender::rolling::never(folder.path(), "log");
    let (writer, _guard) = tracing_appender::non_blocking(file);
    let lost = writer.error_counter();
    let subscriber = tracing_subscriber::fmt().with_writer(writer).with_ansi(false).finish();
    let (mut theirs, mut ours) = (Vec::new(), Vec::new());
    tracing::subscriber::with_default(subscriber, || {
        let start = Instant::now();
        let mut n = 0;
        while start.elapsed() < span {
            theirs.push(timed(|| {
                for n in n..n + BURST {
                    tracing::info!(device = -1, address = black_box(n), size_bytes = 8, site = 0, "alloc");
                }
            }));
            ours.push(timed(|| (n..n + BURST).for_each(|n| tg::alloc(-1, black_box(n), 8))));
            n += BURST;
            // Slowly enough for its writer to keep up: lines that are dropped would be cheap.
            wait_until(start + Duration::from_nanos(n * 1_000_000_000 / TRACING_RATE));
        }
    });
    recorder.stop().unwrap();
    let (theirs, ours) = (Quantiles::of(theirs), Quantiles::of(ours));
    println!(
        "tracing, non-blocking file appender: {theirs} an event; a record {ours}; ratio of medians {:.0}; {} of its lines lost",
        theirs.median / ours.median,
        lost.dropped_lines()
    );
}

/// What recording adds to the resident memory of a process that does nothing else, mapped journal and stop included,
/// at a million events a second. In a process of its own: what others left on the heap would be used again.
fn memory(span: Duration) {
    let own = std::env::current_exe().unwrap();
    print!("{}", output_of(Command::new(own).env(MEMORY_VARIABLE, span.as_secs_f64().to_string())));
}

fn record_for_memory(span: Duration) {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let before = status_kib("VmRSS");
    let recorder = Recorder::builder(folder.path().join("run")).start().unwrap();
    let start = Instant::now();
    let mut n = 0;
    while start.elapsed() < span {
        (n..n + BURST)
            .for_each(|n| tg::alloc(-1, black_box(0x7f00_0000_0000 + n % 4096 * 512), 8 * (n % 100)));
        n += BURST;
        wait_until(start + Duration::from_nanos(n * 1000));
    }
    let dropped = recorder.dropped_records();
    recorder.stop().unwrap();
    println!(
        "memory at 1 million events/s: {:.1} MB at most over {n} events, {dropped} dropped",
        (status_kib("VmHWM") - before) as f64 * 1024.0 / 1e6
    );
}

fn file_system(folder: &Path) -> &'static str {
    let path = std::ffi::CString::new(folder.as_os_str().as_encoded_bytes()).unwrap();
    // SAFETY: zeros are a valid statfs; the call reads a string that ends, and writes to what outlives it.
    let kind = unsafe {
        let mut found: libc::statfs = std::mem::zeroed();
        assert_eq!(libc::statfs(path.as_ptr(), &raw mut found), 0);
        found.f_type
    };
    match kind {
        libc::EXT4_SUPER_MAGIC => "ext4",
        libc::TMPFS_MAGIC => "tmpfs",
        libc::XFS_SUPER_MAGIC => "xfs",
        libc::OVERLAYFS_SUPER_MAGIC => "overlayfs",
        _ => "another file system",
    }
}

fn seal() {
    let events = 4_000_000;
    let slots: Vec<Slot> = TrainingSlots::new(TrainingTrace::default()).take(events).collect();
    let each = |nanos: u64| nanos as f64 / events as f64;
    let (mut cpu, mut wall, mut bytes) = (Vec::new(), Vec::new(), 0);
    for _ in 0..SEALS {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let (start, start_cpu) = (Instant::now(), thread_cpu_nanos());
        bytes = training::write_trace(slots.iter().copied(), events as u64, &folder.path().join("run"));
        cpu.push(each(thread_cpu_nanos() - start_cpu));
        wall.push(each(start.elapsed().as_nanos() as u64));
    }
    cpu.sort_by(f64::total_cmp);
    wall.sort_by(f64::total_cmp);
    println!(
        "Parquet from full chunks, one thread: {:.0} ns of CPU (best of {SEALS}: {:.0}), {:.0} ns with the waits for \
         the disk, {:.2} bytes a record",
        cpu[SEALS / 2],
        cpu[0],
        wall[SEALS / 2],
        bytes as f64 / events as f64
    );
}

fn thread_cpu_nanos() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes to `time`, which outlives it.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

struct Quantiles {
    median: f64,
    p999: f64,
}

impl Quantiles {
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |share: f64| values[((values.len() - 1) as f64 * share) as usize];
        Self { median: at(0.5), p999: at(0.999) }
    }
}

impl std::fmt::Display for Quantiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.1} ns (99.9 % of bursts of {BURST}: {:.0} ns)", self.median, self.p999)
    }
}
