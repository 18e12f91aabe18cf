//! Hints in sentences, and as data.

use serde_json::{Value, json};
use tidegauge_schemas::layout::ProcessId;

use super::summary_text::device_name;
use super::units::{bytes, duration};
use crate::analysis::{Hint, ProcessHint, Summary};

/// The hints; of several processes each says whose it is, and one that several have is said once.
pub(super) fn hints_text(summary: &Summary) -> Vec<String> {
    let mut said: Vec<(String, ProcessId, usize)> = Vec::new();
    for of in &summary.hints {
        let text = hint_text(&of.hint);
        match said.iter_mut().find(|(known, ..)| *known == text) {
            Some((.., others)) => *others += 1,
            None => said.push((text, of.process, 0)),
        }
    }
    let line = |(text, process, others): (String, ProcessId, usize)| match (summary.processes.len(), others) {
        (0 | 1, _) => text,
        (_, 0) => format!("{process}: {text}"),
        (_, others) => format!("{process} and {others} more: {text}"),
    };
    said.into_iter().map(line).collect()
}

/// A hint, with its figures.
#[must_use]
pub fn hint_text(hint: &Hint) -> String {
    match hint {
        Hint::PhaseLeaves { device, phase, share, are_activations, .. } => {
            let left = format!(
                "{}: {:.0} % of the peak is what `{phase}` leaves alive",
                device_name(*device),
                share * 100.0
            );
            match are_activations {
                true => format!(
                    "{left} and a later phase gives back: activations, which scale with the batch size and can be traded \
                     for time by recomputing them"
                ),
                false => left,
            }
        }
        Hint::SmallerBatch { device, batch_size, scaling_bytes, saved_bytes, peak_bytes } => {
            let halves = match batch_size {
                Some(batch) => format!("a batch of {} instead of {batch}", batch / 2),
                None => "half the batch".to_owned(),
            };
            format!(
                "{}: {halves} takes about {} off the peak ({}): what scales with it is {}; two accumulated gradients make the \
                 same step of it",
                device_name(*device),
                bytes(*saved_bytes),
                lower(*peak_bytes, *saved_bytes),
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
             item() keeps its number and lets the rest go; detach() lets the graph go, and keeps what it shares",
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
            "{}: {} of {} reserved are not used when most is reserved: PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True keeps less in \
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

/// A hint as data: whose it is, of which kind, the sentence, and every figure of it.
#[must_use]
pub(super) fn hint_json(of: &ProcessHint) -> Value {
    let mut json = figures(&of.hint);
    json["rank"] = json!(of.process.rank);
    json["process"] = json!(of.process.process);
    json["text"] = json!(hint_text(&of.hint));
    // Hints about processes and their loading are about the host.
    if json["device"].is_null() {
        json["device"] = json!(-1);
    }
    json
}

fn figures(hint: &Hint) -> Value {
    match hint {
        Hint::PhaseLeaves { device, phase, bytes, share, are_activations } => json!({
            "kind": "phase_leaves", "device": device, "phase": phase, "bytes": bytes, "share": share,
            "are_activations": are_activations,
        }),
        Hint::SmallerBatch { device, batch_size, scaling_bytes, saved_bytes, peak_bytes } => json!({
            "kind": "smaller_batch", "device": device, "batch_size": batch_size, "scaling_bytes": scaling_bytes,
            "saved_bytes": saved_bytes, "peak_bytes": peak_bytes,
        }),
        Hint::HalfPrecision { device, activation_bytes, peak_bytes } => json!({
            "kind": "half_precision", "device": device, "activation_bytes": activation_bytes,
            "saved_bytes": activation_bytes / 2, "peak_bytes": peak_bytes,
        }),
        Hint::Checkpoint {
            device,
            modules,
            count,
            held_bytes,
            largest_bytes,
            input_bytes,
            forward_nanos,
            peak_bytes,
        } => json!({
            "kind": "checkpoint", "device": device, "modules": modules, "count": count, "held_bytes": held_bytes,
            "largest_bytes": largest_bytes, "input_bytes": input_bytes, "forward_nanos": forward_nanos,
            "saved_bytes": held_bytes - largest_bytes - input_bytes, "peak_bytes": peak_bytes,
        }),
        Hint::KeptGraph { device, bytes, forwards } => {
            json!({"kind": "kept_graph", "device": device, "bytes": bytes, "forwards": forwards})
        }
        Hint::SetToNone { device, gradient_bytes } => {
            json!({"kind": "set_to_none", "device": device, "bytes": gradient_bytes})
        }
        Hint::ExpandableSegments { device, unused_bytes, reserved_bytes } => json!({
            "kind": "expandable_segments", "device": device, "bytes": unused_bytes, "reserved_bytes": reserved_bytes,
        }),
        Hint::EmptyCache { device, spare_bytes } => {
            json!({"kind": "empty_cache", "device": device, "bytes": spare_bytes})
        }
        Hint::Workers { processes, bytes } => {
            json!({"kind": "workers", "processes": processes, "bytes": bytes})
        }
        Hint::LoadingKeeps { phase, mean_bytes, bytes } => {
            json!({"kind": "loading_keeps", "phase": phase, "mean_bytes": mean_bytes, "bytes": bytes})
        }
    }
}
