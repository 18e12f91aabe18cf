//! One function for each kind of hint but the largest.

use tidegauge_schemas::Category;

use super::context::HintContext;
use super::{Hint, memory_of};
use crate::analysis::categories::{CategorySums, Kind, LiveAtPeak};
use crate::analysis::phase_table::PhaseRow;
use crate::analysis::summary::DeviceSummary;
use crate::replay::PhaseClass;

/// A hint is given when at least this part of the peak rises in one phase.
const DOMINANT_SHARE: f64 = 0.5;
/// What is less than this part of a peak is not worth a change.
const WORTH_SHARE: f64 = 0.1;
/// Steps that a thing must go on for to be told from a beginning.
const FEWEST_STEPS: u64 = 3;

fn is_worth(bytes: i64, of_bytes: i64) -> bool {
    bytes as f64 >= of_bytes as f64 * WORTH_SHARE && bytes > 0
}

fn sum(sums: &CategorySums, categories: &[Category]) -> i64 {
    categories.iter().map(|category| sums.of(Kind::Category(*category)).bytes).sum()
}

pub(super) fn phase_leaves(context: &HintContext<'_>, device: &DeviceSummary) -> Option<Hint> {
    let phases = &context.summary.phases;
    let memories = || phases.iter().filter_map(|row| Some((row, memory_of(row, device.device)?)));
    let (row, memory) = memories().max_by_key(|(_, memory)| memory.mean_delta_bytes)?;
    let share = memory.mean_delta_bytes as f64 / device.allocated.bytes.max(1) as f64;
    if share < DOMINANT_SHARE {
        return None;
    }
    // Made in forward again and again, and given back by a later phase: that is how activations behave.
    let gives_back = memories().any(|(_, other)| -other.mean_delta_bytes * 2 >= memory.mean_delta_bytes);
    let are_activations = row.phase == "forward" && row.count > 1 && gives_back;
    Some(Hint::PhaseLeaves { phase: row.phase.clone(), share, are_activations })
}

pub(super) fn smaller_batch(
    context: &HintContext<'_>,
    device: &DeviceSummary,
    live: &LiveAtPeak,
) -> Option<Hint> {
    let scaling = [Category::Activation, Category::Input, Category::AutogradDetail, Category::Temporary];
    let scaling_bytes = sum(&live.sums, &scaling);
    let batch_size = context.batch_size();
    let can_shrink = batch_size.is_none_or(|batch| batch > 1) && context.phases.has_backward();
    (can_shrink && is_worth(scaling_bytes, device.allocated.bytes)).then_some(Hint::SmallerBatch {
        device: device.device,
        batch_size,
        scaling_bytes,
        peak_bytes: device.allocated.bytes,
    })
}

pub(super) fn half_precision(
    context: &HintContext<'_>,
    device: &DeviceSummary,
    live: &LiveAtPeak,
) -> Option<Hint> {
    let told = context.config.iter().find(|(key, _)| matches!(key.as_str(), "precision" | "dtype" | "amp"));
    let is_half = told.is_some_and(|(_, value)| {
        let text = value.to_string().to_ascii_lowercase();
        ["16", "true", "half", "mixed"].iter().any(|part| text.contains(part))
    });
    let is_float32 = context.dtypes.contains("float32") && context.dtypes.len() == 1;
    let activation_bytes = sum(&live.sums, &[Category::Activation]);
    // On a processor it costs time and is rarely what one wants.
    let is_wanted = is_float32 && !is_half && is_worth(activation_bytes, device.allocated.bytes);
    is_wanted.then_some(Hint::HalfPrecision {
        device: device.device,
        activation_bytes,
        peak_bytes: device.allocated.bytes,
    })
}

pub(super) fn kept_graph(live: &LiveAtPeak) -> Option<Hint> {
    // Workspaces come with the first forward, and stay.
    (live.kept_forwards as u64 > FEWEST_STEPS).then_some(Hint::KeptGraph {
        device: live.device,
        bytes: live.kept_bytes,
        forwards: live.kept_forwards,
    })
}

pub(super) fn set_to_none(device: &DeviceSummary, live: &LiveAtPeak) -> Option<Hint> {
    let phase = PhaseClass::of(device.allocated.phase.as_deref()?)?;
    let gradient_bytes = sum(&live.sums, &[Category::Gradient]);
    let is_it = phase == PhaseClass::Forward && is_worth(gradient_bytes, device.allocated.bytes);
    is_it.then_some(Hint::SetToNone { device: device.device, gradient_bytes })
}

/// What the allocator holds and the program does not.
pub(super) fn reserved(device: &DeviceSummary) -> Vec<Hint> {
    let Some(reserved) = device.reserved.as_ref().filter(|_| device.device >= 0) else { return Vec::new() };
    let spare_bytes = reserved.bytes - device.active.bytes.max(device.allocated.bytes);
    if !is_worth(spare_bytes, reserved.bytes) {
        return Vec::new();
    }
    let device_number = device.device;
    vec![
        Hint::ExpandableSegments {
            device: device_number,
            unused_bytes: spare_bytes,
            reserved_bytes: reserved.bytes,
        },
        Hint::EmptyCache { device: device_number, spare_bytes },
    ]
}

pub(super) fn loading_keeps(context: &HintContext<'_>) -> Option<Hint> {
    let peak = context.summary.devices.iter().find(|device| device.device < 0)?.allocated.bytes;
    let of_data = |row: &&PhaseRow| PhaseClass::of(&row.phase) == Some(PhaseClass::Data);
    let rows = context.summary.phases.iter().filter(of_data);
    let kept = |row: &PhaseRow| {
        let memory = memory_of(row, -1)?;
        let bytes = memory.mean_delta_bytes.saturating_mul(row.count as i64);
        // A batch that is loaded and given back later rises in each load too, and no more than once is there.
        let stays = row.count >= FEWEST_STEPS && is_worth(bytes, peak) && bytes <= peak;
        stays.then(|| (row.phase.clone(), memory.mean_delta_bytes, bytes))
    };
    let (phase, mean_bytes, bytes) = rows.filter_map(kept).max_by_key(|(.., bytes)| *bytes)?;
    // Only if it is still there at the end.
    let inputs = context.live.iter().find(|live| live.device < 0)?;
    let held = sum(&inputs.sums, &[Category::Input]);
    (held >= bytes / 2).then_some(Hint::LoadingKeeps { phase, mean_bytes, bytes })
}

pub(super) fn workers(context: &HintContext<'_>) -> Option<Hint> {
    let largest = context.rss_by_pid.values().copied().max()?;
    let bytes = context.rss_by_pid.values().sum::<i64>() - largest;
    let processes = context.rss_by_pid.len() - 1;
    (processes > 0 && is_worth(bytes, largest)).then_some(Hint::Workers { processes, bytes })
}
