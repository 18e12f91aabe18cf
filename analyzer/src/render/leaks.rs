//! `tidegauge leaks`: a sentence, the curves, who grows.

use std::fmt::Write as _;

use super::cells::{Cell, Format, Table, printable};
use super::summary_text::{Style, device_name};
use super::units;
use crate::analysis::{
    Growth, GrowthCurve, GrowthVerdict, ProcessGrowth, Projection, SiteGrowth, SiteKey, Unit,
};

/// What a verdict means, for people.
const HOW_TO_READ: [&str; 3] = [
    "slopes are medians of the slopes between all pairs of values (Theil and Sen) with 95 % confidence; the warm-up, the \
     first values as long as they lie off the line through the last two thirds, is left out",
    "leak: a trend that chance makes in less than one of a hundred cases, of 0.1 % of the curve's height at least (rss and \
     used: 1 % and 1 MiB), steady over eight stretches of the run, still going on at its end, and of which nothing is given \
     back; fewer than 10 values after the warm-up are too short to say",
    "allocated is the lowest value within each unit: what the one before has left behind",
];

/// The growth of every process as data: rows of curves, then of sites, at most `top` of these for each device.
#[must_use]
pub fn leaks_table(processes: &[ProcessGrowth], top: usize) -> Table {
    let mut table = Table::new(&[
        ("rank", "Rank"),
        ("process", "Process"),
        ("device", "Device"),
        ("curve", "Curve"),
        ("site", "Site"),
        ("phase", "Phase"),
        ("unit", "Per"),
        ("points", "Points"),
        ("warmup", "Warm-up"),
        ("slope_bytes", "Slope"),
        ("low_bytes", "Low"),
        ("high_bytes", "High"),
        ("verdict", "Verdict"),
        ("growth_bytes", "Growth"),
        ("share", "Share"),
        ("end_bytes", ""),
        ("limit_bytes", ""),
        ("limit_at", ""),
    ]);
    for process in processes {
        let mut add = |device: i16, cells: Vec<Cell>| {
            let ids = [process.id.rank.into(), process.id.process.into(), device.into()];
            table.rows.push(ids.map(Cell::Count).into_iter().chain(cells).collect());
        };
        for growth in &process.growths {
            add(growth.device, curve_cells(process.unit, growth));
        }
        for_each_top(&process.sites, top, |growth| add(growth.device, site_cells(process.unit, growth)));
    }
    table
}

/// The `top` first of each device.
fn for_each_top(sites: &[SiteGrowth], top: usize, mut each: impl FnMut(&SiteGrowth)) {
    for of_device in sites.chunk_by(|one, two| one.device == two.device) {
        of_device.iter().take(top).for_each(&mut each);
    }
}

fn curve_cells(unit: Unit, growth: &Growth) -> Vec<Cell> {
    let projected = |of: fn(Projection) -> Cell| growth.projection.map_or(Cell::Unknown, of);
    vec![
        Cell::Text(growth.curve.as_str().to_owned()),
        Cell::Unknown,
        Cell::Unknown,
        Cell::Text(unit.as_str().to_owned()),
        Cell::Count(growth.points as i64),
        Cell::Count(growth.warmup as i64),
        whole(growth.slope_bytes),
        whole(growth.low_bytes),
        whole(growth.high_bytes),
        Cell::Text(growth.verdict.as_str().to_owned()),
        growth.growth_bytes.map_or(Cell::Unknown, Cell::DeltaBytes),
        Cell::Unknown,
        Cell::bytes(growth.end_bytes),
        projected(|projection| Cell::Bytes(projection.limit_bytes)),
        projected(|projection| Cell::Count(projection.at.ceil() as i64)),
    ]
}

