//! `tidegauge plot phases`.

use anyhow::Result;

use super::Drawn;
use super::request::Request;
use crate::analysis::PhaseTable;
use crate::plot;
use crate::replay::replay;

pub(super) fn draw(request: &Request<'_>) -> Result<Drawn> {
    let process = request.process()?;
    let window = request.window(process)?;
    let mut phases = PhaseTable::new(window);
    let outcome = replay(process, window, &mut phases)?;
    let rows = phases.finish(&outcome);
    if rows.is_empty() {
        return Err(request.nothing("phases in this part"));
    }
    let device = request.device(&outcome).unwrap_or(-1);
    if !rows.iter().any(|row| row.device() == Some(device)) {
        return Err(request.nothing("allocations inside phases in this part"));
    }
    let svg = plot::phases_svg(&rows, device, &request.config_of(process))?;
    Ok(Drawn { svg, warnings: outcome.anomalies.warnings() })
}
