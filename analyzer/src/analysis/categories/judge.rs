//! Says what a block is, once it is known when it was freed.

use rustc_hash::FxHashMap;
use tidegauge_schemas::Category;

use super::inference::{Inferred, infer};
use super::label::{Evidence, Kind, Label};
use super::phase_map::PhaseMap;
use super::rules::CategoryRules;
use crate::error::Result;
use crate::foreign::stack_class;
use crate::load::{EventRow, Process, SiteStacks};
use crate::replay::{Block, PhaseClass};

/// What phase the stacks of sites say that they are in.
fn classes(stacks: &SiteStacks) -> FxHashMap<u32, PhaseClass> {
    stacks.sites().filter_map(|site| Some((site, stack_class(&stacks.frames(site)?)?))).collect()
}

/// All that a category is told by, of one process.
#[derive(Debug)]
pub(super) struct BlockJudge {
    /// The phases that lives are held against.
    pub(super) phases: PhaseMap,
    rules_of_sites: FxHashMap<u32, u8>,
    classes_of_sites: FxHashMap<u32, PhaseClass>,
    /// Whether the program told of any block that it is a parameter: then what it told nothing of is none, a dataset for
    /// instance.
    has_told_parameters: bool,
}

impl BlockJudge {
    /// Reads phases and sites.
    ///
    /// # Errors
    /// If the trace cannot be read.
    pub(super) fn new(process: &Process, rules: &CategoryRules) -> Result<Self> {
        Ok(Self {
            phases: PhaseMap::read(process)?,
            rules_of_sites: rules.of_sites(process)?,
            classes_of_sites: classes(&SiteStacks::read(process)?),
            has_told_parameters: false,
        })
    }

    /// Takes in what an event says of a block; what is alive from before training until the end is judged at the end.
    #[inline]
    pub(super) fn hear(&mut self, event: &EventRow) {
        self.has_told_parameters |= event.category == Some(Category::Parameter);
    }

    /// What a block is that was freed at `died_seq`; `None` for one that is alive at the end.
    pub(super) fn label(&self, block: &Block, died_seq: Option<u64>) -> Label {
        if let Some(number) = self.rules_of_sites.get(&block.site) {
            return Label { kind: Kind::Custom(*number), evidence: Evidence::Rule, is_recomputed: false };
        }
        let born = self.phases.at(block.born_seq);
        let died = died_seq.map(|seq| self.phases.at(seq));
        let of_phases = || infer(&self.phases, born, died);
        if let Some(category) = block.category.filter(|category| *category != Category::Unknown) {
            let is_recomputed = category == Category::Activation && of_phases().is_recomputed;
            return Label { is_recomputed, ..Label::tagged(category) };
        }
        let Inferred { category, is_recomputed } = self.before_window(block).unwrap_or_else(of_phases);
        let is_no_parameter = category == Category::Parameter && self.has_told_parameters;
        let category = if is_no_parameter { Category::Unknown } else { category };
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
