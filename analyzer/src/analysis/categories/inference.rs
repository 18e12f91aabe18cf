//! What a block is by when it was allocated and freed: the rules where the framework told nothing.
//!
//! | allocated in | alive until | is |
//! |---|---|---|
//! | before the model is first called | the end, or after the last phase | parameter |
//! | | within an optimizer's step | optimizer_state |
//! | | within zero_grad | gradient |
//! | | otherwise during training | input |
//! | data | later than the phase | input |
//! | between two forwards | within the backward after them, which alone held it | activation |
//! | outside of phases otherwise | the next forward has begun | input |
//! | forward, or between it and backward | backward has begun, at the latest the next forward's end | activation |
//! | | before backward | temporary |
//! | | longer | unknown |
//! | recompute | later than the phase, at the latest the next forward's end | activation, recomputed |
//! | backward | within it | autograd_detail |
//! | | the optimizer or zero_grad has begun | gradient |
//! | optimizer | within it | temporary |
//! | | later than the next forward's begin | optimizer_state |
//!
//! Where the program told of parameters, what it told nothing of is none: then "parameter" reads "unknown".
//!
//! The trace's end is no free: what is alive there counts as alive for as long as it takes, so that a forward that ran out
//! of memory has activations.

use tidegauge_schemas::Category;

use super::phase_map::{PhaseMap, StretchId, Wanted};
use crate::replay::PhaseClass;

/// What is inferred of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inferred {
    /// What it is.
    pub category: Category,
    /// Whether it is an activation that a forward within backward made once more.
    pub is_recomputed: bool,
}

impl From<Category> for Inferred {
    fn from(category: Category) -> Self {
        Self { category, is_recomputed: false }
    }
}

/// What a block is that was allocated in `born` and freed in `died`; `None` for one that is alive at the end.
#[must_use]
pub fn infer(map: &PhaseMap, born: StretchId, died: Option<StretchId>) -> Inferred {
    if !map.has_phases() {
        return Category::Unknown.into();
    }
    let life = Life { map, born, died };
    match map.class(born) {
        PhaseClass::Forward => life.of_forward(born).into(),
        PhaseClass::Recompute => life.of_recompute(),
        PhaseClass::Backward => life.of_backward().into(),
        PhaseClass::Optimizer => life.of_optimizer().into(),
        PhaseClass::Data if life.ends_in_same_pass() => Category::Temporary.into(),
        PhaseClass::Data => Category::Input.into(),
        PhaseClass::Evaluation | PhaseClass::ZeroGrad if life.ends_in_same_pass() => {
            Category::Temporary.into()
        }
        PhaseClass::Evaluation | PhaseClass::ZeroGrad => Category::Unknown.into(),
        PhaseClass::Other => life.outside_of_phases().into(),
    }
}

struct Life<'a> {
    map: &'a PhaseMap,
    born: StretchId,
    died: Option<StretchId>,
}

