//! What a person wants to know of a run first.

use rustc_hash::FxHashMap;
use tidegauge_schemas::layout::ProcessId;
use tidegauge_schemas::process::{Cost, Ended, Watched};
use tidegauge_schemas::{CheckpointKind, EventKind};

use super::categories::CategoryTotal;
use super::counted_peaks::{CountedPeak, CountedPeaks};
use super::device_use::{DeviceUse, DeviceUses};
use super::explanation::explained;
use super::hints::Hint;
use super::holders::{Holder, HoldersAtPeak};
use super::leaks::ProcessGrowth;
use super::phase_table::{PhaseRow, PhaseTable};
use super::rank_spread::{RankSpread, rank_spread};
use crate::error::{Result, described};
use crate::load::{Process, Rows, Source};
use crate::replay::{DeviceState, Observed, Observer, Outcome, Peak, RssPeak, Window, replay};

/// The peak of a curve, with names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeakSummary {
    /// How high.
    pub bytes: i64,
    /// When, nanoseconds since 1970; `None` for the state at the start, or where it was not sampled.
    pub time_nanos: Option<i64>,
    /// The event's number among those of its device; `None` for the state at the start.
    pub event_index: Option<u64>,
    /// Step.
    pub step: Option<i64>,
    /// Phase.
    pub phase: Option<String>,
}

impl PeakSummary {
    /// Of samples, which know neither event nor step.
    pub(super) const fn sampled(bytes: i64, time_nanos: i64) -> Self {
        Self { bytes, time_nanos: Some(time_nanos), event_index: None, step: None, phase: None }
    }
}

/// A site's share of the peak.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedHolder {
    /// Its name; `None` for blocks without a site.
    pub site: Option<String>,
    /// Bytes alive.
    pub bytes: i64,
    /// Blocks alive.
    pub blocks: i64,
}

/// One device of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceSummary {
    /// −1 the host, 0… accelerators.
    pub device: i16,
    /// Peak of allocated.
    pub allocated: PeakSummary,
    /// Peak of active.
    pub active: PeakSummary,
    /// Peak of reserved; `None` where no segment was recorded.
    pub reserved: Option<PeakSummary>,
    /// Active when the recorded window opened.
    pub initial_active_bytes: i64,
    /// Active at the end.
    pub end_active_bytes: i64,
    /// Allocated at the end.
    pub end_allocated_bytes: i64,
    /// Who holds the peak of allocated, largest first.
    pub holders: Vec<NamedHolder>,
    /// What the peak of allocated consists of, largest first; empty where that was not asked for.
    pub categories: Vec<NamedCategory>,
}

/// A category's share of the peak.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedCategory {
    /// Its name.
    pub category: String,
    /// What it sums up to, and what that stands on.
    pub total: CategoryTotal,
}

/// A hint and whose it is.
#[derive(Debug, Clone, PartialEq)]
pub struct ProcessHint {
    /// The process.
    pub process: ProcessId,
    /// What to do.
    pub hint: Hint,
}

/// Steps, in short.
#[derive(Debug, Clone, PartialEq)]
pub struct StepDigest {
    window: Window,
    /// Steps that ended.
    pub count: u64,
    /// Mean time of one.
    pub mean_nanos: i64,
    /// Loss of the first that told it.
    pub first_loss: Option<f64>,
    /// Loss of the last.
    pub last_loss: Option<f64>,
    total_nanos: i128,
    /// The step that the trace's end cut off, if one was.
    pub unfinished: Option<i64>,
    /// Samples in the batch, where all steps that tell it agree.
    pub batch_size: Option<i64>,
    has_other_batch_sizes: bool,
}

