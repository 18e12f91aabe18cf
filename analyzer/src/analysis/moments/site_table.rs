//! Names of sites, each once, by numbers that go by their order.

use rustc_hash::FxHashMap;

use super::DeviceMoments;
use crate::error::Result;
use crate::load::{Process, Rows};

/// The number of all that has no site.
pub(super) const NO_SITE: u32 = 0;
/// Sites below have their names' numbers in a list; recorders number sites from 1 on.
const DENSE_SITES: u32 = 1 << 20;

/// The names of a process's sites. Several sites of one name are one.
#[derive(Debug)]
pub(super) struct SiteTable {
    /// In order; that of number 1 first.
    names: Vec<String>,
    dense: Vec<u32>,
    sparse: FxHashMap<u32, u32>,
}

impl SiteTable {
    /// Reads them.
    ///
    /// # Errors
    /// If the sites cannot be read.
    pub(super) fn read(process: &Process) -> Result<Self> {
        let named = Rows::new(process).site_names()?;
        let mut names: Vec<String> = named.values().cloned().collect();
        names.sort_unstable();
        names.dedup();
        let mut table = Self { names: Vec::new(), dense: Vec::new(), sparse: FxHashMap::default() };
        for (site, name) in named {
            let number = names.binary_search(&name).map_or(NO_SITE, |at| at as u32 + 1);
            if site >= DENSE_SITES {
                table.sparse.insert(site, number);
                continue;
            }
            let at = site as usize;
            if table.dense.len() <= at {
                table.dense.resize(at + 1, NO_SITE);
            }
            table.dense[at] = number;
        }
        table.names = names;
        Ok(table)
    }

    /// How many numbers there are.
    pub(super) fn len(&self) -> usize {
        self.names.len() + 1
    }

    /// The number of a site's name.
    #[inline]
    pub(super) fn number(&self, site: u32) -> u32 {
        match self.dense.get(site as usize) {
            Some(number) => *number,
            None => self.sparse.get(&site).copied().unwrap_or(NO_SITE),
        }
    }

    /// The names that moments have, in order; moments have their places in that list afterwards, instead of their numbers.
    pub(super) fn names_used(&self, devices: &mut [DeviceMoments]) -> Vec<String> {
        let mut places: Vec<Option<usize>> = vec![None; self.len()];
        let shares = |devices: &mut [DeviceMoments], each: &mut dyn FnMut(&mut Option<usize>)| {
            let moments = devices.iter_mut().flat_map(|device| &mut device.moments);
            moments.flat_map(|moment| &mut moment.sites).for_each(|share| each(&mut share.of));
        };
        shares(devices, &mut |of| {
            if let Some(place) = of.and_then(|number| places.get_mut(number)) {
                *place = Some(0);
            }
        });
        let mut names = Vec::new();
        for (place, name) in places.iter_mut().skip(1).zip(&self.names) {
            if let Some(place) = place {
                *place = names.len();
                names.push(name.clone());
            }
        }
        shares(devices, &mut |of| *of = of.and_then(|number| places.get(number).copied().flatten()));
        names
    }
}
