//! The API of a training loop, for C: beginnings and ends are two calls.

use std::ffi::{c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::active::{Active, active};
use crate::checkpoints::{self, begin_epoch, begin_span, begin_step, end_epoch, end_span, end_step};
use crate::guard::is_own_work;

use super::text::with_name;

/// The device of host memory; accelerators are 0, 1, …
pub const TIDEGAUGE_HOST: i16 = -1;

/// Lets no panic out. A defect costs one record; the hook has said so on standard error.
#[inline(always)]
fn caught(call: impl FnOnce()) {
    let _ = catch_unwind(AssertUnwindSafe(call));
}

/// Records, if recording is on: a load and a branch if not.
#[inline(always)]
fn record(call: impl FnOnce(&'static Active)) {
    if let Some(active) = active() {
        record_on(active, call);
    }
}

/// Records; the program's `errno` is left as it was. Apart, so that a call saves no registers while recording is off.
#[inline(never)]
fn record_on(active: &'static Active, call: impl FnOnce(&'static Active)) {
    // SAFETY: the C library gives each thread a place for its number, which stays where it is.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: as above.
    let before = unsafe { errno.read() };
    caught(|| call(active));
    // SAFETY: as above.
    unsafe { errno.write(before) };
}

/// Marks a moment. It ends the phase that bears its name: tidegauge_mark("forward") after the forward pass, which began at
/// the mark, span or step boundary before. A `name` that is NULL is ignored.
///
/// Thread: any; the phases of a process are those of the thread that makes the steps. Forked child: records nothing.
/// Signal handler: no. Inside an allocator: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tidegauge_mark(name: *const c_char) {
    record(|_| {
        // SAFETY: the caller's promise that it is NULL or ends with a NUL.
        unsafe { with_name(name, checkpoints::mark) };
    });
}

/// Begins a phase, which tidegauge_span_end ends. Phases nest. A `name` that is NULL is ignored.
///
/// Thread: any; a phase is ended by the thread that began it. Forked child: records nothing. Signal handler: no. Inside
/// an allocator: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tidegauge_span_begin(name: *const c_char) {
    record(|active| {
        // SAFETY: the caller's promise that it is NULL or ends with a NUL.
        unsafe { with_name(name, |name| begin_span(active, name)) };
    });
}

/// Ends the phase that this thread began last under that name. An end without its beginning is told by the analyzer and
/// changes nothing else. A `name` that is NULL is ignored.
///
/// Thread: that which began the phase. Forked child: records nothing. Signal handler: no. Inside an allocator: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tidegauge_span_end(name: *const c_char) {
    record(|active| {
        // SAFETY: the caller's promise that it is NULL or ends with a NUL.
        unsafe { with_name(name, |name| end_span(active, active.name(name))) };
    });
}

/// Begins training step `number`, which tidegauge_step_end ends. What is recorded until then, by any thread, is of that
/// step.
///
/// Thread: any, but one only makes the steps of a process. Forked child: records nothing. Signal handler: no. Inside an
/// allocator: yes.
#[unsafe(no_mangle)]
pub extern "C" fn tidegauge_step_begin(number: i64) {
    record(|active| begin_step(active, number));
}

/// Ends training step `number`. `loss` points to its loss, `batch_size` to the samples in its batch; NULL where that is
/// not known. A loss may be infinite or not a number, as it is when training diverges.
///
/// Thread: that which began the step. Forked child: records nothing. Signal handler: no. Inside an allocator: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tidegauge_step_end(number: i64, loss: *const f64, batch_size: *const u64) {
    record(|active| {
        // SAFETY: the caller's promise that they are NULL or point to a number.
        let (loss, batch_size) = unsafe { (loss.as_ref().copied(), batch_size.as_ref().copied()) };
        end_step(active, number, loss, batch_size);
    });
}

/// Begins epoch `number`, which tidegauge_epoch_end ends.
///
/// Thread: any, but one only makes the epochs of a process. Forked child: records nothing. Signal handler: no. Inside an
/// allocator: yes.
#[unsafe(no_mangle)]
pub extern "C" fn tidegauge_epoch_begin(number: u32) {
    record(|active| begin_epoch(active, number));
}

/// Ends epoch `number`.
///
/// Thread: that which began the epoch. Forked child: records nothing. Signal handler: no. Inside an allocator: yes.
#[unsafe(no_mangle)]
pub extern "C" fn tidegauge_epoch_end(number: u32) {
    record(|active| end_epoch(active, number));
}

/// A black-box optimizer evaluated the loss for the `number`-th time.
///
/// Thread: any. Forked child: records nothing. Signal handler: no. Inside an allocator: yes.
#[unsafe(no_mangle)]
pub extern "C" fn tidegauge_loss_evaluation(number: i64, loss: f64) {
    record(|_| checkpoints::loss_evaluation(number, loss));
}

/// Records a number of the program's own. Let the name end in its unit: "queue_bytes", "wait_seconds". A `name` that is
/// NULL is ignored.
///
/// Thread: any. Forked child: records nothing. Signal handler: no. Inside an allocator: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tidegauge_counter(name: *const c_char, value: f64) {
    record(|_| {
        // SAFETY: the caller's promise that it is NULL or ends with a NUL.
        unsafe { with_name(name, |name| checkpoints::counter(name, value)) };
    });
}

/// Where a thread was before it entered a site: what tidegauge_site_leave takes. To be passed on as it is.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct TidegaugeSite {
    /// The recording that it is of; 0 none.
    pub recording: u32,
    /// The site; 0 none.
    pub site: u32,
}

