//! Results as tables.

use super::cells::{Cell, Table};
use super::summary_text::device_name;
use crate::analysis::categories::CategoryTotal;
use crate::analysis::{Curve, PeakSummary, Peaks, PhaseMemory, PhaseRow, Series, StepRow, Summary, Timeline};

/// `tidegauge summary` as rows: one for each curve of each device.
#[must_use]
pub fn summary_table(summary: &Summary) -> Table {
    let mut table = Table::new(&[
        ("rank", "Rank"),
        ("process", "Process"),
        ("device", "Device"),
        ("curve", "Curve"),
        ("peak_bytes", "Peak"),
        ("time_nanos", "At"),
        ("step", "Step"),
        ("phase", "Phase"),
        ("end_bytes", "At the end"),
    ]);
    for process in &summary.processes {
        let origin = process.span_nanos.map_or(0, |span| span.0);
        let mut row = |number: i16, curve: &str, peak: Option<&PeakSummary>, end: Option<i64>| {
            let Some(peak) = peak else { return };
            table.rows.push(vec![
                Cell::Count(i64::from(process.id.rank)),
                Cell::Count(i64::from(process.id.process)),
                device(number),
                Cell::Text(curve.to_owned()),
                Cell::Bytes(peak.bytes),
                peak.time_nanos.map_or(Cell::Unknown, |time| Cell::Nanos(time - origin)),
                Cell::count(peak.step),
                Cell::text(peak.phase.as_deref()),
                end.map_or(Cell::Unknown, Cell::Bytes),
            ]);
        };
        for of in &process.devices {
            row(of.device, "allocated", Some(&of.allocated), Some(of.end_allocated_bytes));
            row(of.device, "active", Some(&of.active), Some(of.end_active_bytes));
            row(of.device, "reserved", of.reserved.as_ref(), None);
        }
        for of in &process.device_use {
            row(of.device, "used", Some(&of.used), None);
        }
        row(-1, "rss", process.rss.as_ref(), None);
    }
    table
}

/// `tidegauge phases`.
#[must_use]
pub fn phases_table(rows: &[PhaseRow]) -> Table {
    let mut table = Table::new(&[
        ("phase", "Phase"),
        ("device", "Device"),
        ("count", "Count"),
        ("mean_delta_bytes", "Mean Δ"),
        ("max_delta_bytes", "Max Δ"),
        ("mean_rise_bytes", "Mean rise"),
        ("peak_bytes", "Peak inside"),
        ("peak_step", "At step"),
        ("mean_nanos", "Mean time"),
        ("total_nanos", "Total time"),
    ]);
    table.rows = rows
        .iter()
        .map(|row| {
            let memory = |of: fn(&PhaseMemory) -> Cell| row.memory.as_ref().map_or(Cell::Unknown, of);
            vec![
                Cell::Text(row.phase.clone()),
                memory(|memory| device(memory.device)),
                Cell::Count(row.count as i64),
                memory(|memory| Cell::DeltaBytes(memory.mean_delta_bytes)),
                memory(|memory| Cell::DeltaBytes(memory.max_delta_bytes)),
                memory(|memory| Cell::DeltaBytes(memory.mean_rise_bytes)),
                memory(|memory| Cell::Bytes(memory.peak_bytes)),
                memory(|memory| Cell::count(memory.peak_step)),
                Cell::Nanos(row.mean_nanos),
                Cell::Nanos(row.total_nanos),
            ]
        })
        .collect();
    table
}

/// `tidegauge steps`.
#[must_use]
pub fn steps_table(rows: &[StepRow], origin_nanos: i64) -> Table {
    let mut table = Table::new(&[
        ("step", "Step"),
        ("epoch", "Epoch"),
        ("device", "Device"),
        ("peak_bytes", "Peak"),
        ("peak_phase", "In phase"),
        ("start_bytes", "Start"),
        ("end_bytes", "End"),
        ("loss", "Loss"),
        ("batch_size", "Batch size"),
        ("begin_nanos", "Begin"),
        ("duration_nanos", "Time"),
        ("complete", "Complete"),
    ]);
    table.rows = rows
        .iter()
        .map(|row| {
            vec![
                Cell::Count(row.step),
                Cell::count(row.epoch),
                row.device.map_or(Cell::Unknown, device),
                Cell::bytes(row.peak_bytes),
                Cell::text(row.peak_phase.as_deref()),
                Cell::bytes(row.start_bytes),
                Cell::bytes(row.end_bytes),
                row.loss.map_or(Cell::Unknown, Cell::Real),
                Cell::count(row.batch_size),
                Cell::Nanos(row.begin_nanos - origin_nanos),
                Cell::Nanos(row.duration_nanos),
                Cell::Flag(row.is_complete),
            ]
        })
        .collect();
    table
}

