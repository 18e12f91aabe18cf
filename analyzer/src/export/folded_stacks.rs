//! Folded stacks of what is alive at the peak: `outermost;…;innermost bytes`, a line for each stack.
//!
//! The format has no way to escape: `;` within a frame becomes `:`, as stackcollapse scripts write it, control
//! characters the replacement character. Memory that the recording knows of without a block gets a line too, so the sum of
//! all lines is what was allocated.

use std::collections::BTreeMap;

use arrow::array::{Array as _, AsArray as _};
use arrow::datatypes::{Int32Type, UInt32Type};
use rustc_hash::{FxHashMap, FxHashSet};
use tidegauge_schemas::Table;

use crate::analysis::{LiveMoment, Moment, live_moments};
use crate::error::{Error, Result};
use crate::load::{Process, Rows};
use crate::render::printable;
use crate::replay::Window;

/// Characters of a frame; the rest is cut off.
const MAX_FRAME_CHARS: usize = 400;
/// Frame of blocks of which nobody knows who allocated them.
const NO_SITE: &str = "(unknown site)";
/// Frame of memory that the recording knows of and has no block of.
const NO_BLOCK: &str = "(allocated before the recording, block by block unknown)";

/// Who holds memory at a moment of one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoldedStacks {
    /// −1 the host, 0… accelerators.
    pub device: i16,
    /// The moment, nanoseconds since 1970; `None` for the state at the start.
    pub time_nanos: Option<i64>,
    /// When the recording began.
    pub origin_nanos: i64,
    /// Step.
    pub step: Option<i64>,
    /// Phase.
    pub phase: Option<String>,
    /// Allocated: the sum of all stacks, unless the recording's books do not balance.
    pub allocated_bytes: i64,
    /// Bytes by stack, in the order of the stacks; none without bytes.
    pub stacks: BTreeMap<String, i64>,
}

impl FoldedStacks {
    /// The sum of all stacks.
    #[must_use]
    pub fn sum_bytes(&self) -> i64 {
        self.stacks.values().sum()
    }
}

/// The stacks of what is alive at the moment, of the device that holds most of those that `shows` lets through; the peak
/// is that inside of `window`. `None` if the recording has no such step, or nothing alive.
///
/// # Errors
/// If the recording cannot be read.
pub fn folded_stacks(
    process: &Process,
    moment: Moment,
    window: Window,
    shows: impl Fn(i16) -> bool,
) -> Result<Option<FoldedStacks>> {
    let live = live_moments(process, moment, window, shows)?;
    let Some(of) = live
        .devices
        .iter()
        .reduce(|best, other| if other.allocated_bytes > best.allocated_bytes { other } else { best })
    else {
        return Ok(None);
    };
    let used: FxHashSet<u32> = of.blocks.iter().map(|live| live.block.site).collect();
    let folded_sites = folded_sites(process, &used)?;
    Ok(Some(FoldedStacks {
        device: of.device,
        time_nanos: of.time_nanos,
        origin_nanos: live.origin_nanos,
        step: of.step,
        phase: of.phase.clone(),
        allocated_bytes: of.allocated_bytes,
        stacks: fold(of, &folded_sites),
    }))
}

fn fold(moment: &LiveMoment, folded_sites: &FxHashMap<u32, String>) -> BTreeMap<String, i64> {
    let mut stacks: BTreeMap<String, i64> = BTreeMap::new();
    let mut add = |stack: &str, bytes: i64| match stacks.get_mut(stack) {
        Some(sum_bytes) => *sum_bytes += bytes,
        None => drop(stacks.insert(stack.to_owned(), bytes)),
    };
    let mut rest_bytes = moment.allocated_bytes;
    for live in &moment.blocks {
        rest_bytes -= live.block.size_bytes;
        if live.block.size_bytes > 0 {
            add(folded_sites.get(&live.block.site).map_or(NO_SITE, String::as_str), live.block.size_bytes);
        }
    }
    if rest_bytes > 0 {
        add(NO_BLOCK, rest_bytes);
    }
    stacks
}

/// The frames of the sites in `used`, outermost first and separated by `;`.
fn folded_sites(process: &Process, used: &FxHashSet<u32>) -> Result<FxHashMap<u32, String>> {
    let mut folded = FxHashMap::default();
    if let Some(foreign) = process.foreign() {
        for site in used {
            let Some(of) = foreign.sites.get(*site) else { continue };
            let frames: Vec<String> = of
                .stack
                .iter()
                .rev()
                .map(|frame| escaped(&foreign.sites.frame(*frame).to_string()))
                .collect();
            folded.insert(*site, frames.join(";"));
        }
        return Ok(folded);
    }
    for (site, name) in Rows::new(process).site_names()? {
        if used.contains(&site) {
            folded.insert(site, fold_name(&name));
        }
    }
    for batch in process.batches(Table::Sites, &["site", "stack"]) {
        let batch = batch?;
        let column = |name| batch.column_by_name(name).ok_or(Error::LostColumn { column: name });
        let (sites, stacks) = (column("site")?.as_primitive::<UInt32Type>(), column("stack")?);
        let stacks = stacks.as_dictionary::<Int32Type>();
        let (keys, texts) = (stacks.keys(), stacks.values().as_string::<i32>());
        for row in 0..batch.num_rows() {
            if keys.is_valid(row) && used.contains(&sites.value(row)) {
                let frames: Vec<String> =
                    texts.value(keys.value(row) as usize).lines().rev().map(escaped).collect();
                folded.insert(sites.value(row), frames.join(";"));
            }
        }
    }
    folded.retain(|_, stack| !stack.is_empty());
    Ok(folded)
}

/// A name without a stack: the path of a module is one, anything else a single frame.
fn fold_name(name: &str) -> String {
    let is_identifier =
        |part: &str| !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || c == '_');
    if name.contains('.') && name.split('.').all(is_identifier) {
        return name.split('.').map(escaped).collect::<Vec<_>>().join(";");
    }
    escaped(name)
}

/// A frame that readers of the format do not take for more than one, or for a number.
fn escaped(frame: &str) -> String {
    let mut text = printable(frame.trim()).replace(';', ":");
    if let Some((cut, _)) = text.char_indices().nth(MAX_FRAME_CHARS) {
        text.truncate(cut);
        text.push('…');
    }
    // A number at its end would be read as bytes, a `#` at the beginning of a line as a comment.
    if let Some((words, last)) = text.rsplit_once(' ')
        && last.chars().all(|c| c.is_ascii_digit() || c == '.')
    {
        text = format!("{words}\u{a0}{last}");
    }
    if text.starts_with('#') {
        text.insert(0, '\u{a0}');
    }
    if text.is_empty() { NO_SITE.to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn module_paths_are_stacks_and_other_names_are_frames() {
        let cases = [
            ("unet.up2.conv1", "unet;up2;conv1"),
            ("encoder.layers.0", "encoder;layers;0"),
            ("backward", "backward"),
            ("forward at train.py:12", "forward at train.py:12"),
            ("std::vec<a;b>", "std::vec<a:b>"),
            ("..", ".."),
            ("conv 12", "conv\u{a0}12"),
            ("conv 1.5", "conv\u{a0}1.5"),
            ("# comment", "\u{a0}# comment"),
            ("a\nb\u{1b}[31m", "a\u{fffd}b\u{fffd}[31m"),
            ("  ", NO_SITE),
        ];
        for (name, folded) in cases {
            assert_eq!(fold_name(name), folded, "{name:?}");
        }
        assert_eq!(fold_name(&"x".repeat(10_000)).chars().count(), MAX_FRAME_CHARS + 1);
    }
}
