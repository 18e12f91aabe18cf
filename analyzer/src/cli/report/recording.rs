//! How it was recorded, what was lost, and what recording cost.

use super::parts::Parts;
use crate::analysis::{ProcessSummary, Summary};
use crate::load::Source;
use crate::render::{self, Cell, Table};
use crate::report::Section;

pub(super) fn section(
    sources: &[Source],
    summary: &Summary,
    process: &ProcessSummary,
    parts: &Parts,
) -> Section {
    let mut table = Table::new(&[("fact", "Fact"), ("value", "Value")]);
    let mut add = |name: &str, value: String| {
        table.rows.push(vec![Cell::Text(name.to_owned()), Cell::Text(value)]);
    };
    add("Trace", sources[0].path.display().to_string());
    if !process.command.is_empty() {
        add("Command", process.command.join(" "));
    }
    let source = sources[0].processes.iter().find(|of| of.id == process.id);
    if let Some(info) = source.and_then(|of| of.info.as_ref()) {
        if !info.host.is_empty() {
            add("Host", info.host.clone());
        }
        let versions: Vec<String> =
            info.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
        if !versions.is_empty() {
            add("Versions", versions.join(", "));
        }
        for device in &info.devices {
            let facts = [device.name.clone(), device.total_bytes.map(|total| render::bytes(total as i64))];
            let facts: Vec<String> = facts.into_iter().flatten().collect();
            add(&format!("Device {}", device.index), facts.join(", "));
        }
        add("Clock", info.clock_source.clone());
    }
    for (key, value) in &summary.config {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        add(&format!("config {key}"), value);
    }
    add("Ended", process.ended.as_str().to_owned());
    add("Allocation events", process.events.to_string());
    add("Records that were dropped or damaged", process.dropped_events.to_string());
    if let Some(cost) = process.cost {
        if cost.left_out_events > 0 {
            add("Events left out, as asked", cost.left_out_events.to_string());
        }
        let took = process.span_nanos.map_or(0, |span| span.1 - span.0);
        let share = cost.background_cpu_seconds / (took.max(1) as f64 / 1e9) * 100.0;
        let cpu = render::duration((cost.background_cpu_seconds * 1e9) as i64);
        add("CPU that recording took, in the background", format!("{cpu} ({share:.1} % of the time)"));
        add("Written to disk", render::bytes(cost.written_bytes as i64));
        if cost.merged_bytes > 0 {
            add("Written once more, to merge parts", render::bytes(cost.merged_bytes as i64));
        }
    } else {
        add("What recording cost", "not recorded".to_owned());
    }
    let known: Vec<String> = summary.warnings.clone();
    let more =
        parts.warnings.iter().filter(|warning| !known.iter().any(|said| said.contains(*warning))).cloned();
    Section::new("recording", "How it was recorded")
        .sentences(process.coverage.iter().cloned())
        .items(known.iter().cloned().chain(more))
        .table("The recording", &table, usize::MAX)
}
