//! The wall clock is set while a program records: times go on from the first look at it, as if it had not been.

use std::path::Path;

use arrow::array::AsArray as _;
use arrow::datatypes::TimestampNanosecondType;
use tidegauge_recorder as tg;
use tidegauge_schemas::journal::{
    ANCHOR_CAPACITY, ANCHOR_OFFSET, Anchor, CONTROL_FILE, Control, anchor_words,
};
use tidegauge_schemas::{Table, Trace};
use tidegauge_tests::programs::wait_until;

use crate::victim::{Victim, kill, warnings};

const HOUR_NANOS: i64 = 3_600_000_000_000;

fn times(run: &Path) -> Vec<i64> {
    let trace = Trace::open(run).unwrap();
    let process = trace.process(trace.processes()[0]).unwrap();
    assert!(process.damage.is_empty(), "{:?}", process.damage);
    let mut times = Vec::new();
    for batch in process.batches(Table::Events, &["time"]) {
        let batch = batch.unwrap();
        times
            .extend(batch.column_by_name("time").unwrap().as_primitive::<TimestampNanosecondType>().values());
    }
    times
}

fn anchors(control: &Path) -> Vec<Anchor> {
    Control::read(control).unwrap().clock().anchors().to_vec()
}

/// Has every look at the wall clock but the very first find it set by so much.
fn step_clock(control: &Path, by_nanos: i64) {
    let first = anchors(control)[0];
    let mut bytes = std::fs::read(control).unwrap();
    for place in bytes[ANCHOR_OFFSET..].chunks_exact_mut(32).take(ANCHOR_CAPACITY + 1) {
        let word = |at: usize| u64::from_le_bytes(place[at * 8..][..8].try_into().unwrap());
        let anchor = Anchor {
            ticks: word(0),
            monotonic_nanos: word(1).cast_signed(),
            unix_nanos: word(2).cast_signed() + by_nanos,
        };
        if word(3) == 0 || anchor.ticks == first.ticks {
            continue;
        }
        for (bytes, word) in place.chunks_exact_mut(8).zip(anchor_words(anchor)) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
    }
    std::fs::write(control, bytes).unwrap();
}

#[test]
fn a_step_of_the_wall_clock_tears_no_trace() {
    let folder = tempfile::tempdir().unwrap();
    for by_nanos in [HOUR_NANOS, -HOUR_NANOS] {
        // One thread: the order of its events is that of their times.
        let victim = Victim::new(folder.path(), &by_nanos.to_string(), 1, 100);
        let child = victim.start_and_record(1000);
        let control = victim.run.join("_process/rank=0/process=0/journal").join(CONTROL_FILE);
        // Two are made at the start, a third as sealing begins, one more each second.
        wait_until("clocks have been compared since", || anchors(&control).len() > 3);
        kill(child);
        let steady = times(&victim.run);
        assert!(!warnings(&victim.run).iter().any(|warning| warning.contains("wall clock")));
        let before = anchors(&control);
        step_clock(&control, by_nanos);
        let after = anchors(&control);
        assert_eq!(after.len(), before.len());
        assert_eq!((after[0], after[1].unix_nanos), (before[0], before[1].unix_nanos + by_nanos));

        let stepped = times(&victim.run);
        assert!(stepped.is_sorted(), "times go back");
        assert!(stepped == steady, "they are those of the clock as it was at the start");
        let minute = HOUR_NANOS / 60;
        assert!(
            stepped.iter().all(|time| (0..minute).contains(&(time - before[0].unix_nanos))),
            "on that wall clock"
        );
        let said =
            format!("the wall clock was set, or the machine slept: {:+}.000 s", by_nanos / 1_000_000_000);
        let says = || warnings(&victim.run).iter().filter(|warning| warning.contains(&said)).count();
        assert_eq!(says(), 1, "{said}");
        tg::recover(&victim.run).unwrap();
        assert!(times(&victim.run) == steady, "sealed parts as well");
        assert_eq!(says(), 1, "{said}");
    }
}
