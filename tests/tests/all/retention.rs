//! Rings and windows: what is kept is exact, whatever ends the program.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use arrow::array::AsArray as _;
use arrow::datatypes::{Float64Type, Int32Type, Int64Type, UInt64Type};
use tidegauge_schemas::journal::Control;
use tidegauge_schemas::layout;
use tidegauge_schemas::process::Ended;
use tidegauge_schemas::retention::Windows;
use tidegauge_schemas::{EventKind, ProcessTrace, Table, Trace};
use tidegauge_tests::churn::{Alive, Churn, LIFE};
use tidegauge_tests::counts::Counts;
use tidegauge_tests::programs::{Running, output_of, program, say, wait_until};
use tidegauge_tests::traced::{TracedEnd, run_traced};

use crate::victim::folder_in_memory;

const STEP_EVENTS: u64 = 5000;
const EPOCH_STEPS: u64 = 40;
/// A ring keeps whole chunks, so this much more at most.
const CHUNK_RECORDS: u64 = 1 << 15;

/// A run of `churn`.
struct Run {
    folder: tempfile::TempDir,
    run: PathBuf,
    command: Command,
}

impl Run {
    fn new(events: u64, environment: &[(&str, String)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("run");
        let mut command = Command::new(env!("CARGO_BIN_EXE_churn"));
        command.arg(folder.path().join("counts"));
        command.args([events, STEP_EVENTS, EPOCH_STEPS].map(|number| number.to_string()));
        command.env("TIDEGAUGE", &run).env("TIDEGAUGE_INTERVAL", "10s");
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        Self { folder, run, command }
    }

    fn counts(&self) -> Counts {
        Counts::open(&self.folder.path().join("counts")).unwrap()
    }

    fn finish(&mut self) {
        let status = self.command.status().unwrap();
        assert!(status.success(), "{status}");
    }

    fn kill_after(&mut self, events: u64) -> u64 {
        let mut child = Running::start(&mut self.command);
        let counts = self.counts();
        wait_until("it records", || counts.get(0) >= events);
        child.kill().unwrap();
        child.wait().unwrap();
        counts.get(0)
    }

    fn process(&self) -> ProcessTrace {
        let trace = Trace::open(&self.run).unwrap();
        let process = trace.process(trace.processes()[0]).unwrap();
        assert!(process.damage.is_empty(), "{:?}", process.damage);
        process
    }

    fn recover(&self) {
        let _ = output_of(program("tidegauge-record").arg("recover").arg(&self.run));
        Trace::open(&self.run).unwrap().validate().unwrap();
    }
}

/// What a reader of the trace learns.
#[derive(Debug, Default, PartialEq, Eq)]
struct Learned {
    rows: u64,
    baselines: u64,
    /// Stretches of events, first and last number, between which nothing is left out.
    windows: Vec<(u64, u64)>,
    alive: Alive,
}

/// Reads the events, and compares what is alive with what is known to be, at every event of a stretch in which nothing is
/// left out.
fn learn(process: &ProcessTrace) -> Learned {
    learn_of(process, LIFE)
}

fn learn_of(process: &ProcessTrace, life: u64) -> Learned {
    let mut learned = Learned::default();
    let (mut truth, mut next) = (Alive::default(), 0);
    let mut last_seq = None;
    for batch in process.batches(Table::Events, &["seq", "kind", "address", "size_bytes"]) {
        let batch = batch.unwrap();
        let seqs = batch.column_by_name("seq").unwrap().as_primitive::<UInt64Type>();
        let kinds = batch.column_by_name("kind").unwrap().as_dictionary::<Int32Type>();
        let words = kinds.values().as_string::<i32>();
        let addresses = batch.column_by_name("address").unwrap().as_primitive::<UInt64Type>();
        let sizes = batch.column_by_name("size_bytes").unwrap().as_primitive::<Int64Type>();
        for row in 0..batch.num_rows() {
            assert!(last_seq < Some(seqs.value(row)), "seq {} after {last_seq:?}", seqs.value(row));
            last_seq = Some(seqs.value(row));
            let kind = EventKind::from_text(words.value(kinds.keys().value(row) as usize)).unwrap();
            if kind == EventKind::Oom {
                continue;
            }
            learned.rows += 1;
            let address = addresses.value(row);
            let number = Churn::number(kind == EventKind::Free, address, life);
            match kind {
                EventKind::Alloc | EventKind::Baseline => {
                    learned.alive.alloc(address, sizes.value(row) as u64);
                }
                EventKind::Free => learned.alive.free(address),
                _ => panic!("{kind}"),
            }
            learned.baselines += u64::from(kind == EventKind::Baseline);
            (next..=number).for_each(|number| truth.apply(Churn::event(number, life)));
            next = number + 1;
            match learned.windows.last_mut() {
                Some((_, last)) if *last + 1 == number && kind != EventKind::Baseline => {
                    *last = number;
                    assert_eq!(learned.alive.bytes, truth.bytes, "after event {number}");
                }
                _ if kind == EventKind::Alloc => learned.windows.push((number, number)),
                _ => {}
            }
        }
    }
    learned
}

fn alive_after(events: u64) -> Alive {
    alive_after_of(events, LIFE)
}

fn alive_after_of(events: u64, life: u64) -> Alive {
    let mut alive = Alive::default();
    (0..events).for_each(|number| alive.apply(Churn::event(number, life)));
    alive
}

fn ring(records: u64) -> (&'static str, String) {
    ("TIDEGAUGE_RING", records.to_string())
}

/// The newest events are there, in one stretch, with what was alive before them; `made` were made for certain.
fn assert_newest(learned: &Learned, made: u64, ring: u64) {
    let &(first, last) = learned.windows.last().unwrap();
    assert!(last + 1 == made || last == made, "{made} events were made, the last that is there is {last}");
    assert!(last - first + 1 + 2 * (ring / STEP_EVENTS + 2) >= ring, "only {first} to {last} are there");
    assert_eq!(learned.alive, alive_after(last + 1));
}

#[test]
fn a_killed_ring_has_the_newest_events_and_what_was_alive_before() {
    for (ring_records, events) in [(100_000, 50_000), (100_000, 2_999_999), (1, 700_000)] {
        let mut run = Run::new(u64::MAX, &[ring(ring_records)]);
        let made = run.kill_after(events);
        let unsealed = learn(&run.process());
        assert_newest(&unsealed, made, ring_records.min(made));
        run.recover();
        let recovered = run.process();
        assert_eq!(recovered.ended, Ended::Killed);
        assert_eq!(learn(&recovered), unsealed, "recovery gives what the journal did");
    }
}

#[test]
fn a_ring_gives_up_what_is_old() {
    let pause = ("CHURN_PAUSE_AT", "2000000".to_owned());
    let mut run = Run::new(u64::MAX, &[ring(100_000), pause]);
    let mut child = Running::start(&mut run.command);
    let counts = run.counts();
    wait_until("it pauses", || counts.get(0) == 2_000_000);
    // What it keeps, what does not fill a part yet, and what was alive.
    let kept = 100_000 + 10 * CHUNK_RECORDS + alive_after(2_000_000).len();
    wait_until("the sealer has caught up", || learn(&run.process()).rows <= kept);
    child.kill().unwrap();
    child.wait().unwrap();
    let learned = learn(&run.process());
    assert!(learned.baselines >= LIFE / 2, "{}", learned.baselines);
    assert_newest(&learned, 2_000_000, 100_000);
}

#[test]
fn a_ring_that_ends_well_is_written_and_its_journal_stays_small() {
    let mut run = Run::new(2_000_000, &[ring(100_000)]);
    run.finish();
    let process = run.process();
    let learned = learn(&process);
    assert_newest(&learned, 2_000_000, 100_000);
    let info = process.info.as_ref().unwrap();
    assert_eq!(process.ended, Ended::Clean);
    assert_eq!(info.cost.left_out_events + learned.rows, 2_000_000);
    assert_eq!(process.missing_records(), 0);
    // The ring, the part that is being made of what it gave up, and what is written meanwhile.
    assert!(info.cost.peak_journal_bytes < 256 << 20, "{} bytes", info.cost.peak_journal_bytes);
    let checkpoints: u64 = process.parts(Table::Checkpoints).iter().map(|part| part.rows).sum();
    assert_eq!(checkpoints, 2 * 400 + 2 * 10, "steps and epochs are kept throughout");
}

#[test]
fn dumps_write_what_is_kept_while_the_program_goes_on() {
    let mut by_itself = Run::new(3_000_000, &[ring(60_000), ("CHURN_DUMP_EVERY", "1000000".into())]);
    by_itself.finish();
    let learned = learn(&by_itself.process());
    assert_newest(&learned, 3_000_000, 60_000);
    let has_window_at =
        |event: u64| learned.windows.iter().any(|&(first, last)| first + 50_000 <= event && event <= last);
    assert!(has_window_at(999_999) && has_window_at(1_999_999), "{:?}", learned.windows);
    assert!(!has_window_at(1_700_000), "{:?}", learned.windows);

    for asks in [true, false] {
        let oom = (!asks).then(|| ("CHURN_OOM_AT", "500000".to_owned()));
        let pause = ("CHURN_PAUSE_AT", "500000".to_owned());
        let environment: Vec<_> = [ring(60_000), pause].into_iter().chain(oom).collect();
        let mut run = Run::new(1_000_000, &environment);
        let mut child = Running::start(&mut run.command);
        let counts = run.counts();
        wait_until("it pauses", || counts.get(0) == 500_000);
        if asks {
            assert_eq!(tidegauge_recorder::request_dump(&run.run).unwrap(), 1);
        }
        // Sealed, so there for every reader, while the program runs.
        let table = layout::table_folder(&run.run, Table::Events, run.process().id);
        wait_until("the ring is written", || {
            let names = std::fs::read_dir(&table).into_iter().flatten();
            names.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("part-"))
        });
        wait_until("all of it", || {
            learn(&run.process()).windows.last().is_some_and(|&(_, last)| last == 499_999)
        });
        assert_eq!(run.process().ended, Ended::Running);
        counts.set(1, 1);
        assert!(child.wait().unwrap().success());
        assert_newest(&learn(&run.process()), 1_000_000, 60_000);
    }
}

