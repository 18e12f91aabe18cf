//! The moments of the report's page against `tidegauge peaks`, one moment at a time, and against a naive implementation.

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;
use serde_json::Value;
use tidegauge_analyzer::analysis::categories::CategoryRules;
use tidegauge_analyzer::analysis::{
    DeviceMoments, Grouping, Moment, MomentRow, Moments, MomentsWanted, Peaks, Reason, moments, peaks,
    step_window,
};
use tidegauge_analyzer::load::{Process, Selection, Source};
use tidegauge_analyzer::render::moments_json;
use tidegauge_analyzer::replay::Window;
use tidegauge_schemas::EventKind;
use tidegauge_tests::TraceBuilder;
use tidegauge_tests::corpus;
use tidegauge_tests::programs::{output_of, program};

/// Bytes and blocks by name; none for what is not known.
type Groups = BTreeMap<Option<String>, (i64, u64)>;

fn no_rules() -> CategoryRules {
    CategoryRules::default()
}

fn source(path: &Path) -> Source {
    Source::open(&[path], &Selection::default()).unwrap()
}

fn found(process: &Process, window: Window, wanted: MomentsWanted) -> Moments {
    moments(process, window, &no_rules(), wanted).unwrap().0
}

fn categories(device: &DeviceMoments, row: &MomentRow) -> Groups {
    let named = |of: usize| Some(device.kinds[of].clone());
    row.categories.iter().map(|share| (named(share.of), (share.bytes, share.blocks))).collect()
}

fn sites(moments: &Moments, row: &MomentRow) -> Groups {
    let named = |of: Option<usize>| of.map(|of| moments.sites[of].clone());
    row.sites.iter().map(|share| (named(share.of), (share.bytes, share.blocks))).collect()
}

/// What `peaks` of the library says of one device.
fn groups_of(peaks: &Peaks) -> Groups {
    peaks.groups.iter().map(|group| (group.key.clone(), (group.bytes, group.blocks))).collect()
}

fn of_device(all: &[Peaks], device: i16) -> &Peaks {
    all.iter().find(|peaks| peaks.device == device).unwrap()
}

/// The largest sites and what the others sum up to are those of the full list.
fn assert_sites(moments: &Moments, row: &MomentRow, all: &Peaks, what: &str) {
    let listed: Vec<(Option<String>, i64, u64)> = row
        .sites
        .iter()
        .map(|share| (share.of.map(|of| moments.sites[of].clone()), share.bytes, share.blocks))
        .collect();
    let expected: Vec<_> =
        all.groups.iter().map(|group| (group.key.clone(), group.bytes, group.blocks)).collect();
    let (top, others) = expected.split_at(listed.len());
    assert_eq!(listed, top, "{what}");
    let rest =
        (others.len(), others.iter().map(|of| of.1).sum::<i64>(), others.iter().map(|of| of.2).sum::<u64>());
    assert_eq!((row.other_sites.of, row.other_sites.bytes, row.other_sites.blocks), rest, "{what}");
}

/// The peak of each device and of each step is that of `peaks`, as the library gives it.
fn assert_peaks(process: &Process, moments: &Moments, window: Window, what: &str) -> usize {
    let mut count = 0;
    for device in &moments.devices {
        for row in &device.moments {
            for reason in &row.reasons {
                let moment = match reason {
                    Reason::DevicePeak => Moment::Peak,
                    // `peaks --step` is about the first step of a number.
                    Reason::StepPeak(step)
                        if step_window(process, *step).unwrap().unwrap().contains(row.time_nanos) =>
                    {
                        Moment::Step(*step)
                    }
                    _ => continue,
                };
                let what = format!("{what}: device {}, {reason:?}, {}", device.device, row.time_nanos);
                let of = |grouping| {
                    let all = peaks(process, moment, window, grouping, &no_rules(), |_| true).unwrap();
                    of_device(&all, device.device).clone()
                };
                let by_category = of(Grouping::Category);
                assert_eq!(row.allocated_bytes, by_category.allocated_bytes, "{what}");
                assert_eq!(categories(device, row), groups_of(&by_category), "{what}");
                // What there was at the beginning is of no place there.
                if let Some(time_nanos) = by_category.time_nanos {
                    assert_eq!(row.time_nanos, time_nanos, "{what}");
                    let place = (by_category.step, by_category.phase.as_deref());
                    assert_eq!(
                        (row.step.filter(|_| place.0.is_some()), row.phase.as_deref()),
                        place,
                        "{what}"
                    );
                }
                assert_sites(moments, row, &of(Grouping::Site), &what);
                count += 1;
            }
        }
    }
    count
}

