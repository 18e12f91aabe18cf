//! Sites by memory: what each allocated, by itself and with all that it called.
//!
//! From a profiler's trace these are its operators, with the profiler's own sums: a free counts where it happened. From
//! everything else they are the sites of the blocks, by replay: a block counts where it was allocated, until it is freed.
//! What was alive before the recording began counts nowhere.

use std::collections::BTreeMap;

use rustc_hash::{FxHashMap, FxHashSet};
use tidegauge_schemas::EventKind;

use crate::error::Result;
use crate::foreign::Operator;
use crate::load::{Process, Rows, SiteStacks};
use crate::replay::{Observed, Observer, Outcome, Window, replay};

/// What rows are sorted by, largest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SiteOrder {
    /// Memory of its own.
    SelfBytes,
    /// Memory with what it called.
    InclusiveBytes,
    /// Calls; where they are not known, allocations.
    Calls,
}

/// A site, or an operator, and one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteRow {
    /// Its name; `None` for blocks without a site.
    pub site: Option<String>,
    /// −1 the host, 0… accelerators; `None` for an operator within which nothing was allocated.
    pub device: Option<i16>,
    /// How often it was called, where that was recorded.
    pub calls: Option<u64>,
    /// Blocks that it allocated, where they were counted.
    pub allocations: Option<u64>,
    /// Allocated − freed.
    pub self_bytes: i64,
    /// The same with what it called.
    pub inclusive_bytes: i64,
    /// Allocated.
    pub self_allocated_bytes: i64,
    /// The same with what it called.
    pub inclusive_allocated_bytes: i64,
}

/// The sites of a process; of the profiler's operators those of the whole recording, else those of `window`. And what
/// replay found, if it was needed.
///
/// # Errors
/// If the trace cannot be read.
pub fn sites(process: &Process, window: Window, order: SiteOrder) -> Result<(Vec<SiteRow>, Option<Outcome>)> {
    let operators = process.operators();
    let (mut rows, outcome) = match operators {
        Some(operators) => (operators.iter().map(SiteRow::from).collect(), None),
        None => {
            let mut totals = Totals::new(window);
            let outcome = replay(process, window, &mut totals)?;
            (totals.finish(process)?, Some(outcome))
        }
    };
    let key = |row: &SiteRow| {
        let calls = row.calls.or(row.allocations).map_or(0, |calls| i64::try_from(calls).unwrap_or(i64::MAX));
        match order {
            SiteOrder::SelfBytes => (row.self_bytes, row.self_allocated_bytes, calls),
            SiteOrder::InclusiveBytes => (row.inclusive_bytes, row.inclusive_allocated_bytes, calls),
            SiteOrder::Calls => (calls, row.self_bytes, row.self_allocated_bytes),
        }
    };
    rows.sort_by(|one, two| {
        let by_name = || (&one.site, one.device).cmp(&(&two.site, two.device));
        key(two).cmp(&key(one)).then_with(by_name)
    });
    Ok((rows, outcome))
}

