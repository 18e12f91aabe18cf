//! `tidegauge plot timeline`.

use anyhow::{Result, bail};

use super::Drawn;
use super::request::Request;
use crate::analysis::{self, Curve, Timeline};
use crate::plot;
use crate::replay::Outcome;

pub(super) fn draw(request: &Request<'_>) -> Result<Drawn> {
    let (source, process) = (request.source(), request.process()?);
    let config = request.config_of(process);
    let recorders = source.node_recorders(process);
    let buckets = plot::timeline_buckets(&config);
    let (timeline, outcome) =
        analysis::timeline_on_node(process, &recorders, request.window(process)?, buckets)?;
    let device = device_to_draw(request, &timeline, &outcome)?;
    let svg = plot::timeline_svg(&timeline, device, &config)?;
    Ok(Drawn { svg, warnings: outcome.anomalies.warnings() })
}

/// The device that was asked for, else the one with the highest peak; where there are only samples, the host, or the
/// device of which most was used.
fn device_to_draw(request: &Request<'_>, timeline: &Timeline, outcome: &Outcome) -> Result<i16> {
    let has = |device: i16| timeline.series.iter().any(|series| series.device == device);
    let fullest =
        || timeline.peaks.iter().filter(|peak| peak.curve == Curve::Used).max_by_key(|peak| peak.bytes);
    let sampled = || Some(-1).filter(|host| has(*host)).or_else(|| Some(fullest()?.device));
    let asked = request.args.common.device;
    let device = asked.or_else(|| request.device(outcome).filter(|device| has(*device))).or_else(sampled);
    match device {
        Some(device) if has(device) => Ok(device),
        None => Err(request.nothing("allocations and no samples of memory in this part")),
        Some(device) => {
            let curves = [Curve::Allocated, Curve::Used, Curve::Rss].map(Curve::as_str).join(", ");
            let path = request.source().path.display();
            bail!("there is none of {curves} of device {device} in this part of the trace: {path}")
        }
    }
}
