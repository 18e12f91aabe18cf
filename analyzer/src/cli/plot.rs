//! `tidegauge plot`.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;

use super::arguments::Common;
use super::output;
use crate::analysis::{self, Curve, PhaseTable, Timeline};
use crate::load::{Process, Source};
use crate::plot::{self, PlotConfig};
use crate::render::Format;
use crate::replay::{Outcome, replay};

/// Kinds of plots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Curves over time, with phases, steps and the peak
    Timeline,
    /// Bars: what each phase leaves alive, and the peak inside
    Phases,
}

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What to draw
    #[arg(value_enum)]
    kind: Kind,
    #[command(flatten)]
    common: Common,
    /// Zoom to this step
    #[arg(long, conflicts_with_all = ["start", "end"])]
    step: Option<i64>,
    /// Pixels across
    #[arg(long, default_value_t = 960, value_parser = clap::value_parser!(u32).range(400..=4000))]
    width: u32,
    /// Pixels down
    #[arg(long, default_value_t = 480, value_parser = clap::value_parser!(u32).range(300..=4000))]
    height: u32,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let common = &args.common;
    if common.format() != Format::Text {
        bail!(
            "a plot is SVG; for its data as {:?} use `tidegauge timeline` or `tidegauge phases`",
            common.format()
        );
    }
    let source = common.open()?;
    let process = common.only_process(&source)?;
    let config = PlotConfig { width: args.width, height: args.height, title: title(&source, process) };
    let window = match args.step {
        Some(step) => analysis::step_window(process, step)?
            .with_context(|| format!("the trace has no step {step}: {}", source.path.display()))?,
        None => common.window(process)?,
    };
    let (svg, outcome) = match args.kind {
        Kind::Timeline => {
            let recorders = source.node_recorders(process);
            let buckets = plot::timeline_buckets(&config);
            let (timeline, outcome) = analysis::timeline_on_node(process, &recorders, window, buckets)?;
            let device = device_to_draw(common, &source.path, &timeline, &outcome)?;
            (plot::timeline_svg(&timeline, device, &config)?, outcome)
        }
        Kind::Phases => {
            let mut phases = PhaseTable::new(window);
            let outcome = replay(process, window, &mut phases)?;
            let device = common.device.or_else(|| busiest(&outcome)).unwrap_or(-1);
            (plot::phases_svg(&phases.finish(&outcome), device, &config)?, outcome)
        }
    };
    output::emit_replayed(common, &source, &outcome, &svg)
}

fn title(source: &Source, process: &Process) -> String {
    let name = source
        .path
        .file_name()
        .map_or_else(|| source.path.display().to_string(), |name| name.to_string_lossy().into());
    let model = source.info.config.get("model").and_then(serde_json::Value::as_str);
    let model = model.map(|model| format!(" ({model})")).unwrap_or_default();
    format!("{name}{model}, {}", process.id)
}

/// The device that was asked for, else the one with the highest peak; where there are only samples, the host, or the
/// device of which most was used.
fn device_to_draw(common: &Common, source: &Path, timeline: &Timeline, outcome: &Outcome) -> Result<i16> {
    let has = |device: i16| timeline.series.iter().any(|series| series.device == device);
    let fullest =
        || timeline.peaks.iter().filter(|peak| peak.curve == Curve::Used).max_by_key(|peak| peak.bytes);
    let sampled = || Some(-1).filter(|host| has(*host)).or_else(|| Some(fullest()?.device));
    let device = common.device.or_else(|| busiest(outcome).filter(|device| has(*device)).or_else(sampled));
    let device = device.unwrap_or(-1);
    if !has(device) {
        let curves = [Curve::Allocated, Curve::Used, Curve::Rss].map(Curve::as_str).join(", ");
        bail!("there is none of {curves} of that device in this part of the trace: {}", source.display());
    }
    Ok(device)
}

fn busiest(outcome: &Outcome) -> Option<i16> {
    outcome.devices.iter().max_by_key(|device| device.allocated_peak.bytes).map(|device| device.device)
}
