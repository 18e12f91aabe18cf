//! `tidegauge plot leaks`.

use anyhow::Result;

use super::Drawn;
use super::request::Request;
use crate::analysis::{self, LeakOptions};
use crate::plot;

pub(super) fn draw(request: &Request<'_>) -> Result<Drawn> {
    let process = request.process()?;
    let window = request.window(process)?;
    let selection = request.args.common.selection();
    let shows = |device: i16| selection.shows_device(device);
    let (growth, outcome) = analysis::leaks(process, window, LeakOptions::default(), shows)?;
    request.args.common.expect_device(growth.growths.iter().map(|growth| growth.device))?;
    if growth.growths.iter().all(|growth| growth.values.is_empty()) {
        return Err(request.nothing("memory by step, evaluation, epoch or time"));
    }
    let svg = plot::leaks_svg(&growth, &request.config_of(process))?;
    let warnings = outcome.anomalies.warnings().into_iter().chain(growth.notes).collect();
    Ok(Drawn { svg, warnings })
}
