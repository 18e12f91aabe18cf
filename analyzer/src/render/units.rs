//! Numbers for people: KiB, MiB, GiB; seconds.

/// Bytes with a binary unit and three significant digits: `1.23 GiB`, `23.1 MiB`, `512 B`.
#[must_use]
pub fn bytes(bytes: i64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes.unsigned_abs() < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    // Rounded to a whole unit of the next size, it is shown in that.
    while value.abs() >= 1023.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{} {}", three_digits(value), UNITS[unit])
}

/// As [`bytes`], always with a sign.
#[must_use]
pub fn signed_bytes(delta_bytes: i64) -> String {
    if delta_bytes >= 0 { format!("+{}", bytes(delta_bytes)) } else { bytes(delta_bytes) }
}

fn three_digits(value: f64) -> String {
    match value.abs() {
        // What rounds up to the next power of ten has a digit less behind the point.
        size if size < 9.995 => format!("{value:.2}"),
        size if size < 99.95 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// A duration in nanoseconds: `1.23 s`, `45.6 ms`, `2 m 03 s`, `1 h 02 m`.
#[must_use]
pub fn duration(nanos: i64) -> String {
    let seconds = nanos as f64 / 1e9;
    let whole = (seconds + 0.5) as i64;
    match seconds.abs() {
        size if size < 1e-6 => format!("{nanos} ns"),
        size if size < 0.999_5e-3 => format!("{} µs", three_digits(seconds * 1e6)),
        size if size < 0.999_5 => format!("{} ms", three_digits(seconds * 1e3)),
        size if size < 119.5 => format!("{} s", three_digits(seconds)),
        size if size < 7170.0 => format!("{} m {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} m", whole / 3600, whole % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_binary_units() {
        let cases = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (1536, "1.50 KiB"),
            (10 << 20, "10.0 MiB"),
            (1_048_064, "1.00 MiB"),
            ((38 << 30) + (1 << 29), "38.5 GiB"),
            (-4096, "-4.00 KiB"),
            (i64::MAX, "8192 PiB"),
        ];
        for (value, text) in cases {
            assert_eq!(bytes(value), text);
        }
        assert_eq!(signed_bytes(1024), "+1.00 KiB");
        assert_eq!(signed_bytes(-1), "-1 B");
    }

    #[test]
    fn durations_have_a_unit_that_fits() {
        let cases = [
            (999, "999 ns"),
            (1_500, "1.50 µs"),
            (45_600_000, "45.6 ms"),
            (1_234_000_000, "1.23 s"),
            (119_400_000_000, "119 s"),
            (123_000_000_000, "2 m 03 s"),
            (3_723_000_000_000, "62 m 03 s"),
            (7_323_000_000_000, "2 h 02 m"),
        ];
        for (value, text) in cases {
            assert_eq!(duration(value), text);
        }
    }
}
