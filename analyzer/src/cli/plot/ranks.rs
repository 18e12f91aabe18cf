//! `tidegauge plot ranks`.

use anyhow::Result;

use super::Drawn;
use super::request::Request;
use crate::analysis::{StepTable, rank_steps};
use crate::cli::ranks::each_process;
use crate::plot;
use crate::replay::replay;

pub(super) fn draw(request: &Request<'_>) -> Result<Drawn> {
    let (common, source) = (&request.args.common, request.source());
    if common.processes(source).len() < 2 {
        return Err(request.nothing("second rank"));
    }
    let steps = each_process(common, source, |process| {
        let window = request.window(process)?;
        let mut steps = StepTable::new(window);
        let outcome = replay(process, window, &mut steps)?;
        let rows = steps.finish(&outcome);
        Ok((rows, outcome.anomalies.warnings()))
    })?;
    let devices = steps.results.iter().flat_map(|(_, (rows, _))| rows.iter().filter_map(|row| row.device));
    common.expect_device(devices)?;
    let selection = common.selection();
    let of_ranks: Vec<_> = steps.results.iter().map(|(id, (rows, _))| (*id, rows.as_slice())).collect();
    let found = rank_steps(&of_ranks, |device| selection.shows_device(device));
    if found.steps.is_empty() {
        return Err(request.nothing("steps whose peaks are known"));
    }
    let svg = plot::ranks_svg(&found, &request.config_of_run())?;
    let warnings = steps
        .results
        .iter()
        .flat_map(|(id, (_, warnings))| warnings.iter().map(move |warning| format!("{id}: {warning}")));
    Ok(Drawn { svg, warnings: warnings.collect() })
}
