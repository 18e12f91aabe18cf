//! `tidegauge plot activations`.

use anyhow::Result;

use super::Drawn;
use super::request::Request;
use crate::analysis::activations::{Activations, activations};
use crate::plot;

pub(super) fn draw(request: &Request<'_>) -> Result<Drawn> {
    let process = request.process()?;
    let (found, outcome) = activations(process, request.window(process)?)?;
    let devices = found.steps.iter().map(|row| row.device);
    request.args.common.expect_device(devices.chain(outcome.devices.iter().map(|of| of.device)))?;
    let device = request.args.common.device.or_else(|| busiest(&found));
    let Some(device) = device.filter(|device| holds(&found, *device) > 0) else {
        return Err(request.nothing("activations by module or phase"));
    };
    let svg = plot::activations_svg(&found, device, &request.config_of(process))?;
    Ok(Drawn { svg, warnings: outcome.anomalies.warnings() })
}

/// The device that holds most.
fn busiest(found: &Activations) -> Option<i16> {
    let of_modules = found.modules.iter().map(|row| row.device);
    let devices = of_modules.chain(found.phases.iter().map(|row| row.device));
    devices.max_by_key(|device| (holds(found, *device), *device))
}

/// The most that one of its modules, or a phase, has to show.
fn holds(found: &Activations, device: i16) -> i64 {
    let modules = found.modules.iter().filter(|row| row.device == device);
    let of_modules = modules.map(|row| row.bytes.max(row.recomputed_bytes));
    let phases = found.phases.iter().filter(|row| row.device == device);
    of_modules.chain(phases.map(|row| row.max_bytes)).max().unwrap_or(0)
}
