//! A label for every block of a process: one pass, since what a block is depends on when it is freed.

use rustc_hash::FxHashMap;
use tidegauge_schemas::Category;
use tidegauge_schemas::layout::ProcessId;

use super::inference::{Inferred, infer};
use super::label::{Evidence, Kind, Label};
use super::phase_map::PhaseMap;
use super::rules::CategoryRules;
use crate::error::Result;
use crate::foreign::stack_class;
use crate::load::{Process, SiteStacks};
use crate::replay::{Block, Observed, Observer, Outcome, PhaseClass, Window, replay};

/// Labels of the blocks of one process. Four bytes for each block that there ever was.
#[derive(Debug, Clone)]
pub struct Labels {
    /// Whose they are.
    pub process: ProcessId,
    /// The phases that lives were held against.
    pub phases: PhaseMap,
    rules: CategoryRules,
    /// By device, then by [`Block::number`].
    devices: Vec<(i16, Vec<Label>)>,
}

impl Labels {
    /// That of a block.
    #[inline]
    #[must_use]
    pub fn of(&self, device: i16, block: &Block) -> Label {
        let of_device = self.devices.iter().find(|(of, _)| *of == device);
        let label = of_device.and_then(|(_, labels)| labels.get(usize::try_from(block.number).ok()?));
        label.copied().unwrap_or(Label::UNKNOWN)
    }

    /// The word for what a block is.
    #[must_use]
    pub fn name(&self, kind: Kind) -> &str {
        match kind {
            Kind::Category(category) => category.as_str(),
            Kind::Custom(number) => self.rules.name(number).unwrap_or(Category::Unknown.as_str()),
        }
    }

    /// All kinds that there can be, categories first.
    pub fn kinds(&self) -> impl Iterator<Item = Kind> + '_ {
        let custom = (0..=u8::MAX).take_while(|number| self.rules.name(*number).is_some());
        Category::ALL.iter().map(|category| Kind::Category(*category)).chain(custom.map(Kind::Custom))
    }
}

/// Labels the blocks of a process.
///
/// # Errors
/// If the trace cannot be read.
pub fn label_blocks(process: &Process, rules: &CategoryRules) -> Result<Labels> {
    let (labels, _) = label_blocks_with(process, rules, Window::ALL, &mut ())?;
    Ok(labels)
}

/// Labels the blocks of a process in a pass in which `observer` takes part.
///
/// # Errors
/// If the trace cannot be read.
pub(crate) fn label_blocks_with(
    process: &Process,
    rules: &CategoryRules,
    window: Window,
    observer: &mut impl Observer,
) -> Result<(Labels, Outcome)> {
    let mut labeller = Labeller::new(process, rules)?;
    let outcome = replay(process, window, &mut (&mut labeller, observer))?;
    Ok((labeller.finish(&outcome), outcome))
}

/// What phase the stacks of sites say that they are in.
fn classes(stacks: &SiteStacks) -> FxHashMap<u32, PhaseClass> {
    stacks.sites().filter_map(|site| Some((site, stack_class(&stacks.frames(site)?)?))).collect()
}

/// Observes a pass and labels its blocks.
#[derive(Debug)]
pub(crate) struct Labeller {
    labels: Labels,
    rules_of_sites: FxHashMap<u32, u8>,
    classes_of_sites: FxHashMap<u32, PhaseClass>,
}

impl Labeller {
    /// For a pass over a process.
    ///
    /// # Errors
    /// If the trace cannot be read.
    pub(crate) fn new(process: &Process, rules: &CategoryRules) -> Result<Self> {
        let classes_of_sites = match process.foreign() {
            Some(_) => classes(&SiteStacks::read(process)?),
            None => FxHashMap::default(),
        };
        Ok(Self {
            labels: Labels {
                process: process.id,
                phases: PhaseMap::read(process)?,
                rules: rules.clone(),
                devices: Vec::new(),
            },
            rules_of_sites: rules.of_sites(process)?,
            classes_of_sites,
        })
    }

    /// The labels, once the pass has come to its end.
    pub(crate) fn finish(mut self, outcome: &Outcome) -> Labels {
        for device in &outcome.devices {
            for (_, block) in device.blocks().filter(|(_, block)| !block.is_pending) {
                self.end(device.device, block, None);
            }
        }
        self.labels
    }

    fn end(&mut self, device: i16, block: &Block, died_seq: Option<u64>) {
        let label = self.label(block, died_seq);
        let at = match self.labels.devices.iter().position(|(of, _)| *of == device) {
            Some(at) => at,
            None => {
                self.labels.devices.push((device, Vec::new()));
                self.labels.devices.len() - 1
            }
        };
        let labels = &mut self.labels.devices[at].1;
        let Ok(number) = usize::try_from(block.number) else { return };
        if labels.len() <= number {
            labels.resize(number + 1, Label::UNKNOWN);
        }
        labels[number] = label;
    }

    fn label(&self, block: &Block, died_seq: Option<u64>) -> Label {
        if let Some(number) = self.rules_of_sites.get(&block.site) {
            return Label { kind: Kind::Custom(*number), evidence: Evidence::Rule, is_recomputed: false };
        }
        let born = self.labels.phases.at(block.born_seq);
        let died = died_seq.map(|seq| self.labels.phases.at(seq));
        let of_phases = || infer(&self.labels.phases, born, died);
        if let Some(category) = block.category.filter(|category| *category != Category::Unknown) {
            let is_recomputed = category == Category::Activation && of_phases().is_recomputed;
            return Label { is_recomputed, ..Label::tagged(category) };
        }
        let Inferred { category, is_recomputed } = self.before_window(block).unwrap_or_else(of_phases);
        let evidence = if category == Category::Unknown { Evidence::Unknown } else { Evidence::Inferred };
        Label { kind: Kind::Category(category), evidence, is_recomputed }
    }

    /// Of a block from before the recorded window, by its stack: the phase that it was allocated in is not known, but what
    /// allocated it is.
    fn before_window(&self, block: &Block) -> Option<Inferred> {
        let class = self.classes_of_sites.get(&block.site).filter(|_| block.is_from_start)?;
        Some(Inferred::from(match class {
            PhaseClass::Optimizer => Category::OptimizerState,
            PhaseClass::Backward => Category::Gradient,
            PhaseClass::Forward => Category::Activation,
            PhaseClass::Recompute => {
                return Some(Inferred { category: Category::Activation, is_recomputed: true });
            }
            _ => return None,
        }))
    }
}

impl Observer for Labeller {
    #[inline]
    fn observe(&mut self, observed: &Observed<'_>) {
        let Observed::Event { event, device, block, allocated_delta_blocks, replaced, .. } = observed else {
            return;
        };
        if let Some(replaced) = replaced {
            self.end(device.device, replaced, Some(event.seq));
        }
        if let (Some(block), -1) = (block, allocated_delta_blocks) {
            self.end(device.device, block, Some(event.seq));
        }
    }
}
