//! From circumstances to a cause: which of the ways to run out of memory it was, and what would have helped.
//!
//! **Fragmentation**: what was free in the pool would have been enough, and no hole of it was. **Outside of the
//! allocator**: without what others hold on the device, beyond a context's usual share, it would have fitted. **Growth**:
//! without what the floor has risen by, it would have. **Batch spike**: the step needs far more than those before. Of those
//! that apply, the one that accounts for most bytes is the cause, the others contribute. **Too big** if none applies: the
//! first step already, or steps that all need as much. What the recording cannot tell is unknown, never the likeliest.

use super::growth::{FloorGrowth, floor_growth};
use crate::analysis::fragmentation::{AllocatorRules, MemoryState, PoolMemory};
use crate::analysis::noise_band::NoiseBand;

/// What a CUDA context with its libraries takes: more than this is somebody else's, or NCCL's.
const CONTEXT_BYTES: i64 = 1 << 30;
/// A step is a spike if it needs this much more than the median of those before, and more than their noise.
const SPIKE_SHARE: f64 = 0.1;
const SPIKE_DEVIATIONS: i64 = 3;

/// Why an allocation failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Enough was free and none of the holes was large enough.
    Fragmentation,
    /// Other processes, or libraries, hold memory of the device.
    Outside,
    /// The device had enough: the allocator was told to take no more of it.
    Limit,
    /// What is left from step to step has risen.
    Growth,
    /// This step needs far more than those before.
    BatchSpike,
    /// It needs more than there is from the first step on.
    TooBig,
    /// The recording does not tell.
    Unknown,
}

impl Cause {
    /// The word in data and reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fragmentation => "fragmentation",
            Self::Outside => "outside_the_allocator",
            Self::Limit => "allocator_limit",
            Self::Growth => "growth",
            Self::BatchSpike => "batch_spike",
            Self::TooBig => "too_big",
            Self::Unknown => "unknown",
        }
    }
}

/// Figures that a cause rests on; what is not known is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Evidence {
    /// What the allocator would have taken from the device for the request.
    pub segment_bytes: Option<i64>,
    /// How much the device lacked.
    pub shortfall_bytes: Option<i64>,
    /// Free in the pools that could have served the request.
    pub usable_free_bytes: Option<i64>,
    /// The largest hole in them.
    pub largest_hole_bytes: Option<i64>,
    /// Used on the device and not by this process's allocator.
    pub outside_bytes: Option<i64>,
    /// How the floor has risen.
    pub growth: Option<FloorGrowth>,
    /// What this step had needed at least, with the request.
    pub demand_bytes: Option<i64>,
    /// Median of the peaks of the steps before.
    pub usual_peak_bytes: Option<i64>,
    /// Complete steps before.
    pub steps_before: usize,
    /// Median batch size of those, if they tell it.
    pub usual_batch_size: Option<i64>,
}

/// What would have helped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// So much more free memory.
    Free {
        /// Bytes.
        bytes: i64,
    },
    /// Segments that can grow: what was free would have sufficed.
    ExpandableSegments {
        /// Free in the pools.
        usable_bytes: i64,
    },
    /// Giving back what was kept.
    EmptyCache {
        /// Bytes that it would give back.
        bytes: i64,
    },
    /// A smaller batch, if what the step allocates scales with it.
    LowerBatch {
        /// The batch that failed.
        from: i64,
        /// One that fits.
        to: i64,
    },
    /// A higher limit of the allocator.
    RaiseLimit {
        /// What it would have taken from the device.
        bytes: i64,
    },
    /// Fewer others on the device.
    Others {
        /// What they hold, the context included.
        bytes: i64,
    },
    /// No growth.
    StopGrowth {
        /// By step.
        bytes_per_step: i64,
    },
}

/// A complete step before the failure.
#[derive(Debug, Clone, Copy)]
pub(super) struct StepBefore {
    pub(super) start_bytes: i64,
    pub(super) high_bytes: i64,
    pub(super) batch_size: Option<i64>,
}

