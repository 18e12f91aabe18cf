//! `tidegauge plot`: load → replay → analysis → plot. A file for each kind.

mod activations;
mod blocks;
mod breakdown;
mod compare;
mod fragmentation;
mod leaks;
mod phases;
mod plan;
mod ranks;
mod request;
mod steps;
mod timeline;

use anyhow::{Result, bail};
use clap::ValueEnum;

use super::arguments::{Common, parse_duration};
use super::output;
use super::quantity::parse_bytes;
use crate::analysis::BATCH_SIZE;
use crate::load::Source;
use crate::plot::{PlotConfig, Theme};
use crate::render::Format;

use request::Request;
pub(super) use request::run_name;

/// Kinds of plots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Kind {
    /// Curves over time, with phases, steps and the peak
    Timeline,
    /// What allocated consists of over time, by category
    Breakdown,
    /// Bars: what each phase leaves alive, and the peak inside
    Phases,
    /// The peak of each step, with the loss
    Steps,
    /// Each block: when it was alive, and how large it was
    Blocks,
    /// Segments and the blocks in them at a moment; reserved against allocated over time
    Fragmentation,
    /// What each module keeps for backward
    Activations,
    /// Several runs beside each other
    Compare,
    /// Peaks against the size that grows, the fit, and the budget
    Plan,
    /// The peak of each step on each rank
    Ranks,
    /// What stays from step to step, and its slope
    Leaks,
}

impl Kind {
    /// Whether each RUN is a run of its own, rather than a file of one.
    const fn is_of_several(self) -> bool {
        matches!(self, Self::Compare | Self::Plan)
    }
}

/// Colours to draw in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ThemeArg {
    /// Dark on white
    Light,
    /// Light on dark
    Dark,
}

impl From<ThemeArg> for Theme {
    fn from(theme: ThemeArg) -> Self {
        match theme {
            ThemeArg::Light => Self::Light,
            ThemeArg::Dark => Self::Dark,
        }
    }
}

/// What blocks are coloured by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum BlocksBy {
    /// What they are for
    Category,
    /// Who allocated them
    Site,
}

#[derive(Debug, Clone, clap::Args)]
#[command(mut_arg("run", |run| run.help("Trace folder, or recordings of other tools: one file for each rank, or a pattern; for compare and plan several runs")))]
pub(super) struct Args {
    /// What to draw
    #[arg(value_enum)]
    pub(super) kind: Kind,
    #[command(flatten)]
    pub(super) common: Common,
    /// Zoom to this step
    #[arg(long, conflicts_with_all = ["start", "end"])]
    pub(super) step: Option<i64>,
    /// For fragmentation, this moment instead of the peak, counted from the start of the recording: 12.5s, 300ms
    #[arg(long, value_parser = parse_duration, conflicts_with = "step")]
    pub(super) at: Option<i64>,
    /// What blocks are coloured by
    #[arg(long, value_enum, default_value = "category")]
    pub(super) by: BlocksBy,
    /// For plan, memory there is: 40GiB, 40000MiB; the device's own where that was recorded
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    pub(super) budget: Option<i64>,
    /// For plan, what may grow: batch_size, as the steps tell it, or a numeric key of the configuration
    #[arg(long, value_name = "KEY", default_value = BATCH_SIZE)]
    pub(super) key: String,
    /// For plan, its value in each run, in their order, where neither steps nor configuration tell it: 64,128
    #[arg(long, value_name = "X,…", value_delimiter = ',')]
    pub(super) values: Vec<f64>,
    /// For plan, a key of the configuration that differs between the runs and on which memory does not depend
    #[arg(long, value_name = "KEY")]
    pub(super) ignore: Vec<String>,
    /// Pixels across
    #[arg(long, default_value_t = 960, value_parser = clap::value_parser!(u32).range(400..=4000))]
    pub(super) width: u32,
    /// Pixels down
    #[arg(long, default_value_t = 480, value_parser = clap::value_parser!(u32).range(300..=4000))]
    pub(super) height: u32,
    /// Colours: for paper and light pages, or for dark ones
    #[arg(long, value_enum, default_value = "light")]
    pub(super) theme: ThemeArg,
}

impl Args {
    /// As if nothing but the kind had been given besides what is common.
    pub(super) fn of(kind: Kind, common: &Common) -> Self {
        let PlotConfig { width, height, .. } = PlotConfig::new("");
        Self {
            kind,
            common: common.clone(),
            step: None,
            at: None,
            by: BlocksBy::Category,
            budget: None,
            key: BATCH_SIZE.to_owned(),
            values: Vec::new(),
            ignore: Vec::new(),
            width,
            height,
            theme: ThemeArg::Light,
        }
    }
}

/// A plot, and what to know before believing it.
#[derive(Debug)]
pub(super) struct Drawn {
    pub(super) svg: String,
    pub(super) warnings: Vec<String>,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let common = &args.common;
    if common.format() != Format::Text {
        bail!(
            "a plot is SVG; the commands of the same names have its data, those of blocks, breakdown and ranks \
             are `peaks`, `timeline --by category` and `steps --by-step`"
        );
    }
    let sources: Vec<Source> = if args.kind.is_of_several() {
        common.run.iter().map(|path| common.open_at(&[path])).collect::<Result<_>>()?
    } else {
        vec![common.open()?]
    };
    let drawn = draw(args, &sources)?;
    common.warn(&drawn.warnings);
    output::emit(common, &drawn.svg)
}

/// Draws a plot of what was opened: one run, or several for [`Kind::is_of_several`].
///
/// # Errors
/// [`crate::Error::Nothing`] if the runs have nothing of the kind, else if they cannot be read.
pub(super) fn draw(args: &Args, sources: &[Source]) -> Result<Drawn> {
    let request = Request { args, sources };
    let mut drawn = match args.kind {
        Kind::Timeline => timeline::draw(&request),
        Kind::Breakdown => breakdown::draw(&request),
        Kind::Phases => phases::draw(&request),
        Kind::Steps => steps::draw(&request),
        Kind::Blocks => blocks::draw(&request),
        Kind::Fragmentation => fragmentation::draw(&request),
        Kind::Activations => activations::draw(&request),
        Kind::Compare => compare::draw(&request),
        Kind::Plan => plan::draw(&request),
        Kind::Ranks => ranks::draw(&request),
        Kind::Leaks => leaks::draw(&request),
    }?;
    if !args.kind.is_of_several() {
        // Those of several say whose warnings they are.
        let of_sources = sources.iter().flat_map(Source::warnings);
        drawn.warnings = of_sources.chain(std::mem::take(&mut drawn.warnings)).collect();
    }
    Ok(drawn)
}
