//! What is alive at the peak, or at a moment, grouped.

use std::collections::HashMap;

use rustc_hash::FxHashSet;
use tidegauge_schemas::CheckpointKind;

use super::categories::{CategoryRules, CategorySums, CategoryTotal, Kind, Labels};
use super::excursions::Excursions;
use super::live_moments::{LiveMoment, LiveMoments, Moment, labelled_live_moments, live_moments};
use super::live_set::LiveBlock;
use crate::error::Result;
use crate::load::{Process, Rows};
use crate::replay::Window;

/// What blocks are grouped by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grouping {
    /// Who allocated them.
    Site,
    /// What they are for: a rule of the user's, else what the framework said, else their lives against the phases.
    Category,
    /// The module: the site itself where it is one, else the site's path without its last part.
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
    /// What their category stands on; `None` where they are grouped by something else.
    pub evidence: Option<CategoryTotal>,
}

impl PeakGroup {
    fn new(device: i16, key: Option<String>) -> Self {
        Self { device, key, bytes: 0, blocks: 0, largest_bytes: 0, evidence: None }
    }
}

/// What is alive at a moment of one device.
#[derive(Debug, Clone, PartialEq)]
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
    /// What would have to go for a lower peak; of peaks only.
    pub excursions: Vec<Excursions>,
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
    rules: &CategoryRules,
    shows: impl Fn(i16) -> bool,
) -> Result<Vec<Peaks>> {
    let live = match grouping {
        Grouping::Category => labelled_live_moments(process, moment, window, rules, shows)?,
        _ => live_moments(process, moment, window, shows)?,
    };
    let site_names = Rows::new(process).site_names()?;
    let modules =
        if grouping == Grouping::Module { Rows::new(process).module_names()? } else { FxHashSet::default() };
    let key = |live_block: &LiveBlock| match grouping {
        Grouping::Site => site_names.get(&live_block.block.site).cloned(),
        Grouping::Module => {
            site_names.get(&live_block.block.site).map(|name| module_of(name, &modules).to_owned())
        }
        Grouping::Category => None,
        Grouping::Phase => live.phase_of(live_block.block.born_seq).map(str::to_owned),
        Grouping::Size => Some(size_class(live_block.block.size_bytes)),
    };
    let peaks_of = |moment: &LiveMoment| {
        let groups = match &live {
            LiveMoments { labels: Some(labels), .. } => group_by_category(moment, labels),
            _ => group(moment.device, &moment.blocks, moment.allocated_bytes, key),
        };
        let needed = |of: &Excursions| Excursions {
            groups_needed: groups_for(&groups, of.excess_bytes),
            ..of.clone()
        };
        Peaks {
            device: moment.device,
            time_nanos: moment.time_nanos,
            origin_nanos: live.origin_nanos,
            step: moment.step,
            phase: moment.phase.clone(),
            allocated_bytes: moment.allocated_bytes,
            excursions: moment.excursions.iter().map(needed).collect(),
            groups,
        }
    };
    Ok(live.devices.iter().map(peaks_of).collect())
}

/// How many of the largest groups together hold so much; 0 if all together do not.
fn groups_for(groups: &[PeakGroup], bytes: i64) -> usize {
    let sums = groups.iter().scan(0, |sum, group| {
        *sum += group.bytes;
        Some(*sum)
    });
    sums.zip(1..).find(|(sum, _)| *sum >= bytes).map_or(0, |(_, count)| count)
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
        let group = groups.entry(key.clone()).or_insert_with(|| PeakGroup::new(device, key));
        group.bytes += live.block.size_bytes;
        group.blocks += 1;
        group.largest_bytes = group.largest_bytes.max(live.block.size_bytes);
    }
    let rest_bytes = allocated_bytes - blocks.iter().map(|live| live.block.size_bytes).sum::<i64>();
    if rest_bytes > 0 {
        groups.entry(None).or_insert_with(|| PeakGroup::new(device, None)).bytes += rest_bytes;
    }
    sorted(groups.into_values().collect())
}

/// What is in no block that is known is of category unknown, as is what nothing tells of.
fn group_by_category(moment: &LiveMoment, labels: &Labels) -> Vec<PeakGroup> {
    let sums = CategorySums::new(labels, moment.device, &moment.blocks, moment.allocated_bytes);
    let mut groups: HashMap<Kind, PeakGroup> = HashMap::new();
    for (kind, total) in sums.totals {
        let mut group = PeakGroup::new(moment.device, Some(labels.name(kind).to_owned()));
        (group.bytes, group.blocks, group.evidence) = (total.bytes, total.blocks, Some(total));
        groups.insert(kind, group);
    }
    for live in &moment.blocks {
        if let Some(group) = groups.get_mut(&labels.of(moment.device, &live.block).kind) {
            group.largest_bytes = group.largest_bytes.max(live.block.size_bytes);
        }
    }
    sorted(groups.into_values().collect())
}

fn sorted(mut groups: Vec<PeakGroup>) -> Vec<PeakGroup> {
    groups.sort_by(|one, two| two.bytes.cmp(&one.bytes).then_with(|| one.key.cmp(&two.key)));
    groups
}

/// The module that a site is of: the site itself where it is one.
pub(crate) fn module_of<'a>(site: &'a str, modules: &FxHashSet<String>) -> &'a str {
    if modules.contains(site) {
        return site;
    }
    site.rsplit_once('.').map_or(site, |(module, _)| module)
}

fn size_class(bytes: i64) -> String {
    let lower = if bytes <= 0 { 0 } else { 1i64 << bytes.ilog2() };
    format!("{} and more", crate::render::bytes(lower))
}
