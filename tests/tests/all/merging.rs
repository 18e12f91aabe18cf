//! Merged parts hold what their inputs held; a reader sees nothing of the merging.

use std::path::Path;
use std::process::Command;

use proptest::prelude::*;
use tidegauge_schemas::merge::PreparedMerge;
use tidegauge_schemas::part::Part;
use tidegauge_schemas::process::Ended;
use tidegauge_schemas::trace_lock::{Busy, TraceLock};
use tidegauge_schemas::{Error, EventKind, Table, Trace, layout};
use tidegauge_tests::TraceBuilder;
use tidegauge_tests::merging::{merge, merge_all, parts};
use tidegauge_tests::programs::{output_of, program, say, wait_until};
use tidegauge_tests::trace_builder::PROCESS;

use crate::round_trip::cells;
use crate::small_disk::SmallDisk;
use crate::victim::{Victim, folder_in_memory, kill, listing};

/// Events per millisecond and thread: two threads fill a part in half a second, and a slow machine seals that.
const RATE: u64 = 250;
/// Events of each of two threads: thirteen parts.
const EVENTS: u64 = 1_700_000;
/// Records in a part, and parts that are merged at once.
const PART_ROWS: usize = 1 << 18;
const MERGED_AT_ONCE: usize = 10;

/// All rows of all tables, in the order in which they are read.
pub(crate) fn rows(run: &Path) -> Vec<(Table, Vec<Vec<String>>)> {
    let trace = Trace::open(run).unwrap();
    let process = trace.process(trace.processes()[0]).unwrap();
    let rows = |table: Table| {
        let columns: Vec<&str> = table.columns().iter().map(|column| column.name).collect();
        let batches = process.batches(table, &columns).map(Result::unwrap);
        (table, batches.flat_map(|batch| cells(&batch, table)).collect())
    };
    Table::ALL.map(rows).into()
}

pub(crate) fn file_name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

fn summary(run: &Path) -> String {
    output_of(program("tidegauge").arg("summary").arg(run).args(["--format", "json"]))
}

