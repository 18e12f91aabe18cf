//! Chunks that are set aside, and clocks that are set.

use std::time::{Duration, Instant};

use tidegauge_schemas::journal::{Anchor, EventSlot, SLOTS_PER_CHUNK};
use tidegauge_schemas::process::Ended;
use tidegauge_schemas::{EventKind, Table, Trace};

use crate::Recorder;

/// Recording is of the whole process: both cases in one test.
#[test]
fn a_thread_that_sleeps_with_a_slot_holds_nothing_up() {
    for comes_back in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let recorder = Recorder::builder(folder.path().join("run")).start().unwrap();
        let wake_up = recorder.journal().fall_asleep();
        let records = 20 * SLOTS_PER_CHUNK;
        (0..records).for_each(|n| crate::alloc(0, n, 8));
        // Its chunk, the first, is set aside; eight after it are sealed.
        let part = recorder.run().join("events/rank=0/process=0/part-000001.parquet");
        let deadline = Instant::now() + Duration::from_secs(60);
        while !part.exists() {
            assert!(Instant::now() < deadline, "sealing waits for the sleeper");
            std::thread::sleep(Duration::from_millis(5));
        }
        if comes_back {
            let alloc = EventSlot { kind: EventKind::Alloc, address: Some(u64::MAX), ..EventSlot::BARE };
            wake_up(&EventSlot { size_bytes: Some(1), ticks: recorder.journal().ticks(), ..alloc }.encode());
        }
        let run = recorder.stop().unwrap();
        let trace = Trace::open(&run).unwrap();
        trace.validate().unwrap();
        let process = trace.process(trace.processes()[0]).unwrap();
        let rows: u64 = process.parts(Table::Events).iter().map(|part| part.rows).sum();
        assert_eq!(rows, records + u64::from(comes_back));
        assert_eq!(process.losses().uncommitted_records, u64::from(!comes_back));
        assert_eq!((process.losses().dropped_records, process.missing_records()), (0, 0));
        assert_eq!(process.ended, Ended::Clean);
    }
}

#[test]
fn a_wall_clock_that_was_set_is_noted() {
    let (journal, folder) = crate::journal::tests::journal();
    let run = folder.path().to_owned();
    let id = tidegauge_schemas::layout::ProcessId { rank: 0, process: 0 };
    let target = super::PartTarget { run, run_id: "r".to_owned(), id, host: "h".to_owned() };
    let sealer = super::Sealer::new(journal, target, None, None);
    let last = *sealer.clock().anchors().last().unwrap();
    let set = last.unix_nanos + 3_600_000_000_000;
    journal.control.add_anchor(Anchor { ticks: last.ticks + 1, unix_nanos: set, ..last });
    let finished = sealer.finish(0);
    assert!(finished.failure.is_none() && finished.all_committed);
    assert!(finished.notes[0].contains("+3600.0"));
}
