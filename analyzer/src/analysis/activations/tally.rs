//! Running sums of activations, looked at where forwards, steps and phases end.

use rustc_hash::{FxHashMap, FxHashSet};
use tidegauge_schemas::Category;

use super::spans::Spans;
use crate::analysis::categories::{CategoryTotal, Labels};
use crate::analysis::peaks::module_of;
use crate::replay::{Block, EndedPhase, Observed, Observer, Window};

/// What is looked at when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Cut {
    ForwardEnd(usize),
    StepEnd(usize),
    StepBegin(usize),
    ForwardBegin(usize),
}

/// One device at one end of forward.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ForwardEnd {
    pub(super) allocated_before_bytes: i64,
    pub(super) allocated_bytes: i64,
    pub(super) held: CategoryTotal,
}

/// One device over one step.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct StepHigh {
    pub(super) allocated_bytes: i64,
    /// The activations at the highest moment.
    pub(super) held: CategoryTotal,
    /// Activations that were made once more in it, all together.
    pub(super) recomputed_bytes: i64,
}

/// One module of one device.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ModuleTally {
    bytes: i64,
    blocks: i64,
    /// Over all ends of forward.
    pub(super) sum_bytes: i128,
    /// At the end of that forward that holds most.
    pub(super) highest_bytes: i64,
    pub(super) highest_blocks: i64,
    /// Made once more, over all.
    pub(super) recomputed_bytes: i64,
}

/// One phase by name.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct PhaseTally {
    pub(super) count: u64,
    pub(super) sum_bytes: i128,
    pub(super) max_bytes: i64,
}

#[derive(Debug)]
pub(super) struct DeviceTally {
    pub(super) device: i16,
    allocated_bytes: i64,
    held: CategoryTotal,
    recomputed_bytes: i64,
    pub(super) modules: Vec<ModuleTally>,
    /// What the end of forward held that held most, and its number.
    pub(super) highest: Option<(i64, usize)>,
    /// By name, in the order of [`Tallied::phases`].
    pub(super) phases: Vec<PhaseTally>,
}

/// What a pass found.
#[derive(Debug)]
pub(super) struct Tallied {
    pub(super) devices: Vec<DeviceTally>,
    /// For each forward, by device; devices that came later had nothing.
    pub(super) forwards: Vec<Vec<ForwardEnd>>,
    /// For each step, by device.
    pub(super) steps: Vec<Vec<StepHigh>>,
    /// Names in the order in which they first ended.
    pub(super) phases: Vec<String>,
    /// The modules' names; the first one is not known.
    pub(super) modules: Vec<Option<String>>,
    /// How often phases that bear a module's name ended, and how long they took: spans of a module's forward.
    pub(super) spans_of_modules: FxHashMap<String, (u64, i64)>,
}

/// Observes.
#[derive(Debug)]
pub(super) struct Tally<'a> {
    labels: &'a Labels,
    window: Window,
    cuts: Vec<(u64, Cut)>,
    next_cut: usize,
    open_steps: Vec<(usize, Vec<StepHigh>)>,
    module_of_site: FxHashMap<u32, usize>,
    found: Tallied,
}

impl<'a> Tally<'a> {
    pub(super) fn new(
        labels: &'a Labels,
        spans: &Spans,
        sites: &FxHashMap<u32, String>,
        known_modules: &FxHashSet<String>,
        window: Window,
    ) -> Self {
        let mut cuts = Vec::new();
        for (number, forward) in spans.forwards.iter().enumerate() {
            cuts.push((forward.begin_seq, Cut::ForwardBegin(number)));
            cuts.push((forward.end_seq, Cut::ForwardEnd(number)));
        }
        for (number, step) in spans.steps.iter().enumerate() {
            cuts.push((step.seqs.0, Cut::StepBegin(number)));
            cuts.push((step.seqs.1, Cut::StepEnd(number)));
        }
        cuts.sort_unstable();
        let mut modules = vec![None];
        let mut numbers: FxHashMap<&str, usize> = FxHashMap::default();
        let mut module_of_site = FxHashMap::default();
        for (site, name) in sites {
            let module = module_of(name, known_modules);
            let number = *numbers.entry(module).or_insert_with(|| {
                modules.push(Some(module.to_owned()));
                modules.len() - 1
            });
            module_of_site.insert(*site, number);
        }
        let spans_of_modules = known_modules.iter().map(|module| (module.clone(), (0, 0))).collect();
        let found = Tallied {
            devices: Vec::new(),
            forwards: vec![Vec::new(); spans.forwards.len()],
            steps: vec![Vec::new(); spans.steps.len()],
            phases: Vec::new(),
            modules,
            spans_of_modules,
        };
        Self { labels, window, cuts, next_cut: 0, open_steps: Vec::new(), module_of_site, found }
    }

    pub(super) fn finish(mut self) -> Tallied {
        self.cut_until(u64::MAX);
        while let Some((&(_, cut), _)) = self.cuts.get(self.next_cut..).and_then(<[_]>::split_first) {
            self.cut(cut);
        }
        self.found
    }

    /// Looks at all that comes before an event.
    #[inline]
    fn cut_until(&mut self, seq: u64) {
        while let Some(&(at, cut)) = self.cuts.get(self.next_cut)
            && at < seq
        {
            self.cut(cut);
        }
    }

