//! `tidegauge check`.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, anyhow, bail};
use clap::builder::{PossibleValuesParser, TypedValueParser as _};

use super::arguments::{Common, FormatArg, parse_duration};
use super::output;
use super::quantity::{parse_bytes, parse_bytes_per_step, parse_share, split};
use crate::analysis::check::{
    BaseBudget, Bound, Budget, Check, CheckMetric, CheckRow, Judgement, ProcessReading, Unit,
    check_against_base, judge, process_readings,
};
use crate::analysis::{self, RunFigures};
use crate::load::Source;
use crate::render::{self, Format};

/// What a budget on any metric looks like.
const ASSIGNMENT: &str = "METRIC=VALUE";

/// All forms, with that which only this command has.
fn formats() -> impl clap::builder::TypedValueParser<Value = FormatArg> {
    PossibleValuesParser::new(["text", "json", "csv", "md", "junit"]).map(|name| match name.as_str() {
        "json" => FormatArg::Json,
        "csv" => FormatArg::Csv,
        "md" => FormatArg::Md,
        "junit" => FormatArg::Junit,
        _ => FormatArg::Text,
    })
}

#[derive(Debug, clap::Args)]
#[command(mut_arg("format", |format| {
    format.value_parser(formats()).help("Form of the output; md is for $GITHUB_STEP_SUMMARY, junit is JUnit XML")
}))]
pub(super) struct Args {
    #[command(flatten)]
    common: Common,
    /// Highest allocated on the worst device of the worst rank; without allocations the resident size
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    max_peak: Option<i64>,
    /// Growth of what is allocated at the ends of steps: 1MiB/step
    #[arg(long, value_name = "BYTES/step", value_parser = parse_bytes_per_step)]
    max_growth: Option<i64>,
    /// Highest reserved
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    max_reserved: Option<i64>,
    /// Highest resident size
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    max_rss: Option<i64>,
    /// At most this: peak, allocated, active, reserved, used, rss, fragmentation, activations, step_time, growth, or the
    /// name of a sampled metric, whose highest reading is judged
    #[arg(long, value_name = ASSIGNMENT)]
    max: Vec<String>,
    /// At least this; of a sampled metric the lowest reading is judged
    #[arg(long, value_name = ASSIGNMENT)]
    min: Vec<String>,
    /// Run to compare the peak with
    #[arg(long, value_name = "RUN")]
    baseline: Option<PathBuf>,
    /// Part by which the peak may be higher than the baseline's: 5%
    #[arg(long, value_name = "SHARE", requires = "baseline", value_parser = parse_share)]
    max_regression: Option<f64>,
    /// Part by which the peak has to be lower than the baseline's: 30%
    #[arg(long, value_name = "SHARE", requires = "baseline", value_parser = parse_share)]
    min_reduction: Option<f64>,
    /// Judge the ranks that are there where others are missing
    #[arg(long)]
    allow_missing_ranks: bool,
}

/// Judges the run; the exit code says how it stands.
pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let common = &args.common;
    let budgets = budgets(args)?;
    let of_base: Vec<BaseBudget> = [
        args.max_regression.map(BaseBudget::MaxRegression),
        args.min_reduction.map(BaseBudget::MinReduction),
    ]
    .into_iter()
    .flatten()
    .collect();
    if budgets.is_empty() && of_base.is_empty() {
        bail!(
            "there is nothing to check; say a budget: --max-peak 38GiB, --max-growth 1MiB/step, --max {ASSIGNMENT}, or \
             --baseline RUN with --max-regression 5% or --min-reduction 30%"
        );
    }
    if args.baseline.is_some() && of_base.is_empty() {
        bail!("--baseline judges nothing by itself; say --max-regression 5% or --min-reduction 30%");
    }
    let source = common.open()?;
    expect_ranks(args, &source)?;
    let selection = common.selection();
    let shows = |device| selection.shows_device(device);
    let mut read: Vec<Vec<ProcessReading>> = vec![Vec::new(); budgets.len()];
    let mut warnings = source.warnings();
    // One process after another, of which only what the budgets ask for is kept.
    let (mut devices, mut doubt, mut remark) = (BTreeSet::new(), None, None);
    for process in &source.processes {
        let (readings, of_process) = process_readings(process, common.window(process)?, &shows)?;
        warnings.extend(of_process.iter().map(|warning| format!("{}: {warning}", process.id)));
        devices.extend(readings.devices());
        let of_process = |text: String| format!("{}: {text}", process.id);
        doubt = doubt.or_else(|| readings.doubt().map(of_process));
        remark = remark.or_else(|| readings.remark().map(str::to_owned).map(of_process));
        for ((_, budget), read) in budgets.iter().zip(&mut read) {
            read.push((process.id, readings.read(&budget.metric, budget.bound)));
        }
    }
    common.expect_device(devices.into_iter())?;
    common.warn(&warnings);
    let mut rows: Vec<CheckRow> =
        budgets.into_iter().zip(&read).map(|((name, budget), read)| judge(name, &budget, read)).collect();
    if let (Some(path), false) = (&args.baseline, of_base.is_empty()) {
        let base = common.open_at(&[path]).context("the baseline cannot be read")?;
        expect_ranks(args, &base).context("the baseline cannot be compared with")?;
        let (base, run) = (figures(common, &base)?, figures(common, &source)?);
        let (doubt, remark) = (doubt.as_deref(), remark.as_deref());
        let check = |budget| check_against_base(&base, &run, budget, doubt, remark);
        rows.extend(of_base.into_iter().map(check));
    }
    let check = Check { run: source.path.display().to_string(), rows };
    output::emit(common, &rendered(common, &check)?)?;
    // In data and reports, too, the reason is there; whoever looks at the pipeline's log alone sees it here.
    for row in &check.rows {
        if let Judgement::Unknown(reason) = &row.judgement {
            eprintln!("tidegauge: {} cannot be judged: {}", row.name, render::printable(reason));
        }
    }
    Ok(match (check.unknown(), check.exceeded()) {
        (0, 0) => ExitCode::SUCCESS,
        (0, _) => ExitCode::from(1),
        _ => ExitCode::from(2),
    })
}

