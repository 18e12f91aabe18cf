//! Who held memory when it ran out: the live blocks of a device, grouped.

use std::collections::BTreeMap;

use rustc_hash::{FxHashMap, FxHashSet};
use tidegauge_schemas::Category;

use crate::analysis::categories::{Kind, Labels};
use crate::analysis::peaks::module_of;
use crate::replay::{Block, DeviceState};

/// Holders that are kept of each failure.
const TOP: usize = 100;

/// Blocks of one site and category.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OomHolder {
    /// Who allocated them.
    pub site: Option<String>,
    /// The module that the site is of.
    pub module: Option<String>,
    /// What they are for, as far as that is told or can be inferred.
    pub category: Option<&'static str>,
    /// Bytes alive.
    pub bytes: i64,
    /// Blocks alive.
    pub blocks: i64,
}

/// Of one site, by number, and category: bytes and blocks.
pub(super) type RawHolder = ((u32, Option<&'static str>), (i64, i64));

/// What a block is; `None` where nothing tells it.
fn category_of(labels: &Labels, device: i16, block: &Block) -> Option<&'static str> {
    match labels.of(device, block).kind {
        Kind::Category(Category::Unknown) | Kind::Custom(_) => None,
        Kind::Category(category) => Some(category.as_str()),
    }
}

/// The largest holders of what is allocated on a device, largest first.
pub(super) fn held(device: &DeviceState, labels: &Labels) -> Vec<RawHolder> {
    let mut groups: BTreeMap<(u32, Option<&'static str>), (i64, i64)> = BTreeMap::new();
    for (_, block) in device.blocks().filter(|(_, block)| !block.is_pending) {
        let group = groups.entry((block.site, category_of(labels, device.device, block))).or_default();
        group.0 += block.size_bytes;
        group.1 += 1;
    }
    let mut groups: Vec<RawHolder> = groups.into_iter().collect();
    groups.sort_by_key(|(key, (bytes, _))| (std::cmp::Reverse(*bytes), *key));
    groups.truncate(TOP);
    groups
}

/// With names; several sites may go by one.
pub(super) fn named(
    raw: &[RawHolder],
    site_names: &FxHashMap<u32, String>,
    modules: &FxHashSet<String>,
) -> Vec<OomHolder> {
    let mut named: Vec<OomHolder> = Vec::new();
    for ((site, category), (bytes, blocks)) in raw {
        let site = site_names.get(site).cloned();
        match named.iter_mut().find(|holder| (&holder.site, holder.category) == (&site, *category)) {
            Some(holder) => {
                holder.bytes += bytes;
                holder.blocks += blocks;
            }
            None => named.push(OomHolder {
                module: site.as_deref().map(|site| module_of(site, modules).to_owned()),
                site,
                category: *category,
                bytes: *bytes,
                blocks: *blocks,
            }),
        }
    }
    named.sort_by_key(|holder| std::cmp::Reverse(holder.bytes));
    named
}
