//! Starting, stopping, asking and recovering, for C.

use std::ffi::{CStr, c_char};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::binding;
use crate::recorder::{Recorder, RecorderBuilder};
use crate::recover::recover;

use super::options::TidegaugeOptions;
use super::status::{Failure, TidegaugeStatus, asked, checked};
use super::text::{copy_out, path};

fn start(builder: Option<RecorderBuilder>) -> Result<TidegaugeStatus, Failure> {
    let Some(builder) = builder else { return Ok(TidegaugeStatus::Off) };
    binding::start(builder)?;
    Ok(TidegaugeStatus::Ok)
}

/// Starts recording into the trace folder `run`, with everything at its default. From here on the functions below record.
/// If the folder holds a trace already, RUN-2, RUN-3, … is taken: tidegauge_run_path says which.
///
/// Two threads of the recorder's own, with all signals blocked, run until tidegauge_stop.
///
/// Thread: any; recording is of the whole process. Forked child: may start a recorder of its own, whether its parent
/// records or not. Signal handler: no. Inside an allocator: no.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tidegauge_start(run: *const c_char) -> TidegaugeStatus {
    checked(|| {
        // SAFETY: the caller's promise that it ends with a NUL.
        let run = unsafe { path(run) }.ok_or_else(|| Failure::null("run"))?;
        start(Some(Recorder::builder(run)))
    })
}

/// Starts recording if the environment variable TIDEGAUGE names a folder; returns TIDEGAUGE_STATUS_OFF if it does not. So
/// a program can be shipped with recording in it, off until somebody asks for it: `TIDEGAUGE=runs/a ./train`.
///
/// Thread: any, while no other one changes the environment. Forked child: may start a recorder of its own. Signal
/// handler: no. Inside an allocator: no.
#[unsafe(no_mangle)]
pub extern "C" fn tidegauge_start_from_environment() -> TidegaugeStatus {
    checked(|| start(Recorder::from_environment()))
}

/// Starts recording as the options say; they stay the caller's. TIDEGAUGE_STATUS_OFF if they are of
/// tidegauge_options_from_environment and the environment names no folder.
///
/// Thread: any; recording is of the whole process. Forked child: may start a recorder of its own. Signal handler: no.
/// Inside an allocator: no.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tidegauge_start_with(options: *const TidegaugeOptions) -> TidegaugeStatus {
    checked(|| {
        // SAFETY: the caller's promise that it is NULL or an object that it has not given back.
        let options = unsafe { options.as_ref() }.ok_or_else(|| Failure::null("options"))?;
        start(options.builder.clone())
    })
}

/// Stops recording, seals everything and closes the trace. TIDEGAUGE_STATUS_OFF if nothing that was started here is on.
/// A program that ends without this call loses nothing: its trace reads as that of a killed one.
///
/// Calls of other threads that are under way are recorded; later ones are not. It waits until all is on the disk.
///
/// Thread: any. Forked child: TIDEGAUGE_STATUS_OFF unless it has started a recorder of its own; the parent's is left
/// alone. Signal handler: no. Inside an allocator: no.
#[unsafe(no_mangle)]
pub extern "C" fn tidegauge_stop() -> TidegaugeStatus {
    checked(|| {
        Ok(match binding::stop()? {
            Some(_) => TidegaugeStatus::Ok,
            None => TidegaugeStatus::Off,
        })
    })
}

/// Whether what this process does now is recorded. Not needed before a recording call, which asks itself.
///
/// Thread: any. Forked child: false unless it has started a recorder of its own. Signal handler: yes. Inside an
/// allocator: yes.
#[unsafe(no_mangle)]
pub extern "C" fn tidegauge_is_on() -> bool {
    binding::is_on()
}

/// The trace folder that this process records into or, after tidegauge_stop, has last recorded into: another than was
/// asked for if that held a trace.
///
/// Copies at most `length` bytes into `buffer`, the NUL included; a longer path is cut. Returns the bytes that the whole
/// path takes, the NUL included, or 0 if nothing has been recorded. With `length` 0, `buffer` may be NULL.
///
/// Thread: any; waits while another one starts. Forked child: 0 unless it has started a recorder of its own. Signal
/// handler: no. Inside an allocator: no.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tidegauge_run_path(buffer: *mut c_char, length: usize) -> usize {
    asked(0, || {
        let run = binding::run_path();
        // SAFETY: the caller's promise that the buffer has `length` bytes.
        run.map_or(0, |run| unsafe { copy_out(run.as_os_str().as_bytes(), buffer, length) })
    })
}

/// Records that were dropped so far because the disk was full or the journal at its cap; 0 when recording is off.
///
/// Thread: any; waits while another one starts. Forked child: 0 unless it has started a recorder of its own. Signal
/// handler: no. Inside an allocator: no.
#[unsafe(no_mangle)]
pub extern "C" fn tidegauge_dropped_records() -> u64 {
    asked(0, binding::dropped_records)
}

/// What tidegauge_recover did, over all processes of the trace.
#[repr(C)]
#[derive(Debug, Default)]
pub struct TidegaugeRecovered {
    /// Processes whose journal was sealed.
    pub processes: u64,
    /// Records that were sealed.
    pub records: u64,
    /// Records that had been begun and not finished when their process died.
    pub uncommitted_records: u64,
    /// Things that could not be trusted and were left out.
    pub damages: u64,
}

/// Seals what processes that were killed left in the trace folder `run`, for readers other than Tidegauge's own, which
/// need no recovery. It can be repeated. Fails with TIDEGAUGE_STATUS_STILL_RECORDING if a process of the trace, this one
/// included, still records.
///
/// `recovered` may be NULL; it is written to only when TIDEGAUGE_STATUS_OK is returned.
///
/// Thread: any. Forked child: may call it. Signal handler: no. Inside an allocator: no.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tidegauge_recover(
    run: *const c_char,
    recovered: *mut TidegaugeRecovered,
) -> TidegaugeStatus {
    checked(|| {
        // SAFETY: the caller's promise that it ends with a NUL.
        let run = unsafe { path(run) }.ok_or_else(|| Failure::null("run"))?;
        let sum = recover_all(&run)?;
        if !recovered.is_null() {
            // SAFETY: the caller's promise that there is room for one.
            unsafe { recovered.write(sum) };
        }
        Ok(TidegaugeStatus::Ok)
    })
}

fn recover_all(run: &Path) -> Result<TidegaugeRecovered, Failure> {
    let mut sum = TidegaugeRecovered::default();
    for process in recover(run)? {
        sum.processes += 1;
        sum.records += process.records;
        sum.uncommitted_records += process.uncommitted_records;
        sum.damages += process.damage.len() as u64;
    }
    Ok(sum)
}

const VERSION: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
    Ok(version) => version,
    Err(_) => c"",
};

/// The version of the library, such as "0.1.0"; never to be freed.
///
/// Thread: any. Forked child: may call it. Signal handler: yes. Inside an allocator: yes.
#[unsafe(no_mangle)]
pub extern "C" fn tidegauge_version() -> *const c_char {
    VERSION.as_ptr()
}