/// Has the allocations that this thread records bear the site `name` (a module path, an operator) until it leaves it or
/// enters another. A `name` that is NULL is ignored.
///
/// Returns where the thread was before, for tidegauge_site_leave. Sites nest; one that is not left, because of a longjmp
/// or an early return, is left together with the site around it.
///
/// Thread: any; a thread that was not told of a site is at none. Forked child: records nothing. Signal handler: no.
/// Inside an allocator: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tidegauge_site_enter(name: *const c_char) -> TidegaugeSite {
    let mut before = TidegaugeSite { recording: 0, site: 0 };
    record(|active| {
        before = TidegaugeSite { recording: active.journal.generation, site: active.here().site };
        // SAFETY: the caller's promise that it is NULL or ends with a NUL.
        unsafe { with_name(name, |name| active.enter_site(name)) };
    });
    before
}

/// Puts this thread back to where it was before it entered a site: `before` is what tidegauge_site_enter returned. Nothing
/// happens if that was off, or of an earlier recording.
///
/// Thread: that which entered the site. Forked child: records nothing. Signal handler: no. Inside an allocator: yes.
#[unsafe(no_mangle)]
pub extern "C" fn tidegauge_site_leave(before: TidegaugeSite) {
    record(|active| {
        if before.recording == active.journal.generation {
            active.return_to_site(before.site);
        }
    });
}

/// Records that a block of `size_bytes` bytes was allocated at `address` on `device`: TIDEGAUGE_HOST, or an accelerator
/// 0, 1, … Call it after the block was obtained. NULL, which a failed malloc returns, is ignored.
///
/// ```c
/// void *block = malloc(bytes);
/// tidegauge_alloc(TIDEGAUGE_HOST, block, bytes);
/// ...
/// tidegauge_free(TIDEGAUGE_HOST, block);
/// free(block);
/// ```
///
/// A realloc is a tidegauge_free of the old block before it and a tidegauge_alloc after it: of the new block, or of the
/// old one again if it failed. A pool records the blocks that it hands out, not the memory that it cuts them from: no
/// address is alive twice.
///
/// Thread: any. Forked child: records nothing. Signal handler: no. Inside an allocator: yes, a malloc that the program
/// brings along included: it is neither called from here nor told of what the recorder itself allocates. That holds for a
/// program that is linked with the library; in one that was loaded by dlopen, the first call of a thread may allocate.
#[unsafe(no_mangle)]
pub extern "C" fn tidegauge_alloc(device: i16, address: *const c_void, size_bytes: usize) {
    if let Some(active) = active() {
        alloc_on(active, device, address, size_bytes);
    }
}

// The two calls that programs make most often hand over what they were given in registers, and the error number needs no
// care: nothing on their way goes through the C library. `extern "C"`, since nothing unwinds out of such a function:
// what calls it last jumps to it.

#[inline(never)]
extern "C" fn alloc_on(active: &'static Active, device: i16, address: *const c_void, size_bytes: usize) {
    caught(|| {
        if is_the_programs(address) {
            active.alloc(device, address.addr() as u64, size_bytes as u64);
        }
    });
}

#[inline(never)]
extern "C" fn free_on(active: &'static Active, device: i16, address: *const c_void) {
    caught(|| {
        if is_the_programs(address) {
            active.free(device, address.addr() as u64);
        }
    });
}

/// As tidegauge_alloc, with the site that this one block is of. A `site` that is NULL is the one that the thread is at.
///
/// Thread: any. Forked child: records nothing. Signal handler: no. Inside an allocator: yes, as tidegauge_alloc.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tidegauge_alloc_at(
    device: i16,
    address: *const c_void,
    size_bytes: usize,
    site: *const c_char,
) {
    record(|active| {
        if is_the_programs(address) {
            // SAFETY: the caller's promise that it is NULL or ends with a NUL.
            let before = unsafe { with_name(site, |site| active.enter_site(site)) };
            active.alloc(device, address.addr() as u64, size_bytes as u64);
            if let Some(before) = before {
                active.leave_site(before);
            }
        }
    });
}

/// Records that the block at `address` on `device` is freed. Call it before the block is given back, so that nobody can
/// get its address earlier. NULL is ignored, as free does. A block whose allocation was not recorded may be freed: it is
/// counted and changes nothing.
///
/// Thread: any, not only that which allocated the block. Forked child: records nothing. Signal handler: no. Inside an
/// allocator: yes, as tidegauge_alloc.
#[unsafe(no_mangle)]
pub extern "C" fn tidegauge_free(device: i16, address: *const c_void) {
    if let Some(active) = active() {
        free_on(active, device, address);
    }
}

/// Records what happened to a block, if there is one that is the program's.
pub(super) fn record_block(address: *const c_void, call: impl FnOnce()) {
    record(|_| {
        if is_the_programs(address) {
            call();
        }
    });
}

/// Whether there is a block, and it is not the recorder's own.
#[inline(always)]
fn is_the_programs(address: *const c_void) -> bool {
    !address.is_null() && !is_own_work()
}

/// Records that `device` could not give `requested_bytes`, and has what a ring keeps written, in the background.
///
/// Thread: any. Forked child: records nothing. Signal handler: no. Inside an allocator: yes.
#[unsafe(no_mangle)]
pub extern "C" fn tidegauge_oom(device: i16, requested_bytes: u64) {
    record(|_| crate::dump::oom(device, requested_bytes));
}

/// Has what a ring keeps written, and without a ring what is recorded so far, in the background.
///
/// Thread: any. Forked child: does nothing. Signal handler: yes. Inside an allocator: yes.
#[unsafe(no_mangle)]
pub extern "C" fn tidegauge_dump() {
    record(|_| crate::dump::dump());
}
