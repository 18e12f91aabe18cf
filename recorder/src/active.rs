//! A recorder that is on: what records go through, and how they are made.

use std::cell::Cell;
use std::sync::atomic::{AtomicPtr, Ordering};

use tidegauge_schemas::journal::{CheckpointSlot, EventSlot, SampleSlot, Slot, StringUse};
use tidegauge_schemas::retention::{CounterNames, Retention};
use tidegauge_schemas::{CheckpointKind, EventKind, metrics};

use crate::host::{self, HostProbe};
use crate::journal::Journal;
use crate::probes::process::ProcessMemory;

/// The recorder that the free functions and [`crate::RecordingAllocator`] write to.
static ACTIVE: AtomicPtr<Active> = AtomicPtr::new(std::ptr::null_mut());

thread_local! {
    /// Generation of the journal that this thread was last known to, and what it is there. A fork that records has
    /// a generation of its own.
    static HERE: Cell<(u32, Here)> = const { Cell::new((0, Here { thread: 0, site: 0 })) };
}

/// A thread, as a journal knows it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Here {
    /// The operating system's id of the thread.
    thread: u32,
    /// The site that it is in; 0 none.
    pub(crate) site: u32,
}

/// Ids of the metrics that the recorder itself samples.
#[derive(Debug, Clone, Copy)]
struct Metrics {
    rss: u32,
    peak_rss: u32,
    virtual_size: u32,
    shared: u32,
}

/// A running recorder. Lives as long as the process: a thread may come to it at any time.
#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) journal: Journal,
    host: Option<HostProbe>,
    counters_at_checkpoints: bool,
    metrics: Metrics,
}

/// The recorder that is on, if one is: a load and a branch.
#[inline]
pub(crate) fn active() -> Option<&'static Active> {
    // SAFETY: only `install` stores here, addresses of what lives as long as the process.
    unsafe { ACTIVE.load(Ordering::Acquire).as_ref() }
}

impl Active {
    pub(crate) fn new(journal: Journal, counters_at_checkpoints: bool) -> Self {
        let id = |metric: metrics::Metric| journal.intern(metric.name, StringUse::Name);
        let metrics = Metrics {
            rss: id(metrics::RSS),
            peak_rss: id(metrics::PEAK_RSS),
            virtual_size: id(metrics::VIRTUAL),
            shared: id(metrics::SHARED),
        };
        Self { journal, host: HostProbe::open(), counters_at_checkpoints, metrics }
    }

    /// This process's own memory is of no interest.
    pub(crate) fn without_host_probe(self) -> Self {
        Self { host: None, ..self }
    }

    /// Makes this the recorder of the process; false if there is one that is on.
    pub(crate) fn install(&'static self) -> bool {
        let own = std::ptr::from_ref(self).cast_mut();
        let installed =
            ACTIVE.compare_exchange(std::ptr::null_mut(), own, Ordering::AcqRel, Ordering::Acquire);
        installed.is_ok() || {
            // One that this process inherited by fork is dead here, and may be replaced.
            active().is_some_and(|other| !other.journal.is_open()) && {
                ACTIVE.store(own, Ordering::Release);
                true
            }
        }
    }

    /// Undoes [`Self::install`].
    pub(crate) fn uninstall(&'static self) {
        let own = std::ptr::from_ref(self).cast_mut();
        // A failure means that another one is installed: then there is nothing to undo.
        let _ = ACTIVE.compare_exchange(own, std::ptr::null_mut(), Ordering::AcqRel, Ordering::Acquire);
    }

    // The two calls below are what recording costs a program. What they seldom need is in functions of their own, which
    // nothing follows and which take what they need in registers: so the usual path neither saves nor spills any.

