//! `tidegauge fragmentation`: what is reserved and not in use, at moments and pool by pool.

use std::fmt::Write as _;

use super::cells::{Cell, Format, Table, printable};
use super::summary_text::{Style, device_name};
use super::units::{bytes, duration};
use crate::analysis::{Basis, Fragmentation, MapFigures, MemoryMoment, MomentKind, PoolMemory};

/// Failed allocations that people are shown: the last ones.
const MAX_OOMS: usize = 5;
/// Below this part of what is reserved, what is not in use is not worth a remedy.
const WORTH_A_REMEDY: f64 = 0.05;

/// Moments: one row each.
#[must_use]
pub fn fragmentation_table<'a>(
    moments: impl IntoIterator<Item = &'a MemoryMoment>,
    origin_nanos: i64,
    asked: Option<&str>,
) -> Table {
    let mut table = Table::new(&[
        ("device", "Device"),
        ("moment", "At"),
        ("time_nanos", "Time"),
        ("step", "Step"),
        ("phase", "Phase"),
        ("allocated_bytes", "Allocated"),
        ("active_bytes", ""),
        ("reserved_bytes", "Reserved"),
        ("unused_bytes", "Unused"),
        ("unused_share", "Share"),
        ("split_bytes", "Split"),
        ("cached_bytes", "Cached"),
        ("rounding_bytes", "Rounding"),
        ("rounding_basis", ""),
        ("largest_hole_bytes", "Largest hole"),
        ("holes", "Holes"),
        ("segments", "Segments"),
        ("blocks", ""),
        ("outside_bytes", "Outside"),
    ]);
    let row = |moment: &MemoryMoment| {
        let state = &moment.state;
        let of_map = |cell: fn(&MapFigures) -> Cell| state.map.as_ref().map_or(Cell::Unknown, cell);
        vec![
            Cell::Count(i64::from(moment.device)),
            Cell::Text(moment_name(moment, asked)),
            moment.time_nanos.map_or(Cell::Unknown, |time_nanos| Cell::Nanos(time_nanos - origin_nanos)),
            Cell::count(moment.step),
            Cell::text(moment.phase.as_deref()),
            Cell::Bytes(state.allocated_bytes),
            Cell::Bytes(state.active_bytes),
            Cell::bytes(state.reserved_bytes),
            Cell::bytes(state.unused_bytes()),
            unused_share(moment).map_or(Cell::Unknown, Cell::Share),
            of_map(|map| Cell::Bytes(map.split_bytes)),
            of_map(|map| Cell::Bytes(map.cached_bytes)),
            of_map(|map| Cell::Bytes(map.rounding_bytes)),
            state.map.map_or(Cell::Unknown, |_| Cell::Text(moment.rounding.as_str().to_owned())),
            of_map(|map| Cell::Bytes(map.largest_hole_bytes)),
            of_map(|map| Cell::Count(map.holes.cast_signed())),
            of_map(|map| Cell::Count(map.segments)),
            of_map(|map| Cell::Count(map.blocks)),
            Cell::bytes(state.outside_bytes),
        ]
    };
    table.rows = moments.into_iter().map(row).collect();
    table
}

