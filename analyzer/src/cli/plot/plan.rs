//! `tidegauge plot plan`.

use anyhow::{Context as _, Result};

use super::Drawn;
use super::request::Request;
use crate::analysis::{self, PlanCurve, PlanRequest};
use crate::cli::plan_runs::{self, HEADROOM};
use crate::cli::quantity::parse_part;
use crate::plot;

pub(super) fn draw(request: &Request<'_>) -> Result<Drawn> {
    let args = request.args;
    let (runs, mut warnings) = plan_runs::read(&args.common, request.sources, PlanCurve::Allocated)?;
    let asked = PlanRequest {
        key: args.key.clone(),
        values: args.values.clone(),
        budget_bytes: args.budget,
        headroom_share: parse_part(HEADROOM).context("the headroom")?,
        ignored_keys: args.ignore.clone(),
        at: None,
    };
    let plan = analysis::plan(&runs, &asked)?;
    let runs = request.sources.len();
    let config = request.config(match runs {
        1 => super::request::run_name(request.source()),
        _ => format!("plan of {}, from {runs} runs", args.key),
    });
    let svg = plot::plan_svg(&plan, &config)?;
    warnings.extend(plan.notes);
    Ok(Drawn { svg, warnings })
}
