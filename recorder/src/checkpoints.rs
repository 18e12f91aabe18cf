//! The API of a training loop: spans, marks, steps, epochs, losses, counters, sites.
//!
//! Free functions, so that a library can be instrumented without handing a recorder through. When no recorder is on
//! each costs a load and a branch. None of them fails, blocks or panics.
//!
//! Guards end what they began. In C a beginning and its end are two calls (`c_api`); the functions between, which take
//! the recorder, serve both.

use std::marker::PhantomData;
use std::sync::atomic::Ordering;

use tidegauge_schemas::CheckpointKind;

use crate::active::{Active, Checkpoint, Here, active};
use crate::journal::Journal;

/// Guards end on the thread that they began on, since spans nest by thread.
type OnThisThread = PhantomData<*const ()>;

/// Marks a moment. It ends the phase that bears its name: `mark("forward")` after the forward pass.
#[inline]
pub fn mark(name: &str) {
    if let Some(active) = active() {
        active.checkpoint(Checkpoint::new(CheckpointKind::Mark, active.name(name)));
    }
}

/// Begins a phase that ends when the guard is dropped.
#[inline]
#[must_use = "the phase ends when the guard is dropped"]
pub fn span(name: &str) -> Span {
    Span { entered: active().map(|active| (active, begin_span(active, name))), thread: PhantomData }
}

/// Begins a phase; the id of its name, to end it by.
pub(crate) fn begin_span(active: &Active, name: &str) -> u32 {
    let name = active.name(name);
    active.checkpoint(Checkpoint::new(CheckpointKind::SpanBegin, name));
    name
}

/// Ends the phase that this thread began last under that name.
pub(crate) fn end_span(active: &Active, name: u32) {
    active.checkpoint(Checkpoint::new(CheckpointKind::SpanEnd, name));
}

/// A phase that is open.
#[derive(Debug)]
pub struct Span {
    entered: Option<(&'static Active, u32)>,
    thread: OnThisThread,
}

impl Drop for Span {
    fn drop(&mut self) {
        if let Some((active, name)) = self.entered {
            end_span(active, name);
        }
    }
}

/// Begins training step `number`, which ends when the guard is dropped.
#[inline]
#[must_use = "the step ends when the guard is dropped"]
pub fn step(number: i64) -> Step {
    let active = active();
    if let Some(active) = active {
        begin_step(active, number);
    }
    Step { active, number, loss: None, batch_size: None, thread: PhantomData }
}

/// Begins a step.
pub(crate) fn begin_step(active: &Active, number: i64) {
    active.journal.step.store(number, Ordering::Relaxed);
    active.checkpoint(Checkpoint::new(CheckpointKind::StepBegin, 0));
}

/// Ends a step, with what is known of it.
pub(crate) fn end_step(active: &Active, number: i64, loss: Option<f64>, batch_size: Option<u64>) {
    let end = Checkpoint::new(CheckpointKind::StepEnd, 0);
    active.checkpoint(Checkpoint { step: Some(number), value: loss, batch_size, ..end });
    Journal::clear(&active.journal.step);
}

/// A training step that is open.
#[derive(Debug)]
pub struct Step {
    active: Option<&'static Active>,
    number: i64,
    loss: Option<f64>,
    batch_size: Option<u64>,
    thread: OnThisThread,
}

impl Step {
    /// The step's loss, recorded at its end.
    pub fn set_loss(&mut self, loss: f64) {
        self.loss = Some(loss);
    }

    /// Samples in the step's batch, recorded at its end.
    pub fn set_batch_size(&mut self, samples: u64) {
        self.batch_size = Some(samples);
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if let Some(active) = self.active {
            end_step(active, self.number, self.loss, self.batch_size);
        }
    }
}

/// Begins epoch `number`, which ends when the guard is dropped.
#[inline]
#[must_use = "the epoch ends when the guard is dropped"]
pub fn epoch(number: u32) -> Epoch {
    let active = active();
    if let Some(active) = active {
        begin_epoch(active, number);
    }
    Epoch { active, number, thread: PhantomData }
}

/// Begins an epoch.
pub(crate) fn begin_epoch(active: &Active, number: u32) {
    active.journal.epoch.store(i64::from(number), Ordering::Relaxed);
    active.checkpoint(Checkpoint::new(CheckpointKind::EpochBegin, 0));
}

/// Ends an epoch.
pub(crate) fn end_epoch(active: &Active, number: u32) {
    let end = Checkpoint::new(CheckpointKind::EpochEnd, 0);
    active.checkpoint(Checkpoint { epoch: Some(number), ..end });
    Journal::clear(&active.journal.epoch);
}

/// An epoch that is open.
#[derive(Debug)]
pub struct Epoch {
    active: Option<&'static Active>,
    number: u32,
    thread: OnThisThread,
}

impl Drop for Epoch {
    fn drop(&mut self) {
        if let Some(active) = self.active {
            end_epoch(active, self.number);
        }
    }
}

/// A black-box optimizer evaluated the loss for the `number`-th time.
#[inline]
pub fn loss_evaluation(number: i64, loss: f64) {
    if let Some(active) = active() {
        let evaluation = Checkpoint::new(CheckpointKind::LossEvaluation, 0);
        active.checkpoint(Checkpoint { step: Some(number), value: Some(loss), ..evaluation });
    }
}

/// Records a number of the program's own; let the name end in its unit (`queue_bytes`, `lr`).
#[inline]
pub fn counter(name: &str, value: f64) {
    if let Some(active) = active() {
        active.counter(active.name(name), -1, value);
    }
}

/// Has allocations of this thread bear the site `name` (a module path, an operator) until the guard is dropped.
#[inline]
#[must_use = "the site is left when the guard is dropped"]
pub fn site(name: &str) -> Site {
    Site { entered: active().map(|active| (active, active.enter_site(name))), thread: PhantomData }
}

/// A site that this thread is at.
#[derive(Debug)]
pub struct Site {
    entered: Option<(&'static Active, Here)>,
    thread: OnThisThread,
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some((active, before)) = self.entered {
            active.leave_site(before);
        }
    }
}

/// Records an allocation of a block by hand: of a pool or an accelerator (`device` 0…) that
/// [`crate::RecordingAllocator`] does not see. Call it after the block was obtained.
#[inline]
pub fn alloc(device: i16, address: u64, size_bytes: u64) {
    if let Some(active) = active() {
        active.alloc(device, address, size_bytes);
    }
}

/// Records a free by hand. Call it before the block is given back, so that nobody can get its address earlier.
#[inline]
pub fn free(device: i16, address: u64) {
    if let Some(active) = active() {
        active.free(device, address);
    }
}
