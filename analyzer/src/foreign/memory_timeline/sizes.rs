//! The other form: bytes of each category at each time, torch's own sum over the raw entries.
//!
//! It has no blocks: what a category holds is shown as one, given back and allocated anew whenever its size changes. At
//! each time categories that shrink come first, so the curve is never above where it is at the end.

use tidegauge_schemas::EventKind;

use super::{DEVICE, UNPLACED, category};
use crate::foreign::{ForeignEvent, ForeignProcess};

/// Numbers of a row: one that torch leaves at 0, then the categories.
pub(super) const SIZE_NUMBERS: usize = 2 + UNPLACED as usize;
/// Times are in microseconds.
const NANOS: i64 = 1000;

/// Takes rows of sizes in and pushes events.
pub(super) struct Sizes<'a> {
    process: &'a mut ForeignProcess,
    times_micros: &'a [i64],
    rows: usize,
    /// Sizes as of the last row; as many as the widest row.
    sizes: Vec<i64>,
    below_zero_rows: u64,
    has_unknown_categories: bool,
}

impl<'a> Sizes<'a> {
    pub(super) fn new(process: &'a mut ForeignProcess, times_micros: &'a [i64]) -> Self {
        Self {
            process,
            times_micros,
            rows: 0,
            sizes: Vec::new(),
            below_zero_rows: 0,
            has_unknown_categories: false,
        }
    }

    /// Whether nothing was taken in yet.
    pub(super) fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Takes in the sizes at the next time.
    ///
    /// # Errors
    /// If they are not as torch writes them: the reason.
    pub(super) fn add(&mut self, row: &[i64]) -> Result<(), String> {
        let number = self.rows;
        let Some(&time_micros) = self.times_micros.get(number) else {
            return Err(format!("row {number} of sizes has no time: there are {}", self.times_micros.len()));
        };
        if row.len() < SIZE_NUMBERS {
            return Err(format!("row {number} of sizes has {} numbers, expected {SIZE_NUMBERS}", row.len()));
        }
        self.rows += 1;
        let sizes = &row[1..];
        self.has_unknown_categories |= sizes.len() >= SIZE_NUMBERS;
        self.below_zero_rows += u64::from(sizes.iter().any(|bytes| *bytes < 0));
        let time_nanos = time_micros.saturating_mul(NANOS);
        // Torch writes what was alive before at the first time, and has that time again for what happened at it.
        let is_preexisting =
            number == 0 && (time_micros < 0 || self.times_micros.get(1) == Some(&time_micros));
        if time_micros < 0 {
            self.process.set_timeless();
        }
        let mut before = std::mem::take(&mut self.sizes);
        before.resize(sizes.len().max(before.len()), 0);
        let after = |category: usize| sizes.get(category).copied().unwrap_or(0);
        for falls in [true, false] {
            for (category, &held) in before.iter().enumerate() {
                let now = after(category);
                if now != held && (now < held) == falls {
                    self.resize(time_nanos, category, held, now, is_preexisting);
                }
            }
        }
        for (category, held) in before.iter_mut().enumerate() {
            *held = after(category);
        }
        self.sizes = before;
        Ok(())
    }

    /// Pushes warnings.
    ///
    /// # Errors
    /// If rows are missing.
    pub(super) fn finish(self) -> Result<(), String> {
        if self.rows != self.times_micros.len() {
            return Err(format!(
                "there are {} times and {} rows of sizes",
                self.times_micros.len(),
                self.rows
            ));
        }
        if self.below_zero_rows > 0 {
            self.process.note(format!(
                "at {} times a category is below zero, as torch counted it: that lowers the curve and no category",
                self.below_zero_rows
            ));
        }
        if self.has_unknown_categories {
            self.process.note("there are categories that this version does not know".to_owned());
        }
        self.process.coverage.push(
            "bytes of each category at each microsecond: which blocks these are, the file does not say"
                .to_owned(),
        );
        Ok(())
    }

    fn resize(&mut self, time_nanos: i64, number: usize, held: i64, now: i64, is_preexisting: bool) {
        let known = i64::try_from(number).ok().and_then(category);
        let event = |kind, address, size_bytes| ForeignEvent {
            time_nanos,
            kind: Some(kind),
            device: DEVICE,
            address,
            size_bytes: Some(size_bytes),
            category: known.or_else(|| category(UNPLACED)),
            ..ForeignEvent::default()
        };
        let address = Some(number as u64 + 1);
        let (held_block, now_block) = (held.max(0), now.max(0));
        let up = if is_preexisting { EventKind::Baseline } else { EventKind::Alloc };
        // What is below zero is no block.
        let debt_bytes = now.min(0).saturating_sub(held.min(0));
        if debt_bytes < 0 {
            self.process.push_event(&event(EventKind::Free, None, debt_bytes.saturating_neg()));
        }
        if held_block > 0 && held_block != now_block {
            self.process.push_event(&event(EventKind::Free, address, held_block));
        }
        if now_block > 0 && held_block != now_block {
            self.process.push_event(&event(up, address, now_block));
        }
        if debt_bytes > 0 {
            self.process.push_event(&event(EventKind::Alloc, None, debt_bytes));
        }
    }
}