/// Every so many moments, so that there are about `count`, are those of the command at their times, as a person would ask
/// for them. Returns how many were compared.
fn assert_as_command(path: &Path, moments: &Moments, count: usize) -> usize {
    let json: Value = serde_json::from_str(&moments_json(moments)).unwrap();
    let total: usize = moments.devices.iter().map(|device| device.moments.len()).sum();
    let stride = (total / count).max(1);
    let mut compared = 0;
    let all =
        json["devices"].as_array().unwrap().iter().flat_map(|device| {
            device["moments"].as_array().unwrap().iter().map(move |moment| (device, moment))
        });
    for (device, moment) in all.filter(|(_, moment)| moment["exact"] == true).step_by(stride) {
        let at = format!("{}ns", moment["t"]);
        let ask = |by: &str| -> Vec<(Option<String>, i64, Option<u64>)> {
            let mut command = program("tidegauge");
            command.args(["peaks", "--json", "-q", "--at", &at, "--by", by]).arg(path);
            let rows: Value = serde_json::from_str(&output_of(&mut command)).unwrap();
            let of_device = rows.as_array().unwrap().iter().filter(|row| row["device"] == device["device"]);
            let group = |row: &Value| {
                let name = row[by].as_str().map(str::to_owned);
                (name, row["bytes"].as_i64().unwrap(), row["blocks"].as_u64())
            };
            of_device.map(group).collect()
        };
        let listed = |key: &str, names: &Value| -> Vec<(Option<String>, i64, Option<u64>)> {
            let share = |share: &Value| {
                let name = share[0].as_u64().map(|at| names[at as usize].as_str().unwrap().to_owned());
                (name, share[1].as_i64().unwrap(), share[2].as_u64())
            };
            moment[key].as_array().unwrap().iter().map(share).collect()
        };
        let what = format!("{}, device {}, at {at}", path.display(), device["device"]);
        assert_eq!(listed("c", &device["kinds"]), ask("category"), "{what}");
        let (shown, asked) = (listed("s", &json["sites"]), ask("site"));
        let (top, others) = asked.split_at(shown.len());
        assert_eq!(shown, top, "{what}");
        let bytes: i64 = others.iter().map(|of| of.1).sum();
        let blocks: u64 = others.iter().filter_map(|of| of.2).sum();
        let blocks = (blocks > 0 || bytes == 0).then_some(blocks);
        assert_eq!(moment["more"], serde_json::json!([others.len(), bytes, blocks]), "{what}");
        compared += 1;
    }
    compared
}

/// A training loop of a few steps with parameters, activations and gradients, and sites enough that not all are listed.
fn training(steps: i64) -> TraceBuilder {
    let alloc = |builder: TraceBuilder, address: u64, site: u64| {
        builder.event(
            EventKind::Alloc,
            address,
            Some(1000 + address % 977),
            Some(&format!("model.layer{site:02}")),
        )
    };
    let mut builder = TraceBuilder::new();
    builder = (0..20).fold(builder, |builder, at| alloc(builder, 1000 + at, at));
    (0..steps).fold(builder, |builder, step| {
        builder.step(step, 1.0, |builder| {
            let forward = builder.span("forward", |builder| {
                (0..25 + step as u64 % 3).fold(builder, |builder, at| alloc(builder, 2000 + at, at))
            });
            let backward = forward.span("backward", |builder| {
                (0..25 + step as u64 % 3)
                    .rev()
                    .fold(builder, |builder, at| alloc(builder, 3000 + at, 30 + at % 4).free(2000 + at))
            });
            backward.span("optimizer", |builder| {
                (0..25 + step as u64 % 3).fold(builder, |builder, at| builder.free(3000 + at))
            })
        })
    })
}

#[test]
fn a_training_loop_has_the_figures_of_the_command_at_every_moment() {
    let folder = tempfile::tempdir().unwrap();
    let run = training(12).oom(1 << 40).write(folder.path());
    let source = source(&run);
    let moments = found(&source.processes[0], Window::ALL, MomentsWanted::default());
    let rows = &moments.devices[0].moments;
    assert!(rows.len() >= 500, "{}", rows.len());
    assert!(rows.is_sorted_by_key(|row| row.time_nanos));
    let has = |reason: &Reason| rows.iter().any(|row| row.reasons.contains(reason));
    assert!((0..12).all(|step| has(&Reason::StepPeak(step))), "the peak of every step");
    for phase in ["forward", "backward", "optimizer"] {
        assert!(has(&Reason::PhasePeak(phase.to_owned())), "{phase}");
    }
    assert!(has(&Reason::DevicePeak) && has(&Reason::Oom) && has(&Reason::Grid));
    assert!(rows.iter().any(|row| row.other_sites.of > 0), "there are more sites than are listed");
    assert_eq!(assert_peaks(&source.processes[0], &moments, Window::ALL, "training"), 13);
    assert!(assert_as_command(&run, &moments, 40) >= 40);
}

