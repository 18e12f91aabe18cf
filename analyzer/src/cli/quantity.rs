//! Amounts of memory and shares as people write them.

use anyhow::{Result, bail};

/// Units of memory, by the names that people use. `GB` is 10⁹, `GiB` is 2³⁰.
const BYTE_UNITS: [(&str, f64); 11] = [
    ("", 1.0),
    ("b", 1.0),
    ("kib", 1024.0),
    ("mib", 1_048_576.0),
    ("gib", 1_073_741_824.0),
    ("tib", 1_099_511_627_776.0),
    ("kb", 1e3),
    ("mb", 1e6),
    ("gb", 1e9),
    ("tb", 1e12),
    ("pib", 1_125_899_906_842_624.0),
];

/// An amount of memory: `38GiB`, `38GB`, `40000MiB`, `512`. Bytes.
pub(super) fn parse_bytes(text: &str) -> Result<i64> {
    let (number, unit) = split(text)?;
    let lower = unit.to_ascii_lowercase();
    let Some((_, factor)) = BYTE_UNITS.iter().find(|(name, _)| *name == lower) else {
        bail!("`{unit}` is no unit of memory; expected B, KiB, MiB, GiB, TiB, KB, MB, GB or TB")
    };
    let bytes = (number * factor).round();
    // Above this a float is no whole number of bytes, and no device has it.
    if !(0.0..=9e15).contains(&bytes) {
        bail!("`{text}` is no amount of memory; expected 38GiB, 38GB or 40000MiB");
    }
    Ok(bytes as i64)
}

/// A share: `5%`, `0.05`.
pub(super) fn parse_share(text: &str) -> Result<f64> {
    let (number, unit) = split(text)?;
    match unit {
        "%" => Ok(number / 100.0),
        "" if number <= 1.0 => Ok(number),
        "" => bail!("`{text}` is more than all; expected 5% or 0.05"),
        _ => bail!("`{text}` is no share; expected 5% or 0.05"),
    }
}

/// A share that leaves something.
pub(super) fn parse_part(text: &str) -> Result<f64> {
    let share = parse_share(text)?;
    if share >= 1.0 {
        bail!("`{text}` is all of it; expected less than 100%");
    }
    Ok(share)
}

/// An amount of memory for each step: `1MiB/step`, `1MiB`. Bytes.
pub(super) fn parse_bytes_per_step(text: &str) -> Result<i64> {
    let trimmed = text.trim();
    match trimmed.split_once('/') {
        None => parse_bytes(trimmed),
        Some((bytes, per)) if per.trim() == "step" => parse_bytes(bytes),
        Some((_, per)) => bail!("growth per `{}` is not known; expected 1MiB/step", per.trim()),
    }
}

/// A number of at least 0, and what follows it.
pub(super) fn split(text: &str) -> Result<(f64, &str)> {
    let trimmed = text.trim();
    let end = trimmed.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(end);
    match number.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok((number, unit.trim())),
        _ => bail!("`{text}` is no number of at least 0"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_has_binary_and_decimal_units() {
        let cases = [
            ("38GiB", 38 << 30),
            ("38GB", 38_000_000_000),
            ("40000MiB", 40_000 << 20),
            ("1.5 gib", 3 << 29),
            ("512", 512),
            ("0", 0),
        ];
        for (text, bytes) in cases {
            assert_eq!(parse_bytes(text).unwrap(), bytes, "{text}");
        }
        for text in ["", "GiB", "-1GiB", "38G", "38 parsecs", "1e3", "99999999TiB", "nan", "inf"] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn shares_are_parts_of_one() {
        assert_eq!(parse_share("5%").unwrap(), 0.05);
        assert_eq!(parse_share("0.05").unwrap(), 0.05);
        assert_eq!(parse_share("250 %").unwrap(), 2.5);
        for text in ["5", "-1%", "5GiB", ""] {
            assert!(parse_share(text).is_err(), "{text}");
        }
        assert!(parse_part("100%").is_err() && parse_part("99%").is_ok());
    }

    #[test]
    fn growth_is_for_each_step() {
        assert_eq!(parse_bytes_per_step("1MiB/step").unwrap(), 1 << 20);
        assert_eq!(parse_bytes_per_step("2kB").unwrap(), 2000);
        assert!(parse_bytes_per_step("1MiB/hour").is_err());
    }
}
