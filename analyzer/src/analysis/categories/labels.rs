//! A label for every block of a process: one pass, since what a block is depends on when it is freed.

use tidegauge_schemas::Category;
use tidegauge_schemas::layout::ProcessId;

use super::judge::BlockJudge;
use super::label::{Kind, Label};
use super::phase_map::PhaseMap;
use super::rules::CategoryRules;
use crate::error::Result;
use crate::load::Process;
use crate::replay::{Block, Observed, Observer, Outcome, Window, replay};

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

/// Observes a pass and labels its blocks.
#[derive(Debug)]
struct Labeller {
    judge: BlockJudge,
    labels: Labels,
}

impl Labeller {
    /// For a pass over a process.
    ///
    /// # Errors
    /// If the trace cannot be read.
    fn new(process: &Process, rules: &CategoryRules) -> Result<Self> {
        let judge = BlockJudge::new(process, rules)?;
        let labels = Labels {
            process: process.id,
            phases: judge.phases.clone(),
            rules: rules.clone(),
            devices: Vec::new(),
        };
        Ok(Self { judge, labels })
    }

    /// The labels, once the pass has come to its end.
    fn finish(mut self, outcome: &Outcome) -> Labels {
        for device in &outcome.devices {
            for (_, block) in device.blocks().filter(|(_, block)| !block.is_pending) {
                self.end(device.device, block, None);
            }
        }
        self.labels
    }

    fn end(&mut self, device: i16, block: &Block, died_seq: Option<u64>) {
        let label = self.judge.label(block, died_seq);
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
}

impl Observer for Labeller {
    #[inline]
    fn observe(&mut self, observed: &Observed<'_>) {
        let Observed::Event { event, device, block, allocated_delta_blocks, replaced, .. } = observed else {
            return;
        };
        self.judge.hear(event);
        if let Some(replaced) = replaced {
            self.end(device.device, replaced, Some(event.seq));
        }
        if let (Some(block), -1) = (block, allocated_delta_blocks) {
            self.end(device.device, block, Some(event.seq));
        }
    }
}
