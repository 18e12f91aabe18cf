//! `tidegauge plan`.

use anyhow::{Context as _, Result};
use clap::ValueEnum;

use super::arguments::Common;
use super::output;
use super::plan_runs::{self, HEADROOM};
use super::quantity::{parse_bytes, parse_part};
use crate::analysis::{self, BATCH_SIZE, PlanCurve, PlanRequest};
use crate::load::Source;
use crate::render::{self, Format};

/// Which memory has to fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum CurveArg {
    /// What the program holds at most
    Peak,
    /// What its allocator has taken from the device
    Reserved,
}

#[derive(Debug, clap::Args)]
#[command(mut_arg("run", |run| run.help("Trace folders, or recordings of other tools: each is a run of its own")))]
pub(super) struct Args {
    #[command(flatten)]
    common: Common,
    /// Memory there is: 40GiB, 40GB, 40000MiB; the device's own where that was recorded
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    budget: Option<i64>,
    /// What may grow: batch_size, as the steps tell it, or a numeric key of the configuration
    #[arg(long, value_name = "KEY", default_value = BATCH_SIZE)]
    by: String,
    /// Another size in which the runs differ, and its value to plan for: sequence_length=512. One of this and --by is
    /// batch_size; it takes runs at five different pairs of both
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_size)]
    at: Option<(String, f64)>,
    /// Its value in each run, in their order, where neither steps nor configuration tell it: 64,128
    #[arg(long, value_name = "X,…", value_delimiter = ',')]
    values: Vec<f64>,
    /// Which memory has to fit
    #[arg(long, value_enum, default_value = "peak")]
    curve: CurveArg,
    /// Part of the budget to keep free, for what the fit does not know
    #[arg(long, value_name = "SHARE", default_value = HEADROOM, value_parser = parse_part)]
    headroom: f64,
    /// A key of the configuration that differs between the runs and on which memory does not depend
    #[arg(long, value_name = "KEY")]
    ignore: Vec<String>,
}

/// A key and a number.
fn parse_size(text: &str) -> Result<(String, f64)> {
    let expected = || format!("`{text}` is no size; expected sequence_length=512");
    let (key, value) = text.split_once('=').with_context(expected)?;
    Ok((key.trim().to_owned(), value.trim().parse().with_context(expected)?))
}

pub(super) fn run(args: &Args) -> Result<()> {
    let common = &args.common;
    let sources: Vec<Source> =
        common.run.iter().map(|path| common.open_at(&[path])).collect::<Result<_>>()?;
    let curve = match args.curve {
        CurveArg::Peak => PlanCurve::Allocated,
        CurveArg::Reserved => PlanCurve::Reserved,
    };
    let (runs, warnings) = plan_runs::read(common, &sources, curve)?;
    common.warn(&warnings);
    let request = PlanRequest {
        key: args.by.clone(),
        values: args.values.clone(),
        budget_bytes: args.budget,
        headroom_share: args.headroom,
        ignored_keys: args.ignore.clone(),
        at: args.at.clone(),
    };
    let plan = analysis::plan(&runs, &request)?;
    let format = common.format();
    let text = if matches!(format, Format::Json | Format::Csv) {
        common.warn(&plan.notes);
        render::plan_table(&plan).render(format)
    } else {
        render::plan_text(&plan, format, output::style(common))
    };
    output::emit(common, &text)
}
