//! What was alive at some hundreds of moments and at every peak, by category and by site: two passes for all of them.
//!
//! The figures are those that [`super::peaks()`] gives for one moment at a time. The first pass labels blocks and finds out
//! which moments to keep ([`scout`]); the second one keeps running sums and writes them down at each of these ([`sums`]).
//! Memory is that of the labels, and of the moments with a few sites each.

mod phase_highs;
mod scout;
mod site_table;
mod step_peaks;
mod sums;
mod wish;

use super::categories::{CategoryRules, label_blocks_with};
use super::places::Places;
use crate::error::Result;
use crate::load::{Process, Rows};
use crate::replay::{Outcome, Window, replay};
use scout::Scout;
use site_table::SiteTable;
use sums::{Row, Sums};
use wish::{Wish, wishes};

/// How many moments are kept of what. Of more than eight devices each has fewer, so that all together are bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MomentsWanted {
    /// Spread evenly over each device's time; as many again, at most, are spread over its events.
    pub grid: usize,
    /// Peaks of steps: the highest so many, of all devices together.
    pub steps: usize,
    /// Peaks of phases: the highest of as many names on each device.
    pub phases: usize,
    /// Failed allocations of each device: the first so many.
    pub ooms: usize,
    /// Sites of each moment: the largest so many, the others are summed.
    pub sites: usize,
}

impl Default for MomentsWanted {
    fn default() -> Self {
        Self { grid: 500, steps: 1500, phases: 200, ooms: 200, sites: 12 }
    }
}

/// Why a moment is there. In the order in which they name a moment that is there for several.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The device's peak of allocated.
    DevicePeak,
    /// The peak within that step.
    StepPeak(i64),
    /// The highest moment of the phases of that name.
    PhasePeak(String),
    /// An allocation failed.
    Oom,
    /// It is one of those that are spread over the recording.
    Grid,
}

/// What one category or site has at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share<K> {
    /// Which one, by its number in the table of names.
    pub of: K,
    /// Bytes alive.
    pub bytes: i64,
    /// Blocks alive.
    pub blocks: u64,
}

/// What was alive on one device at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MomentRow {
    /// Nanoseconds since 1970.
    pub time_nanos: i64,
    /// `seq` of the last event before it.
    pub seq: u64,
    /// Whether this is what there was after all events up to this time. It is not where another event of the same
    /// nanosecond follows a peak: then only `seq` tells which moment it is.
    pub is_exact: bool,
    /// Step.
    pub step: Option<i64>,
    /// Phase.
    pub phase: Option<String>,
    /// Why it is there, most telling first.
    pub reasons: Vec<Reason>,
    /// Allocated.
    pub allocated_bytes: i64,
    /// By category, largest first.
    pub categories: Vec<Share<usize>>,
    /// By site, largest first; no site where it is not known.
    pub sites: Vec<Share<Option<usize>>>,
    /// The sites that are not among those, summed: how many there are of them.
    pub other_sites: Share<usize>,
}

/// The moments of one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceMoments {
    /// −1 the host, 0… accelerators.
    pub device: i16,
    /// Names of the categories, in their own order.
    pub kinds: Vec<String>,
    /// In the order of time.
    pub moments: Vec<MomentRow>,
}

/// The moments of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moments {
    /// What times are counted from by `--at`, nanoseconds since 1970.
    pub origin_nanos: i64,
    /// Whether times are known; otherwise rows are a microsecond apart, and `--at` counts rows so.
    pub has_times: bool,
    /// By device.
    pub devices: Vec<DeviceMoments>,
    /// Names of the sites that moments name.
    pub sites: Vec<String>,
}

/// What was alive at the moments inside of `window` that are `wanted`.
///
/// # Errors
/// If the trace cannot be read.
pub fn moments(
    process: &Process,
    window: Window,
    rules: &CategoryRules,
    wanted: MomentsWanted,
) -> Result<(Moments, Outcome)> {
    let steps = step_peaks::step_windows(process, window)?;
    let mut scout = Scout::new(window, &steps, wanted);
    let (labels, outcome) = label_blocks_with(process, rules, window, &mut scout)?;
    scout.places.sort();
    let wishes = wishes(&scout, &outcome, wanted);
    let table = SiteTable::read(process)?;
    let mut sums = Sums::new(&labels, &table, &scout.annotated_sites, wishes, wanted.sites);
    replay(process, Window::ALL, &mut sums)?;
    let mut devices: Vec<DeviceMoments> = sums
        .finish()
        .into_iter()
        .filter(|(_, _, rows)| !rows.is_empty())
        .map(|(device, kinds, rows)| {
            let kinds: Vec<String> = kinds.into_iter().map(|kind| labels.name(kind).to_owned()).collect();
            DeviceMoments { device, moments: placed(rows, &kinds, &scout.places), kinds }
        })
        .collect();
    devices.sort_by_key(|device| device.device);
    let sites = table.names_used(&mut devices);
    let moments = Moments {
        origin_nanos: Rows::new(process).first_nanos()?,
        has_times: process.has_times(),
        devices,
        sites,
    };
    Ok((moments, outcome))
}

/// One row for each moment, with all that it is there for, and where the program was then.
fn placed(mut rows: Vec<Row>, kinds: &[String], places: &Places) -> Vec<MomentRow> {
    rows.sort_by(|one, two| {
        let key = |row: &Row| (row.time_nanos, row.state.seq);
        key(one).cmp(&key(two)).then_with(|| one.wish.reason.cmp(&two.wish.reason))
    });
    let times: Vec<i64> = rows.iter().map(|row| row.time_nanos).collect();
    let by_time = places.at_each(&times);
    let mut placed: Vec<MomentRow> = Vec::with_capacity(rows.len());
    for (Row { time_nanos, is_exact, wish, state }, (step_then, phase_then)) in rows.into_iter().zip(by_time)
    {
        let Wish { reason, place, .. } = wish;
        if let Some(last) = placed.last_mut()
            && (last.time_nanos, last.seq) == (time_nanos, state.seq)
        {
            last.reasons.push(reason);
            continue;
        }
        let (step, phase) = place.unwrap_or_else(|| (step_then, phase_then.map(str::to_owned)));
        let mut categories = state.categories.clone();
        categories
            .sort_by(|one, two| two.bytes.cmp(&one.bytes).then_with(|| kinds[one.of].cmp(&kinds[two.of])));
        placed.push(MomentRow {
            time_nanos,
            seq: state.seq,
            is_exact,
            step,
            phase,
            reasons: vec![reason],
            allocated_bytes: state.allocated_bytes,
            categories,
            sites: state.sites.clone(),
            other_sites: state.other_sites,
        });
    }
    placed
}
