//! What activations are looked at over: forwards and steps, known before the pass that looks.

use rustc_hash::FxHashSet;
use tidegauge_schemas::CheckpointKind;

use crate::analysis::categories::Forward;
use crate::replay::{EndedStep, Observed, Observer, Window};

/// Observes steps and changes of the configuration. Memory grows with their number.
#[derive(Debug)]
pub(super) struct Spans {
    window: Window,
    /// In order.
    pub(super) forwards: Vec<Forward>,
    /// In the order in which they began, once [`Self::sort`] was called.
    pub(super) steps: Vec<EndedStep>,
    /// `seq`, key and value of each `config` checkpoint.
    pub(super) config_changes: Vec<(u64, String, f64)>,
    begun: FxHashSet<u64>,
}

impl Spans {
    pub(super) fn new(forwards: Vec<Forward>, window: Window) -> Self {
        Self { window, forwards, steps: Vec::new(), config_changes: Vec::new(), begun: FxHashSet::default() }
    }

    /// Whether nothing is left out.
    pub(super) fn shows_all(&self) -> bool {
        self.window == Window::ALL
    }

    /// The forwards that begin in a step, by number.
    pub(super) fn forwards_in(&self, step: &EndedStep) -> std::ops::Range<usize> {
        let before = |seq: u64| self.forwards.partition_point(|forward| forward.begin_seq < seq);
        before(step.seqs.0)..before(step.seqs.1).max(before(step.seqs.0))
    }
}

impl Observer for Spans {
    fn observe(&mut self, observed: &Observed<'_>) {
        match observed {
            // Threads that share a beginning share a step.
            Observed::Step { step, .. }
                if self.window.contains(step.end_nanos) && self.begun.insert(step.seqs.0) =>
            {
                let at = self.steps.partition_point(|earlier| earlier.seqs.0 < step.seqs.0);
                let step = EndedStep { devices: Vec::new(), ..(*step).clone() };
                self.steps.insert(at, step);
            }
            Observed::Checkpoint { row, .. } if row.kind == Some(CheckpointKind::Config) => {
                if let (Some(name), Some(value)) = (&row.name, row.value) {
                    self.config_changes.push((row.seq, name.clone(), value));
                }
            }
            _ => {}
        }
    }
}
