//! Phases and steps that the stacks of allocations tell, for a snapshot whose program annotated none.
//!
//! A phase goes from the first allocation that is of it to the first of another. One whose stack says nothing is of the
//! phase that it comes in, but after a forward, where it is the loss's and belongs to forward as well. A step begins with
//! the forward after an optimizer's step; where the snapshot has no optimizer, with the forward after a backward.

use tidegauge_schemas::{CheckpointKind, EventKind};

use super::entries::Entries;
use super::parts::{Annotation, Entry};
use crate::foreign::phase_names::{PhaseMark, phase};
use crate::foreign::process::ForeignProcess;
use crate::foreign::sites::Sites;
use crate::foreign::stack_class;
use crate::replay::PhaseClass;

/// Follows the allocations of a snapshot and tells of phases.
#[derive(Debug)]
pub(super) struct StackPhases {
    /// By site, from 1 on; empty where phases are not to be told.
    classes: Vec<Option<PhaseClass>>,
    /// Whether the program annotated its optimizer's steps, which then are no phases of ours.
    has_optimizer_marks: bool,
    tells_steps: bool,
    /// What a step must have come to before the next may begin.
    last_of_step: PhaseClass,
    step: i64,
    /// Whether the present step has come to its last phase.
    is_step_done: bool,
    has_step: bool,
    open: Option<PhaseClass>,
    /// Whether a recomputation is open within it.
    recomputes: bool,
}

impl StackPhases {
    /// For entries whose sites are known; `annotations` are those of the program.
    pub(super) fn new(sites: &Sites, entries: &Entries, annotations: &[Annotation]) -> Self {
        let marks: Vec<PhaseMark> = annotations.iter().filter_map(|each| phase(&each.name)).collect();
        let has_mark = |wanted: PhaseClass| {
            let is_it = |mark: &PhaseMark| matches!(mark, PhaseMark::Span(name) if PhaseClass::of(name) == Some(wanted));
            marks.iter().any(is_it)
        };
        let is_told = has_mark(PhaseClass::Forward) || has_mark(PhaseClass::Backward);
        let class_of = |(_, site): (u32, &crate::foreign::Site)| {
            stack_class(site.stack.iter().map(|id| sites.frame(*id)))
        };
        let classes: Vec<Option<PhaseClass>> =
            if is_told { Vec::new() } else { sites.iter().map(class_of).collect() };
        let has_optimizer_marks = has_mark(PhaseClass::Optimizer);
        let is_allocated_in = |wanted: PhaseClass| {
            let is_it = |entry: &Entry| {
                entry.kind() == Some(EventKind::Alloc) && class(&classes, entry.site) == Some(wanted)
            };
            entries.iter().any(is_it)
        };
        let has_optimizer = has_optimizer_marks || is_allocated_in(PhaseClass::Optimizer);
        Self {
            has_optimizer_marks,
            tells_steps: !marks.iter().any(|mark| matches!(mark, PhaseMark::Step(_)))
                && is_allocated_in(PhaseClass::Backward),
            last_of_step: if has_optimizer { PhaseClass::Optimizer } else { PhaseClass::Backward },
            step: 0,
            is_step_done: false,
            has_step: false,
            open: None,
            recomputes: false,
            classes,
        }
    }

    /// Whether stacks tell anything.
    pub(super) fn tells(&self) -> bool {
        self.classes.iter().any(Option::is_some)
    }

    /// An entry is about to be told.
    pub(super) fn before(&mut self, process: &mut ForeignProcess, entry: &Entry, time_nanos: i64) {
        if self.classes.is_empty() || entry.kind() != Some(EventKind::Alloc) {
            return;
        }
        let class = class(&self.classes, entry.site);
        // What is recomputed has stacks that say so: an allocation whose stack says nothing is backward's own.
        let is_recomputation = class == Some(PhaseClass::Recompute);
        if is_recomputation && self.open.is_none() {
            process.push_boundary(CheckpointKind::SpanBegin, name(PhaseClass::Backward), None, time_nanos);
            self.open = Some(PhaseClass::Backward);
        }
        if is_recomputation != self.recomputes {
            let kind = if is_recomputation { CheckpointKind::SpanBegin } else { CheckpointKind::SpanEnd };
            process.push_boundary(kind, name(PhaseClass::Recompute), None, time_nanos);
            self.recomputes = is_recomputation;
        }
        let Some(class) = class.filter(|_| !is_recomputation) else { return };
        if self.open == Some(class) {
            return;
        }
        self.end_phase(process, time_nanos);
        let is_optimizer = class == PhaseClass::Optimizer;
        if class == PhaseClass::Forward && self.tells_steps && (self.is_step_done || !self.has_step) {
            self.end_step(process, time_nanos);
            process.push_boundary(CheckpointKind::StepBegin, None, Some(self.step), time_nanos);
            self.has_step = true;
        }
        self.is_step_done |= class == self.last_of_step;
        if !(is_optimizer && self.has_optimizer_marks) {
            process.push_boundary(CheckpointKind::SpanBegin, name(class), None, time_nanos);
            self.open = Some(class);
        }
    }

    /// An annotation of the program is about to be told: what it marks lies in no phase of ours.
    pub(super) fn before_annotation(&mut self, process: &mut ForeignProcess, annotation: &Annotation) {
        if let (Some(PhaseMark::Span(name)), true) = (phase(&annotation.name), annotation.is_start)
            && let Some(class) = PhaseClass::of(&name)
        {
            self.end_phase(process, annotation.time_nanos);
            self.is_step_done |= class == self.last_of_step;
        }
    }

    /// All entries have been told.
    pub(super) fn finish(&mut self, process: &mut ForeignProcess, time_nanos: i64) {
        self.end_phase(process, time_nanos);
        self.end_step(process, time_nanos);
    }

    fn end_phase(&mut self, process: &mut ForeignProcess, time_nanos: i64) {
        if std::mem::take(&mut self.recomputes) {
            process.push_boundary(CheckpointKind::SpanEnd, name(PhaseClass::Recompute), None, time_nanos);
        }
        if let Some(class) = self.open.take() {
            process.push_boundary(CheckpointKind::SpanEnd, name(class), None, time_nanos);
        }
    }

    fn end_step(&mut self, process: &mut ForeignProcess, time_nanos: i64) {
        if std::mem::take(&mut self.has_step) {
            process.push_boundary(CheckpointKind::StepEnd, None, Some(self.step), time_nanos);
            self.step += 1;
            self.is_step_done = false;
        }
    }
}

fn class(classes: &[Option<PhaseClass>], site: u32) -> Option<PhaseClass> {
    *classes.get((site as usize).checked_sub(1)?)?
}

fn name(class: PhaseClass) -> Option<String> {
    let name = match class {
        PhaseClass::Data => "data",
        PhaseClass::Forward => "forward",
        PhaseClass::Recompute => "recompute",
        PhaseClass::Backward => "backward",
        PhaseClass::Optimizer => "optimizer",
        PhaseClass::ZeroGrad => "zero_grad",
        PhaseClass::Evaluation => "eval",
        PhaseClass::Other => return None,
    };
    Some(name.to_owned())
}