#[test]
fn a_ring_killed_while_it_is_written_loses_and_doubles_nothing() {
    for after in (0..12).map(|n| 300_000 + n * 37_000) {
        let mut run = Run::new(u64::MAX, &[ring(150_000), ("CHURN_DUMP_EVERY", "100000".into())]);
        let made = run.kill_after(after);
        let unsealed = learn(&run.process());
        assert_newest(&unsealed, made, 100_000);
        run.recover();
        assert_eq!(learn(&run.process()), unsealed);
    }
}

/// Per step: its end, and the peak that the recorder counted.
fn counted_peaks(process: &ProcessTrace) -> Vec<f64> {
    let mut peaks = Vec::new();
    for batch in process.batches(Table::Samples, &["metric", "value"]) {
        let batch = batch.unwrap();
        let metrics = batch.column_by_name("metric").unwrap().as_dictionary::<Int32Type>();
        let words = metrics.values().as_string::<i32>();
        let values = batch.column_by_name("value").unwrap().as_primitive::<Float64Type>();
        for row in 0..batch.num_rows() {
            if words.value(metrics.keys().value(row) as usize) == "peak_allocated_bytes" {
                peaks.push(values.value(row));
            }
        }
    }
    peaks
}

fn true_peaks(steps: u64) -> Vec<f64> {
    let mut alive = Alive::default();
    let peak = |step: u64| {
        let mut peak = alive.bytes;
        for number in step * STEP_EVENTS..(step + 1) * STEP_EVENTS {
            alive.apply(Churn::event(number, LIFE));
            peak = peak.max(alive.bytes);
        }
        peak as f64
    };
    (0..steps).map(peak).collect()
}