    /// An allocation by this thread, at the site that it is in.
    #[inline]
    pub(crate) fn alloc(&self, device: i16, address: u64, size_bytes: u64) {
        let (Some(here), Some(ticks)) = (self.known_here(), self.journal.cycles()) else {
            return self.alloc_slowly(device, address, size_bytes);
        };
        if let Err(seq) = self.journal.record_now(&alloc_slot(here, ticks, device, address, size_bytes)) {
            self.alloc_late(seq, ticks, device, address, size_bytes);
        }
    }

    #[cold]
    #[inline(never)]
    fn alloc_slowly(&self, device: i16, address: u64, size_bytes: u64) {
        self.journal.record(&alloc_slot(self.here(), self.journal.ticks(), device, address, size_bytes));
    }

    #[cold]
    #[inline(never)]
    fn alloc_late(&self, seq: u64, ticks: u64, device: i16, address: u64, size_bytes: u64) {
        self.journal.record_late(seq, &alloc_slot(self.here(), ticks, device, address, size_bytes));
    }

    /// A free by this thread.
    #[inline]
    pub(crate) fn free(&self, device: i16, address: u64) {
        let (Some(here), Some(ticks)) = (self.known_here(), self.journal.cycles()) else {
            return self.free_slowly(device, address);
        };
        if let Err(seq) = self.journal.record_now(&free_slot(here, ticks, device, address)) {
            self.free_late(seq, ticks, device, address);
        }
    }

    #[cold]
    #[inline(never)]
    fn free_slowly(&self, device: i16, address: u64) {
        self.journal.record(&free_slot(self.here(), self.journal.ticks(), device, address));
    }

    #[cold]
    #[inline(never)]
    fn free_late(&self, seq: u64, ticks: u64, device: i16, address: u64) {
        self.journal.record_late(seq, &free_slot(self.here(), ticks, device, address));
    }

    /// Any event, by this thread, now.
    pub(crate) fn event(&self, event: &EventSlot) {
        let thread = self.here().thread;
        self.journal.record(&EventSlot { ticks: self.journal.ticks(), thread, ..*event }.encode());
    }

    /// Ids of the counters that are read off the events, where those are left out.
    pub(crate) fn counter_names(&self, retention: Retention) -> CounterNames {
        if !retention.is_partial() {
            return CounterNames::default();
        }
        let id = |metric: metrics::Metric| self.journal.intern(metric.name, StringUse::Name);
        CounterNames { allocated: id(metrics::ALLOCATED), peak_allocated: id(metrics::PEAK_ALLOCATED) }
    }

    /// A checkpoint, and with it the process's counters if they were asked for.
    pub(crate) fn checkpoint(&self, checkpoint: Checkpoint) {
        let slot = CheckpointSlot {
            ticks: self.journal.ticks(),
            kind: checkpoint.kind,
            name: checkpoint.name,
            step: checkpoint.step.or_else(|| self.journal.current_step()),
            epoch: checkpoint.epoch.or_else(|| self.journal.current_epoch()),
            thread: self.here().thread,
            value: checkpoint.value,
            batch_size: checkpoint.batch_size,
        };
        let seq = self.journal.record(&slot.encode());
        if self.counters_at_checkpoints && seq.is_some() {
            self.sample_host(seq);
        }
    }

    /// The id of a name.
    pub(crate) fn name(&self, text: &str) -> u32 {
        self.journal.intern(text, StringUse::Name)
    }

    /// A counter of the program.
    pub(crate) fn counter(&self, metric: u32, device: i16, value: f64) {
        self.sample(metric, device, value, None);
    }

    fn sample(&self, metric: u32, device: i16, value: f64, checkpoint: Option<u64>) {
        let ticks = self.journal.ticks();
        let slot =
            SampleSlot { ticks, metric, device, pid: None, value, checkpoint, thread: self.here().thread };
        self.journal.record(&slot.encode());
    }

    /// The process's memory now.
    pub(crate) fn read_host(&self) -> Option<ProcessMemory> {
        self.host.as_ref().and_then(HostProbe::read)
    }