/// Rows of every table that such a trace can have, with new names all along and gaps between the chunks of a table.
pub(crate) fn build(rows: usize, part_rows: usize) -> TraceBuilder {
    (0..rows as u64).fold(TraceBuilder::new().parts_of(part_rows), |builder, n| match n % 16 {
        0..6 => builder.event(EventKind::Alloc, n, Some(n * 7 + 1), Some(&format!("site{}", n / 9))),
        6..9 => builder.alloc(n, 100),
        9..12 => builder.free(n - 8),
        12 => builder.rss(n << 20),
        13 => builder.mark(&format!("mark{}", n / 30)),
        _ if n % 128 < 64 => builder.rss(n),
        _ => builder.step(n as i64, 0.5, |step| step.mark("forward")),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn merged_parts_hold_the_rows_of_their_inputs_in_order(
        rows_in in 1usize..300, part_rows in 1usize..40,
        merges in prop::collection::vec((0usize..5, 0.0..1.0, 2usize..12), 1..12),
    ) {
        let folder = folder_in_memory();
        let run = build(rows_in, part_rows).write(folder.path());
        let before = rows(&run);
        let tables = [Table::Events, Table::Events, Table::Checkpoints, Table::Samples, Table::Sites];
        for (table, from, count) in merges {
            let table = tables[table];
            let there = parts(&run, table, PROCESS).unwrap().len();
            let from = (from * there as f64) as usize;
            let to = (from + count).min(there);
            let merged = merge(&run, table, PROCESS, from..to).unwrap();
            prop_assert_eq!(merged.is_some(), to - from >= 2);
            let left = parts(&run, table, PROCESS).unwrap().len();
            prop_assert_eq!(left, there - (to - from).saturating_sub(1));
        }
        prop_assert!(rows(&run) == before);
        Trace::open(&run).unwrap().validate().unwrap();
        merge_all(&run, PROCESS, usize::MAX).unwrap();
        prop_assert!(rows(&run) == before, "and all of them in one");
        let files = listing(&run).into_iter().filter(|(path, _)| path.extension().is_some_and(|e| e == "parquet"));
        prop_assert!(files.count() <= 4);
    }
}

#[test]
fn a_summary_is_the_same_bytes() {
    let folder = folder_in_memory();
    let run = build(3000, 70).write(folder.path());
    let before = summary(&run);
    for at_once in [7, 1000] {
        merge_all(&run, PROCESS, at_once).unwrap();
        assert_eq!(summary(&run), before);
    }
}

#[test]
fn damage_is_not_merged_away() {
    let folder = folder_in_memory();
    let run = build(200, 20).write(folder.path());
    let inputs = parts(&run, Table::Events, PROCESS).unwrap();
    let mut bytes = std::fs::read(&inputs[3].path).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&inputs[3].path, bytes).unwrap();
    let before = listing(&run);
    let error = PreparedMerge::prepare(&inputs, "part", "built", |_| true).unwrap_err();
    assert!(matches!(&error, Error::Checksum { path, .. } if *path == inputs[3].path), "{error}");
    assert!(listing(&run) == before, "nothing is left of it");
}

#[test]
fn parts_in_another_order_are_refused() {
    let folder = folder_in_memory();
    let run = build(200, 20).write(folder.path());
    let mut inputs = parts(&run, Table::Events, PROCESS).unwrap();
    inputs.swap(1, 2);
    let error = PreparedMerge::prepare(&inputs, "part", "built", |_| true).unwrap_err();
    assert!(matches!(error, Error::OverlappingParts { .. }), "{error}");
}

#[test]
fn a_merge_can_be_broken_off_wherever_it_is() {
    let folder = folder_in_memory();
    let run = build(200, 50).write(folder.path());
    let before = listing(&run);
    let inputs = parts(&run, Table::Events, PROCESS).unwrap();
    let mut broken_off = 0;
    loop {
        let mut asked = 0;
        let prepared = PreparedMerge::prepare(&inputs, "part", "built", |_| {
            asked += 1;
            asked <= broken_off
        });
        let is_prepared = prepared.unwrap().is_some();
        assert!(listing(&run) == before, "one that is not published leaves nothing either");
        if is_prepared {
            break;
        }
        broken_off += 1;
    }
    // Four parts of a row group with eleven columns each, and once for each part's checksum.
    assert!(broken_off >= 4 * 12, "{broken_off}");
}

#[test]
fn what_a_merge_superseded_and_left_is_not_read_and_does_not_come_back() {
    let folder = folder_in_memory();
    let run = build(300, 20).write(folder.path());
    let before = rows(&run);
    let inputs = parts(&run, Table::Events, PROCESS).unwrap();
    let left = &inputs[2];
    let bytes = std::fs::read(&left.path).unwrap();
    let put_back = || std::fs::write(&left.path, &bytes).unwrap();
    merge(&run, Table::Events, PROCESS, 0..5).unwrap();
    put_back();
    assert!(rows(&run) == before, "it is not read");
    // A further merge supersedes the merged part, and with it the one that names what was left.
    merge(&run, Table::Events, PROCESS, 0..3).unwrap();
    assert!(!left.path.exists());
    assert!(rows(&run) == before);

    let merged = &parts(&run, Table::Events, PROCESS).unwrap()[0];
    assert_eq!(merged.supersedes.len(), 3);
    let direct = merged.path.with_file_name(&merged.supersedes[1]);
    std::fs::write(&direct, std::fs::read(&inputs[5].path).unwrap_or(bytes)).unwrap();
    let _ = output_of(program("tidegauge-record").arg("recover").arg(&run));
    assert!(!direct.exists(), "recovery removes it");
    assert!(rows(&run) == before);
}

#[test]
fn a_part_that_goes_after_it_was_opened_is_said_to_be_gone() {
    let folder = folder_in_memory();
    let run = build(300, 20).write(folder.path());
    let process = Trace::open(&run).unwrap().process(PROCESS).unwrap();
    merge(&run, Table::Events, PROCESS, 0..5).unwrap();
    let error = process.batches(Table::Events, &["seq"]).find_map(Result::err).unwrap();
    assert!(matches!(error, Error::PartGone { .. }), "{error}");
}

fn is_merged(part: &Part) -> bool {
    !part.supersedes.is_empty()
}

#[test]
fn a_trace_is_read_right_while_its_parts_are_merged() {
    let folder = tempfile::tempdir().unwrap();
    let victim = Victim::new(folder.path(), "merged", 2, RATE);
    let child = victim.start_and_record(1);
    let (mut reads, mut merges) = (0, 0);
    let mut seen = Vec::new();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(120);
    while merges < 2 {
        assert!(std::time::Instant::now() < deadline, "{merges} merges of events in {reads} reads");
        let at_least = (0..2).map(|thread| victim.counts().get(thread)).collect::<Vec<_>>();
        let found = victim.found();
        assert_eq!(found.ended, Ended::Running);
        if found.losses.dropped_records > 0 {
            say("SKIPPED: this machine is too slow to seal what is recorded");
            return;
        }
        found.assert_without_gaps();
        for (thread, &events) in at_least.iter().enumerate() {
            assert!(found.has_all(thread, 0..events), "thread {thread}: {events} had been recorded");
        }
        reads += 1;
        let merged: Vec<_> = victim
            .process()
            .parts(Table::Events)
            .iter()
            .filter(|part| is_merged(part))
            .map(Part::name)
            .collect();
        merges += merged.iter().filter(|name| !seen.contains(*name)).count();
        seen = merged;
    }
    kill(child);
    let found = victim.found();
    found.assert_complete(&victim.counts());
    let _ = output_of(program("tidegauge-record").arg("recover").arg(&victim.run));
    assert!(victim.found() == found);
    Trace::open(&victim.run).unwrap().validate().unwrap();
    say(&format!("read {reads} times, {merges} merges"));
}

#[test]
fn a_reader_keeps_its_parts_and_a_stop_does_not_wait_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let victim = Victim::new(folder.path(), "held", 2, RATE).events(EVENTS);
    let mut child = victim.start_and_record(1);
    let reader = victim.process();
    let home = layout::process_folder(&victim.run, reader.id);
    assert_eq!(TraceLock::to_merge(&home).unwrap_err(), Busy);
    assert!(child.wait().unwrap().success(), "{}", victim.errors());
    let process = victim.process();
    assert_eq!(process.ended, Ended::Clean);
    let parts = process.parts(Table::Events);
    assert!(parts.len() > MERGED_AT_ONCE && !parts.iter().any(is_merged), "enough to merge, and none is");
    assert_eq!(process.info.as_ref().unwrap().cost.merged_bytes, 0);
    drop(reader);
    assert_eq!(victim.found().assert_complete(&victim.counts()), 2 * EVENTS);
}

