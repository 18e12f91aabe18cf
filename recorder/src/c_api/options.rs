//! How to record, for C: an opaque object that is filled in and handed to the start.

use std::ffi::c_char;
use std::time::Duration;

use serde_json::{Number, Value};

use crate::recorder::{Recorder, RecorderBuilder};
use crate::run_folder::Existing;

use super::status::{Failure, TidegaugeStatus, asked, checked};
use super::text::{owned, path};

/// How to record: made by tidegauge_options_new or tidegauge_options_from_environment, filled in, used by
/// tidegauge_start_with as often as wanted, given back by tidegauge_options_free. One thread at a time may use an object.
#[derive(Debug)]
pub struct TidegaugeOptions {
    /// None if the environment was asked and names no run.
    pub(super) builder: Option<RecorderBuilder>,
}

/// Makes an object that the caller owns.
fn make(builder: impl FnOnce() -> Result<Option<RecorderBuilder>, Failure>) -> *mut TidegaugeOptions {
    let mut made = std::ptr::null_mut();
    checked(|| {
        made = Box::into_raw(Box::new(TidegaugeOptions { builder: builder()? }));
        Ok(TidegaugeStatus::Ok)
    });
    made
}

/// Changes an object.
///
/// # Safety
/// `options` is NULL or an object that was made here, not given back, and not used by another thread now.
unsafe fn change(
    options: *mut TidegaugeOptions,
    change: impl FnOnce(RecorderBuilder) -> Result<RecorderBuilder, Failure>,
) -> TidegaugeStatus {
    checked(|| {
        // SAFETY: the caller's promise.
        let options = unsafe { options.as_mut() }.ok_or_else(|| Failure::null("options"))?;
        // A clone, so that one which refuses a change is as it was.
        if let Some(builder) = &options.builder {
            options.builder = Some(change(builder.clone())?);
        }
        Ok(TidegaugeStatus::Ok)
    })
}

/// Adds to the configuration.
///
/// # Safety
/// As for [`change`]; `key` is NULL or ends with a NUL.
unsafe fn add_config(
    options: *mut TidegaugeOptions,
    key: *const c_char,
    value: impl FnOnce() -> Result<Value, Failure>,
) -> TidegaugeStatus {
    // SAFETY: the caller's promise.
    let add = |builder: RecorderBuilder| match unsafe { owned(key) } {
        Some(key) => Ok(builder.config(&key, value()?)),
        None => Err(Failure::null("key")),
    };
    // SAFETY: the caller's promise.
    unsafe { change(options, add) }
}

/// Options for recording into the trace folder `run`, with everything else at its default. Paths are taken byte by byte.
/// NULL if `run` is NULL; to be given back by tidegauge_options_free otherwise.
///
/// Thread: any. Forked child: may call it. Signal handler: no. Inside an allocator: no.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tidegauge_options_new(run: *const c_char) -> *mut TidegaugeOptions {
    // SAFETY: the caller's promise that it ends with a NUL.
    make(|| match unsafe { path(run) } {
        Some(run) => Ok(Some(Recorder::builder(run))),
        None => Err(Failure::null("run")),
    })
}

/// Options for recording into the folder that the environment variable TIDEGAUGE names. If it names none, what is set on
/// them has no effect and tidegauge_start_with returns TIDEGAUGE_STATUS_OFF: a program needs no branch of its own. To be
/// given back by tidegauge_options_free.
///
/// Thread: any, while no other one changes the environment. Forked child: may call it. Signal handler: no. Inside an
/// allocator: no.
#[unsafe(no_mangle)]
pub extern "C" fn tidegauge_options_from_environment() -> *mut TidegaugeOptions {
    make(|| Ok(Recorder::from_environment()))
}

/// Gives options back. NULL is ignored.
///
/// Thread: any, once. Forked child: may call it. Signal handler: no. Inside an allocator: no.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tidegauge_options_free(options: *mut TidegaugeOptions) {
    asked((), || {
        if !options.is_null() {
            // SAFETY: the caller's promise that it was made by `make` and is given back once.
            drop(unsafe { Box::from_raw(options) });
        }
    });
}

/// Adds a text to the run's configuration, which analyses and comparisons can refer to: a model's name, a precision.
/// What is not UTF-8 is replaced. A key that is there already gets the new value.
///
/// Thread: any, one at a time for an object. Forked child: may call it. Signal handler: no. Inside an allocator: no.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tidegauge_options_set_config_text(
    options: *mut TidegaugeOptions,
    key: *const c_char,
    value: *const c_char,
) -> TidegaugeStatus {
    // SAFETY: the caller's promises.
    unsafe {
        add_config(options, key, || owned(value).map(Value::String).ok_or_else(|| Failure::null("value")))
    }
}

/// Adds a whole number to the run's configuration: a batch size, a number of layers. A key that is there already gets
/// the new value.
///
/// Thread: any, one at a time for an object. Forked child: may call it. Signal handler: no. Inside an allocator: no.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tidegauge_options_set_config_integer(
    options: *mut TidegaugeOptions,
    key: *const c_char,
    value: i64,
) -> TidegaugeStatus {
    // SAFETY: the caller's promises.
    unsafe { add_config(options, key, || Ok(Value::from(value))) }
}

