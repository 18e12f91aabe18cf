//! `tidegauge export`.

mod figures;
mod tables;

use anyhow::{Result, bail};
use clap::ValueEnum;

use self::tables::TableArg;
use super::arguments::{Common, parse_duration};
use super::peaks;
use crate::export::tables::RowFormat;
use crate::render::Format;

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum To {
    /// Timeline for ui.perfetto.dev: curves, phases, steps, alerts
    Perfetto,
    /// The same as JSON, for chrome://tracing
    Chrome,
    /// Scalars of each step; the output is a folder
    Tensorboard,
    /// Who holds memory at the peak, as an SVG; with an output called .folded or .txt, as text
    Flamegraph,
    /// The same as text: a line for each stack, with its bytes
    Folded,
    /// A memory snapshot as PyTorch's, for memory_viz
    PytorchSnapshot,
    /// A table, comma-separated
    Csv,
    /// A table, an array of rows
    Json,
    /// A table, as Parquet
    Parquet,
}

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    common: Common,
    /// Format to write
    #[arg(long, value_enum, value_name = "WHAT")]
    to: To,
    /// The table, for csv, json and parquet
    #[arg(long, value_enum)]
    table: Option<TableArg>,
    /// What blocks are grouped by in table peaks
    #[arg(long, value_enum, default_value = "site")]
    by: peaks::By,
    /// Of a flame graph or table peaks: the peak within this step
    #[arg(long, conflicts_with = "at")]
    step: Option<i64>,
    /// Of a flame graph or table peaks: this moment, counted from the start of the recording: 12.5s, 300ms
    #[arg(long, value_parser = parse_duration)]
    at: Option<i64>,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let common = &args.common;
    if common.format() != Format::Text {
        bail!("what an export looks like is said by --to alone");
    }
    let is_of_moment = matches!(args.to, To::Flamegraph | To::Folded) || args.table == Some(TableArg::Peaks);
    if !is_of_moment && (args.step.is_some() || args.at.is_some()) {
        bail!(
            "--step and --at choose the moment of a flame graph or of table peaks; use --start and --end for a part of the \
             run"
        );
    }
    if !matches!(args.to, To::Csv | To::Json | To::Parquet) && args.table.is_some() {
        bail!("--table is for csv, json and parquet");
    }
    match args.to {
        To::Perfetto => figures::perfetto(common, &common.open()?),
        To::Chrome => figures::chrome(common, &common.open()?),
        To::Tensorboard => figures::tensorboard(common, &common.open()?),
        To::Flamegraph if figures::is_called_text(common) => figures::folded(args, &common.open()?),
        To::Flamegraph => figures::flamegraph(args, &common.open()?),
        To::Folded => figures::folded(args, &common.open()?),
        To::PytorchSnapshot => tables::to_pytorch_snapshot(args),
        To::Csv => tables::to_rows(args, RowFormat::Csv),
        To::Json => tables::to_rows(args, RowFormat::Json),
        To::Parquet => tables::to_rows(args, RowFormat::Parquet),
    }
}
