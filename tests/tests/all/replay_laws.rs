//! Laws of replay, against naive implementations that keep everything.

use std::collections::HashMap;

use proptest::prelude::*;
use tidegauge_analyzer::analysis::categories::CategoryRules;
use tidegauge_analyzer::analysis::{
    Curve, Grouping, HoldersAtPeak, Moment, PhaseTable, StepTable, peaks, timeline,
};
use tidegauge_analyzer::load::{Process, Rows};
use tidegauge_analyzer::replay::{Outcome, Window, replay};
use tidegauge_schemas::{EventKind, Trace};
use tidegauge_tests::TraceBuilder;
use tidegauge_tests::trace_builder::PROCESS;

fn open(builder: &TraceBuilder) -> (Process, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let run = builder.write(folder.path());
    let trace = Trace::open(&run).unwrap();
    trace.validate().unwrap();
    (trace.process(PROCESS).unwrap_or_else(|error| panic!("{error}")).into(), folder)
}

fn outcome(builder: &TraceBuilder) -> Outcome {
    replay(&open(builder).0, Window::ALL, &mut ()).unwrap()
}

/// An action on one of a few addresses, so that reuse, unknown frees and missed frees all occur.
#[derive(Debug, Clone)]
enum Action {
    Alloc { address: u64, size_bytes: u64, site: u8 },
    Free { address: u64 },
    FreeRequested { address: u64 },
    FreeCompleted { address: u64 },
    Mark,
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let address = 1u64..12;
    let action = prop_oneof![
        5 => (address.clone(), 1u64..1000, 0u8..4)
            .prop_map(|(address, size_bytes, site)| Action::Alloc { address, size_bytes, site }),
        3 => address.clone().prop_map(|address| Action::Free { address }),
        1 => address.clone().prop_map(|address| Action::FreeRequested { address }),
        1 => address.prop_map(|address| Action::FreeCompleted { address }),
        1 => Just(Action::Mark),
    ];
    prop::collection::vec(action, 0..120)
}

fn build(actions: &[Action]) -> TraceBuilder {
    actions.iter().fold(TraceBuilder::new(), |builder, action| match action {
        Action::Alloc { address, size_bytes, site } => {
            let site = (*site > 0).then(|| format!("site{site}"));
            builder.event(EventKind::Alloc, *address, Some(*size_bytes), site.as_deref())
        }
        Action::Free { address } => builder.free(*address),
        Action::FreeRequested { address } => builder.event(EventKind::FreeRequested, *address, None, None),
        Action::FreeCompleted { address } => builder.event(EventKind::FreeCompleted, *address, None, None),
        Action::Mark => builder.mark("phase"),
    })
}

/// The naive truth: the set of live blocks after every event, summed anew each time.
#[derive(Debug, Default)]
struct Naive {
    allocated: Vec<i64>,
    active: Vec<i64>,
    live: Vec<HashMap<u64, (i64, u8)>>,
}

fn naive(actions: &[Action]) -> Naive {
    let mut blocks: HashMap<u64, (i64, u8, bool)> = HashMap::new();
    let mut naive = Naive::default();
    for action in actions {
        match *action {
            Action::Alloc { address, size_bytes, site } => {
                blocks.insert(address, (size_bytes as i64, site, true));
            }
            Action::Free { address } | Action::FreeCompleted { address } => {
                blocks.remove(&address);
            }
            Action::FreeRequested { address } => {
                if let Some(block) = blocks.get_mut(&address) {
                    block.2 = false;
                }
            }
            Action::Mark => continue,
        }
        let held = blocks.iter().filter(|(_, block)| block.2);
        naive.live.push(held.clone().map(|(address, block)| (*address, (block.0, block.1))).collect());
        naive.allocated.push(held.map(|(_, block)| block.0).sum());
        naive.active.push(blocks.values().map(|block| block.0).sum());
    }
    naive
}