/// Pools: a row for each moment and pool.
#[must_use]
pub fn fragmentation_pools_table<'a>(
    moments: impl IntoIterator<Item = &'a MemoryMoment>,
    origin_nanos: i64,
    asked: Option<&str>,
) -> Table {
    let mut table = Table::new(&[
        ("device", "Device"),
        ("moment", "At"),
        ("time_nanos", ""),
        ("pool", "Pool"),
        ("stream", "Stream"),
        ("size_class", "Blocks"),
        ("reserved_bytes", "Reserved"),
        ("free_bytes", "Free"),
        ("split_bytes", "Split"),
        ("cached_bytes", "Cached"),
        ("rounding_bytes", "Rounding"),
        ("largest_hole_bytes", "Largest hole"),
        ("holes", "Holes"),
        ("segments", "Segments"),
        ("blocks", ""),
    ]);
    for moment in moments {
        for pool in &moment.pools {
            let PoolMemory { map, .. } = pool;
            table.rows.push(vec![
                Cell::Count(i64::from(moment.device)),
                Cell::Text(moment_name(moment, asked)),
                moment.time_nanos.map_or(Cell::Unknown, |time_nanos| Cell::Nanos(time_nanos - origin_nanos)),
                Cell::Text(pool.pool.clone().unwrap_or_else(|| "default".to_owned())),
                Cell::count(pool.stream.and_then(|stream| i64::try_from(stream).ok())),
                Cell::Text(pool.class.as_str().to_owned()),
                Cell::Bytes(pool.reserved_bytes),
                Cell::Bytes(map.free_bytes()),
                Cell::Bytes(map.split_bytes),
                Cell::Bytes(map.cached_bytes),
                Cell::Bytes(map.rounding_bytes),
                Cell::Bytes(map.largest_hole_bytes),
                Cell::Count(map.holes.cast_signed()),
                Cell::Count(map.segments),
                Cell::Count(map.blocks),
            ]);
        }
    }
    table
}

/// A process's fragmentation in text or Markdown: in words, at moments, pool by pool at the peak. `asked` names the moment
/// where it is not the peak of allocated.
#[must_use]
pub fn fragmentation_text(
    found: &Fragmentation,
    asked: Option<&str>,
    format: Format,
    style: Style,
) -> String {
    let mut out = String::new();
    let mut devices: Vec<i16> = found.moments.iter().map(|moment| moment.device).collect();
    devices.dedup();
    for device in devices {
        let of_device: Vec<&MemoryMoment> = found.moments.iter().filter(|of| of.device == device).collect();
        let Some(first) = of_device.first() else { continue };
        if !out.is_empty() {
            out.push('\n');
        }
        // Writing to a string cannot fail.
        let headline = printable(&headline(first, found.origin_nanos, asked));
        let _ = match format {
            Format::Markdown => writeln!(out, "### {headline}\n"),
            _ => writeln!(out, "{}", style.heading(&headline)),
        };
        let ooms = of_device.iter().filter(|of| of.kind == MomentKind::Oom).count();
        let mut left_out = ooms.saturating_sub(MAX_OOMS);
        let shown = of_device.iter().copied().filter(|of| {
            let is_shown = of.kind != MomentKind::Oom || left_out == 0;
            left_out -= usize::from(!is_shown);
            is_shown
        });
        out += &fragmentation_table(shown, found.origin_nanos, asked).render(format);
        if first.pools.len() > 1 {
            out.push('\n');
            out += &fragmentation_pools_table([*first], found.origin_nanos, asked).render(format);
        }
        let sentences = sentences(&of_device);
        if !sentences.is_empty() {
            out.push('\n');
        }
        for sentence in sentences {
            let mark = if format == Format::Markdown { "-" } else { "  •" };
            let _ = writeln!(out, "{mark} {}", printable(&sentence));
        }
    }
    out
}

fn moment_name(moment: &MemoryMoment, asked: Option<&str>) -> String {
    match (moment.kind, asked) {
        (MomentKind::Allocated, Some(asked)) => asked.to_owned(),
        (kind, _) => kind.as_str().to_owned(),
    }
}

fn unused_share(moment: &MemoryMoment) -> Option<f64> {
    let reserved_bytes = moment.state.reserved_bytes.filter(|bytes| *bytes > 0)?;
    Some(moment.state.unused_bytes()? as f64 / reserved_bytes as f64)
}