/// All that is known of a failure.
#[derive(Debug)]
pub(super) struct Circumstances {
    pub(super) requested_bytes: Option<i64>,
    pub(super) device_free_bytes: Option<i64>,
    /// The failure itself tells that, and not a sample from before.
    pub(super) is_free_exact: bool,
    pub(super) device_total_bytes: Option<i64>,
    pub(super) is_device: bool,
    pub(super) state: MemoryState,
    /// Those that could have served the request.
    pub(super) pools: Vec<PoolMemory>,
    pub(super) rules: AllocatorRules,
    pub(super) steps: Vec<StepBefore>,
    /// Allocated when the step began that failed; `None` outside of steps.
    pub(super) step_start_bytes: Option<i64>,
    /// Highest allocated in it so far.
    pub(super) step_high_bytes: Option<i64>,
    pub(super) has_steps: bool,
    pub(super) batch_size: Option<i64>,
}

/// The cause, the others that contribute, and what they rest on.
pub(super) fn cause(known: &Circumstances) -> (Cause, Vec<Cause>, Evidence) {
    let evidence = evidence(known);
    if is_limit(known, evidence.segment_bytes) {
        let mut contributing = causes(known, &evidence);
        // What others hold left enough.
        contributing.retain(|cause| *cause != Cause::Outside);
        return (Cause::Limit, contributing, evidence);
    }
    let mut causes = causes(known, &evidence).into_iter();
    let cause = causes.next().unwrap_or_else(|| without_cause(known, &evidence));
    (cause, causes.collect(), evidence)
}

/// The device had what the allocator would have taken from it, and not by a sample from before.
fn is_limit(known: &Circumstances, segment_bytes: Option<i64>) -> bool {
    let had_enough =
        segment_bytes.zip(known.device_free_bytes).is_some_and(|(segment, free)| free >= segment);
    known.is_device && known.is_free_exact && had_enough
}

fn evidence(known: &Circumstances) -> Evidence {
    let request = known.requested_bytes.map(|bytes| known.rules.rounded_bytes(bytes));
    let segment_bytes =
        request.map(|bytes| if known.is_device { known.rules.segment_bytes(bytes) } else { bytes });
    let free_bytes = known.device_free_bytes;
    let shortfall_bytes = match (segment_bytes, free_bytes) {
        (Some(segment), Some(free)) if segment > free => Some(segment - free),
        _ if is_limit(known, segment_bytes) => None,
        // The device had enough by the last sample: at the failure it had not.
        (segment, _) => segment,
    };
    let has_map = known.state.map.is_some();
    let usable = known.pools.iter().map(|pool| pool.map.free_bytes()).sum();
    let largest = known.pools.iter().map(|pool| pool.map.largest_hole_bytes).max();
    let held_bytes = known.state.reserved_bytes.filter(|_| known.is_device);
    let used = known.device_total_bytes.zip(free_bytes).map(|(total, free)| total - free);
    let outside_bytes = used.zip(held_bytes).map(|(used, held)| (used - held).max(0));
    let mut floors: Vec<i64> = known.steps.iter().map(|step| step.start_bytes).collect();
    floors.extend(known.step_start_bytes);
    let peaks: Vec<i64> = known.steps.iter().map(|step| step.high_bytes).collect();
    let batches: Vec<i64> = known.steps.iter().filter_map(|step| step.batch_size).collect();
    let held_in_step = known.state.allocated_bytes + request.unwrap_or(0);
    let demand_bytes = known.step_high_bytes.map_or(held_in_step, |high| high.max(held_in_step));
    Evidence {
        segment_bytes,
        shortfall_bytes,
        usable_free_bytes: has_map.then_some(usable),
        largest_hole_bytes: has_map.then_some(largest.unwrap_or(0)),
        outside_bytes: outside_bytes.or(known.state.outside_bytes.filter(|_| known.is_device)),
        growth: floor_growth(&floors),
        demand_bytes: request.map(|_| demand_bytes),
        usual_peak_bytes: NoiseBand::of(&peaks).map(|band| band.median),
        steps_before: known.steps.len(),
        usual_batch_size: NoiseBand::of(&batches).map(|band| band.median),
    }
}