fn site_cells(unit: Unit, growth: &SiteGrowth) -> Vec<Cell> {
    vec![
        Cell::Text(GrowthCurve::Allocated.as_str().to_owned()),
        Cell::Text(key_name(&growth.key).to_owned()),
        Cell::text(growth.phase.as_deref()),
        Cell::Text(unit.as_str().to_owned()),
        Cell::Count(growth.points as i64),
        Cell::Count(growth.warmup as i64),
        whole(Some(growth.slope_bytes)),
        whole(Some(growth.low_bytes)),
        whole(Some(growth.high_bytes)),
        Cell::Text(growth.verdict.as_str().to_owned()),
        Cell::DeltaBytes(growth.growth_bytes),
        growth.share.map_or(Cell::Unknown, Cell::Share),
        Cell::Unknown,
        Cell::Unknown,
        Cell::Unknown,
    ]
}

fn key_name(key: &SiteKey) -> &str {
    match key {
        SiteKey::Site(name) => name.as_deref().unwrap_or("(no site)"),
        SiteKey::Module(name) => name,
    }
}

/// Slopes in whole bytes: a fraction of one is below what anybody looks for.
fn whole(bytes: Option<f64>) -> Cell {
    bytes.map_or(Cell::Unknown, |bytes| Cell::DeltaBytes(bytes.round() as i64))
}

/// What grows, for people.
#[must_use]
pub fn leaks_text(processes: &[ProcessGrowth], top: usize, format: Format, style: Style) -> String {
    let is_markdown = format == Format::Markdown;
    let mut out = String::new();
    // Writing to a string cannot fail.
    let heading = |out: &mut String, text: &str| style.push_heading(out, &printable(text), format);
    for process in processes {
        let whose = if processes.len() > 1 { format!("{}: ", process.id) } else { String::new() };
        heading(&mut out, &format!("{whose}{}", headline(process)));
        for sentence in sentences(process) {
            let _ = writeln!(out, "{}{}", if is_markdown { "- " } else { "  • " }, printable(&sentence));
        }
        if !process.growths.is_empty() {
            out.push('\n');
            out += &curves_table(process).render(format);
        }
        for (name, growths) in [("Site", &process.sites), ("Module", &process.modules)] {
            // Modules of one site each say the same again.
            let is_new = name == "Site" || growths.len() < process.sites.len();
            if is_new && !growths.is_empty() {
                out.push('\n');
                out += &sites_table(name, process.unit, growths, top).render(format);
            }
        }
    }
    heading(&mut out, "Notes");
    let notes = processes.iter().flat_map(|process| process.notes.iter().map(String::as_str));
    for note in HOW_TO_READ.into_iter().chain(notes) {
        let _ = writeln!(out, "{} {}", if is_markdown { "-" } else { "  •" }, printable(note));
    }
    out
}

fn curves_table(process: &ProcessGrowth) -> Table {
    let slope = format!("Per {}", process.unit.as_str());
    let mut table = Table::new(&[
        ("device", "Device"),
        ("curve", "Curve"),
        ("slope_bytes", &slope),
        ("low_bytes", "Low"),
        ("high_bytes", "High"),
        ("growth_bytes", "Growth"),
        ("points", "Values"),
        ("warmup", "Warm-up"),
        ("verdict", "Verdict"),
    ]);
    let row = |growth: &Growth| {
        vec![
            Cell::Text(device_name(growth.device)),
            Cell::Text(growth.curve.as_str().to_owned()),
            whole(growth.slope_bytes),
            whole(growth.low_bytes),
            whole(growth.high_bytes),
            growth.growth_bytes.map_or(Cell::Unknown, Cell::DeltaBytes),
            Cell::Count(growth.points as i64),
            Cell::Count(growth.warmup as i64),
            Cell::Text(growth.verdict.as_str().to_owned()),
        ]
    };
    table.rows = process.growths.iter().map(row).collect();
    table
}

