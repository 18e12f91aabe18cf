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
/// or `2023-08-01T…`. Long logs have millions, so it is not left to a parser of formats.
pub(super) fn time_nanos(cell: &str) -> Option<i64> {
    let (date, time) = cell.strip_suffix('Z').unwrap_or(cell).split_once([' ', 'T'])?;
    let mut numbers = date.split(['/', '-']);
    let date = (number(numbers.next()?)?, number(numbers.next()?)?, number(numbers.next()?)?);
    let is_date = numbers.next().is_none();
    let mut numbers = time.split(':');
    let (hour, minute) = (number(numbers.next()?)?, number(numbers.next()?)?);
    let (second, fraction) = match numbers.next() {
        Some(seconds) => seconds.split_once('.').unwrap_or((seconds, "0")),
        None => ("0", "0"),
    };
    let nanos = fraction.get(..9).unwrap_or(fraction);
    let nanos = number::<i32>(nanos)? * 10i32.pow(9 - nanos.len() as u32);
    let second = number(second)?;
    if !is_date || numbers.next().is_some() {
        return None;
    }
    let time = jiff::civil::DateTime::new(date.0, date.1, date.2, hour, minute, second, nanos).ok()?;
    let timestamp = jiff::tz::Offset::UTC.to_timestamp(time).ok()?;
    i64::try_from(timestamp.as_nanosecond()).ok()
}

/// Digits only: no sign, nothing empty.
fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_jiff_reads_them() {
        for text in [
            "2023/08/01 10:11:12.345",
            "2024/02/29 23:59:59.000",
            "1999/12/31 00:00:00",
            "2038/01/19 03:14:08.1",
        ] {
            let expected = jiff::civil::DateTime::strptime("%Y/%m/%d %H:%M:%S%.f", text).unwrap();
            let expected = expected.to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp().as_nanosecond();
            for text in [text.to_owned(), text.replace('/', "-"), text.replace(' ', "T") + "Z"] {
                assert_eq!(time_nanos(&text).map(i128::from), Some(expected), "{text}");
            }
        }
        assert_eq!(time_nanos("1970/01/01 00:01"), Some(60_000_000_000));
        let wrong = [
            "",
            "2023/08/01",
            "2023/02/30 10:11:12",
            "2023/08/01 24:00:00",
            "2023/08/01 10:11:12.",
            "2023/08/01 10",
            "2023/8/1/2 10:11",
            "-2023/08/01 10:11:12",
            "2023/08/01 10:11:12:13",
            "2023/08/01 10:+1:12",
            "9999999/01/01 10:11:12",
        ];
        for text in wrong {
            assert_eq!(time_nanos(text), None, "{text}");
        }
    }
}