/// `tidegauge timeline`: one row for each curve and stretch of time that has a value.
#[must_use]
pub fn timeline_table(timeline: &Timeline) -> Table {
    let mut table = Table::new(&[
        ("start_nanos", "From"),
        ("end_nanos", "To"),
        ("device", "Device"),
        ("curve", "Curve"),
        ("min_bytes", "Lowest"),
        ("max_bytes", "Highest"),
        ("last_bytes", "At the end"),
    ]);
    let origin = timeline.start_nanos - timeline.origin_nanos;
    let end = timeline.end_nanos - timeline.origin_nanos;
    for series in &timeline.series {
        for (number, bucket) in (0..).zip(&series.buckets) {
            let Some(bucket) = bucket else { continue };
            let start = origin + number * timeline.bucket_nanos;
            table.rows.push(vec![
                Cell::Nanos(start),
                Cell::Nanos((start + timeline.bucket_nanos).min(end)),
                device(series.device),
                Cell::Text(series.curve.as_str().to_owned()),
                Cell::Bytes(bucket.min_bytes),
                Cell::Bytes(bucket.max_bytes),
                Cell::Bytes(bucket.last_bytes),
            ]);
        }
    }
    table
}

/// `tidegauge timeline` for people: one row for each stretch of time, the highest value of every curve, and a bar for
/// allocated.
#[must_use]
pub fn timeline_people_table(timeline: &Timeline) -> Table {
    /// Characters of the longest bar.
    const BAR: i64 = 30;
    let names: Vec<String> = timeline
        .series
        .iter()
        .map(|series| match series.curve {
            Curve::Rss => "process rss".to_owned(),
            curve => format!("{} {}", device_name(series.device), curve.as_str()),
        })
        .collect();
    let mut columns = vec![("from", "From"), ("to", "To")];
    columns.extend(names.iter().map(|name| (name.as_str(), name.as_str())));
    columns.push(("bar", "highest"));
    let mut table = Table::new(&columns);
    let drawn =
        timeline.series.iter().find(|series| series.curve == Curve::Allocated).or(timeline.series.first());
    let high = drawn.and_then(|series| series.buckets.iter().flatten().map(|bucket| bucket.max_bytes).max());
    let origin = timeline.start_nanos - timeline.origin_nanos;
    let end = timeline.end_nanos - timeline.origin_nanos;
    let rows = timeline.series.iter().map(|series| series.buckets.len()).max().unwrap_or(0);
    for number in 0..rows {
        let start = origin + number as i64 * timeline.bucket_nanos;
        let mut row = vec![Cell::Nanos(start), Cell::Nanos((start + timeline.bucket_nanos).min(end))];
        let bucket = |series: &Series| series.buckets.get(number).copied().flatten();
        row.extend(
            timeline
                .series
                .iter()
                .map(|series| bucket(series).map_or(Cell::Unknown, |at| Cell::Bytes(at.max_bytes))),
        );
        let length = drawn.and_then(bucket).map_or(0, |at| at.max_bytes * BAR / high.unwrap_or(1).max(1));
        row.push(Cell::Text("█".repeat(length.max(0) as usize)));
        table.rows.push(row);
    }
    table
}

/// `tidegauge peaks`: the `top` largest groups of each device; `with_rest`, a further row sums up the others.
#[must_use]
pub fn peaks_table(all: &[Peaks], key: &str, heading: &str, top: usize, with_rest: bool) -> Table {
    let mut columns = vec![
        (key, heading),
        ("device", "Device"),
        ("bytes", "Bytes"),
        ("share", "Share"),
        ("blocks", "Blocks"),
        ("largest_bytes", "Largest"),
    ];
    let are_categories = all.iter().flat_map(|peaks| &peaks.groups).any(|group| group.evidence.is_some());
    if are_categories {
        columns.extend([
            ("tagged_bytes", "Told"),
            ("inferred_bytes", "Inferred"),
            ("rule_bytes", "By rule"),
            ("unknown_bytes", "Unknown"),
            ("recomputed_bytes", "Recomputed"),
        ]);
    }
    let mut table = Table::new(&columns);
    for peaks in all {
        let total = peaks.allocated_bytes.max(1) as f64;
        let mut row = |name: Cell, bytes: i64, blocks: u64, largest_bytes: i64, of: Option<CategoryTotal>| {
            let mut cells = vec![
                name,
                device(peaks.device),
                Cell::Bytes(bytes),
                Cell::Share(bytes as f64 / total),
                // Of memory in blocks that are not known only the sum is.
                if blocks == 0 { Cell::Unknown } else { Cell::Count(blocks as i64) },
                if blocks == 0 { Cell::Unknown } else { Cell::Bytes(largest_bytes) },
            ];
            if are_categories {
                let of = of.unwrap_or_default();
                let parts = [
                    of.tagged_bytes,
                    of.inferred_bytes,
                    of.rule_bytes,
                    of.unknown_bytes,
                    of.recomputed_bytes,
                ];
                cells.extend(parts.map(Cell::Bytes));
            }
            table.rows.push(cells);
        };
        let (shown, rest) = peaks.groups.split_at(top.min(peaks.groups.len()));
        for group in shown {
            row(
                Cell::text(group.key.as_deref()),
                group.bytes,
                group.blocks,
                group.largest_bytes,
                group.evidence,
            );
        }
        if with_rest && !rest.is_empty() {
            let name = Cell::Text(format!("({} more)", rest.len()));
            let largest_bytes = rest.iter().map(|group| group.largest_bytes).max().unwrap_or(0);
            let blocks = rest.iter().map(|group| group.blocks).sum();
            let bytes = rest.iter().map(|group| group.bytes).sum();
            let evidence = rest.iter().filter_map(|group| group.evidence).sum();
            row(name, bytes, blocks, largest_bytes, Some(evidence));
        }
    }
    table
}

/// The number, which for the host is −1.
fn device(device: i16) -> Cell {
    Cell::Count(i64::from(device))
}