#[test]
fn windows_hold_the_chosen_steps_and_every_step_is_counted() {
    let windows = Windows { first: 2, every: 15 };
    let steps = 3 * EPOCH_STEPS;
    let mut run = Run::new(steps * STEP_EVENTS, &[("TIDEGAUGE_WINDOWS", "2/15".into())]);
    run.finish();
    let process = run.process();
    let learned = learn(&process);
    for step in 0..steps {
        let (begin, end) = (step * STEP_EVENTS, (step + 1) * STEP_EVENTS - 1);
        let is_there = learned.windows.iter().any(|&(first, last)| first <= begin && end <= last);
        assert_eq!(is_there, windows.chooses(step % EPOCH_STEPS), "step {step}: {:?}", learned.windows);
    }
    assert_eq!(learned.alive, alive_after(steps * STEP_EVENTS));
    assert_eq!(counted_peaks(&process), true_peaks(steps));
    assert_eq!(process.info.as_ref().unwrap().cost.left_out_events + learned.rows, steps * STEP_EVENTS);

    let of_steps = output_of(program("tidegauge").arg("steps").arg(&run.run).args(["--format", "json"]));
    let of_steps: Vec<serde_json::Value> = serde_json::from_str(&of_steps).unwrap();
    let shown: Vec<f64> = of_steps.iter().map(|row| row["peak_bytes"].as_f64().unwrap()).collect();
    assert_eq!(shown, true_peaks(steps), "`steps` shows the counted peaks");
    let late = ["--format", "json", "--start", "30ms"];
    let late = output_of(program("tidegauge").arg("steps").arg(&run.run).args(late));
    let late: Vec<serde_json::Value> = serde_json::from_str(&late).unwrap();
    for row in late {
        let step = row["step"].as_u64().unwrap();
        assert_eq!(row["peak_bytes"].as_f64(), Some(true_peaks(steps)[step as usize]), "step {step}");
    }
    let summary = output_of(program("tidegauge").arg("summary").arg(&run.run).args(["--format", "json"]));
    let summary: serde_json::Value = serde_json::from_str(&summary).unwrap();
    let highest = true_peaks(steps).into_iter().fold(0.0, f64::max);
    assert_eq!(summary["devices"][0]["peak_allocated_bytes"].as_f64(), Some(highest));
    assert!(summary["warnings"].to_string().contains("every 15-th"), "{}", summary["warnings"]);
}

