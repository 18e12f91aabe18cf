//! A cell as a number in the unit of its metric.

use std::borrow::Cow;

/// What a column's numbers count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// Memory; nvidia-smi writes MiB.
    Bytes,
    Percent,
    Watts,
    Celsius,
    Megahertz,
    /// Bits, in hexadecimal.
    Mask,
}

/// More bytes than any device has: a pebibyte.
const MAX_BYTES: f64 = (1u64 << 50) as f64;
const MIB: f64 = (1u32 << 20) as f64;

/// A number, and whether its unit stood in the cell.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Number {
    pub(super) value: f64,
    pub(super) has_unit: bool,
}

/// Whether a cell says that there is no reading: `[N/A]`, `[Not Supported]`, `[Unknown Error]`, `[GPU is lost]`, …
pub(super) fn is_absent(cell: &str) -> bool {
    const WORDS: [&str; 6] =
        ["n/a", "not supported", "unknown error", "err!", "insufficient permissions", "not found"];
    let is_bracketed = cell.starts_with('[') && cell.ends_with(']');
    cell.is_empty() || is_bracketed || WORDS.iter().any(|word| cell.eq_ignore_ascii_case(word))
}

impl Unit {
    /// Reads a cell, `None` if it has no reading; the header's unit holds where the cell has none.
    ///
    /// # Errors
    /// What was expected, if it is something else.
    pub(super) fn read(self, cell: &str, header_unit: Option<&str>) -> Result<Option<Number>, &'static str> {
        if is_absent(cell) {
            return Ok(None);
        }
        if self == Self::Mask {
            let bits = match cell.strip_prefix("0x").or_else(|| cell.strip_prefix("0X")) {
                Some(digits) => u64::from_str_radix(digits, 16),
                None => cell.parse(),
            };
            let value = bits.map_err(|_| "a bit mask as 0x0000000000000001")? as f64;
            return Ok(Some(Number { value, has_unit: true }));
        }
        let end = cell.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '-' | '+')));
        let (number, unit) = cell.split_at(end.unwrap_or(cell.len()));
        let unit = unit.trim();
        let (unit, has_unit) = if unit.is_empty() { (header_unit, false) } else { (Some(unit), true) };
        let expected = self.expected();
        let factor = self.factor(unit).ok_or(expected)?;
        let value = number.parse::<f64>().map_err(|_| expected)? * factor;
        let is_possible = match self {
            Self::Bytes => (0.0..=MAX_BYTES).contains(&value),
            Self::Celsius => value.is_finite(),
            _ => value.is_finite() && value >= 0.0,
        };
        if is_possible { Ok(Some(Number { value, has_unit })) } else { Err(expected) }
    }

    const fn expected(self) -> &'static str {
        match self {
            Self::Bytes => "a size as 1234 MiB",
            Self::Percent => "a share as 56 %",
            Self::Watts => "a power as 250.00 W",
            Self::Celsius => "a temperature in °C",
            Self::Megahertz => "a clock as 1410 MHz",
            Self::Mask => "a bit mask as 0x0000000000000001",
        }
    }

    fn factor(self, unit: Option<&str>) -> Option<f64> {
        Some(match (self, unit) {
            // Old drivers write MB and mean MiB.
            (Self::Bytes, None | Some("MiB" | "MB")) => MIB,
            (Self::Bytes, Some("KiB")) => 1024.0,
            (Self::Bytes, Some("GiB")) => 1024.0 * MIB,
            (Self::Bytes, Some("B")) => 1.0,
            (Self::Percent, None | Some("%")) => 1.0,
            (Self::Watts, None | Some("W")) => 1.0,
            (Self::Watts, Some("mW")) => 1e-3,
            (Self::Celsius, None | Some("C" | "°C")) => 1.0,
            (Self::Megahertz, None | Some("MHz")) => 1.0,
            _ => return None,
        })
    }
}

/// Whether cells are a row of a log without a header: one has a unit of nvidia-smi's, or is a time as it writes them.
pub(super) fn is_row_without_header(fields: &[Cow<'_, str>]) -> bool {
    let is_own = |field: &Cow<'_, str>| {
        let has_unit = field.rsplit_once(' ').is_some_and(|(number, unit)| {
            matches!(unit, "MiB" | "%" | "W" | "MHz") && number.parse::<f64>().is_ok()
        });
        has_unit || (field.as_bytes().get(4) == Some(&b'/') && time_nanos(field).is_some())
    };
    fields.len() <= 256 && fields.iter().any(is_own)
}

/// `2023/08/01 10:11:12.345` as if it were UTC, nanoseconds since 1970; written again by other programs, `2023-08-01 …`
/// or `2023-08-01T…`.
pub(super) fn time_nanos(cell: &str) -> Option<i64> {
    let cell = cell.strip_suffix('Z').unwrap_or(cell).replacen('T', " ", 1).replace('-', "/");
    let has_seconds = cell.matches(':').count() == 2;
    let format = if has_seconds { "%Y/%m/%d %H:%M:%S%.f" } else { "%Y/%m/%d %H:%M" };
    let time = jiff::civil::DateTime::strptime(format, &cell).ok()?;
    let zoned = time.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    i64::try_from(zoned.timestamp().as_nanosecond()).ok()
}