/// One process.
#[derive(Debug, Clone, PartialEq)]
pub struct ProcessSummary {
    /// Which one.
    pub id: ProcessId,
    /// Command line, if known.
    pub command: Vec<String>,
    /// How it ended.
    pub ended: Ended,
    /// Which part of the program a recording of another tool covers, in sentences.
    pub coverage: Vec<String>,
    /// First and last record, nanoseconds since 1970.
    pub span_nanos: Option<(i64, i64)>,
    /// Allocation events.
    pub events: u64,
    /// Records that were lost: dropped or damaged.
    pub dropped_events: u64,
    /// What recording cost; `None` where nobody said.
    pub cost: Option<Cost>,
    /// Highest resident size; time, step and phase are those of the highest sample.
    pub rss: Option<PeakSummary>,
    /// True if the size is the kernel's own record at the end and not a sample, which would be a lower bound.
    pub rss_is_exact: bool,
    /// What the program was recorded from outside and became; `None` for one that recorded itself. Then resident sizes
    /// are sums over its processes.
    pub watched: Option<Watched>,
    /// What devices held, by the driver's count.
    pub device_use: Vec<DeviceUse>,
    /// Devices, by number.
    pub devices: Vec<DeviceSummary>,
    /// Phases, by device, in the order of the loop.
    pub phases: Vec<PhaseRow>,
    /// Steps.
    pub steps: StepDigest,
    /// When an allocation failed first, nanoseconds since 1970.
    pub first_oom_nanos: Option<i64>,
    /// What grows; `None` where that was not asked for.
    pub growth: Option<ProcessGrowth>,
}

/// A run.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// The path as the user gave it.
    pub run: String,
    /// When it started, RFC 3339.
    pub started: String,
    /// The run's configuration.
    pub config: serde_json::Map<String, serde_json::Value>,
    /// Its processes.
    pub processes: Vec<ProcessSummary>,
    /// How they differ; `None` where there is but one.
    pub ranks: Option<RankSpread>,
    /// What to do about it.
    pub hints: Vec<ProcessHint>,
    /// What to know before believing it.
    pub warnings: Vec<String>,
}

