//! Strings from C and back.

use std::ffi::{CStr, OsStr, c_char};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

/// The most bytes that are kept of a name that is not UTF-8. Such names are rare; those that are have the whole length
/// that a trace takes.
const MENDED_BYTES: usize = 1024;

/// Calls `with` with a name; what is not UTF-8 in it is replaced. `None` if it is NULL. Takes no memory, since it may be
/// called inside an allocator.
///
/// # Safety
/// `text` is NULL or ends with a NUL.
#[inline]
pub(super) unsafe fn with_name<T>(text: *const c_char, with: impl FnOnce(&str) -> T) -> Option<T> {
    if text.is_null() {
        return None;
    }
    // SAFETY: it is not NULL, and ends by the caller's promise.
    let text = unsafe { CStr::from_ptr(text) };
    Some(match text.to_str() {
        Ok(text) => with(text),
        Err(_) => with_mended(text.to_bytes(), with),
    })
}

/// Apart, so that other names do not pay for the space on the stack.
#[cold]
#[inline(never)]
fn with_mended<T>(text: &[u8], with: impl FnOnce(&str) -> T) -> T {
    with(Mended::new(text).as_str())
}

/// Text that was not UTF-8, on the stack.
struct Mended {
    bytes: [u8; MENDED_BYTES],
    length: usize,
}

impl Mended {
    fn new(bytes: &[u8]) -> Self {
        let mut mended = Self { bytes: [0; MENDED_BYTES], length: 0 };
        for chunk in bytes.utf8_chunks() {
            let replacement = if chunk.invalid().is_empty() { "" } else { "\u{FFFD}" };
            if !(mended.push(chunk.valid()) && mended.push(replacement)) {
                break;
            }
        }
        mended
    }

    /// Appends what fits; whether it did as a whole.
    fn push(&mut self, text: &str) -> bool {
        let fits = text.floor_char_boundary(MENDED_BYTES - self.length);
        for (to, from) in self.bytes[self.length..].iter_mut().zip(&text.as_bytes()[..fits]) {
            *to = *from;
        }
        self.length += fits;
        fits == text.len()
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.length]).unwrap_or_default()
    }
}

/// A text of its own; what is not UTF-8 in it is replaced. `None` if it is NULL.
///
/// # Safety
/// `text` is NULL or ends with a NUL.
pub(super) unsafe fn owned(text: *const c_char) -> Option<String> {
    // SAFETY: the caller's promise.
    let text = (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) });
    text.map(|text| text.to_string_lossy().into_owned())
}

/// A path, byte by byte. `None` if it is NULL.
///
/// # Safety
/// `text` is NULL or ends with a NUL.
pub(super) unsafe fn path(text: *const c_char) -> Option<PathBuf> {
    // SAFETY: the caller's promise.
    let text = (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) });
    text.map(|text| PathBuf::from(OsStr::from_bytes(text.to_bytes())))
}

/// Copies what fits of `bytes` into a buffer, with a NUL behind; the bytes that all of it takes, the NUL included. UTF-8
/// is cut between characters.
///
/// # Safety
/// `buffer` has `length` bytes, or is NULL: then nothing is copied.
pub(super) unsafe fn copy_out(bytes: &[u8], buffer: *mut c_char, length: usize) -> usize {
    if !buffer.is_null() && length > 0 {
        let mut fits = bytes.len().min(length - 1);
        // A byte 0b10…… continues a character. What is not UTF-8 has no such byte after three others of the kind.
        if fits < bytes.len() {
            let continues = |at: usize| bytes.get(at).is_some_and(|byte| byte & 0xC0 == 0x80);
            fits = (fits.saturating_sub(3)..=fits).rev().find(|at| !continues(*at)).unwrap_or(fits);
        }
        // SAFETY: the buffer has `length` bytes, more than `fits`, and is the caller's own, so it overlaps nothing.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), buffer.cast(), fits);
            buffer.add(fits).write(0);
        }
    }
    bytes.len() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &CStr) -> String {
        // SAFETY: a `CStr` ends with a NUL.
        unsafe { with_name(text.as_ptr(), str::to_owned) }.unwrap()
    }

    #[test]
    fn names_are_mended_as_rust_mends_text() {
        let many = std::ffi::CString::new([b"ab\xFF\xC3\xA4".as_slice(); 100].concat()).unwrap();
        for text in [c"forward", c"", c"\xC3\xA4", c"\xFF", c"a\xE2\x82", many.as_c_str()] {
            assert_eq!(name(text), text.to_string_lossy());
        }
        // SAFETY: NULL is allowed.
        assert_eq!(unsafe { with_name(std::ptr::null(), str::to_owned) }, None);
    }

    #[test]
    fn a_long_name_is_whole_unless_it_is_mended() {
        let long = std::ffi::CString::new("ä".repeat(5000)).unwrap();
        assert_eq!(name(&long), "ä".repeat(5000));
        let broken = std::ffi::CString::new([b"\xFF", "ä".repeat(5000).as_bytes()].concat()).unwrap();
        assert_eq!(name(&broken), format!("\u{FFFD}{}", "ä".repeat((MENDED_BYTES - 3) / 2)));
    }

    #[test]
    fn a_buffer_that_is_too_short_holds_whole_characters_and_a_nul() {
        for (length, expected) in [(0, None), (1, Some("")), (2, Some("a")), (3, Some("a")), (4, Some("aä"))]
        {
            let mut buffer = [1_u8; 8];
            // SAFETY: `length` is at most what the buffer has.
            let needed = unsafe { copy_out("aä€".as_bytes(), buffer.as_mut_ptr().cast(), length) };
            assert_eq!(needed, 7);
            let copied = CStr::from_bytes_until_nul(&buffer).ok().map(|text| text.to_str().unwrap());
            assert_eq!(copied, expected, "{length}");
            assert!(buffer[length..].iter().all(|byte| *byte == 1), "nothing beyond the end");
        }
        // SAFETY: NULL is allowed.
        assert_eq!(unsafe { copy_out(b"path", std::ptr::null_mut(), 0) }, 5);
    }
}