/// The first index of the highest value above zero.
fn first_peak(curve: &[i64]) -> (i64, Option<u64>) {
    let high = curve.iter().copied().max().unwrap_or(0).max(0);
    (high, curve.iter().position(|&bytes| bytes == high && high > 0).map(|index| index as u64))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    #[test]
    fn streaming_peaks_are_the_naive_ones(actions in actions()) {
        let truth = naive(&actions);
        let outcome = outcome(&build(&actions));
        prop_assert_eq!(outcome.events as usize, truth.allocated.len());
        let Some(device) = outcome.devices.first() else { return Ok(()) };
        let allocated = (device.allocated_peak.bytes, device.allocated_peak.event_index);
        let active = (device.active_peak.bytes, device.active_peak.event_index);
        prop_assert_eq!(allocated, first_peak(&truth.allocated));
        prop_assert_eq!(active, first_peak(&truth.active));
        prop_assert_eq!(device.allocated_bytes, *truth.allocated.last().unwrap());
        prop_assert_eq!(device.active_bytes, *truth.active.last().unwrap());
    }

    #[test]
    fn holders_at_the_peak_are_the_live_set_at_the_peak(actions in actions()) {
        let truth = naive(&actions);
        let (process, _folder) = open(&build(&actions));
        let mut holders = HoldersAtPeak::new(Window::ALL);
        replay(&process, Window::ALL, &mut holders).unwrap();
        let (high, index) = first_peak(&truth.allocated);
        let live = index.map_or_else(HashMap::new, |index| truth.live[index as usize].clone());
        let site_names = Rows::new(&process).site_names().unwrap();
        let mut expected: HashMap<Option<String>, (i64, i64)> = HashMap::new();
        for (bytes, site) in live.values() {
            let group = expected.entry((*site > 0).then(|| format!("site{site}"))).or_default();
            *group = (group.0 + bytes, group.1 + 1);
        }
        let found: HashMap<Option<String>, (i64, i64)> = holders
            .finish(0)
            .into_iter()
            .map(|holder| (site_names.get(&holder.site).cloned(), (holder.bytes, holder.blocks)))
            .collect();
        prop_assert_eq!(&found, &expected);
        // And the second pass says the same as the first.
        let by_site = peaks(&process, Moment::Peak, Window::ALL, Grouping::Site, &CategoryRules::default(), |_| true).unwrap();
        if high > 0 {
            let groups = by_site[0].groups.iter().map(|group| (group.key.clone(), (group.bytes, group.blocks as i64)));
            prop_assert_eq!(groups.collect::<HashMap<_, _>>(), expected);
            prop_assert_eq!(by_site[0].allocated_bytes, high);
        }
    }

    #[test]
    fn replay_does_not_depend_on_how_parts_are_cut(actions in actions(), rows in 1usize..50) {
        let whole = build(&actions);
        let tables = |builder: &TraceBuilder| {
            let (process, _folder) = open(builder);
            let mut observers = (PhaseTable::new(Window::ALL), StepTable::new(Window::ALL));
            let outcome = replay(&process, Window::ALL, &mut observers).unwrap();
            let (timeline, _) = timeline(&process, Window::ALL, 16).unwrap();
            let peaks: Vec<_> = outcome.devices.iter().map(|device| (device.allocated_peak, device.active_peak)).collect();
            (observers.0.finish(&outcome), observers.1.finish(&outcome), timeline, peaks, outcome.anomalies)
        };
        prop_assert_eq!(tables(&whole), tables(&whole.clone().parts_of(rows)));
    }

    #[test]
    fn a_timeline_never_loses_an_extreme(actions in actions(), buckets in 2usize..40) {
        let truth = naive(&actions);
        let (process, _folder) = open(&build(&actions));
        let (timeline, _) = timeline(&process, Window::ALL, buckets).unwrap();
        let series = timeline.series.iter().find(|series| series.curve == Curve::Allocated);
        let Some(series) = series else { return Ok(()) };
        prop_assert!(series.buckets.len() <= buckets);
        let shown = || series.buckets.iter().flatten();
        prop_assert_eq!(shown().map(|bucket| bucket.max_bytes).max(), truth.allocated.iter().copied().max());
        prop_assert_eq!(shown().map(|bucket| bucket.min_bytes).min(), truth.allocated.iter().copied().min());
        prop_assert_eq!(shown().last().map(|bucket| bucket.last_bytes), truth.allocated.last().copied());
    }

    #[test]
    fn what_is_alive_at_a_moment_is_what_was_alive_then(actions in actions(), share in 0.0f64..1.0) {
        let truth = naive(&actions);
        let builder = build(&actions);
        let (process, _folder) = open(&builder);
        let times: Vec<i64> = Rows::new(&process).events().flat_map(|batch| {
            let batch = batch.unwrap();
            (0..batch.len()).map(|row| batch.row(row).time_nanos).collect::<Vec<_>>()
        }).collect();
        if times.is_empty() { return Ok(()) }
        let index = ((times.len() as f64 * share) as usize).min(times.len() - 1);
        let at = peaks(&process, Moment::At(times[index]), Window::ALL, Grouping::Size, &CategoryRules::default(), |_| true).unwrap();
        prop_assert_eq!(at[0].allocated_bytes, truth.allocated[index]);
        let blocks: u64 = at[0].groups.iter().map(|group| group.blocks).sum();
        prop_assert_eq!(blocks as usize, truth.live[index].len());
    }
}