#[test]
fn killed_windows_lose_nothing() {
    for after in [30_000, 777_777] {
        let mut run = Run::new(u64::MAX, &[("TIDEGAUGE_WINDOWS", "1/10".into())]);
        let made = run.kill_after(after);
        let unsealed = learn(&run.process());
        assert!([made, made + 1].iter().any(|&events| unsealed.alive == alive_after(events)));
        let counted = counted_peaks(&run.process());
        assert_eq!(counted, true_peaks(counted.len() as u64));
        assert!(counted.len() as u64 >= made / STEP_EVENTS - 1);
        run.recover();
        assert_eq!(learn(&run.process()), unsealed);
        assert_eq!(counted_peaks(&run.process()), counted);
    }
}

#[test]
fn a_state_that_was_cut_or_flipped_is_said_and_the_rest_is_read() {
    let mut run = Run::new(u64::MAX, &[ring(60_000)]);
    run.kill_after(1_500_000);
    let id = run.process().id;
    let state: &Path = &layout::process_folder(&run.run, id).join("journal/live");
    let whole = std::fs::read(state).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    for bytes in [&whole[..whole.len() - 8], &whole[..5], &flipped] {
        std::fs::write(state, bytes).unwrap();
        let trace = Trace::open(&run.run).unwrap();
        let damage = trace.process(id).unwrap().damage;
        assert!(damage[0].to_string().contains("what is alive"), "{damage:?}");
        let _ = output_of(program("tidegauge").arg("summary").arg(&run.run));
    }
}