    fn cut(&mut self, cut: Cut) {
        self.next_cut += 1;
        let devices = &mut self.found.devices;
        match cut {
            Cut::ForwardBegin(number) => {
                let begin = |device: &DeviceTally| ForwardEnd {
                    allocated_before_bytes: device.allocated_bytes,
                    ..ForwardEnd::default()
                };
                self.found.forwards[number] = devices.iter().map(begin).collect();
            }
            Cut::ForwardEnd(number) => {
                let ends = &mut self.found.forwards[number];
                ends.resize(devices.len(), ForwardEnd::default());
                for (end, device) in ends.iter_mut().zip(devices) {
                    (end.allocated_bytes, end.held) = (device.allocated_bytes, device.held);
                    device.look_at_modules(number);
                }
            }
            Cut::StepBegin(number) => {
                let high = |device: &DeviceTally| StepHigh {
                    allocated_bytes: device.allocated_bytes,
                    held: device.held,
                    recomputed_bytes: -device.recomputed_bytes,
                };
                self.open_steps.push((number, devices.iter().map(high).collect()));
            }
            Cut::StepEnd(number) => {
                let Some(at) = self.open_steps.iter().position(|(of, _)| *of == number) else { return };
                let (_, mut highs) = self.open_steps.swap_remove(at);
                highs.resize(devices.len(), StepHigh::default());
                for (high, device) in highs.iter_mut().zip(devices) {
                    high.recomputed_bytes += device.recomputed_bytes;
                }
                self.found.steps[number] = highs;
            }
        }
    }

    fn device(&mut self, device: i16) -> usize {
        let devices = &mut self.found.devices;
        devices.iter().position(|of| of.device == device).unwrap_or_else(|| {
            devices.push(DeviceTally {
                device,
                allocated_bytes: 0,
                held: CategoryTotal::default(),
                recomputed_bytes: 0,
                modules: vec![ModuleTally::default(); self.found.modules.len()],
                highest: None,
                phases: Vec::new(),
            });
            devices.len() - 1
        })
    }

    #[inline]
    fn module(&self, site: u32) -> usize {
        self.module_of_site.get(&site).copied().unwrap_or(0)
    }

    #[inline]
    fn add(&mut self, at: usize, block: &Block, blocks: i64) {
        let device = &self.found.devices[at];
        let label = self.labels.of(device.device, block);
        if !label.is(Category::Activation) {
            return;
        }
        let module = self.module(block.site);
        let bytes = blocks * block.size_bytes;
        let device = &mut self.found.devices[at];
        device.held.add(label, bytes, blocks);
        let module = &mut device.modules[module];
        module.bytes += bytes;
        module.blocks += blocks;
        if label.is_recomputed && blocks > 0 {
            device.recomputed_bytes += bytes;
            module.recomputed_bytes += bytes;
        }
    }

    /// A block that turns out to be of another site is of another module.
    fn annotate(&mut self, at: usize, before: &Block, after: &Block) {
        let label = self.labels.of(self.found.devices[at].device, after);
        if before.site == after.site || after.is_pending || !label.is(Category::Activation) {
            return;
        }
        for (site, blocks) in [(before.site, -1), (after.site, 1)] {
            let module = self.module(site);
            let module = &mut self.found.devices[at].modules[module];
            module.bytes += blocks * after.size_bytes;
            module.blocks += blocks;
        }
    }

    fn end_phase(&mut self, phase: &EndedPhase) {
        if !phase.is_complete || !self.window.contains(phase.end_nanos) {
            return;
        }
        if let Some((count, nanos)) = self.found.spans_of_modules.get_mut(&phase.name) {
            *count += 1;
            *nanos += phase.end_nanos - phase.begin_nanos;
        }
        let names = &mut self.found.phases;
        let number = names.iter().position(|name| *name == phase.name).unwrap_or_else(|| {
            names.push(phase.name.clone());
            names.len() - 1
        });
        for device in &mut self.found.devices {
            device.phases.resize(device.phases.len().max(number + 1), PhaseTally::default());
            let tally = &mut device.phases[number];
            tally.count += 1;
            tally.sum_bytes += i128::from(device.held.bytes);
            tally.max_bytes = tally.max_bytes.max(device.held.bytes);
        }
    }
}

impl DeviceTally {
    fn look_at_modules(&mut self, number: usize) {
        let is_highest = self.highest.is_none_or(|(bytes, _)| self.held.bytes > bytes);
        if is_highest {
            self.highest = Some((self.held.bytes, number));
        }
        for module in &mut self.modules {
            module.sum_bytes += i128::from(module.bytes);
            if is_highest {
                (module.highest_bytes, module.highest_blocks) = (module.bytes, module.blocks);
            }
        }
    }
}

impl Observer for Tally<'_> {
    #[inline]
    fn observe(&mut self, observed: &Observed<'_>) {
        let (event, device, block, blocks, replaced, annotated) = match observed {
            Observed::Event { event, device, block, allocated_delta_blocks, replaced, annotated, .. } => {
                (event, device, block, *allocated_delta_blocks, replaced, annotated)
            }
            Observed::Phase(phase) => return self.end_phase(phase),
            _ => return,
        };
        self.cut_until(event.seq);
        let at = self.device(device.device);
        if let Some(replaced) = replaced {
            self.add(at, replaced, -1);
        }
        if let (Some(block), true) = (block, blocks != 0) {
            self.add(at, block, blocks.signum());
        }
        if let Some((before, after)) = annotated {
            self.annotate(at, before, after);
        }
        let of = &mut self.found.devices[at];
        of.allocated_bytes = device.allocated_bytes;
        let held = of.held;
        for (_, highs) in &mut self.open_steps {
            if highs.len() <= at {
                highs.resize(at + 1, StepHigh::default());
            }
            let high = &mut highs[at];
            if device.allocated_bytes > high.allocated_bytes {
                (high.allocated_bytes, high.held) = (device.allocated_bytes, held);
            }
        }
    }
}
