//! The run in three sentences: how high memory stood, what it was, and how it went.

use crate::analysis::{DeviceSummary, GrowthCurve, GrowthVerdict, ProcessSummary, Summary};
use crate::render;

/// Three sentences about `process`: its peak, what that consists of, and how it ended, with what is to be done first.
/// `part` says which part of the recording is shown, if not all of it.
#[must_use]
pub fn verdict(
    summary: &Summary,
    process: &ProcessSummary,
    part: Option<&str>,
    first_hint: Option<&str>,
) -> Vec<String> {
    // Of several that are as high, the first.
    let device = process
        .devices
        .iter()
        .max_by_key(|device| (device.allocated.bytes, std::cmp::Reverse(device.device)));
    vec![
        height(process, device, part),
        device.map_or_else(
            || "What it consisted of is not known: no allocations were recorded.".to_owned(),
            contents,
        ),
        course(summary, process, part, first_hint),
    ]
}

fn height(process: &ProcessSummary, device: Option<&DeviceSummary>, part: Option<&str>) -> String {
    let origin = process.span_nanos.map_or(0, |span| span.0);
    let (what, peak, total) =
        match (device, process.device_use.iter().max_by_key(|used| used.used.bytes), &process.rss) {
            (Some(device), ..) => {
                let total = process.device_use.iter().find(|used| used.device == device.device);
                let name = render::device_name(device.device);
                (format!("allocated on {name}"), &device.allocated, total.and_then(|used| used.total_bytes))
            }
            (None, Some(used), _) => (
                format!("in use on device {}, by the driver's count", used.device),
                &used.used,
                used.total_bytes,
            ),
            (None, None, Some(rss)) => ("resident on the host".to_owned(), rss, None),
            (None, None, None) => return "No memory was recorded.".to_owned(),
        };
    let mut text = match part {
        Some(part) => format!("In this part, {part}, memory peaked at {} {what}", render::bytes(peak.bytes)),
        None => format!("Memory peaked at {} {what}", render::bytes(peak.bytes)),
    };
    if let Some(total) = total {
        text += &format!(
            " ({:.0} % of {})",
            peak.bytes as f64 / total.max(1) as f64 * 100.0,
            render::bytes(total as i64)
        );
    }
    if let Some(time) = peak.time_nanos {
        text += &format!(", {} after the start", render::duration(time - origin));
    }
    if let Some(step) = peak.step {
        text += &format!(", in step {step}");
    }
    if let Some(phase) = &peak.phase {
        text += &format!(", phase {}", render::printable(phase));
    }
    text + "."
}

fn contents(device: &DeviceSummary) -> String {
    let total: i64 = device.categories.iter().map(|of| of.total.bytes).sum();
    let share = |bytes: i64| bytes as f64 / total.max(1) as f64;
    let named: Vec<String> = device
        .categories
        .iter()
        .filter(|of| share(of.total.bytes) >= 0.05)
        .map(|of| format!("{} {:.0} %", of.category, share(of.total.bytes) * 100.0))
        .collect();
    let holder = device.holders.iter().find(|holder| holder.site.is_some());
    let largest = holder.map(|holder| {
        let site = render::printable(holder.site.as_deref().unwrap_or_default());
        format!("the largest known holder is {site} with {}", render::bytes(holder.bytes))
    });
    let is_known =
        device.categories.iter().any(|of| of.category != "unknown" && share(of.total.bytes) >= 0.05);
    match (!is_known, largest) {
        (false, Some(largest)) => format!("It was {}; {largest}.", named.join(", ")),
        (false, None) => format!("It was {}.", named.join(", ")),
        (true, Some(largest)) => format!("What it was for is not known; {largest}."),
        (true, None) => "What it was for, and who held it, is not known.".to_owned(),
    }
}

fn course(
    summary: &Summary,
    process: &ProcessSummary,
    part: Option<&str>,
    first_hint: Option<&str>,
) -> String {
    let mut parts = Vec::new();
    parts.push(match (process.first_oom_nanos, process.ended.as_str()) {
        (Some(_), _) if part.is_some() => "an allocation failed".to_owned(),
        (None, _) if part.is_some() => "how the whole run went is not told here".to_owned(),
        (Some(_), ended) => format!("an allocation failed (the recording ended: {ended})"),
        (None, "clean") => "the run ended cleanly".to_owned(),
        (None, "unknown") => "how it ended is not recorded".to_owned(),
        (None, ended) => format!("the recording ended: {ended}"),
    });
    if let Some(growth) = process.growth.as_ref().filter(|growth| !growth.growths.is_empty()) {
        let leaks: Vec<String> = growth
            .leaks()
            .map(|leak| {
                let rate = leak.slope_bytes.unwrap_or_default().round() as i64;
                let of = format!("{} {}", render::device_name(leak.device), leak.curve.as_str());
                match leak.curve {
                    // What stays need not grow with it.
                    GrowthCurve::AllocatedPeak => {
                        let of = render::device_name(leak.device);
                        format!(
                            "the peak on {of} grows by {} per {}",
                            render::bytes(rate),
                            growth.unit.as_str()
                        )
                    }
                    _ => format!("{of} leaks {} per {}", render::bytes(rate), growth.unit.as_str()),
                }
            })
            .collect();
        let is_judged = growth.growths.iter().any(|of| of.verdict != GrowthVerdict::TooShort);
        match (leaks.is_empty(), is_judged) {
            (false, _) => parts.push(leaks.join(", ")),
            (true, true) => parts.push("nothing leaks".to_owned()),
            (true, false) => parts.push("it was too short to tell a leak".to_owned()),
        }
    }
    let dropped: u64 = summary.processes.iter().map(|process| process.dropped_events).sum();
    if dropped > 0 {
        parts.push(format!("{dropped} records were lost, so figures are lower bounds"));
    }
    let mut text = parts.join("; ");
    if let Some(first) = text.get(..1) {
        text = format!("{}{}", first.to_uppercase(), &text[1..]);
    }
    match first_hint {
        Some(hint) => format!("{text}. First thing to do: {}.", hint.trim_end_matches('.')),
        None => format!("{text}."),
    }
}