#[test]
fn recordings_of_others_have_the_figures_of_the_command() {
    for kind in ["snapshots/", "kineto/"] {
        for (path, _) in corpus::files(kind) {
            let source = source(&path);
            let process = &source.processes[0];
            let moments = found(process, Window::ALL, MomentsWanted::default());
            assert_eq!(moments.has_times, process.has_times(), "{}", path.display());
            let peaks = assert_peaks(process, &moments, Window::ALL, &path.display().to_string());
            // Profiles of hundreds of megabytes of JSON take seconds to read, each time.
            let count = if kind == "kineto/" { 3 } else { 40 };
            let compared = assert_as_command(&path, &moments, count);
            eprintln!("{}: {peaks} peaks, {compared} moments", path.display());
            assert!(peaks > 0 && compared > 0, "{}", path.display());
        }
    }
}

#[test]
fn the_highest_steps_are_kept_where_there_are_too_many() {
    let folder = tempfile::tempdir().unwrap();
    let run = training(30).write(folder.path());
    let source = source(&run);
    let wanted = MomentsWanted { steps: 10, grid: 2, ..MomentsWanted::default() };
    let moments = found(&source.processes[0], Window::ALL, wanted);
    let steps = |reason: &Reason| match reason {
        Reason::StepPeak(step) => Some(*step),
        _ => None,
    };
    let rows = moments.devices[0].moments.iter();
    let mut kept: Vec<i64> = rows.flat_map(|row| row.reasons.iter().filter_map(steps)).collect();
    kept.sort_unstable();
    // Every third step has the most blocks.
    assert_eq!(kept, (0..30).filter(|step| step % 3 == 2).collect::<Vec<_>>());
}

/// An action on one of a few addresses, so that reuse, unknown frees, missed frees and late sites all occur.
#[derive(Debug, Clone)]
enum Action {
    Alloc { address: u64, size_bytes: u64, site: u8 },
    Baseline { address: u64, size_bytes: u64, site: u8 },
    Annotate { address: u64, site: u8 },
    Free { address: u64 },
    FreeRequested { address: u64 },
    Mark(u8),
    Step(i64),
    Oom,
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let (address, site, size) = (1u64..12, 0u8..6, 1u64..1000);
    let action = prop_oneof![
        6 => (address.clone(), size.clone(), site.clone())
            .prop_map(|(address, size_bytes, site)| Action::Alloc { address, size_bytes, site }),
        1 => (address.clone(), size, site.clone())
            .prop_map(|(address, size_bytes, site)| Action::Baseline { address, size_bytes, site }),
        2 => (address.clone(), site).prop_map(|(address, site)| Action::Annotate { address, site }),
        3 => address.clone().prop_map(|address| Action::Free { address }),
        1 => address.prop_map(|address| Action::FreeRequested { address }),
        1 => (0u8..3).prop_map(Action::Mark),
        2 => (0i64..6).prop_map(Action::Step),
        1 => Just(Action::Oom),
    ];
    prop::collection::vec(action, 0..90)
}

fn build(actions: &[Action]) -> TraceBuilder {
    let mut open = None;
    let named = |site: u8| (site > 0).then(|| format!("site{site}"));
    let mut builder = TraceBuilder::new();
    for action in actions {
        builder = match action {
            Action::Alloc { address, size_bytes, site } => {
                builder.event(EventKind::Alloc, *address, Some(*size_bytes), named(*site).as_deref())
            }
            Action::Baseline { address, size_bytes, site } => {
                builder.event(EventKind::Baseline, *address, Some(*size_bytes), named(*site).as_deref())
            }
            Action::Annotate { address, site } => {
                builder.event(EventKind::Annotate, *address, None, named(*site).as_deref())
            }
            Action::Free { address } => builder.free(*address),
            Action::FreeRequested { address } => {
                builder.event(EventKind::FreeRequested, *address, None, None)
            }
            Action::Mark(name) => builder.mark(&format!("phase{name}")),
            Action::Oom => builder.oom(1 << 40),
            // Numbers come again, and steps begin within steps.
            Action::Step(number) => match open.take() {
                Some(open) => builder.step_end(open),
                None => {
                    open = Some(*number);
                    builder.step_begin(*number)
                }
            },
        };
    }
    builder
}

