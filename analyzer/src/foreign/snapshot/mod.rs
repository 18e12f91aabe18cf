//! PyTorch memory snapshots: `torch.cuda.memory._dump_snapshot`, 2.0 to 2.15.
//!
//! Pickle or a JSON copy → [`parts::Parts`], the entries, segments and annotations of the file in a few bytes each →
//! what was there before the first entry is reconstructed from the state at the end → the rows of a trace.

mod entries;
mod folder;
mod json;
mod keys;
mod opening;
mod parts;
mod rows;
mod site_names;
mod stack_phases;

use tidegauge_schemas::layout::ProcessId;

use self::parts::Parts;
use super::input::Input;
use super::pickle::PickleError;
use super::process::ForeignProcess;
use crate::error::Result;

/// What it is called in errors.
pub(super) const WHAT: &str = "PyTorch memory snapshot";

/// Reads a pickled snapshot.
///
/// # Errors
/// If it is damaged, hostile, or no snapshot.
pub(super) fn read_pickle(input: &mut Input, id: ProcessId) -> Result<Vec<ForeignProcess>> {
    let mut parts = Parts::new(ForeignProcess::new(id, "pytorch snapshot"));
    if let Err(error) = folder::read(input, &mut parts) {
        return Err(refusal(input, &error));
    }
    finish(parts, input)
}

/// Reads a snapshot that was written as JSON.
///
/// # Errors
/// If it is damaged or no snapshot.
pub(super) fn read_json(input: &mut Input, id: ProcessId) -> Result<Vec<ForeignProcess>> {
    let mut parts = Parts::new(ForeignProcess::new(id, "pytorch snapshot"));
    json::read(input, &mut parts)?;
    finish(parts, input)
}

fn refusal(input: &Input, error: &PickleError) -> crate::Error {
    input.error(WHAT, error.to_string())
}

fn finish(parts: Parts, input: &Input) -> Result<Vec<ForeignProcess>> {
    if let Some(reason) = parts.is_no_snapshot() {
        return Err(input.error(WHAT, reason));
    }
    Ok(vec![rows::into_process(parts)])
}
