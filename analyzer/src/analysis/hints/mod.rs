//! What to do about the memory of a run, each with a figure that its trace gives.

mod checkpointing;
mod context;
mod rules;
#[cfg(test)]
mod tests;

pub(super) use context::HintContext;

use super::phase_table::PhaseMemory;

/// Something to do, or to know before doing something. Bytes are at the peak of the device, unless said otherwise.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Hint {
    /// Most of the peak is left alive by one phase.
    PhaseLeaves {
        /// −1 the host, 0… accelerators.
        device: i16,
        /// The phase.
        phase: String,
        /// What it leaves, on average.
        bytes: i64,
        /// Part of the peak.
        share: f64,
        /// Whether it is a forward whose rise a later phase gives back.
        are_activations: bool,
    },
    /// A smaller batch, with as many accumulated gradients.
    SmallerBatch {
        /// −1 the host, 0… accelerators.
        device: i16,
        /// The batch now, where it was told.
        batch_size: Option<i64>,
        /// What certainly grows with it: activations, inputs, and what forward makes for a moment.
        scaling_bytes: i64,
        /// What half of it takes off the peak, which is then in another phase perhaps.
        saved_bytes: i64,
        /// The peak.
        peak_bytes: i64,
    },
    /// Half the bytes for what is kept for backward.
    HalfPrecision {
        /// −1 the host, 0… accelerators.
        device: i16,
        /// Activations of 32 bits.
        activation_bytes: i64,
        /// The peak.
        peak_bytes: i64,
    },
    /// Recompute instead of keep.
    Checkpoint {
        /// −1 the host, 0… accelerators.
        device: i16,
        /// What the modules have in common: `model.layers.*`, or where they allocate.
        modules: String,
        /// How many.
        count: usize,
        /// What they hold from forward to backward.
        held_bytes: i64,
        /// What the largest of them holds, which is there once more while it is recomputed.
        largest_bytes: i64,
        /// What all but the first are called with, which stays; 0 where that was not recorded.
        input_bytes: i64,
        /// From the first allocation of the first to the last of the last: about what a second forward takes. `None` where
        /// times are not known.
        forward_nanos: Option<i64>,
        /// The peak.
        peak_bytes: i64,
    },
    /// Outputs or losses of earlier steps are alive.
    KeptGraph {
        /// −1 the host, 0… accelerators.
        device: i16,
        /// What was made in forward and is alive beyond the next one.
        bytes: i64,
        /// In how many forwards it was made.
        forwards: usize,
    },
    /// Gradients are alive while forward makes the peak.
    SetToNone {
        /// −1 the host, 0… accelerators.
        device: i16,
        /// Gradients.
        gradient_bytes: i64,
    },
    /// Much is reserved and not used, in pieces.
    ExpandableSegments {
        /// The accelerator.
        device: i16,
        /// Reserved and not active at the peak of reserved, when it was least.
        unused_bytes: i64,
        /// Reserved.
        reserved_bytes: i64,
    },
    /// More is reserved at the end of an evaluation or step than will be used again.
    EmptyCache {
        /// The accelerator.
        device: i16,
        /// Peak of reserved less peak of allocated.
        spare_bytes: i64,
    },
    /// Other processes of the tree hold much.
    Workers {
        /// How many others there are.
        processes: usize,
        /// The sum of their highest resident sizes; pages that they share count once for each.
        bytes: i64,
    },
    /// Each batch that is loaded leaves something behind.
    LoadingKeeps {
        /// The phase.
        phase: String,
        /// How much a time, on average.
        mean_bytes: i64,
        /// In all.
        bytes: i64,
    },
}

/// The hints for a process.
#[must_use]
pub(super) fn hints(context: &HintContext<'_>) -> Vec<Hint> {
    let mut hints = Vec::new();
    let has_accelerators = context.summary.devices.iter().any(|device| device.device >= 0);
    for device in &context.summary.devices {
        if device.device < 0 && has_accelerators {
            // The training is not there; what is, loading has.
            continue;
        }
        hints.extend(rules::phase_leaves(context, device));
        let Some(live) = context.live.iter().find(|live| live.device == device.device) else { continue };
        hints.extend(rules::smaller_batch(context, device, live));
        hints.extend(rules::half_precision(context, device, live));
        hints.extend(checkpointing::checkpoint(context, device, live));
        hints.extend(rules::kept_graph(device, live));
        hints.extend(rules::set_to_none(device, live));
        hints.extend(rules::reserved(context, device));
    }
    hints.extend(rules::loading_keeps(context));
    hints.extend(rules::workers(context));
    hints
}

/// A phase's memory on a device.
fn memory_of(row: &super::phase_table::PhaseRow, device: i16) -> Option<&PhaseMemory> {
    row.memory.as_ref().filter(|memory| memory.device == device)
}
