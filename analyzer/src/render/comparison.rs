//! `tidegauge compare`: the runs, their phases and steps, then who changed.

use std::fmt::Write as _;

use super::cells::{Cell, Format, Table, printable};
use super::compared_phases::compared_phases_table;
use super::compared_steps::compared_steps_people_tables;
use super::summary_text::{Style, device_name};
use crate::analysis::{
    ChangedHolder, ChangedHolders, Compared, ComparedPeak, Comparison, ComparisonRow, Measure,
    PhaseComparison, StepComparison, Verdict,
};

/// Runs side by side in a table: more are too wide for a page.
pub(super) const MAX_OTHERS: usize = 4;

/// What figures and verdicts of every comparison mean.
const HOW_TO_READ: [&str; 2] = [
    "time per step is the median of the complete steps without the first, ± their median absolute deviation; a verdict \
     of higher or lower says that the bands of both runs lie apart, by 0.1 % of the memory and 2 % of the time at least",
    "bands come from within a run: how much machines differ from one run to another they do not know",
];

/// What a comparison by phase means.
const HOW_TO_READ_PHASES: &str = "a phase's change is the mean of (allocated at its end − at its begin) over the steps without the first, ± their mean \
     absolute deviation; its time is the median; a difference within the bands of both runs is none, and stands there as \
     it is where a run has too few steps to know its band";

/// All of a comparison.
#[derive(Debug, Clone, Copy)]
pub struct ComparisonParts<'a> {
    /// The runs.
    pub comparison: &'a Comparison,
    /// Their phases.
    pub phases: &'a PhaseComparison,
    /// Their steps, if they are to be shown.
    pub steps: Option<&'a StepComparison>,
    /// Who changed.
    pub changed: &'a ChangedHolders,
    /// Heading of who it is.
    pub grouped_by: &'a str,
    /// Groups, and steps, shown at most.
    pub top: usize,
}

/// The runs: one row each, the base first.
#[must_use]
pub fn comparison_table(comparison: &Comparison) -> Table {
    let shown = |is_shown: bool, heading: &'static str| if is_shown { heading } else { "" };
    let several = comparison.is_of_several_processes;
    let mut table = Table::new(&[
        ("configuration", "Configuration"),
        ("run", ""),
        ("rank", shown(several, "Rank")),
        ("process", shown(several, "Process")),
        ("curve", ""),
        ("device", ""),
        ("measure", shown(common_measure(comparison).is_none(), "Of")),
        ("peak_bytes", "Peak"),
        ("peak_deviation_bytes", ""),
        ("peak_delta_bytes", "Δ"),
        ("peak_delta_share", "Δ %"),
        ("peak_step", ""),
        ("peak_phase", "Peak in"),
        ("step_nanos", "Time per step"),
        ("step_deviation_nanos", "±"),
        ("step_delta_nanos", ""),
        ("step_delta_share", "Δ %"),
        ("steps", ""),
        ("final_loss", "Final loss"),
        ("batch_size", "Batch"),
        ("ended", ""),
        ("peak_verdict", ""),
        ("step_verdict", ""),
        ("verdict", "Verdict"),
    ]);
    table.rows = comparison.rows.iter().map(row).collect();
    table
}