    /// Samples the process's memory, as of the checkpoint with that `seq` if there is one.
    pub(crate) fn sample_host(&self, checkpoint: Option<u64>) {
        let Some(memory) = self.read_host() else { return };
        self.sample(self.metrics.rss, -1, memory.rss_bytes as f64, checkpoint);
        if checkpoint.is_none() {
            self.sample(self.metrics.virtual_size, -1, memory.virtual_bytes as f64, None);
            self.sample(self.metrics.shared, -1, memory.shared_bytes as f64, None);
        }
    }

    /// Samples the kernel's own record of the highest resident size.
    pub(crate) fn sample_peak(&self) {
        if self.host.is_none() {
            return;
        }
        if let Some(peak) = host::peak_rss_bytes() {
            self.sample(self.metrics.peak_rss, -1, peak as f64, None);
        }
    }

    /// The recording is over: closes all files. Who comes to it later finds it closed.
    pub(crate) fn close_files(&self) {
        self.journal.close_files();
        self.host.iter().for_each(HostProbe::close);
    }

    /// Whether the host's memory can be read at all.
    pub(crate) fn has_host_probe(&self) -> bool {
        self.host.is_some()
    }

    /// This thread as this journal knows it, if it does.
    #[inline(always)]
    fn known_here(&self) -> Option<Here> {
        let (generation, here) = HERE.get();
        (generation == self.journal.generation).then_some(here)
    }

    /// This thread, made known to this journal.
    pub(crate) fn here(&self) -> Here {
        self.known_here().unwrap_or_else(|| {
            let thread = rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned();
            let here = Here { thread, site: 0 };
            HERE.set((self.journal.generation, here));
            here
        })
    }

    /// The id of a site.
    pub(crate) fn site_id(&self, name: &str) -> u32 {
        self.journal.intern(name, StringUse::Site)
    }

    /// Puts this thread at a site; where it was before, to come back to.
    pub(crate) fn enter_site(&self, name: &str) -> Here {
        let before = self.here();
        self.move_to_site(self.site_id(name));
        before
    }

    /// Puts this thread at a site whose id of this journal is known; 0 none.
    pub(crate) fn move_to_site(&self, site: u32) {
        HERE.set((self.journal.generation, Here { site, ..self.here() }));
    }

    /// Puts this thread back to where it was before it entered a site.
    pub(crate) fn leave_site(&self, before: Here) {
        self.return_to_site(before.site);
    }

    /// Puts this thread at a site whose id of this journal is known; 0 none.
    pub(crate) fn return_to_site(&self, site: u32) {
        // A journal that was begun since then knows this thread otherwise.
        if let Some(here) = self.known_here() {
            HERE.set((self.journal.generation, Here { site, ..here }));
        }
    }
}

#[inline(always)]
fn alloc_slot(here: Here, ticks: u64, device: i16, address: u64, size_bytes: u64) -> Slot {
    let event =
        EventSlot { kind: EventKind::Alloc, ticks, device, address: Some(address), ..EventSlot::BARE };
    EventSlot { size_bytes: Some(size_bytes), site: here.site, thread: here.thread, ..event }.encode()
}

#[inline(always)]
fn free_slot(here: Here, ticks: u64, device: i16, address: u64) -> Slot {
    let event = EventSlot { kind: EventKind::Free, ticks, device, address: Some(address), ..EventSlot::BARE };
    EventSlot { thread: here.thread, ..event }.encode()
}

/// A checkpoint to be recorded; what is `None` is taken from where the program is, or unknown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Checkpoint {
    pub(crate) kind: CheckpointKind,
    pub(crate) name: u32,
    pub(crate) step: Option<i64>,
    pub(crate) epoch: Option<u32>,
    pub(crate) value: Option<f64>,
    pub(crate) batch_size: Option<u64>,
}

impl Checkpoint {
    pub(crate) const fn new(kind: CheckpointKind, name: u32) -> Self {
        Self { kind, name, step: None, epoch: None, value: None, batch_size: None }
    }
}
