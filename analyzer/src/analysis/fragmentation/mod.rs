//! Fragmentation: what is held from a device and not in use, why, and how large its largest piece is.
//!
//! Of what is reserved, blocks are in use; the rest is free memory in segments that are partly in use, which only blocks
//! that fit can use again, free segments that the allocator keeps, and what rounding adds to each block. Without segments
//! in the recording only allocated is known.

mod map_at;
mod moment;
mod pass;
mod pool;
mod range;
mod rules;
mod segment_map;
#[cfg(test)]
mod tests;

pub use map_at::{BlockState, MappedBlock, MappedSegment};
pub(super) use moment::Taken;
pub(super) use moment::named_pools;
pub use moment::{Basis, MapFigures, MemoryMoment, MemoryState, MomentKind, PoolMemory};
pub(super) use pass::FragmentationPass;
pub(super) use rules::AllocatorRules;
pub use rules::SizeClass;
use tidegauge_schemas::run::Config;

use super::live_moments::Moment;
use super::peaks::step_window;
use super::places::Places;
use super::series_set::Spread;
use super::timeline::Timeline;
use crate::error::Result;
use crate::load::{PoolNames, Process};
use crate::replay::{Outcome, Window, replay_with_pools};

/// A process's fragmentation.
#[derive(Debug)]
pub struct Fragmentation {
    /// When the recording began, nanoseconds since 1970.
    pub origin_nanos: i64,
    /// By device, then in the order of [`MomentKind`]. Empty if the trace has no such step.
    pub moments: Vec<MemoryMoment>,
    /// Allocated, reserved, unused, split, cached, the largest hole and what is outside of the allocator, over time.
    pub over_time: Timeline,
    /// What did not add up.
    pub outcome: Outcome,
}

/// The fragmentation of a process: over time, at the peaks inside of `window` (or of the step, or at the time, that
/// `moment` means), at each failed allocation and at the end. `config` is the run's, which may tell the allocator's
/// settings.
///
/// # Errors
/// If the trace cannot be read.
pub fn fragmentation(
    process: &Process,
    config: &Config,
    moment: Moment,
    window: Window,
    buckets: usize,
    shows: impl Fn(i16) -> bool,
) -> Result<Fragmentation> {
    let window = match moment {
        Moment::Peak => window,
        // Empty where there is no such step.
        Moment::Step(step) => {
            step_window(process, step)?.unwrap_or(Window { start_nanos: i64::MAX, end_nanos: i64::MIN })
        }
        // Its "peak" is the state that it opens with, that after the last event up to the moment.
        Moment::At(time_nanos) => Window { start_nanos: time_nanos.saturating_add(1), end_nanos: time_nanos },
    };
    let names = PoolNames::read(process)?;
    let mut pass = FragmentationPass::new(window, AllocatorRules::of(config), buckets);
    let mut places = Places::default();
    let outcome = replay_with_pools(process, &names, window, &mut (&mut pass, &mut places))?;
    places.sort();
    let series = pass.finish();
    let has_times = process.has_times();
    let mut moments = Vec::new();
    for (&device, of_device) in pass.devices.iter().filter(|(device, _)| shows(**device)) {
        let add = |kind: MomentKind, taken: &Taken| {
            let time_nanos = match moment {
                Moment::At(time_nanos) => Some(time_nanos),
                _ => (!taken.is_start).then_some(taken.time_nanos),
            };
            MemoryMoment {
                device,
                kind,
                seq: Some(taken.seq),
                time_nanos: time_nanos.filter(|_| has_times),
                step: places.step_of(taken.seq).map(|step| step.step),
                phase: places.phase_of(taken.seq).map(str::to_owned),
                state: taken.state,
                pools: named_pools(&taken.pools, &names),
                rounding: Basis::Estimated,
            }
        };
        let peaks = [
            (MomentKind::Allocated, &of_device.allocated_peak),
            (MomentKind::Reserved, &of_device.reserved_peak),
        ];
        for (kind, taken) in peaks.into_iter().filter_map(|(kind, taken)| Some((kind, taken.as_ref()?))) {
            if kind == MomentKind::Allocated || !matches!(moment, Moment::At(_)) {
                moments.push(add(kind, taken));
            }
        }
        let ooms = pass.ooms.iter().filter(|oom| oom.event.device == device);
        moments.extend(ooms.map(|oom| add(MomentKind::Oom, &oom.taken)));
        if moment == Moment::Peak {
            moments.push(with_measured_rounding(add(MomentKind::End, &of_device.end), process, window));
        }
    }
    let Spread { start_nanos, end_nanos, bucket_nanos, mut series } = series.finish(&outcome);
    series.retain(|series| shows(series.device));
    let over_time = Timeline {
        origin_nanos: outcome.first_nanos(),
        start_nanos,
        end_nanos,
        bucket_nanos,
        series,
        phases: Vec::new(),
        steps: Vec::new(),
        peaks: Vec::new(),
        ooms: Vec::new(),
        alerts: Vec::new(),
        limits: Vec::new(),
    };
    Ok(Fragmentation { origin_nanos: outcome.first_nanos(), moments, over_time, outcome })
}

/// At the end a snapshot tells what sizes blocks really have.
fn with_measured_rounding(mut end: MemoryMoment, process: &Process, window: Window) -> MemoryMoment {
    let told = process.foreign().and_then(|foreign| foreign.rounding_bytes(end.device));
    if let (Some(rounding_bytes), Some(map), i64::MAX) = (told, &mut end.state.map, window.end_nanos) {
        map.rounding_bytes = rounding_bytes;
        end.rounding = Basis::Measured;
    }
    end
}

/// The segments of a device with their blocks, as they are after the event with that `seq`; by address.
///
/// # Errors
/// If the trace cannot be read.
pub fn segment_map(process: &Process, config: &Config, device: i16, seq: u64) -> Result<Vec<MappedSegment>> {
    let names = PoolNames::read(process)?;
    let mut map = map_at::MapAt::new(device, seq, AllocatorRules::of(config), &names);
    replay_with_pools(process, &names, Window::ALL, &mut map)?;
    Ok(map.finish())
}