fn row(row: &ComparisonRow) -> Vec<Cell> {
    let peak = row.peak.as_ref();
    let of_peak = |cell: fn(&ComparedPeak) -> Cell| peak.map_or(Cell::Unknown, cell);
    let bytes = peak.map(|peak| peak.bytes);
    let share =
        |of: Option<Compared>| of.and_then(|of| of.delta_share).map_or(Cell::Unknown, Cell::DeltaShare);
    let nanos = |nanos: Option<i64>| nanos.map_or(Cell::Unknown, Cell::Nanos);
    let word = |of: Option<Compared>| Cell::text(of.and_then(|of| of.verdict).map(Verdict::as_str));
    vec![
        Cell::Text(row.configuration.clone()),
        Cell::Text(row.run.clone()),
        of_peak(|peak| Cell::Count(i64::from(peak.process.rank))),
        of_peak(|peak| Cell::Count(i64::from(peak.process.process))),
        of_peak(|peak| Cell::Text(peak.measure.curve().to_owned())),
        of_peak(|peak| Cell::Count(i64::from(peak.device))),
        of_peak(|peak| Cell::Text(measure_name(peak.measure, peak.device))),
        Cell::bytes(bytes.map(|bytes| bytes.value)),
        Cell::bytes(bytes.and_then(|bytes| bytes.deviation)),
        bytes.and_then(|bytes| bytes.delta).map_or(Cell::Unknown, Cell::DeltaBytes),
        share(bytes),
        Cell::count(peak.and_then(|peak| peak.step)),
        Cell::text(peak.and_then(|peak| peak.phase.as_deref())),
        nanos(row.step_nanos.map(|time| time.value)),
        nanos(row.step_nanos.and_then(|time| time.deviation)),
        nanos(row.step_nanos.and_then(|time| time.delta)),
        share(row.step_nanos),
        Cell::Count(row.steps as i64),
        row.final_loss.map_or(Cell::Unknown, Cell::Real),
        Cell::count(row.batch_size),
        Cell::Text(row.ended.as_str().to_owned()),
        word(bytes),
        word(row.step_nanos),
        Cell::text(verdict(bytes, row.step_nanos).as_deref()),
    ]
}

/// Both words in one; `None` if there is neither.
fn verdict(bytes: Option<Compared>, time: Option<Compared>) -> Option<String> {
    let word = |of: Option<Compared>| of.and_then(|of| of.verdict);
    let said = |what: &str, verdict: Verdict| format!("{what} {}", verdict.as_str());
    match (word(bytes), word(time)) {
        (None, None) => None,
        (Some(Verdict::Same), Some(Verdict::Same)) => Some("same".to_owned()),
        (bytes, time) => {
            let words = [bytes.map(|word| said("memory", word)), time.map(|word| said("time", word))];
            Some(words.into_iter().flatten().collect::<Vec<_>>().join(", "))
        }
    }
}

/// What all peaks are of, if it is the same.
pub(crate) fn common_measure(comparison: &Comparison) -> Option<String> {
    let peaks = comparison.rows.iter().filter_map(|row| row.peak.as_ref());
    let mut names = peaks.map(|peak| measure_name(peak.measure, peak.device));
    let first = names.next()?;
    names.all(|name| name == first).then_some(first)
}

/// What a peak is of, in words.
pub(crate) fn measure_name(measure: Measure, device: i16) -> String {
    match measure {
        Measure::AcceleratorAllocated | Measure::HostAllocated => {
            format!("{} allocated", device_name(device))
        }
        Measure::Rss => "process rss".to_owned(),
        Measure::TreeRss => "process tree rss".to_owned(),
    }
}

/// Who changed, as data: a row for each group and run in which it is not as in the base, the largest changes of each run
/// first and at most `top` of them.
#[must_use]
pub fn changed_holders_table(changed: &ChangedHolders, key: &str, top: usize) -> Table {
    let mut table = Table::new(&[
        ("configuration", "Configuration"),
        (key, "Held by"),
        ("base_bytes", "Base"),
        ("bytes", "Bytes"),
        ("delta_bytes", "Δ"),
    ]);
    for (at, other) in changed.others.iter().enumerate() {
        let mut rows: Vec<&ChangedHolder> =
            changed.rows.iter().filter(|row| row.bytes[at] != row.base_bytes).collect();
        rows.sort_by_key(|row| std::cmp::Reverse((row.bytes[at] - row.base_bytes).abs()));
        table.rows.extend(rows.into_iter().take(top).map(|row| {
            vec![
                Cell::Text(other.clone()),
                Cell::text(row.key.as_deref()),
                Cell::Bytes(row.base_bytes),
                Cell::Bytes(row.bytes[at]),
                Cell::DeltaBytes(row.bytes[at] - row.base_bytes),
            ]
        }));
    }
    table
}