impl From<&Operator> for SiteRow {
    fn from(operator: &Operator) -> Self {
        Self {
            site: Some(operator.name.clone()),
            device: operator.device,
            calls: Some(operator.calls),
            allocations: None,
            self_bytes: operator.self_bytes,
            inclusive_bytes: operator.inclusive_bytes,
            self_allocated_bytes: operator.self_allocated_bytes,
            inclusive_allocated_bytes: operator.inclusive_allocated_bytes,
        }
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Total {
    allocations: u64,
    net_bytes: i64,
    allocated_bytes: i64,
}

impl Total {
    fn add(&mut self, other: Self) {
        self.allocations += other.allocations;
        self.net_bytes = self.net_bytes.saturating_add(other.net_bytes);
        self.allocated_bytes = self.allocated_bytes.saturating_add(other.allocated_bytes);
    }
}

/// Observes and sums up by site and device.
#[derive(Debug)]
struct Totals {
    window: Window,
    sums: FxHashMap<(u32, i16), Total>,
    /// `seq` of blocks that were there before: their ends count nowhere.
    earlier: FxHashSet<u64>,
}

impl Totals {
    fn new(window: Window) -> Self {
        Self { window, sums: FxHashMap::default(), earlier: FxHashSet::default() }
    }

    fn finish(self, process: &Process) -> Result<Vec<SiteRow>> {
        let names = Rows::new(process).site_names()?;
        let stacks = SiteStacks::read(process)?;
        let mut own: BTreeMap<(Option<String>, i16), Total> = BTreeMap::new();
        let mut inclusive: BTreeMap<(Option<String>, i16), Total> = BTreeMap::new();
        for ((site, device), total) in &self.sums {
            let name = names.get(site).cloned();
            let mut around = around(&stacks, *site, name.as_deref());
            around.insert(name.clone());
            for name in around {
                inclusive.entry((name, *device)).or_default().add(*total);
            }
            own.entry((name, *device)).or_default().add(*total);
        }
        let rows = inclusive.into_iter().map(|((site, device), inclusive)| {
            let own = own.get(&(site.clone(), device)).copied().unwrap_or_default();
            SiteRow {
                site,
                device: Some(device),
                calls: None,
                allocations: Some(own.allocations),
                self_bytes: own.net_bytes,
                inclusive_bytes: inclusive.net_bytes,
                self_allocated_bytes: own.allocated_bytes,
                inclusive_allocated_bytes: inclusive.allocated_bytes,
            }
        });
        Ok(rows.collect())
    }
}

/// What a site was called from: the frames of its stack, or the modules that its path lies in. Each counts once, also
/// where it calls itself.
fn around(stacks: &SiteStacks, site: u32, name: Option<&str>) -> FxHashSet<Option<String>> {
    // The innermost frame is the site itself, under its name.
    let callers = stacks.lines(site).skip(1).map(|line| Some(line.to_owned()));
    let mut around: FxHashSet<Option<String>> = callers.collect();
    if !around.is_empty() {
        return around;
    }
    if let Some(path) = name.filter(|name| is_path(name)) {
        let dots = path.match_indices('.').map(|(at, _)| at);
        around.extend(dots.map(|at| Some(path[..at].to_owned())));
    }
    around
}

/// Whether it is the path of a module, such as `model.encoder.0`, rather than an operator or a line of a file.
fn is_path(name: &str) -> bool {
    !name.contains([':', '/', '\\', ' ', '(', '<'])
}

impl Observer for Totals {
    #[inline]
    fn observe(&mut self, observed: &Observed<'_>) {
        let Observed::Event { event, block, allocated_delta_bytes, replaced, .. } = observed else { return };
        let is_shown = self.window.contains(event.time_nanos);
        let device = event.device;
        if let Some(old) = replaced {
            self.free(old.site, device, old.born_seq, old.size_bytes, is_shown);
        }
        let Some(block) = block else { return };
        match event.kind {
            Some(EventKind::Baseline | EventKind::BaselinePending) => {
                self.earlier.insert(block.born_seq);
            }
            Some(EventKind::Alloc) if is_shown => {
                let (net_bytes, allocated_bytes) = (block.size_bytes, block.size_bytes);
                let one = Total { allocations: 1, net_bytes, allocated_bytes };
                self.sums.entry((block.site, device)).or_default().add(one);
            }
            // Before the window: it is earlier than what is looked at.
            Some(EventKind::Alloc) => {
                self.earlier.insert(block.born_seq);
            }
            _ if *allocated_delta_bytes < 0 => {
                self.free(block.site, device, block.born_seq, -allocated_delta_bytes, is_shown);
            }
            _ => {}
        }
    }
}

impl Totals {
    fn free(&mut self, site: u32, device: i16, born_seq: u64, bytes: i64, is_shown: bool) {
        if !self.earlier.remove(&born_seq) && is_shown {
            self.sums.entry((site, device)).or_default().net_bytes -= bytes;
        }
    }
}
