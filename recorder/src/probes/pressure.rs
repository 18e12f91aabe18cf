//! Pressure stall information: how long tasks waited for memory.

/// Share of the last 10 s in which tasks waited, percent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Pressure {
    /// Some task waited.
    pub(crate) some_percent: f64,
    /// All tasks that could run waited; older kernels do not say it for the whole node.
    pub(crate) full_percent: Option<f64>,
}

impl Pressure {
    /// Parses `/proc/pressure/memory` or a control group's `memory.pressure`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let average = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
            let value = line.split(' ').find_map(|word| word.strip_prefix("avg10="))?;
            value.parse::<f64>().ok().filter(|percent| percent.is_finite())
        };
        Some(Self { some_percent: average("some")?, full_percent: average("full") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn averages_over_ten_seconds_are_read() {
        let some = "some avg10=1.25 avg60=2.00 avg300=3.00 total=4\n";
        let full = "full avg10=0.50 avg60=0.00 avg300=0.00 total=0\n";
        let parsed = |some_percent, full_percent| Some(Pressure { some_percent, full_percent });
        for (text, expected) in [
            (format!("{some}{full}"), parsed(1.25, Some(0.5))),
            (some.to_owned(), parsed(1.25, None)),
            (full.to_owned(), None),
            (String::new(), None),
            ("some avg10=NaN".to_owned(), None),
            ("some avg60=1.0\nsomething avg10=1.0".to_owned(), None),
        ] {
            assert_eq!(Pressure::parse(&text), expected, "{text}");
        }
    }
}
