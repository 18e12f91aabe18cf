//! `tidegauge plot fragmentation`.

use anyhow::{Result, bail};

use super::Drawn;
use super::request::Request;
use crate::analysis::{self, Moment, MomentKind};
use crate::cli::arguments::moment;
use crate::plot::{self, FragmentationView};

/// Stretches of time, at most: more would make the file large, and a wide plot no clearer.
const MOST_BUCKETS: usize = 1000;

pub(super) fn draw(request: &Request<'_>) -> Result<Drawn> {
    let (process, args) = (request.process()?, request.args);
    let run_config = &request.source().info.config;
    let config = request.config_of(process);
    let window = args.common.window(process)?;
    let selection = args.common.selection();
    let asked = moment(process, args.step, args.at)?;
    let find = |moment: Moment| {
        let buckets = plot::timeline_buckets(&config).min(MOST_BUCKETS);
        let shows = |device| selection.shows_device(device);
        analysis::fragmentation(process, run_config, moment, window, buckets, shows)
    };
    let found = find(asked)?;
    if let (Some(step), true) = (args.step, found.moments.is_empty()) {
        bail!(
            "the trace has no step {step}, or no event before its end: {}",
            request.source().path.display()
        );
    }
    args.common.expect_device(found.outcome.devices.iter().map(|device| device.device))?;
    // Without a peak of reserved, which a moment that was asked for is none of, that of allocated stands for it.
    let kind = match asked {
        Moment::At(_) => MomentKind::Allocated,
        Moment::Peak | Moment::Step(_) => MomentKind::Reserved,
    };
    let of_kind = found.moments.iter().filter(|moment| moment.kind == kind);
    let Some(moment) = of_kind
        .filter(|moment| moment.state.reserved_bytes.is_some())
        .max_by_key(|moment| (moment.state.reserved_bytes, std::cmp::Reverse(moment.device)))
    else {
        return Err(request.nothing("segments in this part"));
    };
    let segments = match (moment.seq, &moment.state.map) {
        (Some(seq), Some(_)) => Some(analysis::segment_map(process, run_config, moment.device, seq)?),
        _ => None,
    };
    // The curves of one moment are none.
    let around = if matches!(asked, Moment::At(_)) { Some(find(Moment::Peak)?) } else { None };
    let view = FragmentationView {
        moment,
        segments: segments.as_deref(),
        over_time: around.as_ref().map_or(&found.over_time, |around| &around.over_time),
        has_times: process.has_times(),
        is_asked: matches!(asked, Moment::At(_)),
    };
    let svg = plot::fragmentation_svg(&view, &config)?;
    Ok(Drawn { svg, warnings: found.outcome.anomalies.warnings() })
}
