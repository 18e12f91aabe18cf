//! What the peaks of a process consist of, whether it leaks, and what to do about it, in the pass of the summary.

use std::collections::BTreeMap;

use tidegauge_schemas::metrics;

use super::categories::{AtPeaks, CategoryTotal, Kind};
use super::hints::{Hint, HintContext, hints};
use super::leaks::{LeakObserver, LeakOptions};
use super::summary::{NamedCategory, Summarized, summarize};
use super::unused_at_peak::UnusedAtPeak;
use crate::error::Result;
use crate::load::{Process, Rows, Source, module_rows};
use crate::replay::{Observed, Observer, Window};

/// Summarizes a process, what its peaks consist of as well: one pass.
pub(super) fn explained(
    source: &Source,
    process: &Process,
    window: Window,
    shows: &impl Fn(i16) -> bool,
) -> Result<(Summarized, Vec<Hint>)> {
    let mut at_peaks = AtPeaks::new(process)?;
    let mut rss_by_pid = RssByPid { window, highest: BTreeMap::new() };
    let mut growth = LeakObserver::new(window).by_first_unit();
    let mut unused = UnusedAtPeak::new(window);
    let mut observers = (&mut at_peaks, (&mut rss_by_pid, (&mut growth, &mut unused)));
    let mut found = summarize(process, window, shows, &mut observers)?;
    found.summary.growth = Some(growth.finish(process, LeakOptions::default(), shows)?);
    let (phases, mut live) = at_peaks.finish(&found.outcome);
    live.retain(|live| shows(live.device));
    for device in &mut found.summary.devices {
        let sums = live.iter().find(|live| live.device == device.device).map(|live| &live.sums);
        let named = |(kind, total): (&Kind, &CategoryTotal)| NamedCategory {
            category: kind.name().to_owned(),
            total: *total,
        };
        device.categories = sums.iter().flat_map(|sums| &sums.totals).map(named).collect();
        device.categories.sort_by_key(|of| std::cmp::Reverse(of.total.bytes));
    }
    let rows = Rows::new(process);
    let module_rows = module_rows(process, found.summary.steps.batch_size)?;
    let input_bytes = module_rows.into_iter().filter_map(|row| {
        let bytes = row.input_bytes()?;
        Some((row.path, bytes))
    });
    let input_bytes = input_bytes.collect();
    let context = HintContext {
        summary: &found.summary,
        config: &source.info.config,
        phases: &phases,
        live: &live,
        site_names: &rows.site_names()?,
        modules: &rows.module_names()?,
        dtypes: &rows.module_dtypes()?,
        input_bytes: &input_bytes,
        unused_bytes: &unused.finish(),
        has_times: process.has_times(),
        rss_by_pid: &rss_by_pid.highest,
    };
    let hints = hints(&context);
    Ok((found, hints))
}

/// The highest resident size of each process that was recorded from outside.
#[derive(Debug)]
struct RssByPid {
    window: Window,
    highest: BTreeMap<u32, i64>,
}

impl Observer for RssByPid {
    #[inline]
    fn observe(&mut self, observed: &Observed<'_>) {
        let Observed::Sample(row) = observed else { return };
        let (Some(pid), true) = (row.pid, row.metric == metrics::RSS.name) else { return };
        if self.window.contains(row.time_nanos) {
            let highest = self.highest.entry(pid).or_default();
            *highest = (*highest).max(row.value as i64);
        }
    }
}
