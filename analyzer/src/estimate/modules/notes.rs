//! What to know before believing the figures of a run's modules.

use super::ModuleFigures;
use crate::estimate::Optimizer;
use crate::render::bytes;

/// Modules that are named; of more, how many.
const MOST_NAMED: usize = 5;
/// Estimates further above the measurement than this have a reason.
const FAR_ABOVE: f64 = 1.25;
/// Optimizer state further from its rule than this is set otherwise.
const NEAR_SHARE: f64 = 0.01;

/// Of parameters that were taken for frozen.
pub(super) fn of_frozen(paths: &[String]) -> Option<String> {
    if paths.is_empty() {
        return None;
    }
    let named: Vec<&str> = paths.iter().take(MOST_NAMED).map(String::as_str).collect();
    let more = paths.len().saturating_sub(MOST_NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Some(format!(
        "No gradients were measured of {}{more}: their parameters are taken for frozen, without gradients and optimizer \
         state.",
        named.join(", ")
    ))
}

/// Of estimates that the measurement does not bear out, and of activations that are computed again.
pub(super) fn of_figures(
    total: &ModuleFigures,
    optimizer: Option<&Optimizer>,
    is_checkpointed: bool,
) -> Vec<String> {
    let mut notes = Vec::new();
    if let (Some(estimated), Some(measured), Some(optimizer)) =
        (total.optimizer_bytes, total.measured.optimizer_bytes, optimizer)
        && (estimated - measured).abs() as f64 > NEAR_SHARE * measured as f64
    {
        notes.push(format!(
            "{} keeps {} as it is set by default, and {} were measured: it is set otherwise (amsgrad, momentum, centered, \
             copies in float32), or other parameters are trained.",
            optimizer.name(),
            bytes(estimated),
            bytes(measured)
        ));
    }
    let is_far_above = total
        .activation_bytes
        .zip(total.measured.activation_bytes)
        .is_some_and(|(estimated, measured)| estimated as f64 > FAR_ABOVE * measured as f64);
    if is_checkpointed {
        notes.push(
            "The configuration says that activations are computed again in backward: these estimates are of a model \
             that keeps them all, and too high."
                .to_owned(),
        );
    } else if is_far_above {
        notes.push(
            "More activations are estimated than were measured: checkpointing, autocast to halves and parts without \
             gradients keep less than shapes tell."
                .to_owned(),
        );
    }
    notes
}
