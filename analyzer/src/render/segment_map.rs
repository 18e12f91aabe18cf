//! A map of segments and blocks: as data, a row for each stretch; for people, a bar for each segment.

use std::fmt::Write as _;

use rustc_hash::FxHashMap;

use super::cells::{Cell, Table, printable};
use super::units::bytes;
use crate::analysis::{BlockState, MappedSegment};

/// Characters of the bar of the largest segment.
const BAR: u64 = 64;

/// Every block and hole of every segment, by address.
#[must_use]
pub fn segment_map_table(segments: &[MappedSegment], site_names: &FxHashMap<u32, String>) -> Table {
    let mut table = Table::new(&[
        ("device", "Device"),
        ("segment", "Segment"),
        ("segment_bytes", "Size"),
        ("stream", "Stream"),
        ("pool", "Pool"),
        ("size_class", "Blocks"),
        ("expandable", "Expandable"),
        ("offset_bytes", "Offset"),
        ("size_bytes", "Bytes"),
        ("requested_bytes", "Requested"),
        ("state", "State"),
        ("site", "Site"),
    ]);
    for segment in segments {
        for block in &segment.blocks {
            table.rows.push(vec![
                Cell::Count(i64::from(segment.device)),
                Cell::Text(format!("{:#x}", segment.address)),
                Cell::Bytes(segment.size_bytes.cast_signed()),
                Cell::count(segment.stream.and_then(|stream| i64::try_from(stream).ok())),
                Cell::Text(segment.pool.clone().unwrap_or_else(|| "default".to_owned())),
                Cell::Text(segment.class.as_str().to_owned()),
                Cell::Flag(segment.is_expandable),
                Cell::Bytes(block.offset_bytes.cast_signed()),
                Cell::Bytes(block.size_bytes.cast_signed()),
                Cell::bytes(block.requested_bytes),
                Cell::Text(block.state.as_str().to_owned()),
                Cell::text(site_names.get(&block.site).map(String::as_str)),
            ]);
        }
    }
    table
}

/// The `top` largest segments, a bar each, all to one scale.
#[must_use]
pub fn segment_map_text(segments: &[MappedSegment], top: usize) -> String {
    let mut largest: Vec<&MappedSegment> = segments.iter().collect();
    largest.sort_by_key(|segment| (std::cmp::Reverse(segment.size_bytes), segment.address));
    let scale = largest.first().map_or(1, |segment| segment.size_bytes.max(1));
    let mut out = String::from("  █ allocated   ▒ given up, a stream still uses it   · free\n");
    // Writing to a string cannot fail.
    for segment in largest.iter().take(top) {
        let used = segment.used_bytes().cast_signed();
        let pool = segment.pool.as_deref().map(|pool| format!(", pool {pool}")).unwrap_or_default();
        let stream = segment.stream.filter(|stream| *stream != 0);
        let stream = stream.map(|stream| format!(", stream {stream}")).unwrap_or_default();
        let kind = if segment.is_expandable { ", expandable" } else { "" };
        let _ = writeln!(
            out,
            "  {:>9} {:>9} free  {:#014x} {}  {}{kind}{pool}{stream}",
            bytes(segment.size_bytes.cast_signed()),
            bytes(segment.size_bytes.cast_signed() - used),
            segment.address,
            bar(segment, scale),
            segment.class.as_str(),
        );
    }
    if largest.len() > top {
        let rest = &largest[top..];
        let sum =
            |of: fn(&MappedSegment) -> u64| rest.iter().map(|segment| of(segment)).sum::<u64>().cast_signed();
        let (size_bytes, used_bytes) = (sum(|segment| segment.size_bytes), sum(MappedSegment::used_bytes));
        let free_bytes = size_bytes - used_bytes;
        let _ = writeln!(out, "  ({} more: {}, {} free)", rest.len(), bytes(size_bytes), bytes(free_bytes));
    }
    printable_lines(&out)
}

/// What has most of a character's stretch is what it shows.
fn bar(segment: &MappedSegment, scale: u64) -> String {
    let width = (u128::from(segment.size_bytes) * u128::from(BAR) / u128::from(scale)).max(1) as usize;
    let mut shares = vec![[0u64; 3]; width];
    let edge = |number: usize| (u128::from(segment.size_bytes) * number as u128 / width as u128) as u64;
    let column =
        |offset: u64| (u128::from(offset) * width as u128 / u128::from(segment.size_bytes.max(1))) as usize;
    for block in &segment.blocks {
        let kind = match block.state {
            BlockState::Allocated => 0,
            BlockState::Pending => 1,
            BlockState::Free => 2,
        };
        let end = block.offset_bytes + block.size_bytes;
        let mut at = column(block.offset_bytes);
        while at < width && edge(at) < end {
            let covered = end.min(edge(at + 1)).saturating_sub(block.offset_bytes.max(edge(at)));
            shares[at][kind] += covered;
            at += 1;
        }
    }
    let most = |share: &[u64; 3]| match share {
        [allocated, pending, free] if free > allocated && free > pending => '·',
        [allocated, pending, _] if pending > allocated => '▒',
        _ => '█',
    };
    let drawn: String = shares.iter().map(most).collect();
    format!("{drawn:<width$}", width = BAR as usize)
}

fn printable_lines(text: &str) -> String {
    text.lines().map(|line| printable(line).trim_end().to_owned() + "\n").collect()
}
