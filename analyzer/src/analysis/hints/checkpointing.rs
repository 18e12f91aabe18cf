//! Which modules are worth recomputing: blocks of one kind in a row, as the layers of a transformer are.

use std::collections::BTreeMap;

use tidegauge_schemas::Category;

use super::Hint;
use super::context::HintContext;
use crate::analysis::categories::{LiveAtPeak, SiteAtPeak};
use crate::analysis::peaks::module_of;
use crate::analysis::summary::DeviceSummary;

/// What is less than this part of the peak is not worth the time.
const WORTH_SHARE: f64 = 0.1;

/// What one of them holds for backward.
#[derive(Debug, Default, Clone, Copy)]
struct Held {
    bytes: i64,
    first_nanos: i64,
    last_nanos: i64,
}

impl Held {
    fn add(&mut self, of: &SiteAtPeak) {
        if self.bytes == 0 {
            (self.first_nanos, self.last_nanos) = (of.first_nanos, of.last_nanos);
        }
        self.bytes += of.bytes;
        self.first_nanos = self.first_nanos.min(of.first_nanos);
        self.last_nanos = self.last_nanos.max(of.last_nanos);
    }
}

pub(super) fn checkpoint(
    context: &HintContext<'_>,
    device: &DeviceSummary,
    live: &LiveAtPeak,
) -> Option<Hint> {
    if context.phases.has_recompute() {
        // It is done already.
        return None;
    }
    // Of modules `a.layers.0.x` and `a.layers.1.y`, the rows are `a.layers.*`, and 0 and 1 the members.
    let mut rows: BTreeMap<String, BTreeMap<String, Held>> = BTreeMap::new();
    for ((site, label), of) in &live.sites {
        if !label.is(Category::Activation) || label.is_recomputed {
            continue;
        }
        let Some(site) = context.site_names.get(site) else { continue };
        let Some((row, member)) = member(module_of(site, context.modules)) else { continue };
        rows.entry(row).or_default().entry(member).or_default().add(of);
    }
    let total = |row: &BTreeMap<String, Held>| row.values().map(|held| held.bytes).sum::<i64>();
    let (modules, members) =
        rows.into_iter().filter(|(_, row)| row.len() > 1).max_by_key(|(_, row)| total(row))?;
    let held_bytes = total(&members);
    let largest_bytes = members.values().map(|held| held.bytes).max()?;
    let path = |member: &String| format!("{}{member}", modules.trim_end_matches('*'));
    // That of the first comes from outside of them.
    let mut inputs: Vec<i64> =
        members.keys().filter_map(|member| context.input_bytes.get(&path(member)).copied()).collect();
    inputs.sort_unstable();
    let input_bytes: i64 = inputs.iter().take(members.len() - 1).sum();
    let saved_bytes = held_bytes - largest_bytes - input_bytes;
    if (saved_bytes as f64) < device.allocated.bytes as f64 * WORTH_SHARE {
        return None;
    }
    let first = members.values().map(|held| held.first_nanos).min()?;
    let last = members.values().map(|held| held.last_nanos).max()?;
    Some(Hint::Checkpoint {
        device: device.device,
        modules,
        count: members.len(),
        held_bytes,
        largest_bytes,
        input_bytes,
        forward_nanos: context.has_times.then_some(last - first),
        peak_bytes: device.allocated.bytes,
    })
}

/// The row that a module is a member of, by the first part of its path that is a number.
fn member(module: &str) -> Option<(String, String)> {
    let mut before = Vec::new();
    for part in module.split('.') {
        if !part.is_empty() && part.chars().all(|c| c.is_ascii_digit()) {
            return Some((format!("{}.*", before.join(".")), part.to_owned()));
        }
        before.push(part);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_members_of_a_row() {
        let of = |module: &str| member(module).map(|(row, member)| format!("{row} {member}"));
        assert_eq!(of("lm.layers.11.mlp.0").as_deref(), Some("lm.layers.* 11"));
        assert_eq!(of("0").as_deref(), Some(".* 0"));
        assert_eq!(of("lm.head"), None);
    }
}
