//! `tidegauge plot compare`.

use anyhow::{Result, bail};

use super::Drawn;
use super::request::Request;
use crate::analysis::Grouping;
use crate::analysis::categories::CategoryRules;
use crate::cli::compare_runs::Runs;
use crate::plot;

pub(super) fn draw(request: &Request<'_>) -> Result<Drawn> {
    let common = &request.args.common;
    if request.sources.len() < 2 {
        bail!(
            "compare takes several runs, BASE OTHER …, and there is one: {}",
            request.source().path.display()
        );
    }
    let runs = Runs::read(common, request.sources)?;
    let rows = &runs.comparison.rows;
    if rows.iter().all(|row| row.peak.is_none() && row.step_nanos.is_none() && row.final_loss.is_none()) {
        return Err(request.nothing("peaks, times of steps and losses that could be compared"));
    }
    let held = runs.held(common, Grouping::Category, &CategoryRules::default())?;
    let base = rows.first().map_or("", |row| row.configuration.as_str());
    let others = rows.len() - 1;
    let config =
        request.config(format!("{base}, and {others} {}", if others == 1 { "other" } else { "others" }));
    let svg = plot::compare_svg(&runs.comparison, &held, &config)?;
    let mut warnings = runs.warnings;
    warnings.extend(runs.comparison.notes);
    Ok(Drawn { svg, warnings })
}