/// Summarizes the selected processes; `window` is told for each process by `window_of`, `shows` says which devices.
///
/// # Errors
/// If the trace cannot be read.
pub fn summary(
    source: &Source,
    window_of: impl Fn(&Process) -> Result<Window>,
    shows: impl Fn(i16) -> bool,
) -> Result<Summary> {
    let mut warnings = source.warnings();
    let (mut processes, mut hints) = (Vec::new(), Vec::new());
    let mut first_error = None;
    for process in &source.processes {
        let summarized = window_of(process).and_then(|window| explained(source, process, window, &shows));
        match summarized {
            Ok((found, of_process)) => {
                let hint = |hint| ProcessHint { process: process.id, hint };
                hints.extend(of_process.into_iter().map(hint));
                warnings.extend(found.warnings.iter().map(|warning| format!("{}: {warning}", process.id)));
                processes.push(found.summary);
            }
            // The others are worth looking at.
            Err(error) if source.processes.len() > 1 => {
                warnings.push(format!(
                    "{}: left out, it cannot be read: {}",
                    process.id,
                    described(error.chain())
                ));
                first_error.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    if let (true, Some(error)) = (processes.is_empty(), first_error) {
        return Err(error);
    }
    Ok(Summary {
        run: source.path.display().to_string(),
        started: source.info.started.clone(),
        config: source.info.config.clone(),
        hints,
        ranks: rank_spread(&processes),
        processes,
        warnings,
    })
}

impl StepDigest {
    /// Of the steps that end inside of `window`.
    #[must_use]
    pub fn new(window: Window) -> Self {
        Self {
            window,
            count: 0,
            mean_nanos: 0,
            first_loss: None,
            last_loss: None,
            total_nanos: 0,
            unfinished: None,
            batch_size: None,
            has_other_batch_sizes: false,
        }
    }
}

impl Observer for StepDigest {
    fn observe(&mut self, observed: &Observed<'_>) {
        let Observed::Step { step, .. } = observed else { return };
        if !self.window.contains(step.end_nanos) {
            return;
        }
        if !step.is_complete {
            self.unfinished = Some(step.step);
            return;
        }
        if let (Some(batch_size), false) = (step.batch_size, self.has_other_batch_sizes) {
            self.has_other_batch_sizes = self.batch_size.is_some_and(|known| known != batch_size);
            self.batch_size = Some(batch_size).filter(|_| !self.has_other_batch_sizes);
        }
        self.count += 1;
        self.total_nanos += i128::from(step.end_nanos - step.begin_nanos);
        self.mean_nanos = (self.total_nanos / i128::from(self.count)) as i64;
        self.first_loss = self.first_loss.or(step.loss);
        self.last_loss = step.loss.or(self.last_loss);
    }
}

/// When an allocation failed first.
#[derive(Debug)]
struct FirstOom {
    window: Window,
    nanos: Option<i64>,
}

impl Observer for FirstOom {
    #[inline]
    fn observe(&mut self, observed: &Observed<'_>) {
        let time_nanos = match observed {
            Observed::Event { event, .. } if event.kind == Some(EventKind::Oom) => event.time_nanos,
            Observed::Checkpoint { row, .. } if row.kind == Some(CheckpointKind::Oom) => row.time_nanos,
            _ => return,
        };
        if self.window.contains(time_nanos) {
            self.nanos.get_or_insert(time_nanos);
        }
    }
}

/// A process's summary, and what else its pass has found.
#[derive(Debug)]
pub(super) struct Summarized {
    pub(super) summary: ProcessSummary,
    pub(super) warnings: Vec<String>,
    pub(super) outcome: Outcome,
}

/// Summarizes a process in one pass, in which `observer` takes part.
///
/// # Errors
/// If the trace cannot be read.
pub(super) fn summarize(
    process: &Process,
    window: Window,
    shows: &impl Fn(i16) -> bool,
    observer: &mut impl Observer,
) -> Result<Summarized> {
    let mut holders = HoldersAtPeak::new(window);
    let mut others = (PhaseTable::new(window), (StepDigest::new(window), CountedPeaks::new(window)));
    let mut uses = (DeviceUses::new(window), FirstOom { window, nanos: None });
    let outcome = replay(process, window, &mut ((&mut holders, (&mut others, &mut uses)), observer))?;
    let (uses, first_oom) = uses;
    let (phases, (steps, counted)) = others;
    let mut warnings = outcome.anomalies.warnings();
    let site_names = Rows::new(process).site_names()?;
    let has_times = process.has_times();
    let named_peak = |peak: &Peak| {
        let summary = peak_summary(peak, &outcome);
        PeakSummary { time_nanos: summary.time_nanos.filter(|_| has_times), ..summary }
    };
    let of_device = |(index, device): (usize, &DeviceState)| DeviceSummary {
        device: device.device,
        allocated: named_peak(&device.allocated_peak),
        active: named_peak(&device.active_peak),
        reserved: device.reserved_peak.as_ref().map(named_peak),
        initial_active_bytes: device.initial_active_bytes,
        end_active_bytes: device.end_active_bytes,
        end_allocated_bytes: device.end_allocated_bytes,
        holders: by_name(&holders.finish(index), device.allocated_peak.bytes, &site_names),
        categories: Vec::new(),
    };
    let shown = outcome.devices.iter().enumerate().filter(|(_, device)| shows(device.device));
    let mut devices: Vec<DeviceSummary> = shown.map(of_device).collect();
    devices.sort_by_key(|device| device.device);
    for device in &mut devices {
        warnings.extend(counted.peaks.get(&device.device).and_then(|counted| raise(device, counted)));
    }
    let losses = process.losses();
    let infos = process.info.as_ref().map_or(&[][..], |info| &info.devices);
    let device_use = uses.finish(infos);
    let summary = ProcessSummary {
        id: process.id,
        command: process.info.as_ref().map(|info| info.command.clone()).unwrap_or_default(),
        ended: process.ended,
        coverage: process.coverage().to_vec(),
        span_nanos: outcome.span_nanos.filter(|_| has_times),
        events: outcome.events,
        dropped_events: losses.dropped_records + losses.damaged_records,
        cost: cost(process),
        rss: outcome.rss_peak.map(|peak| rss_summary(&peak, &outcome, process)),
        rss_is_exact: outcome.rss_kernel_bytes.is_some() && process.ended == Ended::Clean,
        watched: process.info.as_ref().and_then(|info| info.watched.clone()),
        device_use: device_use.into_iter().filter(|used| shows(used.device)).collect(),
        devices,
        phases: phases.finish(&outcome).into_iter().filter(|row| row.device().is_none_or(shows)).collect(),
        steps,
        first_oom_nanos: first_oom.nanos,
        growth: None,
    };
    Ok(Summarized { summary, warnings, outcome })
}

/// A peak that was counted is higher than all that is kept: it is the peak.
fn raise(device: &mut DeviceSummary, counted: &CountedPeak) -> Option<String> {
    if counted.bytes <= device.allocated.bytes {
        return None;
    }
    if device.active.bytes < counted.bytes {
        // What is active is at least what is allocated.
        let sampled = PeakSummary::sampled(counted.bytes, counted.time_nanos);
        device.active = PeakSummary { step: counted.step, ..sampled };
    }
    let kept_bytes = std::mem::replace(
        &mut device.allocated,
        PeakSummary {
            bytes: counted.bytes,
            time_nanos: Some(counted.time_nanos),
            event_index: None,
            step: counted.step,
            phase: None,
        },
    )
    .bytes;
    Some(format!(
        "the peak of device {} is the recorder's count for a step whose allocations were not kept; who held it is \
         shown of the highest that was kept, {kept_bytes} bytes",
        device.device
    ))
}

fn cost(process: &Process) -> Option<Cost> {
    let info = process.info.as_ref()?;
    // Filled in when the trace is closed.
    (info.ended.is_some() && info.cost.records > 0).then_some(info.cost)
}

/// Holders by name: several stacks may go by one. What is in no block that is known has no site.
fn by_name(holders: &[Holder], peak_bytes: i64, site_names: &FxHashMap<u32, String>) -> Vec<NamedHolder> {
    // In the order of the holders, which stays where they hold equally much.
    let mut named: Vec<NamedHolder> = Vec::new();
    let mut places: FxHashMap<Option<&str>, usize> = FxHashMap::default();
    let mut add = |site: Option<&str>, bytes: i64, blocks: i64, place: usize| {
        if place == named.len() {
            named.push(NamedHolder { site: site.map(str::to_owned), bytes: 0, blocks: 0 });
        }
        named[place].bytes += bytes;
        named[place].blocks += blocks;
    };
    let mut rest_bytes = peak_bytes;
    for holder in holders {
        let site = site_names.get(&holder.site).map(String::as_str);
        let next = places.len();
        add(site, holder.bytes, holder.blocks, *places.entry(site).or_insert(next));
        rest_bytes -= holder.bytes;
    }
    if rest_bytes > 0 {
        let next = places.len();
        add(None, rest_bytes, 0, *places.entry(None).or_insert(next));
    }
    named.sort_by_key(|holder| std::cmp::Reverse(holder.bytes));
    named
}

fn peak_summary(peak: &Peak, outcome: &Outcome) -> PeakSummary {
    PeakSummary {
        bytes: peak.bytes,
        time_nanos: peak.time_nanos,
        event_index: peak.event_index,
        step: peak.place.step,
        phase: outcome.phases.name(peak.place.phase).map(str::to_owned),
    }
}

/// The highest resident size: the highest sample, or the kernel's own record where that is higher.
pub(super) fn rss_summary(peak: &RssPeak, outcome: &Outcome, process: &Process) -> PeakSummary {
    // Of the largest process of a tree, the kernel kept what was between two samples.
    let watched = process.info.as_ref().and_then(|info| info.watched.as_ref()?.peak_rss_bytes);
    let kernel_bytes = outcome.rss_kernel_bytes.max(watched.and_then(|bytes| i64::try_from(bytes).ok()));
    PeakSummary {
        bytes: peak.bytes.max(kernel_bytes.unwrap_or(0)),
        time_nanos: Some(peak.time_nanos),
        event_index: None,
        step: peak.place.step,
        phase: outcome.phases.name(peak.place.phase).map(str::to_owned),
    }
}
