//! What is alive at the peak, or at a moment, grouped.

use std::collections::HashMap;

use tidegauge_schemas::CheckpointKind;

use super::live_set::{LiveBlock, LiveSetAt};
use crate::error::Result;
use crate::load::{Process, Rows};
use crate::replay::{DeviceState, EndedPhase, Observed, Observer, Window, replay};

/// What blocks are grouped by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grouping {
    /// Who allocated them.
    Site,
    /// What the framework said they are.
    Category,
    /// The site's path without its last part.
    Module,
    /// Phase in which they were allocated.
    Phase,
    /// Power of two.
    Size,
}

/// Which moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// The peak of allocated.
    Peak,
    /// The peak of allocated within a step.
    Step(i64),
    /// This time, nanoseconds since 1970.
    At(i64),
}

/// Blocks that have the key in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeakGroup {
    /// −1 the host, 0… accelerators.
    pub device: i16,
    /// Site, category, …; `None` where it is not known.
    pub key: Option<String>,
    /// Bytes alive.
    pub bytes: i64,
    /// Blocks alive.
    pub blocks: u64,
    /// The largest of them.
    pub largest_bytes: i64,
}

/// What is alive at a moment of one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peaks {
    /// −1 the host, 0… accelerators.
    pub device: i16,
    /// The moment, nanoseconds since 1970; `None` for the state at the start.
    pub time_nanos: Option<i64>,
    /// When the recording began.
    pub origin_nanos: i64,
    /// Step.
    pub step: Option<i64>,
    /// Phase.
    pub phase: Option<String>,
    /// Sum of everything alive: allocated.
    pub allocated_bytes: i64,
    /// The groups, largest first.
    pub groups: Vec<PeakGroup>,
}

/// What is alive at the moment, on each device that `shows` lets through; the peak is that inside of `window`. Empty if
/// the trace has no such step.
///
/// # Errors
/// If the trace cannot be read.
pub fn peaks(
    process: &Process,
    moment: Moment,
    window: Window,
    grouping: Grouping,
    shows: impl Fn(i16) -> bool,
) -> Result<Vec<Peaks>> {
    let window = match moment {
        Moment::Peak => window,
        Moment::Step(step) => match step_window(process, step)? {
            Some(window) => window,
            None => return Ok(Vec::new()),
        },
        // Empty: its "peak" is the state that it opens with, that after the last event up to the moment.
        Moment::At(time_nanos) => Window { start_nanos: time_nanos.saturating_add(1), end_nanos: time_nanos },
    };
    let mut first = FirstPass::default();
    let outcome = replay(process, window, &mut first)?;
    let site_names = Rows::new(process).site_names()?;
    // Of phases that begin together the outer one comes first, so that a search from the end finds the inner one.
    first.phases.sort_by_key(|phase| (phase.seqs.0, std::cmp::Reverse(phase.seqs.1)));
    let moments: Vec<(&DeviceState, u64)> = outcome
        .devices
        .iter()
        .filter(|device| shows(device.device))
        .filter_map(|device| Some((device, device.allocated_peak.seq?)))
        .collect();
    // One pass for all devices.
    let mut live_sets: Vec<LiveSetAt> =
        moments.iter().map(|(device, seq)| LiveSetAt::new(device.device, *seq)).collect();
    replay(process, Window::ALL, &mut live_sets)?;
    let mut found = Vec::new();
    for ((device, seq), live) in moments.into_iter().zip(live_sets) {
        let peak = device.allocated_peak;
        let (blocks, allocated_bytes) = live.finish();
        let key = |live: &LiveBlock| match grouping {
            Grouping::Site => site_names.get(&live.block.site).cloned(),
            Grouping::Module => site_names.get(&live.block.site).map(|name| module_of(name)),
            Grouping::Category => live.block.category.map(|category| category.as_str().to_owned()),
            Grouping::Phase => phase_of(&first.phases, live.block.born_seq),
            Grouping::Size => Some(size_class(live.block.size_bytes)),
        };
        let (step, phase) = match moment {
            Moment::At(time_nanos) => (first.step_at(time_nanos), phase_of(&first.phases, seq)),
            _ => (peak.place.step, outcome.phases.name(peak.place.phase).map(str::to_owned)),
        };
        found.push(Peaks {
            device: device.device,
            time_nanos: if let Moment::At(time_nanos) = moment { Some(time_nanos) } else { peak.time_nanos },
            origin_nanos: outcome.first_nanos(),
            step,
            phase,
            allocated_bytes,
            groups: group(device.device, &blocks, allocated_bytes, key),
        });
    }
    found.sort_by_key(|peaks| peaks.device);
    Ok(found)
}

