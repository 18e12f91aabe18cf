//! Blocks over time, for a picture of what memory is filled with: those that are large and long enough to be seen one by
//! one, the others summed up.
//!
//! Two passes, since what a block is and how long it is alive is known when it is freed. The first finds the blocks that
//! fill the picture most. The second cuts time into columns and takes of each the moment at which most was allocated: what
//! stands in a column is what was alive at one moment, and adds up to what was allocated then. Besides the blocks that
//! are alive, those that may be shown are kept, and four bytes for each that there was, for its category.

mod chosen_blocks;
mod columns;
mod grouping;

use std::collections::BTreeMap;

use tidegauge_schemas::Category;

use super::categories::{CategoryRules, label_blocks_with};
use crate::error::Result;
use crate::load::{Process, Rows};
use crate::replay::{Outcome, Window, replay};
use chosen_blocks::{ChosenBlock, ChosenBlocks, MOST_BLOCKS};
use columns::{Columns, Held};
use grouping::Grouping;

/// A block that fills less than so much, in cells of a column and a row, is not seen.
const LEAST_CELLS: f64 = 5.0;
/// Blocks lower than so many rows are hardly seen by themselves: those that come and go together are one band.
const LOW_ROWS: f64 = 1.5;
/// Bands that stay for this part of the columns are seen from so many rows on. Of others that are low it would be chance,
/// step by step, which are large enough.
const LONG_LIFE: usize = 8;
const LEAST_ROWS: f64 = 0.5;

/// What blocks are grouped, and coloured, by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BandsBy {
    /// What they are for.
    Category,
    /// Who allocated them.
    Site,
}

/// How finely a picture of blocks is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BandResolution {
    /// Moments across.
    pub columns: usize,
    /// What the peak is high.
    pub rows: usize,
    /// Bands, at most.
    pub bands: usize,
}

/// Blocks of one category, or of one site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BandGroup {
    /// Its name; `None` for all sites that have no group of their own.
    pub name: Option<String>,
    /// Of the group at the peak.
    pub peak_bytes: i64,
}

/// A block, or several that come and go together, each too low to be seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockBand {
    /// Number of the first of them among the blocks of the device: the same in every pass.
    pub number: u64,
    /// How many they are.
    pub blocks: usize,
    /// Which of the groups.
    pub group: usize,
    /// Who allocated them; `None` where that is not known, or they were several.
    pub site: Option<String>,
    /// What they are for.
    pub category: Category,
    /// Of all of them.
    pub size_bytes: i64,
    /// The first column that they stand in.
    pub first_column: usize,
    /// And the last.
    pub last_column: usize,
}

impl BlockBand {
    /// By which bands are left out where there are too many: size by time, the latter in powers of four columns, so that what
    /// each step has, sometimes for a column more, weighs the same.
    #[must_use]
    pub fn weight(&self) -> i128 {
        let columns = self.last_column + 1 - self.first_column.min(self.last_column);
        i128::from(self.size_bytes) << (columns.ilog2() / 2 * 2)
    }
}

/// The moment of a stretch of time at which most was allocated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BandColumn {
    /// When it was, nanoseconds since 1970.
    pub time_nanos: i64,
    /// Allocated then.
    pub allocated_bytes: i64,
    /// What is in no band, by group. Below 0 where more was freed than is known to have been allocated.
    pub others_bytes: Vec<i64>,
}

/// The blocks of one device over time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockBands {
    /// −1 the host, 0… accelerators.
    pub device: i16,
    /// What groups are.
    pub by: BandsBy,
    /// Whether times are known; without them rows are a microsecond apart.
    pub has_times: bool,
    /// When the recording began, nanoseconds since 1970.
    pub origin_nanos: i64,
    /// When the first column is.
    pub start_nanos: i64,
    /// When the last column is.
    pub end_nanos: i64,
    /// Those that have anything.
    pub groups: Vec<BandGroup>,
    /// In the order of their allocation, as they are stacked.
    pub bands: Vec<BlockBand>,
    /// From the start to the end.
    pub columns: Vec<BandColumn>,
    /// Which of the columns is the highest, the first of equal ones.
    pub peak_column: usize,
    /// Blocks that were alive in the window.
    pub blocks: u64,
}

/// The blocks inside of `window` of the device that `device` chooses; `None` where it chooses none, or nothing was
/// allocated on it.
///
/// # Errors
/// If the trace cannot be read.
pub fn block_bands(
    process: &Process,
    window: Window,
    by: BandsBy,
    resolution: BandResolution,
    device: impl Fn(&Outcome) -> Option<i16>,
) -> Result<(Option<BlockBands>, Outcome)> {
    let mut chosen = ChosenBlocks::new(window, by == BandsBy::Site);
    let (labels, outcome) = label_blocks_with(process, &CategoryRules::default(), window, &mut chosen)?;
    let found = device(&outcome).and_then(|device| Some((device, chosen.finish(&outcome, device)?)));
    let Some((device, mut of_device)) = found else { return Ok((None, outcome)) };
    let (first_nanos, last_nanos) = outcome.span_nanos.unwrap_or_default();
    let start_nanos = first_nanos.max(window.start_nanos);
    let end_nanos = last_nanos.min(window.end_nanos).max(start_nanos);
    let site_names = Rows::new(process).site_names()?;
    let largest = std::mem::take(&mut of_device.largest);
    let grouping = Grouping::new(by, device, &labels, &site_names, &of_device);
    let mut columns = Columns::new(
        device,
        window,
        (start_nanos, end_nanos),
        resolution.columns,
        |block| grouping.of(block),
        grouping.names.len(),
    );
    replay(process, window, &mut columns)?;
    let columns = columns.finish();
    let blocks = of_device.blocks;
    let bands = bands(largest, &grouping, &columns, resolution);
    let found = BlockBands {
        device,
        by,
        has_times: process.has_times(),
        origin_nanos: first_nanos,
        start_nanos,
        end_nanos,
        groups: Vec::new(),
        bands,
        columns: Vec::new(),
        peak_column: 0,
        blocks,
    };
    Ok((Some(with_others(found, grouping.names, columns)), outcome))
}

