//! `tidegauge timeline --by category`.

use super::cells::{Cell, Table};
use super::summary_text::device_name;
use crate::analysis::Breakdown;

/// One row for each device, stretch of time and category.
#[must_use]
pub fn breakdown_table(breakdown: &Breakdown) -> Table {
    let mut table = Table::new(&[
        ("start_nanos", "From"),
        ("end_nanos", "To"),
        ("device", "Device"),
        ("time_nanos", "Highest at"),
        ("category", "Category"),
        ("bytes", "Bytes"),
        ("tagged_bytes", "Told"),
        ("inferred_bytes", "Inferred"),
        ("rule_bytes", "By rule"),
        ("unknown_bytes", "Unknown"),
        ("recomputed_bytes", "Recomputed"),
    ]);
    for device in &breakdown.devices {
        for (number, bucket) in (0..).zip(&device.buckets) {
            let Some(bucket) = bucket else { continue };
            let (start, end) = stretch(breakdown, number);
            for (kind, total) in device.kinds.iter().zip(&bucket.totals) {
                table.rows.push(vec![
                    Cell::Nanos(start),
                    Cell::Nanos(end),
                    Cell::Count(i64::from(device.device)),
                    Cell::Nanos(bucket.time_nanos - breakdown.origin_nanos),
                    Cell::Text(kind.clone()),
                    Cell::Bytes(total.bytes),
                    Cell::Bytes(total.tagged_bytes),
                    Cell::Bytes(total.inferred_bytes),
                    Cell::Bytes(total.rule_bytes),
                    Cell::Bytes(total.unknown_bytes),
                    Cell::Bytes(total.recomputed_bytes),
                ]);
            }
        }
    }
    table
}

/// For people: one row for each stretch of time, a column for each device and category.
#[must_use]
pub fn breakdown_people_table(breakdown: &Breakdown) -> Table {
    let name = |device: i16, kind: &str| match breakdown.devices.as_slice() {
        [_] => kind.to_owned(),
        _ => format!("{} {kind}", device_name(device)),
    };
    let mut names = Vec::new();
    for device in &breakdown.devices {
        names.push(name(device.device, "allocated"));
        names.extend(device.kinds.iter().map(|kind| name(device.device, kind)));
    }
    let mut columns = vec![("from", "From"), ("to", "To")];
    columns.extend(names.iter().map(|name| (name.as_str(), name.as_str())));
    let mut table = Table::new(&columns);
    let rows = breakdown.devices.iter().map(|device| device.buckets.len()).max().unwrap_or(0);
    for number in 0..rows {
        let (start, end) = stretch(breakdown, number as i64);
        let mut row = vec![Cell::Nanos(start), Cell::Nanos(end)];
        for device in &breakdown.devices {
            let bucket = device.buckets.get(number).and_then(Option::as_ref);
            row.push(bucket.map_or(Cell::Unknown, |bucket| Cell::Bytes(bucket.allocated_bytes)));
            let bytes =
                |at: usize| bucket.map_or(Cell::Unknown, |bucket| Cell::Bytes(bucket.totals[at].bytes));
            row.extend((0..device.kinds.len()).map(bytes));
        }
        table.rows.push(row);
    }
    table
}

/// From when to when, since the recording began.
fn stretch(breakdown: &Breakdown, number: i64) -> (i64, i64) {
    let start = breakdown.start_nanos - breakdown.origin_nanos + number * breakdown.bucket_nanos;
    (start, (start + breakdown.bucket_nanos).min(breakdown.end_nanos - breakdown.origin_nanos))
}
