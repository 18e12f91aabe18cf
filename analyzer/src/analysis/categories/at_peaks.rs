//! What is alive at the peak of each device, by site and category, in the pass that finds the peak.
//!
//! When a block is freed it is known what it was, and whether it was there at the highest point so far: if so it counts, and a
//! higher point later begins anew. So nothing is kept of a block while it is alive, and no second pass is made.

use rustc_hash::{FxHashMap, FxHashSet};
use tidegauge_schemas::Category;

use super::judge::BlockJudge;
use super::label::{Evidence, Kind, Label};
use super::phase_map::{PhaseMap, StretchId};
use super::rules::CategoryRules;
use super::sums::CategorySums;
use crate::error::Result;
use crate::load::Process;
use crate::replay::{Block, DeviceState, Observed, Observer, Outcome, PhaseClass};

/// Blocks of one site and label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SiteAtPeak {
    pub(crate) bytes: i64,
    pub(crate) blocks: i64,
    /// When the first of them was allocated, nanoseconds since 1970.
    pub(crate) first_nanos: i64,
    /// And the last.
    pub(crate) last_nanos: i64,
    /// What of it grows with the batch, as far as that is certain.
    pub(crate) scaling_bytes: i64,
}

/// What is alive at the peak of a device.
#[derive(Debug)]
pub(crate) struct LiveAtPeak {
    pub(crate) device: i16,
    /// What the phase is that the peak is in.
    pub(crate) class: PhaseClass,
    pub(crate) sums: CategorySums,
    /// By site and label, in order.
    pub(crate) sites: Vec<((u32, Label), SiteAtPeak)>,
    /// Made in forwards and alive beyond the next one, in bytes.
    pub(crate) kept_bytes: i64,
    /// In how many forwards.
    pub(crate) kept_forwards: usize,
}

/// Observes the pass.
#[derive(Debug)]
pub(crate) struct AtPeaks {
    judge: BlockJudge,
    devices: Vec<DevicePeak>,
}

#[derive(Debug, Default)]
struct DevicePeak {
    /// Blocks of the device up to the peak.
    blocks: u64,
    sites: FxHashMap<(u32, Label), SiteAtPeak>,
    kept_bytes: i64,
    kept_forwards: FxHashSet<StretchId>,
}

impl AtPeaks {
    /// For a pass over a process.
    ///
    /// # Errors
    /// If the trace cannot be read.
    pub(crate) fn new(process: &Process) -> Result<Self> {
        let judge = BlockJudge::new(process, &CategoryRules::default())?;
        Ok(Self { judge, devices: Vec::new() })
    }

    /// The phases of the process, and what was alive at the peak of each device of the pass.
    pub(crate) fn finish(mut self, outcome: &Outcome) -> (PhaseMap, Vec<LiveAtPeak>) {
        let mut found = Vec::new();
        for (device_index, device) in outcome.devices.iter().enumerate() {
            for (_, block) in device.blocks().filter(|(_, block)| !block.is_pending) {
                self.end(device_index, block, None);
            }
            if let Some(peak) = self.devices.get_mut(device_index) {
                found.push(std::mem::take(peak).finish(device, &self.judge.phases));
            }
        }
        (self.judge.phases, found)
    }

    #[inline]
    fn end(&mut self, device_index: usize, block: &Block, died_seq: Option<u64>) {
        let Some(peak) = self.devices.get_mut(device_index) else { return };
        if block.number >= peak.blocks {
            return;
        }
        let label = self.judge.label(block, died_seq);
        peak.add(&self.judge.phases, block, label);
    }
}

impl DevicePeak {
    fn add(&mut self, phases: &PhaseMap, block: &Block, label: Label) {
        let none = SiteAtPeak {
            bytes: 0,
            blocks: 0,
            first_nanos: block.born_nanos,
            last_nanos: block.born_nanos,
            scaling_bytes: 0,
        };
        let site = self.sites.entry((block.site, label)).or_insert(none);
        site.bytes += block.size_bytes;
        site.blocks += 1;
        site.first_nanos = site.first_nanos.min(block.born_nanos);
        site.last_nanos = site.last_nanos.max(block.born_nanos);
        if scales(phases, block, label) {
            site.scaling_bytes += block.size_bytes;
        }
        if label.evidence == Evidence::Unknown && !block.is_from_start {
            let born = phases.at(block.born_seq);
            if phases.class(born) == PhaseClass::Forward {
                self.kept_bytes += block.size_bytes;
                self.kept_forwards.insert(phases.end_of_pass(born));
            }
        }
    }

    fn finish(self, device: &DeviceState, phases: &PhaseMap) -> LiveAtPeak {
        let mut sites: Vec<((u32, Label), SiteAtPeak)> = self.sites.into_iter().collect();
        sites.sort_unstable_by_key(|(key, _)| *key);
        let labelled = sites.iter().map(|((_, label), site)| (*label, site.bytes, site.blocks));
        LiveAtPeak {
            device: device.device,
            class: device.allocated_peak.seq.map_or(PhaseClass::Other, |seq| phases.class(phases.at(seq))),
            sums: CategorySums::of_labelled(labelled, device.allocated_peak.bytes),
            sites,
            kept_bytes: self.kept_bytes,
            kept_forwards: self.kept_forwards.len(),
        }
    }
}

/// Whether a block certainly grows with the batch: what forward keeps and passes on, and what it is given. What backward
/// makes for a moment may be as large as a weight, and what an evaluation or an optimizer has is no batch's.
fn scales(phases: &PhaseMap, block: &Block, label: Label) -> bool {
    let born = phases.at(block.born_seq);
    let class = phases.class(born);
    let is_of_model = matches!(class, PhaseClass::Forward | PhaseClass::Recompute | PhaseClass::Backward);
    let Kind::Category(category) = label.kind else { return false };
    match category {
        // What lies right after a forward is its output; what is from before the window is known by its stack.
        Category::Activation => is_of_model || class == PhaseClass::Other,
        // A whole data set that was brought to the device before training stays as it is.
        Category::Input => {
            !matches!(class, PhaseClass::Evaluation | PhaseClass::Optimizer)
                && phases.first_call().is_some_and(|first| born >= first || class == PhaseClass::Data)
        }
        Category::Temporary => matches!(class, PhaseClass::Forward | PhaseClass::Recompute),
        _ => false,
    }
}

impl Observer for AtPeaks {
    #[inline]
    fn observe(&mut self, observed: &Observed<'_>) {
        let Observed::Event { event, device, device_index, block, allocated_delta_blocks, replaced, .. } =
            observed
        else {
            return;
        };
        if self.devices.len() <= *device_index {
            self.devices.resize_with(device_index + 1, DevicePeak::default);
        }
        self.judge.hear(event);
        // What an event frees is gone at the peak that it makes, if it makes one.
        if let Some(replaced) = replaced {
            self.end(*device_index, replaced, Some(event.seq));
        }
        if let (Some(block), -1) = (block, allocated_delta_blocks) {
            self.end(*device_index, block, Some(event.seq));
        }
        if device.allocated_peak.seq == Some(event.seq) {
            let peak = &mut self.devices[*device_index];
            peak.blocks = device.blocks_so_far();
            if !peak.sites.is_empty() {
                peak.sites.clear();
                peak.kept_forwards.clear();
                peak.kept_bytes = 0;
            }
        }
    }
}
