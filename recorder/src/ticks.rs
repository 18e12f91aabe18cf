//! Time stamps: the cycle counter where the kernel itself keeps time by it, else the monotonic clock.

use rustix::time::{ClockId, clock_gettime};
use tidegauge_schemas::journal::{Anchor, ClockSource};

/// The best source on this machine.
pub(crate) fn source() -> ClockSource {
    // The kernel takes the TSC as its clock only after it has found it constant and in step on all cores.
    let path = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    let is_tsc = std::fs::read_to_string(path).is_ok_and(|name| name.trim() == "tsc");
    if cfg!(target_arch = "x86_64") && is_tsc { ClockSource::Tsc } else { ClockSource::Monotonic }
}

/// Ticks now.
pub(crate) fn now(source: ClockSource) -> u64 {
    cycles(source).unwrap_or_else(|| nanos(ClockId::Monotonic).cast_unsigned())
}

/// Ticks now, if they are of the cycle counter.
#[inline(always)]
pub(crate) fn cycles(source: ClockSource) -> Option<u64> {
    #[cfg(target_arch = "x86_64")]
    if source == ClockSource::Tsc {
        // SAFETY: every x86-64 processor has the instruction, and Linux does not forbid it unless asked to.
        return Some(unsafe { core::arch::x86_64::_rdtsc() });
    }
    // Elsewhere `source` never chooses it.
    let _ = source;
    None
}

fn nanos(clock: ClockId) -> i64 {
    let time = clock_gettime(clock);
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

/// CPU time of the calling thread, nanoseconds.
pub(crate) fn thread_cpu_nanos() -> u64 {
    nanos(ClockId::ThreadCPUTime).cast_unsigned()
}

/// Nanoseconds of the monotonic clock.
pub(crate) fn monotonic_nanos() -> u64 {
    nanos(ClockId::Monotonic).cast_unsigned()
}

/// Nanoseconds since 1970.
pub(crate) fn unix_nanos() -> i64 {
    nanos(ClockId::Realtime)
}

/// Reads all clocks at one instant: of a few tries the one that an interrupt disturbed least.
pub(crate) fn anchor(source: ClockSource) -> Anchor {
    let attempt = || {
        let before = now(source);
        let monotonic_nanos = nanos(ClockId::Monotonic);
        let unix_nanos = unix_nanos();
        let after = now(source);
        let gap = after.wrapping_sub(before);
        // On the monotonic clock, ticks are its nanoseconds.
        let ticks = match source {
            ClockSource::Monotonic => monotonic_nanos.cast_unsigned(),
            ClockSource::Tsc => before.wrapping_add(gap / 2),
        };
        (gap, Anchor { ticks, monotonic_nanos, unix_nanos })
    };
    let first = attempt();
    (1..5).map(|_| attempt()).fold(first, |best, next| if next.0 < best.0 { next } else { best }).1
}