/// Causes without each of which it would have fitted, the one that accounts for most bytes first.
fn causes(known: &Circumstances, evidence: &Evidence) -> Vec<Cause> {
    // Under a limit, which is not known, it is at most what was to be taken.
    let missing_bytes = evidence.shortfall_bytes.or(evidence.segment_bytes).unwrap_or(0).max(1);
    let request = known.requested_bytes.map(|bytes| known.rules.rounded_bytes(bytes));
    let usable_bytes = evidence.usable_free_bytes.or(known.state.unused_bytes());
    let outside_bytes = evidence.outside_bytes.map(|bytes| bytes - CONTEXT_BYTES);
    let growth_bytes = evidence.growth.map(|growth| growth.bytes);
    let spike_bytes = spike(known, evidence).map(|bytes| bytes - growth_bytes.unwrap_or(0));
    let candidates = [
        (Cause::Fragmentation, usable_bytes.filter(|_| is_fragmentation(known, evidence, request))),
        (Cause::Outside, outside_bytes.filter(|bytes| *bytes >= missing_bytes)),
        (Cause::Growth, growth_bytes.filter(|bytes| *bytes >= missing_bytes)),
        (Cause::BatchSpike, spike_bytes.filter(|bytes| *bytes > 0)),
    ];
    let mut causes: Vec<(Cause, i64)> =
        candidates.into_iter().filter_map(|(cause, bytes)| Some((cause, bytes?))).collect();
    causes.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    causes.into_iter().map(|(cause, _)| cause).collect()
}

/// What it is where none of them applies.
fn without_cause(known: &Circumstances, evidence: &Evidence) -> Cause {
    let total_bytes = known.device_total_bytes;
    let exceeds_device = evidence.demand_bytes.zip(total_bytes).is_some_and(|(demand, total)| demand > total);
    if exceeds_device || (known.has_steps && known.requested_bytes.is_some()) {
        Cause::TooBig
    } else {
        Cause::Unknown
    }
}

/// What is free would have been enough, alone or with what the device had left.
fn is_fragmentation(known: &Circumstances, evidence: &Evidence, request: Option<i64>) -> bool {
    let Some(request) = request else { return false };
    let free_bytes = known.device_free_bytes.unwrap_or(0);
    match (evidence.usable_free_bytes, evidence.largest_hole_bytes) {
        (Some(usable), Some(largest)) => largest < request && usable > 0 && usable + free_bytes >= request,
        // Without a map: had there been such a hole, it would have been used.
        _ => known.is_device && known.state.unused_bytes().is_some_and(|unused| unused >= request),
    }
}

/// By how much this step exceeds those before, if it is far.
fn spike(known: &Circumstances, evidence: &Evidence) -> Option<i64> {
    let peaks: Vec<i64> = known.steps.iter().map(|step| step.high_bytes).collect();
    let band = NoiseBand::of(&peaks)?;
    // Of a single step before nobody knows whether it was usual.
    let deviation = band.deviation?;
    let excess = evidence.demand_bytes? - band.median;
    let least = (band.median as f64 * SPIKE_SHARE).max((deviation * SPIKE_DEVIATIONS) as f64);
    (excess as f64 > least).then_some(excess)
}

/// What would have helped, the first cause's own remedy first.
pub(super) fn remedies(known: &Circumstances, causes: &[Cause], evidence: &Evidence) -> Vec<Remedy> {
    let can_expand = known.is_device && known.rules.are_expandable != Some(true);
    let of_cause = |cause: &Cause| match cause {
        Cause::Growth => {
            evidence.growth.map(|growth| Remedy::StopGrowth { bytes_per_step: growth.bytes_per_step })
        }
        Cause::Limit => evidence.segment_bytes.map(|bytes| Remedy::RaiseLimit { bytes }),
        Cause::Outside => evidence.outside_bytes.map(|bytes| Remedy::Others { bytes }),
        Cause::Fragmentation if can_expand => {
            let usable_bytes = evidence.usable_free_bytes.or(known.state.unused_bytes());
            usable_bytes.map(|usable_bytes| Remedy::ExpandableSegments { usable_bytes })
        }
        _ => None,
    };
    let mut remedies: Vec<Remedy> = causes.iter().filter_map(of_cause).collect();
    remedies.extend(lower_batch(known, evidence));
    let cached_bytes = known.state.map.map_or(0, |map| map.cached_bytes);
    if cached_bytes > 0 {
        remedies.push(Remedy::EmptyCache { bytes: cached_bytes });
    }
    remedies.extend(evidence.shortfall_bytes.map(|bytes| Remedy::Free { bytes }));
    remedies
}

