//! Hints in sentences.

use super::summary_text::device_name;
use super::units::{bytes, duration};
use crate::analysis::Hint;

/// A hint, with its figures.
#[must_use]
pub fn hint_text(hint: &Hint) -> String {
    match hint {
        Hint::PhaseLeaves { phase, share, are_activations } => {
            let left = format!("{:.0} % of the peak is what `{phase}` leaves alive", share * 100.0);
            match are_activations {
                true => format!(
                    "{left} and a later phase gives back: activations, which scale with the batch size and can be traded \
                     for time by recomputing them"
                ),
                false => left,
            }
        }
        Hint::SmallerBatch { device, batch_size, scaling_bytes, peak_bytes } => {
            let halves = match batch_size {
                Some(batch) => format!("a batch of {} instead of {batch}", batch / 2),
                None => "half the batch".to_owned(),
            };
            format!(
                "{}: {halves} takes about {} off the peak ({}): what scales with it is {}; two accumulated gradients make the \
                 same step of it",
                device_name(*device),
                bytes(scaling_bytes / 2),
                lower(*peak_bytes, scaling_bytes / 2),
                bytes(*scaling_bytes),
            )
        }
        Hint::HalfPrecision { device, activation_bytes, peak_bytes } => format!(
            "{}: activations are of 32 bits, {}; under autocast to bfloat16 most would be half ({})",
            device_name(*device),
            bytes(*activation_bytes),
            lower(*peak_bytes, activation_bytes / 2),
        ),
        Hint::Checkpoint {
            device,
            modules,
            count,
            held_bytes,
            largest_bytes,
            input_bytes,
            forward_nanos,
            peak_bytes,
        } => {
            let time = forward_nanos
                .map_or_else(String::new, |nanos| format!(" for about {} more a step", duration(nanos)));
            format!(
                "{}: the {count} modules {modules} hold {} from forward to backward; checkpointed, {} at a time and {} of their inputs{time} ({})",
                device_name(*device),
                bytes(*held_bytes),
                bytes(*largest_bytes),
                bytes(*input_bytes),
                lower(*peak_bytes, held_bytes - largest_bytes - input_bytes),
            )
        }
        Hint::KeptGraph { device, bytes: kept_bytes, forwards } => format!(
            "{}: {} made in {forwards} forwards are alive beyond the next one: is a loss or an output kept with its graph? \
             detach() or item() lets it go",
            device_name(*device),
            bytes(*kept_bytes),
        ),
        Hint::SetToNone { device, gradient_bytes } => format!(
            "{}: the peak is in forward, while {} of gradients are alive: zero_grad(set_to_none=True) before forward lets \
             them go",
            device_name(*device),
            bytes(*gradient_bytes),
        ),
        Hint::ExpandableSegments { device, unused_bytes, reserved_bytes } => format!(
            "{}: {} of {} reserved are not used at the peak: PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True keeps less in \
             pieces; `tidegauge fragmentation` shows which",
            device_name(*device),
            bytes(*unused_bytes),
            bytes(*reserved_bytes),
        ),
        Hint::EmptyCache { device, spare_bytes } => format!(
            "{}: torch.cuda.empty_cache() after the largest step gives up to {} back to other processes, not to this one",
            device_name(*device),
            bytes(*spare_bytes),
        ),
        Hint::Workers { processes, bytes: held_bytes } => {
            let who = if *processes == 1 {
                "another process holds".to_owned()
            } else {
                format!("{processes} other processes hold")
            };
            format!(
                "{who} {} at most, pages shared among them counted for each: are they data-loader workers? fewer of them, or \
                 prefetch_factor=1, hold less",
                bytes(*held_bytes),
            )
        }
        Hint::LoadingKeeps { phase, mean_bytes, bytes: held_bytes } => format!(
            "`{phase}` leaves {} each time and {} in all: a cache of what was loaded grows; load lazily, or bound it",
            bytes(*mean_bytes),
            bytes(*held_bytes),
        ),
    }
}

/// `12.0 GiB → 8.0 GiB`.
fn lower(peak_bytes: i64, saved_bytes: i64) -> String {
    format!("{} → {}", bytes(peak_bytes), bytes(peak_bytes - saved_bytes))
}