#[test]
fn a_long_run_has_few_parts_and_says_what_merging_cost() {
    let folder = tempfile::tempdir().unwrap();
    // The merging thread is behind all others: on a machine that is busy throughout it may not have had its turn.
    let mut runs = (0..4).map(|run| {
        let victim = Victim::new(folder.path(), &format!("long-{run}"), 2, RATE).events(EVENTS);
        assert!(victim.finish().success(), "{}", victim.errors());
        victim
    });
    let victim = runs.find(|victim| victim.process().parts(Table::Events).iter().any(is_merged)).unwrap();
    let process = victim.process();
    let parts = process.parts(Table::Events);
    let info = process.info.as_ref().unwrap();
    assert!(
        parts.iter().any(is_merged) && parts.len() < 2 * EVENTS as usize / PART_ROWS,
        "{} parts",
        parts.len()
    );
    assert!(info.cost.merged_bytes > 0 && info.notes.is_empty(), "{:?}", info.notes);
    assert_eq!(victim.found().assert_complete(&victim.counts()), 2 * EVENTS);
    let left = listing(&victim.run).into_iter().filter(|(path, _)| file_name(path).starts_with(".tmp"));
    assert_eq!(left.count(), 0);
}

#[test]
fn a_merge_that_fails_costs_files_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let victim = Victim::new(folder.path(), "fails", 2, RATE).events(EVENTS);
    let mut child = victim.start();
    let parts = victim.run.join("events/rank=0/process=0");
    wait_until("a part is sealed", || parts.exists());
    // Where the merged part would be written.
    std::fs::create_dir(parts.join(format!(".tmp-part-merge-events-{}", child.id()))).unwrap();
    victim.assert_went_on(child.wait().unwrap(), EVENTS);
    let process = victim.process();
    assert_eq!(process.ended, Ended::Clean);
    assert!(!process.parts(Table::Events).iter().any(is_merged));
    let info = process.info.as_ref().unwrap();
    let notes = info.notes.iter().filter(|note| note.starts_with("parts could not be merged"));
    assert_eq!((notes.count(), info.losses.failed_seals), (1, 0), "{:?}", info.notes);
    assert_eq!(victim.found().assert_complete(&victim.counts()), 2 * EVENTS);
}

#[test]
fn on_a_disk_with_little_space_nothing_is_merged() {
    if !SmallDisk::is_permitted() {
        say("SKIPPED: no mount namespace for this user");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut victim = Victim::new(folder.path(), "small", 2, RATE).events(EVENTS).cap_bytes(64 << 20);
    let (_disk, mut child) = SmallDisk::start(folder.path(), 256, 0, &mut victim);
    victim.assert_went_on(child.wait().unwrap(), EVENTS);
    let process = victim.process();
    let parts = process.parts(Table::Events);
    assert!(parts.len() > MERGED_AT_ONCE && !parts.iter().any(is_merged));
    let info = process.info.as_ref().unwrap();
    assert_eq!((info.losses.failed_seals, info.cost.merged_bytes), (0, 0));
    assert_eq!(info.notes, Vec::<String>::new());
}

/// The program that merges a closed trace.
pub(crate) fn merge_victim(run: &Path, at_once: usize) -> Command {
    let mut command = program("merge-victim");
    command.arg(run).arg(at_once.to_string());
    command
}