/// What is seen of the blocks, by the order of their allocation.
fn bands(
    blocks: Vec<ChosenBlock>,
    grouping: &Grouping<'_>,
    columns: &[Held],
    resolution: BandResolution,
) -> Vec<BlockBand> {
    let peak_bytes = columns.iter().map(|column| column.allocated_bytes).max().unwrap_or(0).max(1);
    let rows = |bytes: i64| bytes as f64 / peak_bytes as f64 * resolution.rows as f64;
    let mut bands: Vec<BlockBand> = Vec::new();
    let mut low: BTreeMap<(usize, usize, usize), usize> = BTreeMap::new();
    for ChosenBlock { block, died_seq, .. } in blocks {
        // Columns are in the order of their moments.
        let first = columns.partition_point(|column| column.seq.is_none_or(|seq| seq < block.born_seq));
        let end = died_seq.map_or(columns.len(), |died| {
            columns.partition_point(|column| column.seq.is_none_or(|seq| seq < died))
        });
        if first >= end {
            continue;
        }
        let band = BlockBand {
            number: block.number,
            blocks: 1,
            group: grouping.of(&block),
            site: grouping.site_names.get(&block.site).cloned(),
            category: grouping.category(&block),
            size_bytes: block.size_bytes,
            first_column: first,
            last_column: end - 1,
        };
        if rows(band.size_bytes) < LOW_ROWS {
            let same = low.entry((first, end, band.group)).or_insert(bands.len());
            if let Some(of) = bands.get_mut(*same) {
                of.blocks += 1;
                of.size_bytes += band.size_bytes;
                of.site = of.site.take().filter(|site| band.site.as_ref() == Some(site));
                continue;
            }
        }
        bands.push(band);
    }
    // What was not chosen is smaller than this: so that alike blocks are seen or not alike, what is chosen must be larger.
    let not_chosen = (resolution.rows * columns.len()) as f64 / MOST_BLOCKS as f64;
    let is_seen = |band: &BlockBand| {
        let (height, width) = (rows(band.size_bytes), band.last_column + 1 - band.first_column);
        let is_long = width >= columns.len() / LONG_LIFE;
        let is_high = height >= LOW_ROWS && band.blocks == 1 || height >= LEAST_ROWS && is_long;
        is_high && height * width as f64 >= LEAST_CELLS.max(not_chosen)
    };
    bands.retain(is_seen);
    keep_largest(&mut bands, resolution.bands);
    bands.sort_by_key(|band| band.number);
    bands
}

/// At most so many: all from some weight on, so that the same block is seen in every step or in none.
fn keep_largest(bands: &mut Vec<BlockBand>, most: usize) {
    if bands.len() <= most {
        return;
    }
    bands.sort_by_key(|band| (std::cmp::Reverse(band.weight()), band.number));
    let too_small = bands[most].weight();
    let larger = bands.partition_point(|band| band.weight() > too_small);
    bands.truncate(if larger == 0 { most } else { larger });
}

/// Takes what bands have off what was held, and leaves out groups that have nothing.
fn with_others(mut found: BlockBands, names: Vec<Option<String>>, columns: Vec<Held>) -> BlockBands {
    let highest = columns.iter().map(|column| column.allocated_bytes).max().unwrap_or(0);
    found.peak_column =
        columns.iter().position(|column| column.allocated_bytes == highest).unwrap_or_default();
    let has_any = |group: &usize| columns.iter().any(|column| column.group_bytes[*group] != 0);
    let used: Vec<usize> = (0..names.len()).filter(has_any).collect();
    found.groups = used
        .iter()
        .map(|group| BandGroup {
            name: names[*group].clone(),
            peak_bytes: columns.get(found.peak_column).map_or(0, |column| column.group_bytes[*group]),
        })
        .collect();
    let column = |held: Held| BandColumn {
        time_nanos: held.time_nanos,
        allocated_bytes: held.allocated_bytes,
        others_bytes: used.iter().map(|group| held.group_bytes[*group]).collect(),
    };
    found.columns = columns.into_iter().map(column).collect();
    // What a band has is of its group, so that the group is among those used.
    for band in &mut found.bands {
        band.group = used.iter().position(|group| *group == band.group).unwrap_or_default();
        for column in &mut found.columns[band.first_column..=band.last_column] {
            column.others_bytes[band.group] -= band.size_bytes;
        }
    }
    found
}
