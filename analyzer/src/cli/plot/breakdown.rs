//! `tidegauge plot breakdown`.

use anyhow::Result;

use super::Drawn;
use super::request::Request;
use crate::analysis::{self, categories::CategoryRules};
use crate::plot;

pub(super) fn draw(request: &Request<'_>) -> Result<Drawn> {
    let process = request.process()?;
    let config = request.config_of(process);
    let buckets = plot::breakdown_buckets(&config);
    let rules = CategoryRules::default();
    let (breakdown, outcome) = analysis::breakdown(process, request.window(process)?, &rules, buckets)?;
    request.args.common.expect_device(breakdown.devices.iter().map(|device| device.device))?;
    let Some(device) = request.device(&outcome).filter(|_| !breakdown.devices.is_empty()) else {
        return Err(request.nothing("allocations in this part"));
    };
    let svg = plot::breakdown_svg(&breakdown, device, &config)?;
    Ok(Drawn { svg, warnings: outcome.anomalies.warnings() })
}