#[test]
fn an_empty_trace_has_no_devices_and_no_span() {
    let outcome = outcome(&TraceBuilder::new());
    assert!(outcome.devices.is_empty() && outcome.span_nanos.is_none() && outcome.rss_peak.is_none());
}

#[test]
fn one_event_is_a_peak() {
    let outcome = outcome(&TraceBuilder::new().alloc(1, 64));
    let peak = outcome.devices[0].allocated_peak;
    assert_eq!((peak.bytes, peak.event_index), (64, Some(0)));
}

#[test]
fn a_free_without_alloc_changes_nothing_and_is_counted() {
    let outcome = outcome(&TraceBuilder::new().free(1).alloc(1, 64).free(2));
    assert_eq!(outcome.devices[0].allocated_bytes, 64);
    assert_eq!(outcome.anomalies.unknown_frees, 2);
    assert!(outcome.anomalies.warnings()[0].contains("before recording began"));
}

#[test]
fn a_double_alloc_frees_the_old_block_and_is_counted() {
    let outcome = outcome(&TraceBuilder::new().alloc(1, 64).alloc(1, 10).alloc(2, 5));
    assert_eq!(outcome.devices[0].allocated_bytes, 15);
    assert_eq!(outcome.devices[0].allocated_peak.bytes, 64);
    assert_eq!(outcome.anomalies.missed_frees, 1);
}

#[test]
fn active_falls_when_the_stream_is_done_and_reserved_follows_segments() {
    let builder = TraceBuilder::new()
        .event(EventKind::SegmentAlloc, 0x100, Some(1000), None)
        .alloc(0x100, 600)
        .event(EventKind::FreeRequested, 0x100, None, None)
        .alloc(0x400, 300)
        .event(EventKind::FreeCompleted, 0x100, None, None)
        .event(EventKind::SegmentFree, 0x100, None, None);
    let outcome = outcome(&builder);
    let device = &outcome.devices[0];
    assert_eq!((device.allocated_peak.bytes, device.active_peak.bytes), (600, 900));
    assert_eq!((device.allocated_bytes, device.active_bytes), (300, 300));
    assert_eq!((device.reserved_peak.unwrap().bytes, device.reserved_bytes), (1000, Some(0)));
}

#[test]
fn a_baseline_is_alive_at_the_start() {
    let builder =
        TraceBuilder::new().event(EventKind::Baseline, 1, Some(100), None).alloc(2, 10).free(1).free(2);
    let outcome = outcome(&builder);
    let device = &outcome.devices[0];
    assert_eq!(device.initial_bytes, 100);
    // What was there at the start is no event of the device.
    assert_eq!((device.allocated_peak.bytes, device.allocated_peak.event_index), (110, Some(0)));
    let only = self::outcome(&TraceBuilder::new().event(EventKind::Baseline, 1, Some(100), None).free(1));
    assert_eq!(only.devices[0].allocated_peak.event_index, None, "the peak is the state at the start");
}

#[test]
fn marks_name_the_phase_that_they_end_and_spans_nest() {
    let builder = TraceBuilder::new().step(3, 0.5, |step| {
        step.mark("start")
            .alloc(1, 100)
            .mark("forward")
            .alloc(2, 50)
            .free(1)
            .mark("backward")
            .span("optimizer", |inside| inside.span("adam", |inside| inside.alloc(3, 7)).free(3))
    });
    let (process, _folder) = open(&builder);
    let mut observers = (PhaseTable::new(Window::ALL), StepTable::new(Window::ALL));
    let outcome = replay(&process, Window::ALL, &mut observers).unwrap();
    let rows: Vec<_> = observers
        .0
        .finish(&outcome)
        .into_iter()
        .map(|row| (row.phase, row.memory.unwrap()))
        .map(|(phase, memory)| (phase, memory.mean_delta_bytes, memory.peak_bytes, memory.peak_step))
        .collect();
    let row = |name: &str, delta, peak| (name.to_owned(), delta, peak, Some(3));
    // "start" ended before the device was first used.
    assert_eq!(
        rows,
        [row("forward", 100, 100), row("backward", -50, 150), row("adam", 7, 57), row("optimizer", 0, 57),]
    );
    let steps = observers.1.finish(&outcome);
    assert_eq!((steps[0].peak_bytes, steps[0].peak_phase.as_deref()), (Some(150), Some("backward")));
    assert_eq!((steps[0].loss, steps[0].is_complete), (Some(0.5), true));
    let peak = outcome.devices[0].allocated_peak;
    assert_eq!((peak.place.step, outcome.phases.name(peak.place.phase)), (Some(3), Some("backward")));
}

