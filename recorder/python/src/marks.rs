//! Marks, spans, steps, epochs, losses and counters: beginnings and ends as calls.

use pyo3::prelude::*;
use pyo3::types::PyString;
use tidegauge_recorder::binding::Name;
use tidegauge_recorder::{self as tg, binding};

use crate::text::with_text;

/// Marks a moment; it ends the phase that bears its name.
#[pyfunction]
pub(crate) fn checkpoint(name: &Bound<'_, PyString>) {
    with_text(name, tg::mark);
}

/// Begins a phase.
#[pyfunction]
pub(crate) fn span_begin(name: &Bound<'_, PyString>) {
    if binding::is_on() {
        with_text(name, Name::of_phase).begin();
    }
}

/// Ends the phase that this thread began last under that name.
#[pyfunction]
pub(crate) fn span_end(name: &Bound<'_, PyString>) {
    if binding::is_on() {
        with_text(name, Name::of_phase).end();
    }
}

/// Begins a training step.
#[pyfunction]
pub(crate) fn step_begin(number: i64) {
    binding::begin_step(number);
}

/// Ends a training step, with its loss and the samples in its batch where they are known.
#[pyfunction]
#[pyo3(signature = (number, loss = None, batch_size = None))]
pub(crate) fn step_end(number: i64, loss: Option<f64>, batch_size: Option<u64>) {
    binding::end_step(number, loss, batch_size);
}

/// Begins an epoch; one with a number that epochs cannot have is not recorded.
#[pyfunction]
pub(crate) fn epoch_begin(number: i64) {
    if let Ok(number) = u32::try_from(number) {
        binding::begin_epoch(number);
    }
}

/// Ends an epoch.
#[pyfunction]
pub(crate) fn epoch_end(number: i64) {
    if let Ok(number) = u32::try_from(number) {
        binding::end_epoch(number);
    }
}

/// A black-box optimizer evaluated the loss for the `number`-th time.
#[pyfunction]
pub(crate) fn loss_evaluation(number: i64, loss: f64) {
    tg::loss_evaluation(number, loss);
}

/// Records a number of the program's own, of a device where it is of one.
#[pyfunction]
#[pyo3(signature = (name, value, device = -1))]
pub(crate) fn counter(name: &Bound<'_, PyString>, value: f64, device: i16) {
    with_text(name, |name| binding::device_counter(name, device, value));
}