/// Adds a number to the run's configuration: a learning rate. One that is not finite is refused with
/// TIDEGAUGE_STATUS_INVALID_ARGUMENT. A key that is there already gets the new value.
///
/// Thread: any, one at a time for an object. Forked child: may call it. Signal handler: no. Inside an allocator: no.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tidegauge_options_set_config_number(
    options: *mut TidegaugeOptions,
    key: *const c_char,
    value: f64,
) -> TidegaugeStatus {
    let number = || {
        let number = Number::from_f64(value).map(Value::Number);
        number.ok_or_else(|| Failure::invalid("a config number must be finite"))
    };
    // SAFETY: the caller's promises.
    unsafe { add_config(options, key, number) }
}

/// How often the process's memory is sampled, in milliseconds: 100 by default, 1 at least.
///
/// Thread: any, one at a time for an object. Forked child: may call it. Signal handler: no. Inside an allocator: no.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tidegauge_options_set_interval_millis(
    options: *mut TidegaugeOptions,
    interval_millis: u64,
) -> TidegaugeStatus {
    // SAFETY: the caller's promise.
    unsafe { change(options, |builder| Ok(builder.interval(Duration::from_millis(interval_millis)))) }
}

/// The most bytes that the journal may have: 512 MiB by default. Beyond it records are dropped and counted.
///
/// Thread: any, one at a time for an object. Forked child: may call it. Signal handler: no. Inside an allocator: no.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tidegauge_options_set_journal_cap_bytes(
    options: *mut TidegaugeOptions,
    bytes: u64,
) -> TidegaugeStatus {
    // SAFETY: the caller's promise.
    unsafe { change(options, |builder| Ok(builder.journal_cap_bytes(bytes))) }
}

/// Whether each mark, span, step and epoch reads the process's memory, which takes about a microsecond: true by default.
///
/// Thread: any, one at a time for an object. Forked child: may call it. Signal handler: no. Inside an allocator: no.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tidegauge_options_set_counters_at_checkpoints(
    options: *mut TidegaugeOptions,
    read: bool,
) -> TidegaugeStatus {
    // SAFETY: the caller's promise.
    unsafe { change(options, |builder| Ok(builder.counters_at_checkpoints(read))) }
}

/// The process's rank in a distributed job. By default it is what torchrun, mpirun or Slurm say in the environment, or 0.
///
/// Thread: any, one at a time for an object. Forked child: may call it. Signal handler: no. Inside an allocator: no.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tidegauge_options_set_rank(
    options: *mut TidegaugeOptions,
    rank: u32,
) -> TidegaugeStatus {
    // SAFETY: the caller's promise.
    unsafe { change(options, |builder| Ok(builder.rank(rank))) }
}

/// What to do if the folder holds a trace already: false, the default, records into RUN-2, RUN-3, … beside it; true joins
/// that run as a further process.
///
/// Thread: any, one at a time for an object. Forked child: may call it. Signal handler: no. Inside an allocator: no.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tidegauge_options_set_join_existing(
    options: *mut TidegaugeOptions,
    join: bool,
) -> TidegaugeStatus {
    let existing = if join { Existing::Join } else { Existing::NewFolder };
    // SAFETY: the caller's promise.
    unsafe { change(options, |builder| Ok(builder.existing(existing))) }
}

/// Keeps only the newest `records` (at least; whole chunks of 32,768): a flight recorder. They are written when
/// tidegauge_oom or tidegauge_dump is called, at the end, and by the recovery after a crash. 0 is refused with
/// TIDEGAUGE_STATUS_INVALID_ARGUMENT.
///
/// Thread: any, one at a time for an object. Forked child: may call it. Signal handler: no. Inside an allocator: no.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tidegauge_options_set_ring(
    options: *mut TidegaugeOptions,
    records: u64,
) -> TidegaugeStatus {
    let set = |builder: RecorderBuilder| match records {
        0 => Err(Failure::invalid("a ring must keep at least one record")),
        records => Ok(builder.ring(records)),
    };
    // SAFETY: the caller's promise.
    unsafe { change(options, set) }
}

/// Keeps only the allocations of the first `first` steps of each epoch, and of steps whose number within the epoch
/// `every` divides (0: of no more). Both 0 are refused with TIDEGAUGE_STATUS_INVALID_ARGUMENT.
///
/// Thread: any, one at a time for an object. Forked child: may call it. Signal handler: no. Inside an allocator: no.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tidegauge_options_set_windows(
    options: *mut TidegaugeOptions,
    first: u64,
    every: u64,
) -> TidegaugeStatus {
    let set = |builder: RecorderBuilder| match (first, every) {
        (0, 0) => Err(Failure::invalid("windows must choose some steps")),
        (first, every) => Ok(builder.windows(first, every)),
    };
    // SAFETY: the caller's promise.
    unsafe { change(options, set) }
}
