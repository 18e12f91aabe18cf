//! The parts of the page below the timeline, in the order in which a person asks: what it was, when, who, whether it grows, what
//! is wasted, why it failed, how it compares, what to do, and how far to believe it.

use anyhow::Result;

use super::parts::Parts;
use super::plots::Plots;
use super::recording;
use crate::analysis::{self, ProcessSummary, Summary};
use crate::cli::arguments::Common;
use crate::cli::compare_runs::Runs;
use crate::cli::plot::Kind;
use crate::load::Source;
use crate::render::{self, Format, Style};
use crate::report::Section;

/// Rows of a table on the page: what nobody would read makes it slow.
pub(super) const MOST_ROWS: usize = 400;
/// Sites in the tables of all devices together.
const MOST_HOLDERS: usize = 400;
/// Text without colours of a terminal.
const PLAIN: Style = Style { is_coloured: false };

pub(super) fn sections(
    common: &Common,
    sources: &[Source],
    summary: &Summary,
    process: &ProcessSummary,
    parts: &Parts,
    plots: &Plots,
    hints: Vec<String>,
) -> Result<Vec<Section>> {
    let mut all = vec![
        breakdown(process, plots),
        Section::new("phases", "Phases").plot(plots.of(Kind::Phases)).table(
            "Phases, in the order of the loop",
            &render::phases_table(&parts.phases),
            MOST_ROWS,
        ),
        steps(parts, plots),
        blocks(process, plots),
        activations(process, parts, plots),
        leaks(process, plots),
        fragmentation(parts, plots),
    ];
    if !parts.ooms.ooms.is_empty() || !parts.kills.is_empty() {
        let told = render::oom_text(&parts.ooms.ooms, &parts.kills, 10, Format::Text, PLAIN);
        all.push(Section::new("oom", "Out of memory").told(told));
    }
    if summary.processes.len() > 1 {
        all.push(ranks(summary, plots));
    }
    if sources.len() > 1 {
        all.push(comparison(common, sources, plots)?);
    }
    let hints = if hints.is_empty() {
        Section::new("hints", "Hints").sentence("Nothing stands out that would be worth changing.")
    } else {
        Section::new("hints", "Hints").items(hints)
    };
    all.push(hints);
    all.push(recording::section(sources, summary, process, parts));
    all.retain(|section| !section.is_empty());
    Ok(all)
}

fn breakdown(process: &ProcessSummary, plots: &Plots) -> Section {
    let mut section = Section::new("breakdown", "What it consists of").plot(plots.of(Kind::Breakdown));
    for device in &process.devices {
        let caption = format!("At the peak of allocated on {}", render::device_name(device.device));
        section = section.table(&caption, &render::categories_table(device), MOST_ROWS);
    }
    section
}

fn steps(parts: &Parts, plots: &Plots) -> Section {
    let section = Section::new("steps", "Steps").plot(plots.of(Kind::Steps));
    let left_out = parts.steps_in_all - parts.steps.len();
    let caption = if left_out > 0 {
        format!("The {MOST_ROWS} steps with the highest peaks, of {}", parts.steps_in_all)
    } else {
        "Steps".to_owned()
    };
    section.table(&caption, &render::steps_table(&parts.steps, parts.origin_nanos), MOST_ROWS)
}

fn blocks(process: &ProcessSummary, plots: &Plots) -> Section {
    let mut section = Section::new("blocks", "Who holds it").plot(plots.of(Kind::Blocks));
    for device in &process.devices {
        let caption =
            format!("Alive at the peak of allocated on {}, by site", render::device_name(device.device));
        let most = (MOST_HOLDERS / process.devices.len()).clamp(10, 100);
        section = section.table(&caption, &render::holders_table(device, most), MOST_ROWS);
    }
    section
}

fn activations(process: &ProcessSummary, parts: &Parts, plots: &Plots) -> Section {
    let of = [(process.id, parts.activations.modules.as_slice())];
    let phases = [(process.id, parts.activations.phases.as_slice())];
    let mut section = Section::new("activations", "Activations").plot(plots.of(Kind::Activations));
    if parts.activations.steps.iter().any(|row| row.bytes().is_some_and(|bytes| bytes != 0)) {
        section = section
            .table("Kept for backward, by module", &render::module_activations_table(&of), MOST_ROWS)
            .table("Alive when a phase ends", &render::phase_activations_table(&phases), MOST_ROWS);
    }
    section
}

fn leaks(process: &ProcessSummary, plots: &Plots) -> Section {
    let Some(growth) = process.growth.as_ref().filter(|growth| !growth.growths.is_empty()) else {
        return Section::new("leaks", "Growth");
    };
    let told = render::leaks_text(std::slice::from_ref(growth), 10, Format::Text, PLAIN);
    Section::new("leaks", "Growth").plot(plots.of(Kind::Leaks)).told(told)
}

fn fragmentation(parts: &Parts, plots: &Plots) -> Section {
    let section = Section::new("fragmentation", "Fragmentation");
    if parts.fragmentation.moments.is_empty() {
        return section;
    }
    let drawn = plots.of(Kind::Fragmentation);
    if drawn.is_err() {
        // Without segments all that is known is what was allocated, which is told above.
        return section.plot(drawn);
    }
    let table =
        render::fragmentation_table(&parts.fragmentation.moments, parts.fragmentation.origin_nanos, None);
    section.plot(drawn).table("Held from the device, and not in use", &table, MOST_ROWS)
}

fn ranks(summary: &Summary, plots: &Plots) -> Section {
    let section = Section::new("ranks", "Ranks").plot(plots.of(Kind::Ranks));
    section.table("Peaks of all processes", &render::summary_table(summary), MOST_ROWS)
}

fn comparison(common: &Common, sources: &[Source], plots: &Plots) -> Result<Section> {
    let runs = Runs::read(common, sources)?;
    let phases = analysis::phase_comparison(&runs.figures, &runs.comparison.rows);
    let are_several = runs.comparison.is_of_several_processes;
    let mut section = Section::new("comparison", "Comparison")
        .plot(plots.of(Kind::Compare))
        .table("Runs", &render::comparison_table(&runs.comparison), MOST_ROWS)
        .table("Phase by phase", &render::compared_phases_table(&phases, are_several, false), MOST_ROWS);
    section = section.sentences(runs.comparison.notes.clone());
    if let Ok(svg) = plots.of(Kind::Plan) {
        section = section.plot(Ok(svg));
    }
    Ok(section)
}
