//! Phases and sites whose names are looked up once.

use std::cell::RefCell;

use pyo3::prelude::*;
use pyo3::types::PyString;
use tidegauge_recorder::binding::{self, Before, Name};

use crate::text::with_text;

thread_local! {
    /// Where this thread was before each site that it entered by `with`, the innermost last.
    static ENTERED: RefCell<Vec<Before>> = const { RefCell::new(Vec::new()) };
}

/// A phase: `with span:` records its beginning and its end. Made once, it may be used again and again, nested in itself
/// and in any thread.
#[pyclass(frozen, module = "tidegauge")]
pub(crate) struct Span(Name);

#[pymethods]
impl Span {
    #[new]
    fn new(name: &Bound<'_, PyString>) -> Self {
        Self(with_text(name, Name::of_phase))
    }

    /// Its name.
    #[getter]
    fn name(&self) -> &str {
        self.0.text()
    }

    /// Begins the phase.
    fn begin(&self) {
        self.0.begin();
    }

    /// Ends the phase that this thread began last under this name.
    fn end(&self) {
        self.0.end();
    }

    fn __enter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf.0.begin();
        slf
    }

    fn __exit__(&self, _type: &Bound<'_, PyAny>, _value: &Bound<'_, PyAny>, _traceback: &Bound<'_, PyAny>) {
        self.0.end();
    }

    fn __repr__(&self) -> String {
        format!("Span({:?})", self.0.text())
    }
}

/// A place in the program: what this thread allocates in `with site:` bears its name. It is of the thread, not of a
/// coroutine: no `await` or `yield` belongs in the block.
#[pyclass(frozen, module = "tidegauge")]
pub(crate) struct Site(Name);

#[pymethods]
impl Site {
    #[new]
    fn new(name: &Bound<'_, PyString>) -> Self {
        Self(with_text(name, Name::of_site))
    }

    /// Its name.
    #[getter]
    fn name(&self) -> &str {
        self.0.text()
    }

    /// Puts this thread here; what `leave` takes to put it back.
    fn enter(&self) -> u64 {
        let before = self.0.enter();
        u64::from(before.recording) << 32 | u64::from(before.site)
    }

    /// Puts this thread back to where it was before an `enter`, of this or another site.
    #[staticmethod]
    fn leave(before: u64) {
        #[allow(clippy::cast_possible_truncation)]
        binding::leave(Before { recording: (before >> 32) as u32, site: before as u32 });
    }

    fn __enter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        let before = slf.0.enter();
        // A thread whose locals are gone already stays where it is.
        let _ = ENTERED.try_with(|entered| entered.borrow_mut().push(before));
        slf
    }

    fn __exit__(&self, _type: &Bound<'_, PyAny>, _value: &Bound<'_, PyAny>, _traceback: &Bound<'_, PyAny>) {
        let before = ENTERED.try_with(|entered| entered.borrow_mut().pop());
        before.ok().flatten().into_iter().for_each(binding::leave);
    }

    fn __repr__(&self) -> String {
        format!("Site({:?})", self.0.text())
    }
}
