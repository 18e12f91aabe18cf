//! Why memory ran out: each failed allocation of a device or of the host, and processes that the kernel killed.
//!
//! An allocator's failure is an event that says what was asked; the rest is what the replay knows at that moment: what the
//! device had, what was reserved and not in use, the largest hole, who held the rest. Steps before it tell growth from a
//! large batch. Processes that were killed say nothing themselves: what a launcher sampled does.

mod cause;
mod growth;
mod holders;
mod host_kill;
mod pass;

pub use cause::{Cause, Evidence, Remedy};
pub use growth::FloorGrowth;
pub use holders::OomHolder;
pub use host_kill::{HostKill, ProcessRss, host_kills};
use pass::{OomPass, RawOom};
use tidegauge_schemas::layout::ProcessId;
use tidegauge_schemas::run::Config;
use tidegauge_schemas::{EventKind, metrics};

use super::fragmentation::{AllocatorRules, MemoryState, PoolMemory, SizeClass, named_pools};
use super::peaks::module_of;
use super::places::Places;
use crate::analysis::categories::{CategoryRules, label_blocks_with};
use crate::error::Result;
use crate::load::{PoolNames, Process, Rows, SiteStacks, Source};
use crate::replay::{EndedStep, Outcome, Window, replay_with_pools};

/// Frames that are kept of who asked.
const FRAMES: usize = 12;

/// A reading of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// Bytes.
    pub bytes: i64,
    /// How long before the failure it was taken; 0 for one that belongs to it.
    pub age_nanos: i64,
}

/// An allocation that failed.
#[derive(Debug, Clone, PartialEq)]
pub struct Oom {
    /// Which process.
    pub process: ProcessId,
    /// −1 the host, 0… accelerators.
    pub device: i16,
    /// Its number among those of the process, from 1.
    pub number: usize,
    /// When, nanoseconds since 1970; `None` without times.
    pub time_nanos: Option<i64>,
    /// And since the recording of the process began.
    pub since_start_nanos: Option<i64>,
    /// What was asked for; `None` where only the exception was recorded.
    pub requested_bytes: Option<i64>,
    /// What the device had left; of the host, what the kernel thought available.
    pub device_free: Option<Reading>,
    /// Memory of the device, or of the node.
    pub device_total_bytes: Option<i64>,
    /// What was held, and what of it was not in use.
    pub state: MemoryState,
    /// Pools at that moment.
    pub pools: Vec<PoolMemory>,
    /// Step.
    pub step: Option<i64>,
    /// Samples in its batch.
    pub batch_size: Option<i64>,
    /// Phase.
    pub phase: Option<String>,
    /// Who asked.
    pub site: Option<String>,
    /// The site's path without its last part.
    pub module: Option<String>,
    /// Frames of who asked, innermost first.
    pub frames: Vec<String>,
    /// Who held memory, largest first.
    pub holders: Vec<OomHolder>,
    /// Why.
    pub cause: Cause,
    /// What contributed: without each of these it would have fitted as well.
    pub contributing: Vec<Cause>,
    /// The figures that this rests on.
    pub evidence: Evidence,
    /// What would have helped.
    pub remedies: Vec<Remedy>,
    /// Something was allocated on the device afterwards: it was caught.
    pub has_gone_on: bool,
}

/// The failed allocations of a process.
#[derive(Debug, Default)]
pub struct Ooms {
    /// In order.
    pub ooms: Vec<Oom>,
    /// What did not add up.
    pub outcome: Outcome,
}

