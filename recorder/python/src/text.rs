//! Names from Python: file names among them may hold what is no Unicode, which must raise in no training loop.

use pyo3::prelude::*;
use pyo3::types::PyString;

/// Calls `with` with a name; what is no Unicode in it is replaced.
#[inline]
pub(crate) fn with_text<T>(name: &Bound<'_, PyString>, with: impl FnOnce(&str) -> T) -> T {
    match name.to_str() {
        Ok(text) => with(text),
        Err(_) => with(&name.to_string_lossy()),
    }
}
