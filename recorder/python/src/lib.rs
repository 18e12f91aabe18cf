//! `tidegauge._native`: the recorder for Python. A thin binding; what training loops call is in `python/tidegauge`.
//!
//! Nothing here raises but starting, stopping, recovering and arguments of a wrong type. While nothing is recorded, a call
//! costs a load and a branch beyond the call itself. The interpreter lock is given up where something waits for a disk,
//! and the recorder's own threads take it only to tell Python of an alert.

mod blocks;
mod error;
mod marks;
mod names;
mod recording;
mod text;

use pyo3::prelude::*;

/// The compiled part of the package `tidegauge`.
#[pymodule(name = "_native", gil_used = false)]
mod native {
    #[pymodule_export]
    use super::blocks::{alloc, annotate, baseline, free, functions, oom};
    #[pymodule_export]
    use super::error::Error;
    #[pymodule_export]
    use super::marks::{
        checkpoint, counter, epoch_begin, epoch_end, loss_evaluation, span_begin, span_end, step_begin,
        step_end,
    };
    #[pymodule_export]
    use super::names::{Site, Span};
    #[pymodule_export]
    use super::recording::{
        config, devices, dropped_records, dump, is_on, module, note, recover, rss_bytes, run_id, run_path,
        start, stop, versions,
    };

    use super::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
