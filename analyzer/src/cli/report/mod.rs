//! `tidegauge report`: every analysis of a run, and the page that shows them.

mod parts;
mod plots;
mod recording;
mod sections;

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use tidegauge_schemas::layout::ProcessId;

use super::arguments::Common;
use super::output;
use super::plot::Kind;
use crate::analysis::{self, ProcessSummary, Summary};
use crate::load::Source;
use crate::render::{self, Format};
use crate::report::{Card, Figure, Report, Section, bands_json, verdict};
use parts::Parts;
use plots::Plots;

/// Where the page goes unless another file is named.
const DEFAULT_OUTPUT: &str = "report.html";

#[derive(Debug, clap::Args)]
#[command(mut_arg("run", |run| run.help("Trace folder, or recording of another tool, that the page is about; further ones are runs that it is compared with. Several files of one run: a pattern")))]
pub(super) struct Args {
    #[command(flatten)]
    common: Common,
    /// Write each plot as an SVG file into this folder too
    #[arg(long, value_name = "DIR")]
    svg_dir: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let common = &args.common;
    let path = common.output.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_OUTPUT));
    if common.format() != Format::Text {
        bail!(
            "a report is a page; the commands that it is made of have its data: `tidegauge summary --json` and others"
        );
    }
    output::check_free(&path, common.force)?;
    output::check_folder(&path)?;
    if let Some(folder) = &args.svg_dir {
        Plots::check_free(folder, common.force)?;
    }
    let sources: Vec<Source> =
        common.run.iter().map(|path| common.open_at(&[path])).collect::<Result<_>>()?;
    let selection = common.selection();
    let summary = analysis::summary(
        &sources[0],
        |process| common.window(process),
        |device| selection.shows_device(device),
    )?;
    let of_process = |process: &ProcessSummary| {
        let allocated = process.devices.iter().map(|device| device.device);
        allocated.chain(process.device_use.iter().map(|device| device.device)).collect::<Vec<_>>()
    };
    common.expect_device(summary.processes.iter().flat_map(of_process))?;
    let shown = process_to_show(&summary).context("no process of the run can be read")?;
    // The page is about one process; where it compares it with others, it says so.
    let of_process = common.of_process(shown.id);
    let plots = Plots::draw(common, &of_process, &sources, args.svg_dir.is_some());
    let parts = Parts::read(&of_process, &sources)?;
    let page = page(common, &sources, &summary, shown, &parts, &plots)?;
    common.warn(&summary.warnings);
    // Nothing is written before all has been read.
    if let Some(folder) = &args.svg_dir {
        plots.write(folder, common.force)?;
    }
    output::write_file(&path, &page, common.force)?;
    if !common.quiet {
        eprintln!("tidegauge: wrote {}", path.display());
    }
    Ok(())
}

/// The process that one looks at first: of several the first to run out of memory, else that with the highest peak.
fn process_to_show(summary: &Summary) -> Option<&ProcessSummary> {
    let worst: Option<ProcessId> = summary.ranks.as_ref().map(|ranks| ranks.worst);
    let own = || summary.processes.iter().find(|process| process.watched.is_none());
    let worst = summary.processes.iter().find(|process| Some(process.id) == worst);
    worst.or_else(own).or_else(|| summary.processes.first())
}

/// Which part of the recording is shown, in words; nothing if all of it is.
fn part_shown(common: &Common) -> Option<String> {
    match (common.start.map(render::duration), common.end.map(render::duration)) {
        (Some(start), Some(end)) => Some(format!("from {start} to {end}")),
        (Some(start), None) => Some(format!("from {start} on")),
        (None, Some(end)) => Some(format!("up to {end}")),
        (None, None) => None,
    }
}

