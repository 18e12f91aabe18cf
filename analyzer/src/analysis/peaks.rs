//! What is alive at the peak, or at a moment, grouped.

use std::collections::HashMap;

use tidegauge_schemas::CheckpointKind;

use super::live_moments::{LiveMoment, Moment, live_moments};
use super::live_set::LiveBlock;
use crate::error::Result;
use crate::load::{Process, Rows};
use crate::replay::Window;

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
    let live = live_moments(process, moment, window, shows)?;
    let site_names = Rows::new(process).site_names()?;
    let key = |live_block: &LiveBlock| match grouping {
        Grouping::Site => site_names.get(&live_block.block.site).cloned(),
        Grouping::Module => site_names.get(&live_block.block.site).map(|name| module_of(name)),
        Grouping::Category => live_block.block.category.map(|category| category.as_str().to_owned()),
        Grouping::Phase => live.phase_of(live_block.block.born_seq).map(str::to_owned),
        Grouping::Size => Some(size_class(live_block.block.size_bytes)),
    };
    let peaks_of = |moment: &LiveMoment| Peaks {
        device: moment.device,
        time_nanos: moment.time_nanos,
        origin_nanos: live.origin_nanos,
        step: moment.step,
        phase: moment.phase.clone(),
        allocated_bytes: moment.allocated_bytes,
        groups: group(moment.device, &moment.blocks, moment.allocated_bytes, key),
    };
    Ok(live.devices.iter().map(peaks_of).collect())
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

pub(super) fn module_of(site: &str) -> String {
    site.rsplit_once('.').map_or(site, |(module, _)| module).to_owned()
}

fn size_class(bytes: i64) -> String {
    let lower = if bytes <= 0 { 0 } else { 1i64 << bytes.ilog2() };
    format!("{} and more", crate::render::bytes(lower))
}
