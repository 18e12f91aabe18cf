//! An axis of bytes that need not begin at 0: where growth is small against what is held, it would not be seen.

use super::canvas;

/// An axis begins at 0 if the lowest value is less than this part of the highest.
const FROM_ZERO: f64 = 0.5;

/// Bytes as what is written along the axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct HeightAxis {
    /// What counts as 0.
    base_bytes: f64,
    base_unit: (&'static str, f64),
    unit: (&'static str, f64),
    low_bytes: f64,
    high_bytes: f64,
}

impl HeightAxis {
    /// From `low_bytes` to `high_bytes`, with some room; from 0 also if they differ by less than this share.
    pub(super) fn new(low_bytes: f64, high_bytes: f64, least_share: f64) -> Self {
        let is_level = high_bytes - low_bytes < least_share * high_bytes;
        if low_bytes >= 0.0 && (low_bytes < FROM_ZERO * high_bytes || is_level || high_bytes <= 0.0) {
            let high_bytes = high_bytes.max(1.0);
            let unit = canvas::byte_unit(high_bytes as i64);
            return Self {
                base_bytes: 0.0,
                base_unit: unit,
                unit,
                low_bytes: 0.0,
                high_bytes: high_bytes * 1.12,
            };
        }
        // Something to see also where nothing moves.
        let span_bytes = (high_bytes - low_bytes).max(high_bytes.abs() * 1e-6).max(16.0);
        let (low_bytes, high_bytes) = (low_bytes - span_bytes * 0.1, high_bytes + span_bytes * 0.2);
        let unit = canvas::byte_unit((high_bytes - low_bytes) as i64);
        // Numbers that would not fit beside the axis count from a base.
        let (base_bytes, base_unit) = if high_bytes / unit.1 >= 10_000.0 {
            let larger = canvas::byte_unit((unit.1 * 1024.0 * 4.0) as i64);
            ((low_bytes / larger.1).floor() * larger.1, larger)
        } else {
            (0.0, unit)
        };
        Self { base_bytes, base_unit, unit, low_bytes, high_bytes }
    }

    /// Bytes on it.
    pub(super) fn at(&self, bytes: f64) -> f64 {
        (bytes - self.base_bytes) / self.unit.1
    }

    /// What is at its lower and its upper end.
    pub(super) fn range(&self) -> std::ops::Range<f64> {
        self.at(self.low_bytes)..self.at(self.high_bytes)
    }

    /// The unit, and from what it counts.
    pub(super) fn title(&self) -> String {
        let unit = self.unit.0;
        if self.base_bytes != 0.0 {
            format!("{unit} above {} {}", self.base_bytes / self.base_unit.1, self.base_unit.0)
        } else if self.low_bytes != 0.0 {
            format!("{unit}, not from 0")
        } else {
            unit.to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: f64 = (1 << 20) as f64;

    #[test]
    fn what_grows_much_is_shown_from_zero() {
        let axis = HeightAxis::new(MIB, 100.0 * MIB, 0.0);
        assert_eq!((axis.title(), axis.range().start), ("MiB".to_owned(), 0.0));
    }

    #[test]
    fn small_growth_is_shown_above_a_base() {
        let axis = HeightAxis::new(10_240.5 * MIB, 10_240.6 * MIB, 0.0);
        assert_eq!((axis.title(), axis.at(10_240.5 * MIB)), ("KiB above 10240 MiB".to_owned(), 512.0));
        let axis = HeightAxis::new(100.0 * MIB, 120.0 * MIB, 0.0);
        assert_eq!((axis.title(), axis.at(110.0 * MIB)), ("MiB, not from 0".to_owned(), 110.0));
    }

    #[test]
    fn what_stands_still_has_an_axis() {
        for bytes in [0.0, 1.0, 1e12] {
            for least_share in [0.0, 0.02] {
                let range = HeightAxis::new(bytes, bytes, least_share).range();
                assert!(range.start < range.end, "{bytes}: {range:?}");
            }
        }
    }
}
