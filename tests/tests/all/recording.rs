//! What the recorder writes, read back: through its API, in programs of one behaviour each.

use arrow::array::AsArray as _;
use arrow::datatypes::UInt64Type;
use tidegauge_analyzer::analysis::{PhaseTable, StepTable};
use tidegauge_analyzer::load::{Process, Rows, Selection, Source};
use tidegauge_analyzer::replay::{Window, replay};
use tidegauge_recorder::{self as tg, Recorder};
use tidegauge_schemas::process::Ended;
use tidegauge_schemas::{Table, Trace};
use tidegauge_tests::programs::{output_of, wait_until};

use crate::victim::{Victim, kill};

/// Recording is of the whole process: tests that record in this one take turns.
static RECORDING: std::sync::Mutex<()> = std::sync::Mutex::new(());

pub(crate) fn turn() -> std::sync::MutexGuard<'static, ()> {
    RECORDING.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[test]
fn a_training_loop_reads_back_as_it_was_told() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::builder(folder.path().join("run")).config("batch_size", 4).start().unwrap();
    for number in 0..3 {
        let _epoch = tg::epoch(7);
        let mut step = tg::step(number);
        step.set_batch_size(4);
        {
            let _forward = tg::span("forward");
            let _site = tg::site("layer1");
            tg::alloc(0, 0x1000, 100);
            tg::alloc(0, 0x2000, 50);
        }
        tg::free(0, 0x1000);
        tg::mark("backward");
        tg::free(0, 0x2000);
        tg::counter("lr", 0.5);
        step.set_loss(1.0 / (number + 1) as f64);
    }
    let run = recorder.stop().unwrap();

    let trace = Trace::open(&run).unwrap();
    trace.validate().unwrap();
    assert_eq!(trace.info.config["batch_size"], 4);
    let source = Source::open(&[&run], &Selection::default()).unwrap();
    assert_eq!(source.warnings(), Vec::<String>::new());
    let process = &source.processes[0];
    assert_eq!(process.ended, Ended::Clean);
    assert!(process.trace().unwrap().journal().is_none(), "a clean stop leaves no journal");
    let mut observers = (PhaseTable::new(Window::ALL), StepTable::new(Window::ALL));
    let outcome = replay(process, Window::ALL, &mut observers).unwrap();
    let device = outcome.devices.iter().find(|device| device.device == 0).unwrap();
    assert_eq!((device.allocated_peak.bytes, device.allocated_bytes), (150, 0));
    assert_eq!(device.allocated_peak.event_index, Some(1));
    assert_eq!(outcome.phases.name(device.allocated_peak.place.phase), Some("forward"));
    let phases = observers.0.finish(&outcome);
    let named = |name: &str| phases.iter().find(|row| row.phase == name && row.device() == Some(0)).unwrap();
    let memory = |name: &str| named(name).memory.as_ref().unwrap();
    assert_eq!((named("forward").count, memory("forward").mean_delta_bytes), (3, 150));
    assert_eq!((memory("backward").mean_delta_bytes, memory("backward").peak_bytes), (-100, 150));
    let steps = observers.1.finish(&outcome);
    let losses: Vec<_> = steps.iter().filter(|row| row.device == Some(0)).map(|row| row.loss).collect();
    assert_eq!(losses, [Some(1.0), Some(0.5), Some(1.0 / 3.0)]);
    assert!(steps.iter().all(|row| row.epoch == Some(7) && row.batch_size == Some(4)));
    assert!(Rows::new(process).site_names().unwrap().values().any(|name| name == "layer1"));
    let lr = Rows::new(process).samples().map(Result::unwrap).filter(|sample| sample.metric == "lr");
    assert_eq!(lr.map(|sample| sample.value).collect::<Vec<_>>(), [0.5; 3]);
    assert!(outcome.rss_peak.unwrap().bytes > 1 << 20, "the process's own memory is sampled");
}

#[test]
fn every_checkpoint_has_its_counters() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::builder(folder.path().join("run")).start().unwrap();
    tg::mark("a");
    tg::mark("b");
    let run = recorder.stop().unwrap();
    let trace = Trace::open(&run).unwrap();
    let process = Process::from(trace.process(trace.processes()[0]).unwrap());
    let checkpoints: Vec<u64> = Rows::new(&process).checkpoints().map(|row| row.unwrap().seq).collect();
    let samples: Vec<_> = Rows::new(&process).samples().map(Result::unwrap).collect();
    for seq in checkpoints {
        assert!(samples.iter().any(|sample| sample.seq == seq && sample.metric == "rss_bytes"), "{seq}");
    }
}

#[test]
fn one_recorder_at_a_time_and_a_folder_of_its_own() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let wished = folder.path().join("run");
    let first = Recorder::builder(&wished).start().unwrap();
    assert!(matches!(
        Recorder::builder(folder.path().join("other")).start(),
        Err(tg::Error::AlreadyRecording)
    ));
    assert_eq!(first.stop().unwrap(), wished);
    let second = Recorder::builder(&wished).start().unwrap();
    assert_eq!(second.stop().unwrap(), folder.path().join("run-2"), "an existing trace is left alone");
}

