//! `tidegauge export --to pytorch-snapshot`: a pickle as `torch.cuda.memory._dump_snapshot` writes one, for memory_viz.
//!
//! What was alive when the recording began is not in the trace of a snapshot, but in its segments or in a free without an
//! allocation; so it is here. A replay for the state at the end, then one for each device's entries: memory is bounded by
//! the live set and the sites.
//!
//! The host has no place of its own in a snapshot that every viewer shows: it becomes the device after the accelerators.
//! Sizes are requested ones throughout; how far the allocator had rounded them up is not known.

mod annotations;
mod changes;
mod end_state;
mod entries;
mod frames;
mod segments;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use tidegauge_schemas::metrics;

use crate::error::{Error, Result};
use crate::load::{Process, Rows};
use crate::replay::{Window, replay};

use super::pickle::PickleWriter;
use end_state::EndState;
use entries::Entries;
use frames::FrameLists;

/// What was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SnapshotWritten {
    /// Entries in the traces of all devices.
    pub entries: u64,
    /// What there is to say of it: where the host is found, what has no place in a snapshot.
    pub notes: Vec<String>,
}

/// Writes the snapshot of a process: what happened inside of `window`, and what is alive at its end, of the devices that
/// `shows` lets through. `path` is what errors call `out`.
///
/// # Errors
/// If the trace cannot be read, the file not be written, or there is no allocation to show.
pub fn write_snapshot(
    process: &Process,
    window: Window,
    shows: impl Fn(i16) -> bool,
    out: impl Write,
    path: &Path,
) -> Result<SnapshotWritten> {
    let mut end = EndState::new(process, window);
    let outcome = replay(process, window, &mut end)?;
    let end = end.finish()?;
    let devices: Vec<i16> = end.devices().filter(|device| shows(*device)).collect();
    if devices.is_empty() {
        return Err(Error::Nothing { what: "allocation events to show".to_owned(), path: path.to_owned() });
    }
    let numbers = device_numbers(&devices);
    let mut annotations = annotations::Annotations::new(window);
    replay(process, window, &mut annotations)?;

    let written = |source| Error::io("writing", path)(source);
    let mut pickle = PickleWriter::new(out).map_err(written)?;
    let mut frames = FrameLists::new(process)?;
    pickle.begin_dict();
    pickle.text("segments").map_err(written)?;
    segments::write(&end, &numbers, &mut frames, &mut pickle).map_err(written)?;
    pickle.text("device_traces").map_err(written)?;
    let mut traces = pickle.begin_list();
    let (mut entries, mut unknown_free) = (0, 0);
    let device_free = device_free(process)?;
    for number in 0..=numbers.values().copied().max().unwrap_or(0) {
        pickle.item(&mut traces).map_err(written)?;
        let device = numbers.iter().find(|(_, of)| **of == number).map(|(device, _)| *device);
        let Some(device) = device else {
            let empty = pickle.begin_list();
            pickle.end_list(empty);
            continue;
        };
        let mut of_device = Entries::new(process, device, window, &device_free, &mut pickle, &mut frames);
        replay(process, window, &mut of_device)?;
        let written = of_device.finish(path)?;
        entries += written.entries;
        unknown_free += written.unknown_free;
    }
    pickle.end_list(traces);
    pickle.text("allocator_settings").map_err(written)?;
    pickle.begin_dict();
    pickle.end_dict();
    pickle.text("external_annotations").map_err(written)?;
    annotations.write(process.has_times(), &mut pickle).map_err(written)?;
    pickle.end_dict();
    pickle.finish().map_err(written)?;
    let mut notes = notes(&end, &numbers);
    notes.extend(outcome.anomalies.warnings());
    let without_segments =
        outcome.devices.iter().filter(|device| !device.has_segments() && shows(device.device));
    notes.extend(without_segments.map(|device| {
        format!(
            "segments of {} were not recorded: those in the file are what is alive at its end, and its reserved curve says \
             nothing",
            crate::render::device_name(device.device)
        )
    }));
    if unknown_free > 0 {
        notes.push(format!(
            "what the device had free is not known for {unknown_free} `oom` entries: `device_free` is its memory less what \
             was reserved, or 0"
        ));
    }
    Ok(SnapshotWritten { entries, notes })
}

/// What devices had free, by device and time, where it was recorded: with a failed allocation it is told.
fn device_free(process: &Process) -> Result<BTreeMap<(i16, i64), i64>> {
    let mut free = BTreeMap::new();
    for row in Rows::new(process).node_samples() {
        let row = row?;
        if row.metric == metrics::GPU_FREE.name {
            free.insert((row.device, row.time_nanos), row.value as i64);
        }
    }
    Ok(free)
}

/// The number of each device in the file: accelerators keep theirs, the host comes after them.
fn device_numbers(devices: &[i16]) -> BTreeMap<i16, i64> {
    let after =
        devices.iter().copied().filter(|device| *device >= 0).max().map_or(0, |last| i64::from(last) + 1);
    devices.iter().map(|&device| (device, if device < 0 { after } else { i64::from(device) })).collect()
}

fn notes(end: &end_state::Ended, numbers: &BTreeMap<i16, i64>) -> Vec<String> {
    let mut notes = Vec::new();
    for (&device, &number) in numbers {
        if device < 0 {
            notes.push(format!("memory of the host is device {number} in the file"));
        }
        let Some(state) = end.device(device) else { continue };
        if state.anonymous_events > 0 {
            notes.push(format!(
                "{} events of device {device} have no address and are left out, since a snapshot knows blocks by theirs",
                state.anonymous_events
            ));
        }
        match state.rest_bytes {
            0 => {}
            rest_bytes @ 1.. => notes.push(format!(
                "{rest_bytes} bytes of device {device} that were there before, and are not known block by block, are one \
                 block in the file"
            )),
            rest_bytes => notes.push(format!(
                "the books of device {device} do not balance: {} bytes that a snapshot cannot show",
                rest_bytes.unsigned_abs()
            )),
        }
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_comes_after_the_accelerators() {
        assert_eq!(device_numbers(&[-1]), BTreeMap::from([(-1, 0)]));
        assert_eq!(device_numbers(&[-1, 0, 3]), BTreeMap::from([(-1, 4), (0, 0), (3, 3)]));
        assert_eq!(device_numbers(&[1]), BTreeMap::from([(1, 1)]));
    }
}
