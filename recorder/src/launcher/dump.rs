//! Asking recorders in the recorded command to write what they keep.

use std::path::Path;

use crate::run_folder::say;

/// Asks every recorder of the run `run` whose process lives to write what it keeps.
pub(crate) fn request(run: &Path) {
    if let Err(error) = crate::request_dump(run) {
        say(&format!("not every recorder could be asked to write what it keeps: {error}"));
    }
}
