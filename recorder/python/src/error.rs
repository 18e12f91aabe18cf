//! What Python is told when something cannot be started, stopped or recovered.

use std::fmt::Display;

use pyo3::exceptions::PyRuntimeError;
use pyo3::{PyErr, create_exception};

create_exception!(
    tidegauge,
    Error,
    PyRuntimeError,
    "Recording could not be started or stopped, or a trace not be recovered: says what was wrong, with which file."
);

/// The exception for an error of the recorder.
pub(crate) fn raised(error: impl Display) -> PyErr {
    Error::new_err(error.to_string())
}