#[test]
fn a_running_recording_can_be_read() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::builder(folder.path().join("run")).start().unwrap();
    // More than a part, so that some of it is sealed and some is in the journal.
    let events = 400_000;
    for n in 0..events {
        tg::alloc(0, n, 8);
    }
    let trace = Trace::open(recorder.run()).unwrap();
    let process = trace.process(trace.processes()[0]).unwrap();
    assert_eq!(process.ended, Ended::Running);
    let count = |process: &tidegauge_schemas::ProcessTrace| -> usize {
        process.batches(Table::Events, &["seq"]).map(|batch| batch.unwrap().num_rows()).sum()
    };
    assert_eq!(count(&process), events as usize);
    assert!(matches!(tg::recover(recorder.run()), Err(tg::Error::StillRecording { .. })));
    let run = recorder.stop().unwrap();
    let closed = Trace::open(&run).unwrap();
    assert_eq!(count(&closed.process(closed.processes()[0]).unwrap()), events as usize);
}

#[test]
fn dropped_records_are_told_to_the_program() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let recorder = Recorder::builder(&run).journal_cap_bytes(0).start().unwrap();
    // Nothing can be sealed while the process's folder is away; the journal stays open where it is.
    let (home, away) = (run.join("_process"), run.join("away"));
    std::fs::rename(&home, &away).unwrap();
    let events = 1_000_000;
    for n in 0..events {
        tg::alloc(0, n, 8);
    }
    let dropped = recorder.dropped_records();
    assert!(dropped > 0, "the cap is far below {events} events");
    std::fs::rename(&away, &home).unwrap();
    recorder.stop().unwrap();
    let trace = Trace::open(&run).unwrap();
    let process = trace.process(trace.processes()[0]).unwrap();
    let rows: usize = process.batches(Table::Events, &["seq"]).map(|batch| batch.unwrap().num_rows()).sum();
    // The recorder's own samples are records too, and some of them may have been dropped.
    let said = process.losses().dropped_records;
    assert!(said >= dropped && rows as u64 + said >= events, "{rows} rows, {said} dropped");
    let warnings = Source::open(&[&run], &Selection::default()).unwrap().warnings();
    assert!(warnings.iter().any(|warning| warning.contains("dropped")), "{warnings:?}");
}

#[test]
fn a_live_read_is_a_consistent_cut() {
    let folder = tempfile::tempdir().unwrap();
    // One thread that allocates address n as its n-th event: whatever is read must have no gap. Slow enough for sealing
    // to keep up while other tests take the processor.
    let victim = Victim::new(folder.path(), "live", 1, 200);
    let child = victim.start_and_record(1000);
    for _ in 0..30 {
        let process = victim.process();
        assert_eq!(process.ended, Ended::Running);
        assert!(process.damage.is_empty(), "{:?}", process.damage);
        assert_eq!(process.losses().dropped_records, 0);
        let mut next = 0;
        for batch in process.batches(Table::Events, &["address"]) {
            let batch = batch.unwrap();
            let addresses = batch.column_by_name("address").unwrap().as_primitive::<UInt64Type>();
            for address in addresses.values() {
                assert_eq!(*address, next, "a record in the middle is missing");
                next += 1;
            }
        }
        assert!(next > 0);
    }
    kill(child);
}

#[test]
fn sites_that_come_late_are_recovered_once() {
    let folder = tempfile::tempdir().unwrap();
    // Its sites come long after the first parts were sealed, when the string table had names only.
    let victim = Victim::new(folder.path(), "late", 1, 1000).site_after(600_000);
    let child = victim.start();
    let sites = victim.run.join("sites/rank=0/process=0");
    wait_until("a site is sealed", || sites.exists());
    kill(child);
    assert_eq!(tg::recover(&victim.run).unwrap().len(), 1);
    Trace::open(&victim.run).unwrap().validate().unwrap();
    let process = Process::from(victim.process());
    let names = Rows::new(&process).site_names().unwrap();
    assert_eq!(names.into_values().collect::<Vec<_>>(), ["late"]);
}

#[test]
fn a_process_killed_before_it_said_who_it_is_can_be_recovered() {
    let folder = tempfile::tempdir().unwrap();
    let victim = Victim::new(folder.path(), "nameless", 1, 200);
    kill(victim.start_and_record(1000));
    let counts = victim.counts();
    std::fs::remove_file(victim.run.join("_process/rank=0/process=0/process.json")).unwrap();
    let recovered = tg::recover(&victim.run).unwrap();
    assert!(recovered[0].records >= counts.get(0) && recovered[0].damage[0].contains("process.json"));
    let process = victim.process();
    assert!(process.parts(Table::Events).iter().map(|part| part.rows).sum::<u64>() >= counts.get(0));
    assert!(process.journal().is_none());
}

#[test]
fn recorders_that_are_stopped_leave_nothing_open() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_churn"));
    let _ = output_of(command.env("TIDEGAUGE", &run).env("CHURN_RECORDINGS", "20"));
    let trace = Trace::open(&run).unwrap();
    assert_eq!(trace.processes().len(), 20);
    trace.validate().unwrap();
}
