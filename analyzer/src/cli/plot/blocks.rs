//! `tidegauge plot blocks`.

use anyhow::{Result, bail};

use super::request::Request;
use super::{BlocksBy, Drawn};
use crate::analysis::{self, BandsBy};
use crate::plot;

pub(super) fn draw(request: &Request<'_>) -> Result<Drawn> {
    let process = request.process()?;
    let config = request.config_of(process);
    let by = match request.args.by {
        BlocksBy::Category => BandsBy::Category,
        BlocksBy::Site => BandsBy::Site,
    };
    let resolution = plot::block_resolution(&config);
    let window = request.window(process)?;
    let (found, outcome) =
        analysis::block_bands(process, window, by, resolution, |outcome| request.device(outcome))?;
    match (found, request.args.common.device) {
        (Some(found), _) => {
            let svg = plot::blocks_svg(&found, &config)?;
            Ok(Drawn { svg, warnings: outcome.anomalies.warnings() })
        }
        (None, Some(device)) if outcome.devices.iter().all(|of| of.device != device) => {
            bail!("nothing was recorded of device {device}; `tidegauge summary` shows which there are")
        }
        _ => Err(request.nothing("blocks in this part")),
    }
}