#[test]
fn a_window_has_its_own_peak_and_the_state_before_it() {
    // Rows are a microsecond apart.
    let builder = TraceBuilder::new().alloc(1, 100).alloc(2, 900).free(2).alloc(3, 10).free(3);
    let (process, _folder) = open(&builder);
    let origin = tidegauge_tests::trace_builder::ORIGIN_NANOS as i64;
    let window = Window { start_nanos: origin + 3000, end_nanos: origin + 4000 };
    let outcome = replay(&process, window, &mut ()).unwrap();
    assert_eq!(outcome.devices[0].allocated_peak.bytes, 110);
    let quiet = Window { start_nanos: origin + 4500, end_nanos: origin + 5000 };
    let peak = replay(&process, quiet, &mut ()).unwrap().devices[0].allocated_peak;
    assert_eq!(
        (peak.bytes, peak.event_index),
        (100, None),
        "nothing happens inside: the state that it opens with"
    );
}

#[test]
fn a_window_without_events_shows_what_held() {
    let builder = TraceBuilder::new().alloc(1, 100).mark("a").mark("b").mark("c").alloc(2, 1);
    let (process, _folder) = open(&builder);
    let origin = tidegauge_tests::trace_builder::ORIGIN_NANOS as i64;
    let window = Window { start_nanos: origin + 1500, end_nanos: origin + 2500 };
    let (timeline, _) = timeline(&process, window, 10).unwrap();
    let allocated = timeline.series.iter().find(|series| series.curve == Curve::Allocated).unwrap();
    assert!(!allocated.buckets.is_empty());
    assert!(allocated.buckets.iter().all(|bucket| bucket.unwrap().max_bytes == 100), "{allocated:?}");
    assert_eq!(timeline.start_nanos, window.start_nanos, "a window begins where it was asked to");
}

#[test]
fn steps_and_phases_without_allocations_have_times_and_losses() {
    let builder =
        (0..3).fold(TraceBuilder::new(), |builder, n| builder.step(n, 0.5, |step| step.mark("forward")));
    let (process, _folder) = open(&builder);
    let mut observers = (PhaseTable::new(Window::ALL), StepTable::new(Window::ALL));
    let outcome = replay(&process, Window::ALL, &mut observers).unwrap();
    let phases = observers.0.finish(&outcome);
    assert_eq!((phases.len(), phases[0].count, phases[0].memory.clone()), (1, 3, None));
    let steps = observers.1.finish(&outcome);
    assert_eq!(
        (steps.len(), steps[1].loss, steps[1].peak_bytes, steps[1].device),
        (3, Some(0.5), None, None)
    );
}

#[test]
fn an_annotation_moves_a_block_to_its_site_for_its_whole_life() {
    let builder = TraceBuilder::new()
        .event(EventKind::Alloc, 1, Some(100), Some("old"))
        .event(EventKind::Annotate, 1, None, Some("before the peak"))
        .event(EventKind::Alloc, 2, Some(50), Some("old"))
        .event(EventKind::Annotate, 2, None, Some("after the peak"))
        .free(1)
        .free(2)
        .event(EventKind::Alloc, 2, Some(1), Some("another block"));
    let (process, _folder) = open(&builder);
    let at_peak =
        peaks(&process, Moment::Peak, Window::ALL, Grouping::Site, &CategoryRules::default(), |_| true)
            .unwrap();
    let groups: Vec<_> =
        at_peak[0].groups.iter().map(|group| (group.key.as_deref().unwrap(), group.bytes)).collect();
    assert_eq!(groups, [("before the peak", 100), ("after the peak", 50)]);
    let mut holders = HoldersAtPeak::new(Window::ALL);
    replay(&process, Window::ALL, &mut holders).unwrap();
    let total: i64 = holders.finish(0).iter().map(|holder| holder.bytes).sum();
    assert_eq!(total, 150, "in one pass the later annotation is not known yet, and nothing is lost by it");
}

#[test]
fn absurd_sizes_and_unknown_segments_are_counted_and_change_nothing() {
    let builder = TraceBuilder::new()
        .alloc(1, i64::MAX as u64)
        .alloc(2, i64::MAX as u64)
        .alloc(3, 10)
        .event(EventKind::SegmentFree, 9, Some(1000), None)
        .event(EventKind::SegmentMap, 0x100, Some(100), None)
        .event(EventKind::SegmentUnmap, 0x100, Some(40), None)
        .event(EventKind::SegmentUnmap, 0x128, None, None);
    let outcome = outcome(&builder);
    assert_eq!((outcome.anomalies.absurd_sizes, outcome.anomalies.unknown_segments), (2, 1));
    let device = &outcome.devices[0];
    assert_eq!((device.allocated_peak.bytes, device.reserved_bytes), (10, Some(0)));
    assert_eq!(device.reserved_peak.unwrap().bytes, 100);
}