impl Life<'_> {
    fn ends_in_same_pass(&self) -> bool {
        self.died.is_some_and(|died| self.map.is_same_pass(self.born, died))
    }

    /// Whether it is alive when a stretch begins.
    fn reaches(&self, stretch: StretchId) -> bool {
        self.died.is_none_or(|died| died >= stretch)
    }

    /// Whether it is freed, and at the latest in the pass of a stretch.
    fn is_freed_by(&self, stretch: StretchId) -> bool {
        self.died.is_some_and(|died| died <= self.map.end_of_pass(stretch))
    }

    /// Whether it is freed in the pass of a stretch.
    fn dies_in(&self, stretch: Option<StretchId>) -> bool {
        self.died.zip(stretch).is_some_and(|(died, stretch)| self.map.is_same_pass(died, stretch))
    }

    /// `forward` is the stretch that it belongs to, which it may have been allocated right after.
    fn of_forward(&self, forward: StretchId) -> Category {
        if self.ends_in_same_pass() {
            return Category::Temporary;
        }
        let end = self.map.end_of_pass(forward).max(self.born);
        let Some(backward) = self.map.next(end, Wanted::Backward) else {
            return self.of_last_forward(self.map.next(end, Wanted::Forward));
        };
        if !self.reaches(backward) {
            return Category::Temporary;
        }
        self.until_next_forward(backward)
    }

    /// Of a forward that no backward follows; `next` is the forward after it.
    fn of_last_forward(&self, next: Option<StretchId>) -> Category {
        match (self.died, next) {
            // Cut off by the end of the trace.
            (None, None) => Category::Activation,
            (None, Some(_)) => Category::Unknown,
            (Some(_), Some(next)) if !self.is_freed_by(next) => Category::Unknown,
            // A program that trains had no use for it; where nothing ever goes backward it is an output, or kept for a
            // backward that never came.
            (Some(_), _) if self.map.has_backward() => Category::Temporary,
            (Some(_), _) => Category::Activation,
        }
    }

    /// What is kept for `backward` and freed at the latest in the forward after it is an activation.
    fn until_next_forward(&self, backward: StretchId) -> Category {
        match self.map.next(self.map.end_of_pass(backward), Wanted::Forward) {
            None => Category::Activation,
            Some(next) if self.is_freed_by(next) => Category::Activation,
            Some(_) => Category::Unknown,
        }
    }

    fn of_recompute(&self) -> Inferred {
        let died_in_phase = self.died == Some(self.born);
        if died_in_phase {
            return Category::Temporary.into();
        }
        let category = self.until_next_forward(self.born);
        Inferred { category, is_recomputed: category == Category::Activation }
    }

    fn of_backward(&self) -> Category {
        if self.ends_in_same_pass() {
            return Category::AutogradDetail;
        }
        match self.map.next(self.map.end_of_pass(self.born), Wanted::GradientUse) {
            Some(optimizer) if self.reaches(optimizer) => Category::Gradient,
            None if self.died.is_none() => Category::Gradient,
            _ => Category::AutogradDetail,
        }
    }

    fn of_optimizer(&self) -> Category {
        if self.ends_in_same_pass() {
            return Category::Temporary;
        }
        match self.map.next(self.map.end_of_pass(self.born), Wanted::Forward) {
            Some(forward) if !self.reaches(forward) => Category::Temporary,
            _ => Category::OptimizerState,
        }
    }

    fn outside_of_phases(&self) -> Category {
        let map = self.map;
        let following = map.next(self.born, Wanted::Phase);
        let next_class = following.map(|next| map.class(next));
        let before = map.phase_before(self.born);
        let before_class = before.map(|before| map.class(before));
        if let (Some(forward), Some(PhaseClass::Forward), Some(PhaseClass::Backward)) =
            (before, before_class, next_class)
        {
            // The loss, computed outside of the phase that is called forward.
            return self.of_forward(forward);
        }
        let is_between_forwards =
            (before_class, next_class) == (Some(PhaseClass::Forward), Some(PhaseClass::Forward));
        if is_between_forwards && self.dies_in(map.next(self.born, Wanted::Backward)) {
            // A part of the loss, when the model is called several times for one backward. A batch that a variable holds
            // outlives backward.
            return Category::Activation;
        }
        if map.first_call().is_none_or(|first| self.born < first) {
            return self.before_training();
        }
        if self.ends_in_same_pass() {
            return Category::Temporary;
        }
        // A batch is there for the next forward, and was not made between backward and the update.
        let is_before_forward =
            (before_class, next_class) != (Some(PhaseClass::Backward), Some(PhaseClass::Optimizer));
        match map.next(self.born, Wanted::Forward) {
            Some(forward) if !self.reaches(forward) => Category::Temporary,
            Some(forward) if is_before_forward => {
                // What is kept over the next step as well is no batch.
                let later = map.next(map.end_of_pass(forward), Wanted::Backward);
                let later = later.and_then(|backward| map.next(map.end_of_pass(backward), Wanted::Forward));
                let is_freed = later.is_none_or(|later| self.is_freed_by(later));
                if is_freed { Category::Input } else { Category::Unknown }
            }
            _ => Category::Unknown,
        }
    }

    fn before_training(&self) -> Category {
        let map = self.map;
        let Some(first) = map.first_call().or_else(|| map.next(self.born, Wanted::Phase)) else {
            return Category::Unknown;
        };
        if !self.reaches(first) {
            return Category::Temporary;
        }
        let is_kept = match (self.died, map.last_phase()) {
            (None, _) => true,
            (Some(died), Some(last)) => died > last,
            (Some(_), None) => false,
        };
        match map.first_call() {
            Some(_) if is_kept => Category::Parameter,
            // State that an optimizer makes anew in each step, and gradients, from before the recorded window.
            Some(_) => match self.died.map(|died| map.class(died)) {
                Some(PhaseClass::Optimizer) => Category::OptimizerState,
                Some(PhaseClass::ZeroGrad) => Category::Gradient,
                _ => Category::Input,
            },
            // No module was called: a model of functions, seen by its backward alone.
            None if map.class(first) == PhaseClass::Backward && !is_kept => Category::Activation,
            None if is_kept => Category::Parameter,
            None => Category::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::EndedPhase;

    /// Phases of ten numbers each, with ten between them: the first one from 10 to 20, the second one from 30 to 40.
    fn map(names: &[&str]) -> PhaseMap {
        let phase = |(at, name): (usize, &&str)| EndedPhase {
            name: (*name).to_owned(),
            step: None,
            thread: 1,
            begin_nanos: 0,
            end_nanos: 0,
            seqs: (at as u64 * 20 + 10, at as u64 * 20 + 20),
            devices: Vec::new(),
            is_complete: true,
        };
        PhaseMap::new(names.iter().enumerate().map(phase).collect())
    }

    fn category(map: &PhaseMap, born: u64, died: u64) -> Category {
        infer(map, map.at(born), Some(map.at(died))).category
    }

    #[test]
    fn a_loss_between_two_forwards_is_an_activation_and_a_batch_there_is_none() {
        let two = ["forward", "forward", "backward", "optimizer"];
        let map = map(&[two, two].concat());
        assert_eq!(category(&map, 25, 55), Category::Activation, "held by the graph alone");
        assert_eq!(category(&map, 25, 65), Category::Input, "held by a variable");
        assert_eq!(category(&map, 25, 35), Category::Input, "the forward's own");
        assert_eq!(category(&map, 25, 27), Category::Temporary);
        assert_eq!(
            category(&map, 5, 55),
            Category::Input,
            "from before training, though the graph held it alone"
        );
        assert_eq!(category(&map, 85, 135), Category::Input, "before the first forward of a step");
    }

    #[test]
    fn forwards_that_one_backward_follows_are_one() {
        let map =
            map(&["forward", "loss", "zero_grad", "backward", "data", "forward", "optimizer", "forward"]);
        let forwards: Vec<_> = map
            .forwards()
            .iter()
            .map(|forward| (forward.begin_seq, forward.phase_end_seq, forward.end_seq))
            .collect();
        assert_eq!(forwards, [(10, 40, 70), (110, 120, 120), (150, 160, 160)]);
    }
}