fn rendered(common: &Common, check: &Check) -> Result<String> {
    if common.is_junit() {
        return Ok(render::check_junit(check)?);
    }
    Ok(match common.format() {
        format @ (Format::Json | Format::Csv) => render::check_table(check).render(format),
        format => render::check_text(check, format, output::style(common)),
    })
}

fn figures(common: &Common, source: &Source) -> Result<RunFigures> {
    let selection = common.selection();
    let shows = |device| selection.shows_device(device);
    Ok(analysis::run_figures(source, |process| common.window(process), shows)?.0)
}

fn expect_ranks(args: &Args, source: &Source) -> Result<()> {
    let unreadable = source.unreadable.iter().map(|(id, _)| id.rank);
    let missing: Vec<u32> = source.missing_ranks.iter().copied().chain(unreadable).collect();
    if args.allow_missing_ranks || args.common.rank.is_some() || missing.is_empty() {
        return Ok(());
    }
    let missing: Vec<String> = missing.iter().map(ToString::to_string).collect();
    bail!(
        "ranks are missing or cannot be read: {}; --allow-missing-ranks judges the others: {}",
        missing.join(", "),
        source.path.display()
    )
}

/// All bounds on metrics, each with its name.
fn budgets(args: &Args) -> Result<Vec<(String, Budget)>> {
    let short = [
        ("max-peak", CheckMetric::Peak, args.max_peak),
        ("max-growth", CheckMetric::Growth, args.max_growth),
        ("max-reserved", CheckMetric::Reserved, args.max_reserved),
        ("max-rss", CheckMetric::Rss, args.max_rss),
    ];
    let named = short.into_iter().filter_map(|(name, metric, limit)| {
        Some((name.to_owned(), Budget { metric, bound: Bound::Max, limit: limit? as f64 }))
    });
    let mut budgets: Vec<(String, Budget)> = named.collect();
    for (bound, texts) in [(Bound::Max, &args.max), (Bound::Min, &args.min)] {
        for text in texts {
            let budget = assignment(text, bound).with_context(|| format!("--{} {text}", bound.as_str()))?;
            budgets.push((format!("{} {}", bound.as_str(), budget.metric.name()), budget));
        }
    }
    Ok(budgets)
}

fn assignment(text: &str, bound: Bound) -> Result<Budget> {
    let (name, value) = text.split_once('=').ok_or_else(|| anyhow!("expected {ASSIGNMENT}"))?;
    let metric = CheckMetric::named(name.trim());
    let limit = match metric.unit() {
        Unit::Bytes => parse_bytes(value)? as f64,
        Unit::BytesPerStep => parse_bytes_per_step(value)? as f64,
        Unit::Share => parse_share(value)?,
        Unit::Nanos => parse_duration(value)? as f64,
        Unit::Number => number(&metric, value)?,
    };
    Ok(Budget { metric, bound, limit })
}

/// A number in the metric's own unit, which may be told with it: `90%` of `gpu_utilization_percent`.
fn number(metric: &CheckMetric, text: &str) -> Result<f64> {
    let own = match metric.name().rsplit('_').next() {
        Some("percent") => "%",
        Some("watts") => "W",
        Some("celsius") => "C",
        Some("seconds") => "s",
        Some("mhz") => "MHz",
        _ => "",
    };
    match split(text)? {
        (number, unit) if unit.is_empty() || unit == own => Ok(number),
        (_, unit) => bail!(
            "`{unit}` is no unit of {}; expected a plain number{}",
            metric.name(),
            match own {
                "" => String::new(),
                own => format!(", or one with {own}"),
            }
        ),
    }
}
