//! How the ranks of a run differ: the highest, the lowest, the first to run out of memory.

use tidegauge_schemas::layout::ProcessId;

use super::aligned_steps::OfRank;
use super::summary::ProcessSummary;

/// A curve over all ranks that have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CurveSpread {
    /// `allocated`, `reserved`, `used` of the worst accelerator of each rank; `host allocated`, `rss`.
    pub curve: &'static str,
    /// Ranks that have it.
    pub ranks: usize,
    /// The highest peak.
    pub highest: OfRank,
    /// The lowest.
    pub lowest: OfRank,
    /// Half of the ranks are at most as high.
    pub median_bytes: i64,
}

/// The ranks of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RankSpread {
    /// Processes that recorded themselves.
    pub processes: usize,
    /// Curve by curve.
    pub curves: Vec<CurveSpread>,
    /// The process whose allocation failed first, and when, nanoseconds since 1970. Clocks of several hosts may differ.
    pub first_oom: Option<OfRank>,
    /// The process that one looks at first: the first to run out, else the one with the highest peak.
    pub worst: ProcessId,
}

/// What a rank is asked for.
type Figure<'a> = &'a dyn Fn(&ProcessSummary) -> Option<i64>;

/// Compares the processes that recorded themselves; `None` where there is but one.
#[must_use]
pub fn rank_spread(processes: &[ProcessSummary]) -> Option<RankSpread> {
    let own: Vec<&ProcessSummary> = processes.iter().filter(|process| process.watched.is_none()).collect();
    if own.len() < 2 {
        return None;
    }
    let highest_of = |process: &ProcessSummary, is_host: bool| {
        let of_kind = process.devices.iter().filter(|device| (device.device < 0) == is_host);
        of_kind.map(|device| device.allocated.bytes).max()
    };
    let reserved = |process: &ProcessSummary| {
        process.devices.iter().filter_map(|device| Some(device.reserved.as_ref()?.bytes)).max()
    };
    let used = |process: &ProcessSummary| process.device_use.iter().map(|device| device.used.bytes).max();
    let curves: [(&'static str, Figure<'_>); 5] = [
        ("allocated", &|process| highest_of(process, false)),
        ("reserved", &reserved),
        ("used", &used),
        ("host allocated", &|process| highest_of(process, true)),
        ("rss", &|process| process.rss.as_ref().map(|rss| rss.bytes)),
    ];
    let curves: Vec<CurveSpread> =
        curves.into_iter().filter_map(|(curve, of)| spread(curve, &own, of)).collect();
    let oom = own
        .iter()
        .filter_map(|process| Some(OfRank { value: process.first_oom_nanos?, process: process.id }));
    let first_oom = oom.min_by_key(|oom| (oom.value, oom.process));
    let worst = first_oom.or(curves.first().map(|curve| curve.highest)).map_or(own[0].id, |of| of.process);
    Some(RankSpread { processes: own.len(), curves, first_oom, worst })
}

fn spread(curve: &'static str, processes: &[&ProcessSummary], of: Figure<'_>) -> Option<CurveSpread> {
    let mut values: Vec<OfRank> = processes
        .iter()
        .filter_map(|process| Some(OfRank { value: of(process)?, process: process.id }))
        .collect();
    // Of equals the first rank is named.
    values.sort_by_key(|of| (of.value, std::cmp::Reverse(of.process)));
    let highest = *values.last()?;
    let lowest = *values.iter().filter(|of| of.value == values[0].value).min_by_key(|of| of.process)?;
    Some(CurveSpread {
        curve,
        ranks: values.len(),
        highest,
        lowest,
        median_bytes: values[(values.len() - 1) / 2].value,
    })
}