/// Who changed, for people: a row for each of the `top` groups that changed most, the runs side by side.
fn changed_holders_people_tables(changed: &ChangedHolders, heading: &str, top: usize) -> Vec<Table> {
    let tables = (0..changed.others.len()).step_by(MAX_OTHERS).map(|first| {
        let others = first..(first + MAX_OTHERS).min(changed.others.len());
        let mut columns = vec![("key", heading.to_owned()), ("base_bytes", printable(&changed.base))];
        columns.extend(
            changed.others[others.clone()]
                .iter()
                .map(|name| ("delta_bytes", format!("Δ {}", printable(name)))),
        );
        let columns: Vec<(&str, &str)> = columns.iter().map(|(key, name)| (*key, name.as_str())).collect();
        let mut table = Table::new(&columns);
        let mut add = |name: Cell, rows: &[ChangedHolder]| {
            let sum = |of: &dyn Fn(&ChangedHolder) -> i64| rows.iter().map(of).sum::<i64>();
            let mut cells = vec![name, Cell::Bytes(sum(&|row| row.base_bytes))];
            let delta = |at| Cell::DeltaBytes(sum(&|row| row.bytes[at] - row.base_bytes));
            cells.extend(others.clone().map(delta));
            table.rows.push(cells);
        };
        let (shown, rest) = changed.rows.split_at(top.min(changed.rows.len()));
        for row in shown {
            add(Cell::text(row.key.as_deref()), std::slice::from_ref(row));
        }
        if !rest.is_empty() {
            add(Cell::Text(format!("({} more)", rest.len())), rest);
        }
        add(Cell::Text("(all)".to_owned()), &changed.rows);
        table
    });
    tables.collect()
}

/// The comparison in text or Markdown.
#[must_use]
pub fn comparison_text(parts: &ComparisonParts<'_>, format: Format, style: Style) -> String {
    let ComparisonParts { comparison, phases, steps, changed, grouped_by, top } = *parts;
    let is_markdown = format == Format::Markdown;
    let mut out = String::new();
    // Writing to a string cannot fail.
    let heading = |out: &mut String, text: &str| style.push_heading(out, text, format);
    let base = comparison.rows.first().map_or("", |row| row.configuration.as_str());
    let of = common_measure(comparison).map(|name| format!(": peak of {name}")).unwrap_or_default();
    heading(&mut out, &format!("Compared with {}{of}", printable(base)));
    out += &comparison_table(comparison).render(format);
    if !phases.rows.is_empty() {
        heading(&mut out, "Phase by phase");
        let of_several = comparison.is_of_several_processes;
        out += &compared_phases_table(phases, of_several, true).render(format);
    }
    if let Some(steps) = steps.filter(|steps| !steps.rows.is_empty()) {
        let (shown, all) = (top.min(steps.rows.len()), steps.rows.len());
        let which = if shown < all {
            format!("Step by step: peaks of the {shown} of {all} that differ most")
        } else {
            "Step by step: peaks".to_owned()
        };
        for (number, table) in compared_steps_people_tables(comparison, steps, top).iter().enumerate() {
            if number == 0 {
                heading(&mut out, &which);
            } else {
                out.push('\n');
            }
            out += &table.render(format);
        }
    }
    for (number, table) in changed_holders_people_tables(changed, grouped_by, top).iter().enumerate() {
        if number == 0 {
            heading(&mut out, "Who changed: bytes alive at the peak");
        } else {
            out.push('\n');
        }
        out += &table.render(format);
    }
    heading(&mut out, "Notes");
    let of_phases = (!phases.rows.is_empty()).then_some(HOW_TO_READ_PHASES);
    let of_steps = steps.into_iter().flat_map(|steps| &steps.notes);
    let own = comparison.notes.iter().chain(&phases.notes).chain(of_steps).map(String::as_str);
    for note in HOW_TO_READ.into_iter().chain(of_phases).chain(own) {
        let mark = if is_markdown { "-" } else { "  •" };
        let _ = writeln!(out, "{mark} {}", printable(note));
    }
    out
}