#[test]
fn many_live_blocks_are_told_once() {
    // More than fit into the chunks between two parts, so that the state on disk lags behind.
    let life = 400_000;
    let several = |windows: bool| {
        if windows { ("TIDEGAUGE_WINDOWS", "1/7".to_owned()) } else { ring(100_000) }
    };
    for windows in [false, true] {
        let dumps = ("CHURN_DUMP_EVERY", "700000".to_owned());
        let environment = [several(windows), ("CHURN_LIFE", life.to_string()), dumps];
        let mut run = Run::new(3_000_000, &environment);
        run.finish();
        let learned = learn_of(&run.process(), life);
        assert_eq!(learned.alive, alive_after_of(3_000_000, life));
        // A window comes more often than a block lives: every block is told of.
        assert!(windows || learned.rows < 2_600_000, "{} rows", learned.rows);

        let mut killed = Run::new(u64::MAX, &environment);
        let made = killed.kill_after(2_300_000);
        let unsealed = learn_of(&killed.process(), life);
        assert!([made, made + 1].iter().any(|&events| unsealed.alive == alive_after_of(events, life)));
        killed.recover();
        assert_eq!(learn_of(&killed.process(), life), unsealed);
    }
}

#[test]
fn what_could_not_be_sealed_is_sealed_once_when_it_can_be() {
    // Rings of eight chunks, as many as a part, and of five.
    for (ring_records, in_the_way) in
        [(200_000, "checkpoints"), (100_000, "checkpoints"), (200_000, "events"), (100_000, "events")]
    {
        let pause = ("CHURN_PAUSE_AT", "1500000".to_owned());
        let dumps = ("CHURN_DUMP_EVERY", "600000".to_owned());
        let mut run = Run::new(3_000_000, &[ring(ring_records), pause, dumps]);
        std::fs::create_dir(&run.run).unwrap();
        let in_the_way = run.run.join(in_the_way);
        std::fs::write(&in_the_way, "").unwrap();
        let mut child = Running::start(&mut run.command);
        let counts = run.counts();
        wait_until("it pauses", || counts.get(0) == 1_500_000);
        let folder = run.run.join("_process/rank=0/process=0/journal/control");
        wait_until("sealing fails", || Control::read(&folder).unwrap().losses().failed_seals > 1);
        std::fs::remove_file(&in_the_way).unwrap();
        counts.set(1, 1);
        assert!(child.wait().unwrap().success());
        Trace::open(&run.run).unwrap().validate().unwrap();
        let process = run.process();
        assert_newest(&learn(&process), 3_000_000, ring_records);
        let checkpoints: u64 = process.parts(Table::Checkpoints).iter().map(|part| part.rows).sum();
        assert_eq!(checkpoints, 2 * 600 + 2 * 15, "none twice");
        assert_eq!((process.losses().dropped_records, process.missing_records()), (0, 0));
    }
}

#[test]
fn recovery_of_a_ring_can_be_killed_at_each_of_its_system_calls() {
    let folder = folder_in_memory();
    let pause = ("CHURN_PAUSE_AT", "360000".to_owned());
    let mut run = Run::new(u64::MAX, &[ring(1), pause]);
    let mut child = Running::start(&mut run.command);
    let counts = run.counts();
    wait_until("it pauses", || counts.get(0) == 360_000);
    // So many chunks that the ring has given some up, and few enough to be read often.
    wait_until("the sealer has caught up", || learn(&run.process()).rows < 360_000);
    child.kill().unwrap();
    child.wait().unwrap();
    let before = learn(&run.process());
    for kill_at in 0.. {
        let copied = folder.path().join(format!("copy-{kill_at}"));
        copy_whole(&run.run, &copied);
        let mut recover = program("tidegauge-record");
        recover.arg("recover").arg(&copied).stderr(Stdio::null());
        let end = match run_traced(&mut recover, kill_at) {
            Err(error) => return say(&format!("SKIPPED: tracing is not permitted here: {error}")),
            Ok(end) => end,
        };
        let read = || {
            let trace = Trace::open(&copied).unwrap();
            learn(&trace.process(trace.processes()[0]).unwrap())
        };
        assert_eq!(read(), before, "{end:?}, call {kill_at}");
        let TracedEnd::KilledBefore(_) = end else { break };
        let _ = output_of(program("tidegauge-record").arg("recover").arg(&copied));
        assert_eq!(read(), before, "{end:?}, call {kill_at}, repeated");
        std::fs::remove_dir_all(&copied).unwrap();
    }
}

fn copy_whole(from: &Path, to: &Path) {
    let _ = output_of(Command::new("cp").arg("-r").arg(from).arg(to));
}