fn sites_table(heading: &str, unit: Unit, growths: &[SiteGrowth], top: usize) -> Table {
    let slope = format!("Per {}", unit.as_str());
    let mut table = Table::new(&[
        ("site", heading),
        ("device", "Device"),
        ("phase", "Allocated in"),
        ("slope_bytes", &slope),
        ("low_bytes", "Low"),
        ("high_bytes", "High"),
        ("growth_bytes", "Growth"),
        ("share", "Share"),
    ]);
    for_each_top(growths, top, |growth| {
        table.rows.push(vec![
            Cell::Text(key_name(&growth.key).to_owned()),
            Cell::Text(device_name(growth.device)),
            Cell::text(growth.phase.as_deref()),
            whole(Some(growth.slope_bytes)),
            whole(Some(growth.low_bytes)),
            whole(Some(growth.high_bytes)),
            Cell::DeltaBytes(growth.growth_bytes),
            growth.share.map_or(Cell::Unknown, Cell::Share),
        ]);
    });
    table
}

pub(super) fn headline(process: &ProcessGrowth) -> String {
    let of = |growth: &Growth| format!("{} {}", device_name(growth.device), growth.curve.as_str());
    let with = |verdict: GrowthVerdict| {
        let of_it = process.growths.iter().filter(|growth| growth.verdict == verdict);
        of_it.map(of).collect::<Vec<_>>().join(", ")
    };
    let unit = process.unit.as_str();
    let leaks = with(GrowthVerdict::Leak);
    if !leaks.is_empty() {
        return format!("leak by {unit}: {leaks}");
    }
    let level = with(GrowthVerdict::LevelsOff);
    let short = with(GrowthVerdict::TooShort);
    let mixed = with(GrowthVerdict::BatchesDiffer);
    if process.growths.is_empty() && process.units == 0 && process.unit != Unit::Time {
        return format!("no {unit}s were recorded");
    }
    let mut line = match (process.growths.is_empty(), level.is_empty(), short.is_empty()) {
        (true, ..) => "nothing was recorded that could grow".to_owned(),
        (_, true, true) if !mixed.is_empty() => format!("no leak found by {unit}"),
        (_, true, true) => format!("no leak by {unit}: all curves are stable"),
        (_, false, true) => format!("no leak by {unit}; has grown and levels off: {level}"),
        (_, true, false) => format!("no leak found by {unit}; too short to say: {short}"),
        (_, false, false) => {
            format!("no leak found by {unit}; levels off: {level}; too short to say: {short}")
        }
    };
    if !mixed.is_empty() {
        line += &format!("; not judged, since batch sizes differ: {mixed}");
    }
    line
}

pub(super) fn sentences(process: &ProcessGrowth) -> Vec<String> {
    let unit = process.unit.as_str();
    let rate = |bytes: f64| units::signed_bytes(bytes.round() as i64);
    let sentence = |growth: &Growth| {
        let slope = growth.slope_bytes.unwrap_or_default();
        let mut text = format!(
            "{} {} grows by {} per {unit} ({} to {}), {} over {:.0} {unit}s",
            device_name(growth.device),
            growth.curve.as_str(),
            rate(slope),
            rate(growth.low_bytes.unwrap_or(slope)),
            rate(growth.high_bytes.unwrap_or(slope)),
            units::signed_bytes(growth.growth_bytes.unwrap_or_default()),
            growth.units,
        );
        let first = process.sites.iter().find(|site| site.device == growth.device);
        if let Some(site) = first.filter(|_| growth.curve == GrowthCurve::Allocated) {
            text += &format!("; the largest part is of {}", key_name(&site.key));
            text += &site.phase.as_ref().map(|phase| format!(", allocated in {phase}")).unwrap_or_default();
            text += &site.share.map(|share| format!(" ({:.0} %)", share * 100.0)).unwrap_or_default();
        }
        if let Some(projection) = growth.projection {
            text += &format!(
                "; if it goes on, the limit of {} is reached at {unit} {:.0}, in {:.0}",
                units::bytes(projection.limit_bytes),
                projection.at.ceil(),
                projection.in_units.ceil(),
            );
        }
        text
    };
    process.leaks().map(sentence).collect()
}
