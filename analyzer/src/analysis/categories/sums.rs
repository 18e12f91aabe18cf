//! Sums by category of what is alive.

use std::collections::BTreeMap;

use super::label::{Evidence, Kind, Label};
use super::labels::Labels;
use crate::analysis::live_set::LiveBlock;

/// What blocks of one category sum up to, by what that stands on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CategoryTotal {
    /// All of them.
    pub bytes: i64,
    /// Those that the framework told of.
    pub tagged_bytes: i64,
    /// Those that a rule of the user's names.
    pub rule_bytes: i64,
    /// Those whose lives tell it.
    pub inferred_bytes: i64,
    /// Those of which nothing tells it, memory in no block that is known among them.
    pub unknown_bytes: i64,
    /// Activations among them that were made once more within backward.
    pub recomputed_bytes: i64,
    /// How many blocks.
    pub blocks: u64,
}

impl CategoryTotal {
    /// Adds blocks of that label, or takes them away.
    #[inline]
    pub fn add(&mut self, label: Label, bytes: i64, blocks: i64) {
        self.bytes += bytes;
        self.blocks = self.blocks.saturating_add_signed(blocks);
        *match label.evidence {
            Evidence::Tagged => &mut self.tagged_bytes,
            Evidence::Rule => &mut self.rule_bytes,
            Evidence::Inferred => &mut self.inferred_bytes,
            Evidence::Unknown => &mut self.unknown_bytes,
        } += bytes;
        if label.is_recomputed {
            self.recomputed_bytes += bytes;
        }
    }
}

impl std::iter::Sum for CategoryTotal {
    fn sum<I: Iterator<Item = Self>>(totals: I) -> Self {
        totals.fold(Self::default(), |sum, total| Self {
            bytes: sum.bytes + total.bytes,
            tagged_bytes: sum.tagged_bytes + total.tagged_bytes,
            rule_bytes: sum.rule_bytes + total.rule_bytes,
            inferred_bytes: sum.inferred_bytes + total.inferred_bytes,
            unknown_bytes: sum.unknown_bytes + total.unknown_bytes,
            recomputed_bytes: sum.recomputed_bytes + total.recomputed_bytes,
            blocks: sum.blocks + total.blocks,
        })
    }
}

/// What is alive at a moment, by category.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CategorySums {
    /// Each category that has anything.
    pub totals: BTreeMap<Kind, CategoryTotal>,
}

impl CategorySums {
    /// Of blocks of a device; what is allocated and in none of them is unknown.
    #[must_use]
    pub fn new(labels: &Labels, device: i16, blocks: &[LiveBlock], allocated_bytes: i64) -> Self {
        let labelled = blocks.iter().map(|live| (labels.of(device, &live.block), live.block.size_bytes, 1));
        Self::of_labelled(labelled, allocated_bytes)
    }

    /// Of blocks whose labels are known, with bytes and number; what is allocated and in none of them is unknown.
    #[must_use]
    pub fn of_labelled(blocks: impl Iterator<Item = (Label, i64, i64)>, allocated_bytes: i64) -> Self {
        let mut sums = Self::default();
        let mut rest_bytes = allocated_bytes;
        for (label, bytes, count) in blocks {
            sums.totals.entry(label.kind).or_default().add(label, bytes, count);
            rest_bytes -= bytes;
        }
        if rest_bytes > 0 {
            sums.totals.entry(Label::UNKNOWN.kind).or_default().add(Label::UNKNOWN, rest_bytes, 0);
        }
        sums
    }

    /// Of one category.
    #[must_use]
    pub fn of(&self, kind: Kind) -> CategoryTotal {
        self.totals.get(&kind).copied().unwrap_or_default()
    }

    /// Of all together.
    #[must_use]
    pub fn all(&self) -> CategoryTotal {
        self.totals.values().copied().sum()
    }
}
