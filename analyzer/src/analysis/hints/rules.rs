//! One function for each kind of hint but the largest.

use tidegauge_schemas::Category;

use super::context::HintContext;
use super::{Hint, memory_of};
use crate::analysis::categories::{CategorySums, Kind, LiveAtPeak};
use crate::analysis::fragmentation::AllocatorRules;
use crate::analysis::phase_table::PhaseRow;
use crate::analysis::summary::DeviceSummary;
use crate::replay::PhaseClass;

/// A hint is given when at least this part of the peak rises in one phase.
const DOMINANT_SHARE: f64 = 0.5;
/// What is less than this part of a peak is not worth a change.
const WORTH_SHARE: f64 = 0.1;
/// What is kept grows: a smaller part of the peak than elsewhere is worth it.
const KEPT_SHARE: f64 = 0.02;
/// Steps that a thing must go on for to be told from a beginning.
const FEWEST_STEPS: u64 = 3;

/// Nor is what is less than this, of however little.
const WORTH_BYTES: i64 = 1 << 20;

fn is_worth(bytes: i64, of_bytes: i64) -> bool {
    bytes as f64 >= of_bytes as f64 * WORTH_SHARE && bytes >= WORTH_BYTES
}

fn sum(sums: &CategorySums, categories: &[Category]) -> i64 {
    categories.iter().map(|category| sums.of(Kind::Category(*category)).bytes).sum()
}

pub(super) fn phase_leaves(context: &HintContext<'_>, device: &DeviceSummary) -> Option<Hint> {
    let phases = &context.summary.phases;
    let memories = || phases.iter().filter_map(|row| Some((row, memory_of(row, device.device)?)));
    let (row, memory) = memories().max_by_key(|(_, memory)| memory.mean_delta_bytes)?;
    let share = memory.mean_delta_bytes as f64 / device.allocated.bytes.max(1) as f64;
    if share < DOMINANT_SHARE || !is_worth(memory.mean_delta_bytes, device.allocated.bytes) {
        return None;
    }
    // Made in forward again and again, and given back by a later phase: that is how activations behave.
    let gives_back = memories().any(|(_, other)| -other.mean_delta_bytes * 2 >= memory.mean_delta_bytes);
    let are_activations = row.phase == "forward" && row.count > 1 && gives_back;
    Some(Hint::PhaseLeaves {
        device: device.device,
        phase: row.phase.clone(),
        bytes: memory.mean_delta_bytes,
        share,
        are_activations,
    })
}

pub(super) fn smaller_batch(
    context: &HintContext<'_>,
    device: &DeviceSummary,
    live: &LiveAtPeak,
) -> Option<Hint> {
    // Elsewhere the peak does not come from the batch.
    let is_of_batch =
        matches!(live.class, PhaseClass::Forward | PhaseClass::Recompute | PhaseClass::Backward);
    let batch_size = context.batch_size();
    let can_shrink = batch_size.is_none_or(|batch| batch > 1) && context.phases.has_backward();
    if !is_of_batch || !can_shrink {
        return None;
    }
    let peak_bytes = device.allocated.bytes;
    let scaling_bytes: i64 = live.sites.iter().map(|(_, site)| site.scaling_bytes).sum();
    let freed_bytes = match batch_size {
        Some(batch) => (i128::from(scaling_bytes) * i128::from(batch - batch / 2) / i128::from(batch)) as i64,
        None => scaling_bytes / 2,
    };
    // Then another phase has the peak.
    let others_bytes = highest_elsewhere(context, device.device, live.class);
    let saved_bytes = freed_bytes.min(peak_bytes - others_bytes);
    is_worth(saved_bytes, peak_bytes).then_some(Hint::SmallerBatch {
        device: device.device,
        batch_size,
        scaling_bytes,
        saved_bytes,
        peak_bytes,
    })
}

/// How high the phases but those of `class` are with half the batch; what is of forward and backward shrinks by half of what
/// forward leaves. Phases whose names say nothing may lie around the peak.
fn highest_elsewhere(context: &HintContext<'_>, device: i16, class: PhaseClass) -> i64 {
    let memories = || context.summary.phases.iter().filter_map(|row| Some((row, memory_of(row, device)?)));
    let of_class = |row: &PhaseRow| PhaseClass::of(&row.phase);
    let left = memories().filter(|(row, _)| of_class(row) == Some(PhaseClass::Forward));
    let left_bytes = left.map(|(_, memory)| memory.mean_delta_bytes.max(0)).max().unwrap_or(0);
    let height = |(row, memory): (&PhaseRow, &super::PhaseMemory)| {
        let of = of_class(row)?;
        match of {
            _ if of == class || of == PhaseClass::Recompute => None,
            // Around the recomputation that has the peak.
            PhaseClass::Backward if class == PhaseClass::Recompute => None,
            PhaseClass::Forward | PhaseClass::Backward => Some(memory.peak_bytes - left_bytes / 2),
            _ => Some(memory.peak_bytes),
        }
    };
    memories().filter_map(height).max().unwrap_or(0)
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
    let is_wanted = is_float32 && !is_half && is_worth(activation_bytes, device.allocated.bytes);
    is_wanted.then_some(Hint::HalfPrecision {
        device: device.device,
        activation_bytes,
        peak_bytes: device.allocated.bytes,
    })
}

pub(super) fn kept_graph(device: &DeviceSummary, live: &LiveAtPeak) -> Option<Hint> {
    // Workspaces come with the first forward, and stay. A list of detached losses is no graph, and next to nothing.
    let least_bytes = (device.allocated.bytes as f64 * KEPT_SHARE).max(WORTH_BYTES as f64);
    let is_it = live.kept_forwards as u64 > FEWEST_STEPS && live.kept_bytes as f64 >= least_bytes;
    is_it.then_some(Hint::KeptGraph {
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
pub(super) fn reserved(context: &HintContext<'_>, device: &DeviceSummary) -> Vec<Hint> {
    let Some(reserved) = device.reserved.as_ref().filter(|_| device.device >= 0) else { return Vec::new() };
    let number = device.device;
    let spare_bytes = reserved.bytes - device.active.bytes.max(device.allocated.bytes);
    let unused_bytes = context.unused_bytes.get(&number).copied().unwrap_or(0);
    let is_expandable = AllocatorRules::of(context.config).are_expandable == Some(true);
    let mut hints = Vec::new();
    if !is_expandable && is_worth(unused_bytes, reserved.bytes) {
        hints.push(Hint::ExpandableSegments { device: number, unused_bytes, reserved_bytes: reserved.bytes });
    }
    if is_worth(spare_bytes, reserved.bytes) {
        hints.push(Hint::EmptyCache { device: number, spare_bytes });
    }
    hints
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
