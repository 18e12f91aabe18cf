//! What a format of timelines has to write.

use std::io;

use super::slices::Slice;
use crate::analysis::Curve;

/// A process, before anything of it.
#[derive(Debug)]
pub(super) struct ProcessHeader<'a> {
    /// Its place among those that are exported.
    pub(super) index: u32,
    /// Its number in viewers: the real one where it is known and unique.
    pub(super) pid: u32,
    /// `rank 0 process 0: train.py`.
    pub(super) name: String,
    /// Its command line, if known.
    pub(super) command: &'a [String],
    /// Host, real number and the like.
    pub(super) labels: Vec<String>,
    /// When its recording began, nanoseconds since 1970; an invented time where `has_times` is false.
    pub(super) start_nanos: i64,
    /// Whether times are known.
    pub(super) has_times: bool,
    /// Tracks of slices; the further ones of a thread come after its own.
    pub(super) lanes: &'a [Lane],
}

/// A track of slices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lane {
    /// Its number in viewers.
    pub(super) tid: u32,
    /// Whether that stands for a real thread.
    pub(super) is_thread: bool,
    /// The thread's own track, of a further one.
    pub(super) parent: Option<usize>,
    /// `thread 4711`.
    pub(super) name: String,
}

/// What a counter counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Counter {
    /// Which of the process's counters.
    pub(super) index: usize,
    /// −1 the host, 0… accelerators.
    pub(super) device: i16,
    /// `device 0 allocated`.
    pub(super) name: String,
    /// Which curve of an allocator it is; `None` for what the driver or the kernel counts.
    pub(super) curve: Option<Curve>,
}

/// Something that takes no time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Instant<'a> {
    /// What it is called.
    pub(super) name: &'a str,
    /// `mark`, `oom` or `alert`.
    pub(super) category: &'static str,
    /// Track of its thread; `None` for one without slices, or where the thread is not known.
    pub(super) lane: Option<usize>,
    /// Device that it is about.
    pub(super) device: Option<i16>,
    /// What was asked for.
    pub(super) asked_bytes: Option<i64>,
    /// Value that an alert tells.
    pub(super) value: Option<f64>,
}

/// Writes a timeline as it is told. Processes come one after the other; within one, times never step back.
pub(super) trait TimelineSink {
    /// A process begins.
    fn process(&mut self, process: &ProcessHeader<'_>) -> io::Result<()>;

    /// A counter begins; it has a value at once.
    fn new_counter(&mut self, counter: &Counter) -> io::Result<()>;

    /// A counter has a new value.
    fn count(&mut self, time_nanos: i64, counter: &Counter, bytes: i64) -> io::Result<()>;

    /// A slice begins; it will end at `end_nanos`, if that is known.
    fn begin(&mut self, time_nanos: i64, slice: &Slice, end_nanos: Option<i64>) -> io::Result<()>;

    /// The innermost slice of its lane ends.
    fn end(&mut self, time_nanos: i64, slice: &Slice) -> io::Result<()>;

    /// Something happens.
    fn instant(&mut self, time_nanos: i64, instant: &Instant<'_>) -> io::Result<()>;
}