fn headline(moment: &MemoryMoment, origin_nanos: i64, asked: Option<&str>) -> String {
    let state = &moment.state;
    let mut line = format!("{}: ", device_name(moment.device));
    line += &match (state.reserved_bytes, state.unused_bytes()) {
        (Some(reserved), Some(unused)) => {
            let share =
                unused_share(moment).map(|share| format!(" ({:.1} %)", share * 100.0)).unwrap_or_default();
            format!("{} reserved, of which {}{share} not allocated, ", bytes(reserved), bytes(unused))
        }
        _ => format!("{} allocated, reserved not known, ", bytes(state.allocated_bytes)),
    };
    line += match asked {
        Some(asked) => asked,
        None => "at the peak of allocated",
    };
    if let (Some(time_nanos), None | Some("peak_of_step")) = (moment.time_nanos, asked) {
        let _ = write!(line, ", {}", duration(time_nanos - origin_nanos));
    }
    if let Some(step) = moment.step {
        let _ = write!(line, ", step {step}");
    }
    if let Some(phase) = &moment.phase {
        let _ = write!(line, ", phase {phase}");
    }
    line
}

/// What the figures say.
fn sentences(of_device: &[&MemoryMoment]) -> Vec<String> {
    let mut said = Vec::new();
    let Some(first) = of_device.first() else { return said };
    let state = &first.state;
    match (state.reserved_bytes, state.map) {
        (None, _) if first.device < 0 => said.push(
            "reserved is not known: torch's allocator on the CPU, and others of the host, take no segments that could be \
             recorded; the resident size less what is allocated (outside) is what the process holds beside it"
                .to_owned(),
        ),
        (None, _) => said.push(
            "reserved is not known: the recording has no segments; `tidegauge.attach` before training, or a memory \
             snapshot with its history, tells them"
                .to_owned(),
        ),
        (Some(_), None) => said.push(
            "holes are not known: the recording tells how much is reserved and not where; a memory snapshot, or \
             `tidegauge.attach`, tells addresses"
                .to_owned(),
        ),
        (Some(_), Some(map)) => said.push(split_up(first, &map)),
    }
    if state.map.is_some() && first.rounding == Basis::Estimated {
        said.push(
            "sizes of blocks are estimated: requests rounded by the rules of torch's CUDA allocator (512 B, rests under \
             1 MiB of large blocks not split off)"
                .to_owned(),
        );
    }
    let worst = of_device.iter().filter(|moment| moment.kind == MomentKind::Reserved);
    for moment in worst {
        let (Some(share), Some(map)) = (unused_share(moment), moment.state.map) else { continue };
        if share >= WORTH_A_REMEDY && map.split_bytes > 0 {
            said.push(format!(
                "at the peak of reserved, {} lie free in segments that are partly in use: \
                 PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True lets them be used by blocks of any size",
                bytes(map.split_bytes)
            ));
        }
    }
    let private: i64 =
        first.pools.iter().filter(|pool| pool.pool.is_some()).map(|pool| pool.reserved_bytes).sum();
    if private > 0 {
        said.push(format!(
            "{} of it are private pools (CUDA graphs, MemPool), which nothing else can use",
            bytes(private)
        ));
    }
    if let Some(outside_bytes) = state.outside_bytes.filter(|_| first.device >= 0) {
        said.push(format!(
            "{} of the device are outside of the allocator (context, libraries, other processes; by the last sample)",
            bytes(outside_bytes)
        ));
    }
    said
}

fn split_up(moment: &MemoryMoment, map: &MapFigures) -> String {
    let pending_bytes = moment.state.active_bytes - moment.state.allocated_bytes;
    let mut parts = vec![
        format!("{} free in segments that are partly in use", bytes(map.split_bytes)),
        format!("{} free as a whole, which empty_cache would give back", bytes(map.cached_bytes)),
        format!("{} rounding", bytes(map.rounding_bytes)),
    ];
    if pending_bytes > 0 {
        parts.push(format!("{} given up and still used by a stream", bytes(pending_bytes)));
    }
    format!(
        "not allocated: {}; the largest of {} holes has {}",
        parts.join(", "),
        map.holes,
        bytes(map.largest_hole_bytes)
    )
}