/// The time that a step took; to the end of the trace if that cut it off, `None` if there is no such step. Reads
/// checkpoints only.
///
/// # Errors
/// If the trace cannot be read.
pub fn step_window(process: &Process, step: i64) -> Result<Option<Window>> {
    let mut window: Option<Window> = None;
    for row in Rows::new(process).checkpoints() {
        let row = row?;
        let bounds = matches!(row.kind, Some(CheckpointKind::StepBegin | CheckpointKind::StepEnd));
        if bounds && row.step == Some(step) {
            window.get_or_insert(Window { start_nanos: row.time_nanos, end_nanos: i64::MAX });
            if let (Some(window), Some(CheckpointKind::StepEnd)) = (&mut window, row.kind) {
                window.end_nanos = row.time_nanos;
                break;
            }
        }
    }
    Ok(window)
}

/// What is allocated and in no block that is known has no key.
fn group(
    device: i16,
    blocks: &[LiveBlock],
    allocated_bytes: i64,
    key: impl Fn(&LiveBlock) -> Option<String>,
) -> Vec<PeakGroup> {
    let mut groups: HashMap<Option<String>, PeakGroup> = HashMap::new();
    for live in blocks {
        let key = key(live);
        let new = PeakGroup { device, key: key.clone(), bytes: 0, blocks: 0, largest_bytes: 0 };
        let group = groups.entry(key).or_insert(new);
        group.bytes += live.block.size_bytes;
        group.blocks += 1;
        group.largest_bytes = group.largest_bytes.max(live.block.size_bytes);
    }
    let rest_bytes = allocated_bytes - blocks.iter().map(|live| live.block.size_bytes).sum::<i64>();
    if rest_bytes > 0 {
        let unknown = PeakGroup { device, key: None, bytes: 0, blocks: 0, largest_bytes: 0 };
        groups.entry(None).or_insert(unknown).bytes += rest_bytes;
    }
    let mut groups: Vec<PeakGroup> = groups.into_values().collect();
    groups.sort_by(|one, two| two.bytes.cmp(&one.bytes).then_with(|| one.key.cmp(&two.key)));
    groups
}

fn module_of(site: &str) -> String {
    site.rsplit_once('.').map_or(site, |(module, _)| module).to_owned()
}

fn size_class(bytes: i64) -> String {
    let lower = if bytes <= 0 { 0 } else { 1i64 << bytes.ilog2() };
    format!("{} and more", crate::render::bytes(lower))
}

/// The innermost phase around `seq`; `phases` are sorted by where they begin, outer ones first.
fn phase_of(phases: &[EndedPhase], seq: u64) -> Option<String> {
    let after = phases.partition_point(|phase| phase.seqs.0 < seq);
    let around = phases[..after].iter().rev().find(|phase| seq <= phase.seqs.1);
    around.map(|phase| phase.name.clone())
}

/// Phases and steps as they end, to place blocks and moments in.
#[derive(Debug, Default)]
struct FirstPass {
    phases: Vec<EndedPhase>,
    /// Begin and end, nanoseconds since 1970, and number.
    steps: Vec<(i64, i64, i64)>,
}

impl FirstPass {
    fn step_at(&self, time_nanos: i64) -> Option<i64> {
        let around = |(begin, end, _): &&(i64, i64, i64)| *begin <= time_nanos && time_nanos <= *end;
        self.steps.iter().find(around).map(|(_, _, step)| *step)
    }
}

impl Observer for FirstPass {
    fn observe(&mut self, observed: &Observed<'_>) {
        match observed {
            Observed::Phase(phase) => self.phases.push((*phase).clone()),
            Observed::Step { step, .. } => self.steps.push((step.begin_nanos, step.end_nanos, step.step)),
            _ => {}
        }
    }
}
