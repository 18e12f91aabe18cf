//! Runs, read to be compared: what `tidegauge compare` and `tidegauge plot compare` have in common.

use std::path::Path;

use anyhow::Result;
use tidegauge_schemas::run::Config;

use super::arguments::Common;
use crate::analysis::categories::CategoryRules;
use crate::analysis::{self, Comparison, Grouping, Held, RunFigures};
use crate::load::Source;

/// Runs, read; the first is the base.
pub(super) struct Runs<'a> {
    sources: &'a [Source],
    pub(super) figures: Vec<RunFigures>,
    pub(super) comparison: Comparison,
    /// What to know before believing it, each with the name of the run.
    pub(super) warnings: Vec<String>,
}

impl<'a> Runs<'a> {
    pub(super) fn read(common: &Common, sources: &'a [Source]) -> Result<Self> {
        let names = run_names(sources);
        let selection = common.selection();
        let (mut figures, mut warnings) = (Vec::new(), Vec::new());
        for (source, name) in sources.iter().zip(&names) {
            let (of_run, of_warnings) = analysis::run_figures(
                source,
                |process| common.window(process),
                |device| selection.shows_device(device),
            )?;
            warnings.extend(of_warnings.iter().map(|warning| format!("{name}: {warning}")));
            figures.push(of_run);
        }
        let comparison = analysis::comparison(&figures, &names);
        Ok(Self { sources, figures, comparison, warnings })
    }

    /// What each run held at its peak; `None` for those whose peak is none of allocated.
    pub(super) fn held(
        &self,
        common: &Common,
        grouping: Grouping,
        rules: &CategoryRules,
    ) -> Result<Vec<Option<Held>>> {
        let mut held = Vec::new();
        for ((source, figures), row) in self.sources.iter().zip(&self.figures).zip(&self.comparison.rows) {
            let window = |process: &_| common.window(process);
            held.push(analysis::held_at_peak(source, figures, row, grouping, rules, window)?);
        }
        Ok(held)
    }
}

/// A name for each run.
pub(super) fn run_names(sources: &[Source]) -> Vec<String> {
    let named: Vec<(&Path, &Config)> =
        sources.iter().map(|source| (source.path.as_path(), &source.info.config)).collect();
    analysis::configuration_names(&named)
}
