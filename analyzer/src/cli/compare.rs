//! `tidegauge compare`.

use std::path::PathBuf;

use anyhow::{Result, bail};

use super::arguments::Common;
use super::compare_runs::Runs;
use super::output;
use super::peaks::By;
use crate::analysis;
use crate::analysis::categories::CategoryRules;
use crate::load::Source;
use crate::render::{self, ComparisonParts, Format};

/// Groups of who changed, and steps, shown unless asked otherwise.
const DEFAULT_TOP: usize = 8;

#[derive(Debug, clap::Args)]
#[command(mut_arg("run", |base| base.index(1).num_args(1).value_name("BASE").help("Trace folder, or recording of another tool, that the others are compared with")))]
pub(super) struct Args {
    #[command(flatten)]
    common: Common,
    /// Trace folders or recordings to compare with it
    #[arg(index = 2, value_name = "OTHER", required = true)]
    others: Vec<PathBuf>,
    /// Phase by phase; text has it anyway, JSON and CSV then have these rows instead of the runs
    #[arg(long)]
    phases: bool,
    /// Step by step; text then has the steps that differ most, JSON and CSV all of them instead of the runs
    #[arg(long)]
    steps: bool,
    /// Who changed, grouped by this (text: site); JSON and CSV then have these rows instead of the runs
    #[arg(long, value_enum)]
    by: Option<By>,
    /// A category of your own, for --by category: blocks whose site, stack or module matches. May be given several times;
    /// the first that matches has the word
    #[arg(long = "rule", value_name = "NAME=REGEX")]
    rules: Vec<String>,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let common = &args.common;
    let rules = CategoryRules::parse(&args.rules)?;
    if !rules.is_empty() && args.by != Some(By::Category) {
        bail!("--rule makes categories: use it with --by category");
    }
    let format = common.format();
    let is_data = matches!(format, Format::Json | Format::Csv);
    if is_data && usize::from(args.phases) + usize::from(args.steps) + usize::from(args.by.is_some()) > 1 {
        bail!("--phases, --steps and --by are each a table: JSON and CSV have one of them at a time");
    }
    let paths = common.run.iter().chain(&args.others);
    let sources: Vec<Source> = paths.map(|path| common.open_at(&[path])).collect::<Result<_>>()?;
    let runs = Runs::read(common, &sources)?;
    common.warn(&runs.warnings);
    let comparison = &runs.comparison;
    let changed = |by: By| -> Result<analysis::ChangedHolders> {
        let held = runs.held(common, by.grouping().0, &rules)?;
        Ok(analysis::changed_holders(&comparison.rows, &held))
    };
    let phases = || analysis::phase_comparison(&runs.figures, &comparison.rows);
    let steps = || analysis::step_comparison(&runs.figures, &comparison.rows);
    if !is_data {
        let by = args.by.unwrap_or(By::Site);
        let (phases, steps) = (phases(), args.steps.then(steps));
        let parts = ComparisonParts {
            comparison,
            phases: &phases,
            steps: steps.as_ref(),
            changed: &changed(by)?,
            grouped_by: by.grouping().2,
            top: common.top.unwrap_or(DEFAULT_TOP),
        };
        return output::emit(common, &render::comparison_text(&parts, format, output::style(common)));
    }
    common.warn(&comparison.notes);
    let top = common.top.unwrap_or(usize::MAX);
    let table = if args.phases {
        let phases = phases();
        common.warn(&phases.notes);
        render::compared_phases_table(&phases, comparison.is_of_several_processes, false)
    } else if args.steps {
        let steps = steps();
        common.warn(&steps.notes);
        render::compared_steps_table(comparison, &steps, top)
    } else if let Some(by) = args.by {
        render::changed_holders_table(&changed(by)?, by.grouping().1, top)
    } else {
        render::comparison_table(comparison)
    };
    output::emit(common, &table.render(format))
}
