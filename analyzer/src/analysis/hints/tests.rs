//! Each hint where it should be and where it should not, from loops written down.

use tidegauge_schemas::layout::ProcessId;
use tidegauge_schemas::{Category, CheckpointKind, EventKind};

use super::Hint;
use crate::analysis::{Summary, summary};
use crate::foreign::{ForeignEvent, ForeignProcess, Frame};
use crate::load::{CheckpointRow, Source};
use crate::replay::Window;

const MIB: i64 = 1 << 20;

/// A training loop as rows.
struct Loop {
    process: ForeignProcess,
    now_nanos: i64,
    next_address: u64,
}

impl Loop {
    fn new() -> Self {
        let process = ForeignProcess::new(ProcessId { rank: 0, process: 0 }, "test");
        Self { process, now_nanos: 0, next_address: 1 }
    }

    fn event(
        &mut self,
        kind: EventKind,
        address: u64,
        mib: Option<i64>,
        site: &str,
        category: Option<Category>,
    ) {
        self.now_nanos += 1000;
        let sites = &mut self.process.sites;
        let frame = sites.frame_id(Frame::operator(site));
        let site = sites.site_id(&[frame], |_| site.to_owned());
        self.process.push_event(&ForeignEvent {
            time_nanos: self.now_nanos,
            kind: Some(kind),
            device: 0,
            address: Some(address),
            size_bytes: mib.map(|mib| mib * MIB),
            site,
            category,
            ..ForeignEvent::default()
        });
    }

    fn alloc(&mut self, site: &str, mib: i64) -> u64 {
        self.next_address += 1;
        self.event(EventKind::Alloc, self.next_address, Some(mib), site, None);
        self.next_address
    }

    fn free(&mut self, address: u64) {
        self.event(EventKind::Free, address, None, "free", None);
    }

    fn span(&mut self, name: &str, inside: impl FnOnce(&mut Self)) {
        let row = |kind, time_nanos| CheckpointRow {
            seq: 0,
            time_nanos,
            kind: Some(kind),
            name: Some(name.to_owned()),
            step: None,
            epoch: None,
            thread: 1,
            value: None,
            batch_size: None,
        };
        self.now_nanos += 1000;
        self.process.push_checkpoint(row(CheckpointKind::SpanBegin, self.now_nanos));
        inside(self);
        self.now_nanos += 1000;
        self.process.push_checkpoint(row(CheckpointKind::SpanEnd, self.now_nanos));
    }

    fn hints(self) -> Vec<Hint> {
        let source = Source::of_recordings("test".as_ref(), vec![self.process]);
        let summary: Summary = summary(&source, |_| Ok(Window::ALL), |_| true).unwrap();
        summary.hints.into_iter().map(|of| of.hint).collect()
    }
}

/// Three steps of a model of four layers; `kept` blocks of each step's forward are never freed.
fn training(kept: i64, steps: usize) -> Loop {
    let mut of = Loop::new();
    of.alloc("model", 10);
    for _ in 0..steps {
        let mut held = Vec::new();
        of.span("forward", |of| {
            for layer in 0..4 {
                held.push(of.alloc(&format!("model.layers.{layer}.mlp"), 20));
            }
            if kept > 0 {
                of.alloc("loss", kept);
            }
        });
        of.span("backward", |of| held.into_iter().rev().for_each(|address| of.free(address)));
        of.span("optimizer", |_| {});
    }
    of
}

#[test]
fn layers_in_a_row_are_worth_checkpointing() {
    let hints = training(0, 3).hints();
    let checkpoint = hints.iter().find_map(|hint| match hint {
        Hint::Checkpoint { modules, count, held_bytes, largest_bytes, peak_bytes, forward_nanos, .. } => {
            Some((modules.as_str(), *count, *held_bytes, *largest_bytes, *peak_bytes, *forward_nanos))
        }
        _ => None,
    });
    assert_eq!(
        checkpoint,
        Some(("model.layers.*", 4, 80 * MIB, 20 * MIB, 90 * MIB, Some(3000))),
        "{hints:?}"
    );
    let batch = hints.iter().find_map(|hint| match hint {
        Hint::SmallerBatch { scaling_bytes, peak_bytes, .. } => Some((*scaling_bytes, *peak_bytes)),
        _ => None,
    });
    assert_eq!(batch, Some((80 * MIB, 90 * MIB)));
    assert!(!hints.iter().any(|hint| matches!(hint, Hint::KeptGraph { .. })), "{hints:?}");
}

#[test]
fn losses_that_are_kept_are_told() {
    let kept = |hints: Vec<Hint>| {
        hints.into_iter().find_map(|hint| match hint {
            Hint::KeptGraph { bytes, forwards, .. } => Some((bytes, forwards)),
            _ => None,
        })
    };
    // The peak is in the ninth forward, whose own may be used yet.
    assert_eq!(kept(training(1, 9).hints()), Some((8 * MIB, 8)));
    assert_eq!(kept(training(1, 3).hints()), None, "too few to tell it from a workspace");
}
