//! Which group a block is of: its category, or its site if that is one of those that fill the picture most.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use tidegauge_schemas::Category;

use super::BandsBy;
use super::chosen_blocks::OfDevice;
use crate::analysis::categories::{Kind, Labels};
use crate::replay::Block;

/// Sites that have a group of their own; there are no more colours that can be told apart.
const OWN_SITES: usize = 12;

/// Which group a block is of.
pub(super) struct Grouping<'a> {
    by: BandsBy,
    device: i16,
    labels: &'a Labels,
    pub(super) site_names: &'a FxHashMap<u32, String>,
    /// Of each group; `None` for sites that have none of their own.
    pub(super) names: Vec<Option<String>>,
    sites: FxHashMap<u32, usize>,
    /// Sites that were told after the allocation, by number of the block.
    told_sites: &'a FxHashMap<u64, u32>,
}

impl<'a> Grouping<'a> {
    pub(super) fn new(
        by: BandsBy,
        device: i16,
        labels: &'a Labels,
        site_names: &'a FxHashMap<u32, String>,
        of_device: &'a OfDevice,
    ) -> Self {
        let mut grouping = Self {
            by,
            device,
            labels,
            site_names,
            names: Vec::new(),
            sites: FxHashMap::default(),
            told_sites: &of_device.told_sites,
        };
        match by {
            BandsBy::Category => {
                grouping.names.extend(Category::ALL.iter().map(|of| Some(of.as_str().to_owned())));
            }
            BandsBy::Site => grouping.name_sites(&of_device.site_areas),
        }
        grouping
    }

    /// The sites that fill the picture most have groups of their own. Sites of one name are one.
    fn name_sites(&mut self, areas: &FxHashMap<u32, i128>) {
        let mut by_name: BTreeMap<&str, i128> = BTreeMap::new();
        for (site, area) in areas {
            if let Some(name) = self.site_names.get(site) {
                *by_name.entry(name).or_default() += area;
            }
        }
        let mut largest: Vec<(&str, i128)> = by_name.into_iter().collect();
        largest.sort_by_key(|(_, area)| std::cmp::Reverse(*area));
        largest.truncate(OWN_SITES);
        let group: FxHashMap<&str, usize> =
            largest.iter().enumerate().map(|(at, (name, _))| (*name, at)).collect();
        let known = areas.keys().filter_map(|site| {
            let name = self.site_names.get(site)?;
            Some((*site, *group.get(name.as_str())?))
        });
        self.sites = known.collect();
        self.names = largest.iter().map(|(name, _)| Some((*name).to_owned())).collect();
        self.names.push(None);
    }

    pub(super) fn of(&self, block: &Block) -> usize {
        match self.by {
            BandsBy::Category => {
                let category = self.category(block);
                Category::ALL.iter().position(|of| *of == category).unwrap_or(0)
            }
            BandsBy::Site => {
                let site = self.told_sites.get(&block.number).unwrap_or(&block.site);
                self.sites.get(site).copied().unwrap_or(self.names.len() - 1)
            }
        }
    }

    pub(super) fn category(&self, block: &Block) -> Category {
        match self.labels.of(self.device, block).kind {
            Kind::Category(category) => category,
            // There are no rules of the user's here.
            Kind::Custom(_) => Category::Unknown,
        }
    }
}