/// The failed allocations of a process of `source` inside of `window`, on devices that `shows` lets through.
/// `total_bytes` is the memory of a device where the recording does not tell it.
///
/// # Errors
/// If the trace cannot be read.
pub fn ooms(
    source: &Source,
    process: &Process,
    window: Window,
    total_bytes: Option<i64>,
    shows: impl Fn(i16) -> bool,
) -> Result<Ooms> {
    let names = PoolNames::read(process)?;
    let rules = AllocatorRules::of(&source.info.config);
    let mut places = Places::default();
    // What a block is for is known only once it is freed, which may be after the failure.
    let (labels, outcome) = label_blocks_with(process, &CategoryRules::default(), window, &mut places)?;
    let mut pass = OomPass::new(window, rules, &labels);
    replay_with_pools(process, &names, window, &mut pass)?;
    places.sort();
    let mut raw = pass.finish();
    raw.retain(|oom| shows(oom.device));
    if raw.is_empty() {
        return Ok(Ooms { ooms: Vec::new(), outcome });
    }
    for recorder in source.node_recorders(process) {
        read_node_of(recorder, &mut raw)?;
    }
    let stacks = SiteStacks::read(process)?;
    let site_names = Rows::new(process).site_names()?;
    let modules = Rows::new(process).module_names()?;
    let has_times = process.has_times();
    let mut ooms: Vec<Oom> = Vec::new();
    for (number, oom) in raw.into_iter().enumerate() {
        let infos = process.info.as_ref().map_or(&[][..], |info| &info.devices);
        let told = infos.iter().find(|info| info.index == oom.device).and_then(|info| info.total_bytes);
        let told = told.and_then(|bytes| i64::try_from(bytes).ok()).or(oom.total_bytes);
        let step = places.step_of(oom.taken.seq);
        let pools = named_pools(&oom.taken.pools, &names);
        let device_at = outcome.devices.iter().position(|device| device.device == oom.device);
        let circumstances = cause::Circumstances {
            requested_bytes: oom.requested_bytes,
            device_free_bytes: oom.free.map(|reading| reading.bytes),
            is_free_exact: oom.free.is_some_and(|reading| reading.age_nanos == 0),
            device_total_bytes: told.or(total_bytes.filter(|_| oom.device >= 0)),
            is_device: oom.device >= 0,
            state: oom.taken.state,
            pools: fitting(&pools, &oom, &names),
            rules,
            steps: steps_before(&places.steps, oom.taken.seq, device_at),
            step_start_bytes: oom.step_start_bytes,
            step_high_bytes: oom.step_high_bytes,
            has_steps: !places.steps.is_empty(),
            batch_size: step.and_then(|step| step.batch_size).or_else(|| batch_of(&source.info.config)),
        };
        let (cause, contributing, evidence) = cause::cause(&circumstances);
        let causes: Vec<Cause> = std::iter::once(cause).chain(contributing.iter().copied()).collect();
        let site = site_names.get(&oom.site).cloned();
        ooms.push(Oom {
            process: process.id,
            device: oom.device,
            number: number + 1,
            time_nanos: Some(oom.taken.time_nanos).filter(|_| has_times),
            since_start_nanos: Some(oom.taken.time_nanos - outcome.first_nanos()).filter(|_| has_times),
            requested_bytes: oom.requested_bytes,
            device_free: oom.free,
            device_total_bytes: circumstances.device_total_bytes,
            state: oom.taken.state,
            step: step.map(|step| step.step),
            batch_size: circumstances.batch_size,
            phase: places.phase_of(oom.taken.seq).map(str::to_owned),
            module: site.as_deref().map(|site| module_of(site, &modules).to_owned()),
            frames: stacks.lines(oom.site).take(FRAMES).map(str::to_owned).collect(),
            site,
            holders: holders::named(&oom.holders, &site_names, &modules),
            cause,
            contributing,
            remedies: cause::remedies(&circumstances, &causes, &evidence),
            evidence,
            pools,
            has_gone_on: oom.has_gone_on,
        });
    }
    Ok(Ooms { ooms, outcome })
}

/// Pools that could have served the request: of the same stream and name, where those are known, and of its size.
fn fitting(pools: &[PoolMemory], oom: &RawOom, names: &PoolNames) -> Vec<PoolMemory> {
    let class = oom.requested_bytes.map(SizeClass::of_request);
    let fits = |pool: &&PoolMemory| {
        class.is_none_or(|class| class == pool.class)
            && pool.pool.as_deref() == names.name(oom.pool)
            && (oom.stream.is_none() || pool.stream.is_none() || oom.stream == pool.stream)
    };
    pools.iter().filter(fits).cloned().collect()
}

/// Complete steps that ended before, with allocated on the device at their start and its peak in them.
fn steps_before(steps: &[EndedStep], seq: u64, device_at: Option<usize>) -> Vec<cause::StepBefore> {
    let before = steps.iter().filter(|step| step.is_complete && step.seqs.1 <= seq);
    let of_device = |step: &EndedStep| {
        let span = step.devices.get(device_at?)?;
        Some(cause::StepBefore {
            start_bytes: span.start_bytes,
            high_bytes: span.high_bytes,
            batch_size: step.batch_size,
        })
    };
    before.filter_map(of_device).collect()
}

/// The batch size of the run's configuration.
fn batch_of(config: &Config) -> Option<i64> {
    config.get("batch_size").and_then(serde_json::Value::as_i64).filter(|size| *size > 0)
}

/// What another process's recorder sampled of the devices last before each failure.
fn read_node_of(recorder: &Process, ooms: &mut [RawOom]) -> Result<()> {
    for row in Rows::new(recorder).node_samples() {
        let row = row?;
        for oom in &mut *ooms {
            oom.read(&row);
        }
    }
    Ok(())
}

/// Whether an event is one of memory that was handed out.
const fn is_alloc(kind: Option<EventKind>) -> bool {
    matches!(kind, Some(EventKind::Alloc))
}

/// Names of metrics that tell what is left of a device, of the node, and how much there is.
const fn free_metric(device: i16) -> (&'static str, &'static str, &'static str) {
    if device < 0 {
        (metrics::MEMORY_AVAILABLE.name, metrics::MEMORY_TOTAL.name, metrics::MEMORY_USED.name)
    } else {
        (metrics::GPU_FREE.name, metrics::GPU_TOTAL.name, metrics::GPU_USED.name)
    }
}
