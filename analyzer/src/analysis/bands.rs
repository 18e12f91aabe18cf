//! Phases and steps as stretches of time, for drawing beside what is shown over time.

use crate::replay::{Observed, Observer, Window};

/// Steps and phases kept for drawing bands; a plot cannot show more.
const MAX_BANDS: usize = 4000;

/// A step, or a phase, as a stretch of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Band {
    /// Name of the phase or number of the step.
    pub name: String,
    /// When it began, nanoseconds since 1970.
    pub begin_nanos: i64,
    /// When it ended.
    pub end_nanos: i64,
}

/// Observes the phases and steps inside of a window.
#[derive(Debug)]
pub(super) struct BandWatch {
    window: Window,
    phases: Bands,
    steps: Bands,
}

/// Those of one kind, until there are too many.
#[derive(Debug, Default)]
struct Bands {
    bands: Vec<Band>,
    are_too_many: bool,
}

impl Bands {
    fn add(&mut self, name: String, begin_nanos: i64, end_nanos: i64) {
        if self.bands.len() < MAX_BANDS {
            self.bands.push(Band { name, begin_nanos, end_nanos });
        } else {
            self.are_too_many = true;
        }
    }

    fn finish(self, start_nanos: i64, end_nanos: i64) -> Vec<Band> {
        if self.are_too_many {
            return Vec::new();
        }
        let shown = |band: &Band| band.end_nanos >= start_nanos && band.begin_nanos <= end_nanos;
        self.bands.into_iter().filter(shown).collect()
    }
}

impl BandWatch {
    pub(super) fn new(window: Window) -> Self {
        Self { window, phases: Bands::default(), steps: Bands::default() }
    }

    /// Phases and steps between two moments; none of a kind of which there are too many to be told apart.
    pub(super) fn finish(self, start_nanos: i64, end_nanos: i64) -> (Vec<Band>, Vec<Band>) {
        (self.phases.finish(start_nanos, end_nanos), self.steps.finish(start_nanos, end_nanos))
    }
}

impl Observer for BandWatch {
    fn observe(&mut self, observed: &Observed<'_>) {
        match observed {
            Observed::Phase(phase) if self.window.overlaps(phase.begin_nanos, phase.end_nanos) => {
                self.phases.add(phase.name.clone(), phase.begin_nanos, phase.end_nanos);
            }
            Observed::Step { step, .. } if self.window.overlaps(step.begin_nanos, step.end_nanos) => {
                self.steps.add(step.step.to_string(), step.begin_nanos, step.end_nanos);
            }
            _ => {}
        }
    }
}