/// The naive truth: after every row the blocks that are alive, with the sites that they have at the end of their lives.
fn naive(actions: &[Action]) -> Vec<BTreeMap<u64, (i64, u8)>> {
    // A block is its size, its site so far and whether it is still allocated.
    let mut blocks: Vec<(i64, u8)> = Vec::new();
    let mut alive: BTreeMap<u64, (usize, bool)> = BTreeMap::new();
    let mut after: Vec<BTreeMap<u64, usize>> = Vec::new();
    for action in actions {
        match *action {
            Action::Alloc { address, size_bytes, site } | Action::Baseline { address, size_bytes, site } => {
                blocks.push((size_bytes as i64, site));
                alive.insert(address, (blocks.len() - 1, true));
            }
            Action::Annotate { address, site } => {
                if let (Some((block, true)), true) = (alive.get(&address), site > 0) {
                    blocks[*block].1 = site;
                }
            }
            Action::Free { address } => {
                alive.remove(&address);
            }
            Action::FreeRequested { address } => {
                if let Some((_, is_allocated)) = alive.get_mut(&address) {
                    *is_allocated = false;
                }
            }
            Action::Mark(_) | Action::Step(_) | Action::Oom => {}
        }
        let held = alive.iter().filter(|(_, (_, is_allocated))| *is_allocated);
        after.push(held.map(|(address, (block, _))| (*address, *block)).collect());
        // The framework tells of a failure in a row of its own.
        if let Action::Oom = action {
            after.push(after.last().cloned().unwrap_or_default());
        }
    }
    let sites =
        |state: BTreeMap<u64, usize>| state.into_iter().map(|(at, block)| (at, blocks[block])).collect();
    after.into_iter().map(sites).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn every_moment_is_the_naive_one(actions in actions(), top in 0usize..4) {
        let folder = tempfile::tempdir().unwrap();
        let run = build(&actions).write(folder.path());
        let source = source(&run);
        let wanted = MomentsWanted { grid: 40, sites: top, ..MomentsWanted::default() };
        let moments = found(&source.processes[0], Window::ALL, wanted);
        let truth = naive(&actions);
        assert_peaks(&source.processes[0], &moments, Window::ALL, "built");
        for row in moments.devices.iter().flat_map(|device| &device.moments) {
            // A row is a microsecond after the one before.
            prop_assert!(row.is_exact);
            let state = &truth[((row.time_nanos - moments.origin_nanos) / 1000) as usize];
            let mut by_site: BTreeMap<Option<String>, (i64, u64)> = BTreeMap::new();
            for (bytes, site) in state.values() {
                let group = by_site.entry((*site > 0).then(|| format!("site{site}"))).or_default();
                *group = (group.0 + bytes, group.1 + 1);
            }
            let bytes: i64 = state.values().map(|block| block.0).sum();
            prop_assert_eq!(row.allocated_bytes, bytes);
            prop_assert_eq!(row.categories.iter().map(|share| share.bytes).sum::<i64>(), bytes);
            prop_assert_eq!(row.categories.iter().map(|share| share.blocks).sum::<u64>() as usize, state.len());
            let listed = sites(&moments, row);
            prop_assert_eq!(listed.len(), by_site.len().min(top));
            for (name, share) in &listed {
                prop_assert_eq!(by_site.get(name), Some(share));
            }
            let listed_bytes: i64 = listed.values().map(|of| of.0).sum();
            prop_assert_eq!(row.other_sites.bytes, bytes - listed_bytes);
            prop_assert_eq!(row.other_sites.of, by_site.len() - listed.len());
        }
    }

    #[test]
    fn a_window_shows_the_peaks_of_the_window(actions in actions(), from in 0i64..90, length in 0i64..90) {
        let folder = tempfile::tempdir().unwrap();
        let run = build(&actions).write(folder.path());
        let source = source(&run);
        let process = &source.processes[0];
        let origin_nanos = found(process, Window::ALL, MomentsWanted::default()).origin_nanos;
        let window = Window {
            start_nanos: origin_nanos + from * 1000,
            end_nanos: origin_nanos + (from + length) * 1000,
        };
        let wanted = MomentsWanted { grid: 20, ..MomentsWanted::default() };
        let moments = found(process, window, wanted);
        assert_peaks(process, &moments, window, "a window of it");
        for device in &moments.devices {
            for row in &device.moments {
                prop_assert!(window.contains(row.time_nanos), "{row:?}");
                if !row.is_exact {
                    // What the window began with was the highest, and an event at its first nanosecond changed it.
                    prop_assert_eq!(row.time_nanos, window.start_nanos);
                    continue;
                }
                let at = peaks(process, Moment::At(row.time_nanos), Window::ALL, Grouping::Category, &no_rules(), |_| true);
                prop_assert_eq!(categories(device, row), groups_of(of_device(&at.unwrap(), device.device)));
            }
        }
    }
}