/// A batch with which the step would have stayed within what there is, if all that it allocates scales with it.
fn lower_batch(known: &Circumstances, evidence: &Evidence) -> Option<Remedy> {
    let (from, floor) = (known.batch_size?, known.step_start_bytes?);
    let of_step_bytes = evidence.demand_bytes? - floor;
    let missing_bytes = evidence.shortfall_bytes?;
    if of_step_bytes <= 0 || missing_bytes >= of_step_bytes {
        return None;
    }
    let to =
        (i128::from(from) * i128::from(of_step_bytes - missing_bytes) / i128::from(of_step_bytes)) as i64;
    (1..from).contains(&to).then_some(Remedy::LowerBatch { from, to })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::MapFigures;

    const MIB: i64 = 1 << 20;

    /// 100 MiB are asked for of a device of 1000 MiB, of which 900 are allocated; five steps before peaked at 950.
    fn circumstances() -> Circumstances {
        let step = StepBefore { start_bytes: 500 * MIB, high_bytes: 950 * MIB, batch_size: Some(8) };
        Circumstances {
            requested_bytes: Some(100 * MIB),
            device_free_bytes: Some(80 * MIB),
            is_free_exact: true,
            device_total_bytes: Some(1000 * MIB),
            is_device: true,
            state: MemoryState {
                allocated_bytes: 900 * MIB,
                active_bytes: 900 * MIB,
                reserved_bytes: Some(900 * MIB),
                map: Some(MapFigures::default()),
                outside_bytes: None,
            },
            pools: Vec::new(),
            rules: AllocatorRules::default(),
            steps: vec![step; 5],
            step_start_bytes: Some(500 * MIB),
            step_high_bytes: Some(900 * MIB),
            has_steps: true,
            batch_size: Some(8),
        }
    }

    #[test]
    fn steps_that_all_need_as_much_are_too_big_and_a_smaller_batch_is_named() {
        let known = circumstances();
        let (cause, contributing, evidence) = cause(&known);
        assert_eq!((cause, contributing), (Cause::TooBig, Vec::new()));
        assert_eq!((evidence.shortfall_bytes, evidence.outside_bytes), (Some(20 * MIB), Some(20 * MIB)));
        // Of 500 MiB that the step needs 480 fit: 7.68 of 8 samples.
        let remedies = remedies(&known, &[cause], &evidence);
        assert_eq!(remedies, [Remedy::LowerBatch { from: 8, to: 7 }, Remedy::Free { bytes: 20 * MIB }]);
    }

    #[test]
    fn what_accounts_for_most_is_the_cause_and_the_rest_contributes() {
        let mut known = circumstances();
        known.step_start_bytes = Some(560 * MIB);
        for (number, step) in (0..).zip(&mut known.steps) {
            step.start_bytes = (500 + 10 * number) * MIB;
        }
        let rising = cause(&known);
        assert_eq!((rising.0, rising.2.growth.unwrap().bytes), (Cause::Growth, 40 * MIB));
        // Somebody else's 3 GiB, of a larger device.
        known.device_total_bytes = Some(1000 * MIB + (3 << 30));
        let (with_others, contributing, _) = cause(&known);
        assert_eq!((with_others, contributing), (Cause::Outside, vec![Cause::Growth]));
    }

    #[test]
    fn a_device_that_had_enough_tells_of_a_limit() {
        let known = Circumstances {
            device_free_bytes: Some(60 << 30),
            device_total_bytes: Some(80 << 30),
            ..circumstances()
        };
        let (limit, contributing, evidence) = cause(&known);
        assert_eq!((limit, contributing, evidence.shortfall_bytes), (Cause::Limit, Vec::new(), None));
        assert_eq!(remedies(&known, &[limit], &evidence), [Remedy::RaiseLimit { bytes: 100 * MIB }]);
        // A sample from before may be of a time when others had not taken it yet.
        let sampled = Circumstances { is_free_exact: false, ..known };
        assert_ne!(cause(&sampled).0, Cause::Limit);
    }

    #[test]
    fn what_was_not_recorded_is_unknown() {
        let known = Circumstances {
            steps: Vec::new(),
            has_steps: false,
            device_total_bytes: None,
            step_start_bytes: None,
            ..circumstances()
        };
        assert_eq!(cause(&known).0, Cause::Unknown);
        let raised = Circumstances { requested_bytes: None, ..circumstances() };
        let (nothing_asked, _, evidence) = cause(&raised);
        assert_eq!((nothing_asked, evidence.shortfall_bytes), (Cause::Unknown, None));
    }
}
