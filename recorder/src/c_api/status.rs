//! What functions of the C ABI that can fail return, and the words that go with it.

use std::any::Any;
use std::cell::RefCell;
use std::ffi::c_char;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::Error;
use crate::guard::OwnWork;

use super::text::copy_out;

/// What became of a call. Those below TIDEGAUGE_STATUS_NULL_ARGUMENT are no failures; for the others
/// tidegauge_last_error_message says what was wrong, with which file. More may be added: treat what you do not know as a
/// failure.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TidegaugeStatus {
    /// Done.
    Ok = 0,
    /// There is nothing to do: the environment names no run to start, or no recording is on that could be stopped.
    Off = 1,
    /// An argument is NULL that must not be.
    NullArgument = 10,
    /// An argument has a value that cannot be used, such as a config number that is not finite.
    InvalidArgument = 11,
    /// A recorder of this process is on already.
    AlreadyRecording = 12,
    /// The trace folder cannot be made or claimed.
    Folder = 13,
    /// The journal cannot be made.
    Journal = 14,
    /// A process of the trace still records.
    StillRecording = 15,
    /// Not all records could be sealed. They are kept in the journal; `tidegauge-record recover` seals them.
    NotSealed = 16,
    /// The trace cannot be read or written, or is none.
    Trace = 17,
    /// A defect of the recorder.
    Internal = 18,
}

/// A call that failed.
#[derive(Debug)]
pub(super) struct Failure {
    status: TidegaugeStatus,
    message: String,
}

impl Failure {
    pub(super) fn null(argument: &str) -> Self {
        Self { status: TidegaugeStatus::NullArgument, message: format!("{argument} is NULL") }
    }

    pub(super) fn invalid(message: &str) -> Self {
        Self { status: TidegaugeStatus::InvalidArgument, message: message.to_owned() }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let status = match &error {
            Error::AlreadyRecording => TidegaugeStatus::AlreadyRecording,
            // C has no callbacks.
            Error::StopFromCallback => TidegaugeStatus::Internal,
            Error::Folder { .. } => TidegaugeStatus::Folder,
            Error::Journal { .. } => TidegaugeStatus::Journal,
            Error::StillRecording { .. } => TidegaugeStatus::StillRecording,
            Error::NotSealed { .. } => TidegaugeStatus::NotSealed,
            Error::Trace(_) => TidegaugeStatus::Trace,
        };
        Self { status, message: error.to_string() }
    }
}

thread_local! {
    static LAST_ERROR: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Makes a call that can fail: keeps what it failed with, lets no panic out, and has none of its own work recorded.
pub(super) fn checked(call: impl FnOnce() -> Result<TidegaugeStatus, Failure>) -> TidegaugeStatus {
    let _own = OwnWork::begin();
    let failure = match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(status)) => return status,
        Ok(Err(failure)) => failure,
        Err(panic) => Failure {
            status: TidegaugeStatus::Internal,
            message: format!("defect of the recorder: {}", words(&*panic)),
        },
    };
    // At the end of a thread there is no place for it any more; the status is returned all the same.
    let _ = LAST_ERROR.try_with(|last| {
        if let Ok(mut last) = last.try_borrow_mut() {
            *last = failure.message;
        }
    });
    failure.status
}

/// Asks something that cannot fail but by a defect; `otherwise` is the answer then.
pub(super) fn asked<T>(otherwise: T, question: impl FnOnce() -> T) -> T {
    let _own = OwnWork::begin();
    catch_unwind(AssertUnwindSafe(question)).unwrap_or(otherwise)
}

fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked")
}

/// What was wrong in the last call of this thread that failed: one line of UTF-8, lower case, without a newline. It stays
/// until the next call of this thread that fails.
///
/// Copies at most `length` bytes into `buffer`, the NUL included; a longer message is cut. Returns the bytes that the
/// whole message takes, the NUL included, or 0 if no call of this thread has failed. With `length` 0, `buffer` may be
/// NULL.
///
/// Thread: any; each has a message of its own. Forked child: has the message of the thread that forked. Signal handler:
/// no. Inside an allocator: no.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tidegauge_last_error_message(buffer: *mut c_char, length: usize) -> usize {
    let copy = |message: &str| match message {
        "" => 0,
        // SAFETY: the caller's promise that the buffer has `length` bytes.
        message => unsafe { copy_out(message.as_bytes(), buffer, length) },
    };
    asked(0, || LAST_ERROR.try_with(|last| last.try_borrow().map_or(0, |last| copy(&last))).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> String {
        let mut buffer = [1; 64];
        // SAFETY: the buffer has so many bytes.
        let needed = unsafe { tidegauge_last_error_message(buffer.as_mut_ptr().cast(), buffer.len()) };
        let end = buffer.iter().position(|byte| *byte == 0);
        assert_eq!(needed.saturating_sub(1), end.unwrap_or(0));
        String::from_utf8(buffer[..end.unwrap_or(0)].to_vec()).unwrap()
    }

    #[test]
    fn a_failure_is_kept_for_its_thread_until_the_next() {
        assert_eq!(message(), "");
        assert_eq!(checked(|| Err(Failure::null("run"))), TidegaugeStatus::NullArgument);
        assert_eq!(checked(|| Ok(TidegaugeStatus::Ok)), TidegaugeStatus::Ok);
        assert_eq!(message(), "run is NULL");
        std::thread::spawn(|| assert_eq!(message(), "")).join().unwrap();
        assert_eq!(checked(|| Err(Error::AlreadyRecording.into())), TidegaugeStatus::AlreadyRecording);
        assert_eq!(message(), "recording is already on in this process; stop it first");
    }

    #[test]
    fn a_panic_becomes_a_status() {
        assert_eq!(checked(|| panic!("by {}", "accident")), TidegaugeStatus::Internal);
        assert_eq!(message(), "defect of the recorder: by accident");
        assert_eq!(asked(7, || panic!("and here")), 7);
    }
}
