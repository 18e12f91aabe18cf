//! What each site holds at some sixty moments of a run, in one pass.
//!
//! A site's bytes are noted only when they differ from the last ones noted, so that parameters cost an entry and activations,
//! of which nothing is alive at the end of a step, none.

use rustc_hash::FxHashMap;

use crate::replay::{Block, EndedPhase};

/// More moments are thinned out by half.
const MOST_MOMENTS: usize = 64;
/// Phases of a unit that are kept to find out where a site allocates.
const MOST_PHASES: usize = 4096;

/// Where a moment lies in each unit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Moment {
    number: u64,
    /// By [`super::Unit`], in the order of their list; `None` before the first.
    pub(super) x: [Option<f64>; 4],
}

#[derive(Debug, Default)]
struct Site {
    bytes: i64,
    last_born_seq: u64,
    is_changed: bool,
    /// Number of a moment, and what it held from then on.
    noted: Vec<(u64, i64)>,
    phase: Option<u32>,
}

/// One site of one device over the run.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SiteCourse {
    pub device: i16,
    pub site: u32,
    /// At each of the moments.
    pub bytes: Vec<i64>,
    /// Phase that the blocks which stayed were allocated in.
    pub phase: Option<String>,
}

/// Observes what sites hold.
#[derive(Debug, Default)]
pub(super) struct SiteWatch {
    sites: FxHashMap<(i16, u32), Site>,
    changed: Vec<(i16, u32)>,
    moments: Vec<Moment>,
    next: u64,
    stride: u64,
    /// Name and range of `seq` of the phases since the last moment that was asked for.
    phases: Vec<(u32, (u64, u64))>,
    names: Vec<String>,
    numbers: FxHashMap<String, u32>,
}

impl SiteWatch {
    #[inline]
    pub(super) fn add(&mut self, device: i16, site: u32, bytes: i64, block: Option<&Block>) {
        let key = (device, site);
        let of = self.sites.entry(key).or_default();
        of.bytes += bytes;
        if let Some(block) = block {
            of.last_born_seq = block.born_seq;
        }
        if !std::mem::replace(&mut of.is_changed, true) {
            self.changed.push(key);
        }
    }

    pub(super) fn phase(&mut self, phase: &EndedPhase) {
        if self.phases.len() >= MOST_PHASES {
            return;
        }
        let name = self.numbers.get(&phase.name).copied().unwrap_or_else(|| {
            self.names.push(phase.name.clone());
            self.numbers.insert(phase.name.clone(), self.names.len() as u32 - 1);
            self.names.len() as u32 - 1
        });
        self.phases.push((name, phase.seqs));
    }

    /// Begins anew, with moments of a better kind; what sites hold stays.
    pub(super) fn forget_moments(&mut self) {
        self.moments.clear();
        (self.next, self.stride) = (0, 0);
        self.changed.clear();
        for (key, site) in &mut self.sites {
            site.noted.clear();
            site.is_changed = true;
            self.changed.push(*key);
        }
    }

    /// A unit has ended.
    pub(super) fn moment(&mut self, x: [Option<f64>; 4]) {
        let number = self.next;
        self.next += 1;
        let stride = self.stride.max(1);
        if !number.is_multiple_of(stride) {
            self.phases.clear();
            return;
        }
        self.moments.push(Moment { number, x });
        for key in std::mem::take(&mut self.changed) {
            let Some(site) = self.sites.get_mut(&key) else { continue };
            site.is_changed = false;
            let before = site.noted.last().map_or(0, |noted| noted.1);
            if site.bytes == before {
                continue;
            }
            site.noted.push((number, site.bytes));
            if site.bytes > before {
                let seq = site.last_born_seq;
                let around = self.phases.iter().filter(|(_, (from, to))| *from < seq && seq <= *to);
                let innermost = around.min_by_key(|(_, (from, to))| to - from);
                site.phase = innermost.map(|phase| phase.0).or(site.phase);
            }
        }
        self.phases.clear();
        if self.moments.len() > MOST_MOMENTS {
            self.thin(stride * 2);
        }
    }

    fn thin(&mut self, stride: u64) {
        self.stride = stride;
        self.moments.retain(|moment| moment.number.is_multiple_of(stride));
        for site in self.sites.values_mut() {
            // What a moment that is gone had noted holds from the next one on, unless that noted something itself.
            let mut kept: Vec<(u64, i64)> = Vec::with_capacity(site.noted.len() / 2 + 1);
            for &(number, bytes) in &site.noted {
                let number = number.next_multiple_of(stride);
                match kept.last_mut() {
                    Some(last) if last.0 == number => last.1 = bytes,
                    _ => kept.push((number, bytes)),
                }
            }
            site.noted = kept;
        }
    }

    /// The moments.
    pub(super) fn moments(&self) -> &[Moment] {
        &self.moments
    }

    /// The sites that hold more at the last moment than at moment number `first`, by device and number.
    pub(super) fn grown(&self, first: usize) -> Vec<SiteCourse> {
        let Some(from) = self.moments.get(first) else { return Vec::new() };
        let held = |site: &Site, number: u64| {
            let after = site.noted.partition_point(|noted| noted.0 <= number);
            after.checked_sub(1).map_or(0, |at| site.noted[at].1)
        };
        let last = self.moments.last().map_or(0, |moment| moment.number);
        let mut grown: Vec<SiteCourse> = self
            .sites
            .iter()
            .filter(|(_, site)| held(site, last) > held(site, from.number))
            .map(|(&(device, number), site)| SiteCourse {
                device,
                site: number,
                bytes: self.moments.iter().map(|moment| held(site, moment.number)).collect(),
                phase: site.phase.and_then(|phase| self.names.get(phase as usize).cloned()),
            })
            .collect();
        grown.sort_by_key(|site| (site.device, site.site));
        grown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinning_changes_no_value_that_is_kept() {
        let mut watch = SiteWatch::default();
        let bytes = |unit: i64| unit * unit / 3 % 1000 + unit;
        let mut before = 0;
        for unit in 0..1000 {
            watch.add(0, 7, bytes(unit) - before, None);
            before = bytes(unit);
            watch.moment([Some(unit as f64), None, None, None]);
        }
        assert!((MOST_MOMENTS / 2..=MOST_MOMENTS).contains(&watch.moments().len()));
        let grown = watch.grown(0);
        assert_eq!(grown.len(), 1);
        for (moment, held) in watch.moments().iter().zip(&grown[0].bytes) {
            assert_eq!(*held, bytes(moment.x[0].unwrap() as i64));
        }
    }
}