fn page(
    common: &Common,
    sources: &[Source],
    summary: &Summary,
    process: &ProcessSummary,
    parts: &Parts,
    plots: &Plots,
) -> Result<String> {
    let hints: Vec<String> = summary
        .hints
        .iter()
        .filter(|of| of.process == process.id)
        .map(|of| render::hint_text(&of.hint))
        .collect();
    // A device of which nothing was allocated has samples only, and stands behind the others.
    let mut devices: Vec<i16> = parts.timeline.series.iter().map(|series| series.device).collect();
    devices.dedup();
    devices.sort_by_key(|device| {
        let allocated = process.devices.iter().find(|of| of.device == *device);
        (std::cmp::Reverse(allocated.map_or(0, |of| of.allocated.bytes)), *device)
    });
    devices.dedup();
    let mut timeline = Section::new("timeline", "Timeline").plot(plots.of(Kind::Timeline));
    let source = sources[0].processes.iter().find(|of| of.id == process.id);
    if source.is_some_and(|of| !of.has_times()) {
        timeline =
            timeline.sentence("The recording has no times: its entries are shown a microsecond apart.");
    }
    let of_others = summary.processes.len() - 1;
    let mut subtitle = process.id.to_string();
    if of_others > 0 {
        subtitle += &format!(", of {} processes the one that stands out", summary.processes.len());
    }
    if !summary.started.is_empty() {
        subtitle += &format!(", recorded {}", summary.started);
    }
    if let Some((begin, end)) = process.span_nanos {
        subtitle += &format!(" for {}", render::duration(end - begin));
    }
    let part = part_shown(common);
    if let Some(part) = &part {
        subtitle += &format!("; this page shows the part {part}");
    }
    let report = Report {
        title: of_bounded_length(&super::plot::run_name(&sources[0])),
        subtitle: of_bounded_length(&subtitle),
        verdict: verdict(summary, process, part.as_deref(), hints.first().map(String::as_str))
            .iter()
            .map(|sentence| of_bounded_length(sentence))
            .collect(),
        cards: cards(process),
        figures: devices.iter().filter_map(|device| Figure::new(&parts.timeline, *device)).collect(),
        bands_json: bands_json(&parts.timeline),
        timeline,
        moments_json: parts.moments_json.clone(),
        sections: sections::sections(common, sources, summary, process, parts, plots, hints)?,
        version: env!("CARGO_PKG_VERSION"),
    };
    Ok(report.html()?)
}

/// A sentence, which has names of any length in it, as it can stand at the head of a page.
fn of_bounded_length(text: &str) -> String {
    render::shortened(&render::printable(text), 600)
}

/// Peaks first, then how long and how it went.
fn cards(process: &ProcessSummary) -> Vec<Card> {
    let origin = process.span_nanos.map_or(0, |span| span.0);
    let mut cards = Vec::new();
    let mut add = |name: String, peak: &analysis::PeakSummary, more: String| {
        let mut where_: Vec<String> = Vec::new();
        where_.extend(peak.time_nanos.map(|time| format!("at {}", render::duration(time - origin))));
        where_.extend(peak.step.map(|step| format!("step {step}")));
        where_.extend(peak.phase.as_deref().map(|phase| format!("phase {}", render::printable(phase))));
        where_.extend((!more.is_empty()).then_some(more));
        let detail = of_bounded_length(&where_.join(", "));
        cards.push(Card { name, value: render::bytes(peak.bytes), detail });
    };
    for device in &process.devices {
        let name = render::device_name(device.device);
        add(format!("Peak of allocated, {name}"), &device.allocated, String::new());
        if let Some(reserved) = device.reserved.as_ref().filter(|reserved| reserved.bytes > 0) {
            add(format!("Peak of reserved, {name}"), reserved, String::new());
        }
    }
    for device in &process.device_use {
        let total = device
            .total_bytes
            .map_or_else(String::new, |total| format!("of {}", render::bytes(total as i64)));
        add(format!("Used on device {}, by the driver", device.device), &device.used, total);
    }
    if let Some(rss) = &process.rss {
        let more = if process.rss_is_exact { String::new() } else { "sampled: a lower bound".to_owned() };
        add("Peak of resident memory".to_owned(), rss, more);
    }
    let steps = &process.steps;
    if steps.count > 0 {
        let loss = match (steps.first_loss, steps.last_loss) {
            (Some(first), Some(last)) => format!("loss {first:.5} → {last:.5}"),
            _ => String::new(),
        };
        let value = format!("{} × {}", steps.count, render::duration(steps.mean_nanos));
        cards.push(Card { name: "Steps".to_owned(), value, detail: loss });
    }
    cards
}
