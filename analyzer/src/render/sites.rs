//! Sites and operators as a table.

use super::cells::{Cell, Table};
use crate::analysis::SiteRow;

/// `tidegauge sites`.
#[must_use]
pub fn sites_table(rows: &[SiteRow]) -> Table {
    // A column of which nothing is known is for data.
    let heading =
        |is_known: fn(&SiteRow) -> bool, heading| if rows.iter().any(is_known) { heading } else { "" };
    let mut table = Table::new(&[
        ("site", "Site"),
        ("device", "Device"),
        ("calls", heading(|row| row.calls.is_some(), "Calls")),
        ("allocations", heading(|row| row.allocations.is_some(), "Allocations")),
        ("self_bytes", "Self"),
        ("inclusive_bytes", "Inclusive"),
        ("self_allocated_bytes", "Self allocated"),
        ("inclusive_allocated_bytes", "Inclusive allocated"),
    ]);
    let count = |count: Option<u64>| Cell::count(count.map(|count| i64::try_from(count).unwrap_or(i64::MAX)));
    table.rows = rows
        .iter()
        .map(|row| {
            vec![
                Cell::text(row.site.as_deref()),
                Cell::count(row.device.map(i64::from)),
                count(row.calls),
                count(row.allocations),
                Cell::DeltaBytes(row.self_bytes),
                Cell::DeltaBytes(row.inclusive_bytes),
                Cell::Bytes(row.self_allocated_bytes),
                Cell::Bytes(row.inclusive_allocated_bytes),
            ]
        })
        .collect();
    table
}
