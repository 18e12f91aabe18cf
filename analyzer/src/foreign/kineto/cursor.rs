//! JSON, read from a slice that may end before the value does.
//!
//! Only what traces need: numbers as integers, strings as they are written, and passing over values, which is where the
//! time goes. What is passed over is checked for its brackets and strings, not for more: profilers write `nan`, `inf` and
//! backslashes that are no escapes.

/// Why reading stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// The slice ends inside of the value.
    More,
    /// The byte at `at` is not what has to be there.
    Wrong {
        /// Its place in the slice.
        at: usize,
        /// What has to be there.
        expected: &'static str,
    },
}

pub(super) type Parsed<T> = Result<T, Stop>;

/// Values within values; deeper ones are no profiler's.
const MAX_DEPTH: u32 = 127;

/// A place in a slice.
#[derive(Debug, Clone)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// A number or a text in place of it: ids are written both ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scalar<'a> {
    /// A number as it is written, also within quotes.
    Number(&'a [u8]),
    /// Any other text, without its quotes.
    Text(&'a [u8]),
    /// `null`, `true`, `nan`, a list, an object.
    Other,
}

impl<'a> Cursor<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// How much was read.
    pub(super) const fn at(&self) -> usize {
        self.at
    }

    /// The first byte that is no white space; it is still to be read.
    #[inline]
    pub(super) fn peek(&mut self) -> Parsed<u8> {
        let bytes = self.bytes;
        while self.at < bytes.len() {
            match bytes[self.at] {
                b' ' | b'\n' | b'\r' | b'\t' => self.at += 1,
                byte => return Ok(byte),
            }
        }
        Err(Stop::More)
    }

    /// Reads that byte, white space before it.
    #[inline]
    pub(super) fn expect(&mut self, byte: u8, expected: &'static str) -> Parsed<()> {
        if self.peek()? != byte {
            return Err(self.wrong(expected));
        }
        self.at += 1;
        Ok(())
    }

    /// Whether that byte comes next, white space before it; if so it is read.
    #[inline]
    pub(super) fn accept(&mut self, byte: u8) -> Parsed<bool> {
        let is_next = self.peek()? == byte;
        self.at += usize::from(is_next);
        Ok(is_next)
    }

    /// That something else has to be here.
    pub(super) const fn wrong(&self, expected: &'static str) -> Stop {
        Stop::Wrong { at: self.at, expected }
    }

    /// Within an object: the next key, its colon read too; `None` at the end, which is read.
    #[inline]
    pub(super) fn key(&mut self, is_first: bool) -> Parsed<Option<&'a [u8]>> {
        match self.peek()? {
            b'}' => {
                self.at += 1;
                return Ok(None);
            }
            b',' if !is_first => self.at += 1,
            _ if is_first => {}
            _ => return Err(self.wrong("`,` or `}`")),
        }
        let key = self.string()?;
        self.expect(b':', "`:`")?;
        Ok(Some(key))
    }

    /// A string as it is written, without its quotes.
    #[inline]
    pub(super) fn string(&mut self) -> Parsed<&'a [u8]> {
        self.expect(b'"', "a string")?;
        let start = self.at;
        self.pass_string()?;
        Ok(&self.bytes[start..self.at - 1])
    }

    /// The value, as it is written.
    pub(super) fn raw(&mut self) -> Parsed<&'a [u8]> {
        self.peek()?;
        let start = self.at;
        self.pass()?;
        Ok(&self.bytes[start..self.at])
    }

    /// A number, a text or something else.
    #[inline]
    pub(super) fn scalar(&mut self) -> Parsed<Scalar<'a>> {
        match self.peek()? {
            b'"' => {
                let text = self.string()?;
                let is_number = text.first().is_some_and(|byte| byte.is_ascii_digit() || *byte == b'-');
                Ok(if is_number { Scalar::Number(text) } else { Scalar::Text(text) })
            }
            b'-' | b'0'..=b'9' => {
                let start = self.at;
                self.pass_word()?;
                Ok(Scalar::Number(&self.bytes[start..self.at]))
            }
            _ => {
                self.pass()?;
                Ok(Scalar::Other)
            }
        }
    }

    /// Passes over a value.
    pub(super) fn pass(&mut self) -> Parsed<()> {
        match self.peek()? {
            b'"' => {
                self.at += 1;
                self.pass_string()
            }
            b'{' | b'[' => self.pass_nested(),
            b'-' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => self.pass_word(),
            _ => Err(self.wrong("a value")),
        }
    }

    /// Passes over a number or a word such as `null`, behind which something else has to come.
    #[inline]
    fn pass_word(&mut self) -> Parsed<()> {
        let bytes = self.bytes;
        while self.at < bytes.len() {
            match bytes[self.at] {
                b'0'..=b'9' | b'.' | b'-' | b'+' | b'a'..=b'z' | b'A'..=b'Z' => self.at += 1,
                _ => return Ok(()),
            }
        }
        Err(Stop::More)
    }

    /// Passes over an object or a list. Iterative: depth costs a bit each.
    fn pass_nested(&mut self) -> Parsed<()> {
        // A bit for each level: 1 an object.
        let mut levels: u128 = 0;
        let mut depth = 0;
        let bytes = self.bytes;
        while self.at < bytes.len() {
            let byte = bytes[self.at];
            self.at += 1;
            match byte {
                b'"' => self.pass_string()?,
                b'{' | b'[' => {
                    depth += 1;
                    if depth > MAX_DEPTH {
                        return Err(Stop::Wrong { at: self.at - 1, expected: "fewer values within values" });
                    }
                    levels = levels << 1 | u128::from(byte == b'{');
                }
                b'}' | b']' => {
                    if levels & 1 != u128::from(byte == b'}') {
                        let expected = if byte == b'}' { "`]`" } else { "`}`" };
                        return Err(Stop::Wrong { at: self.at - 1, expected });
                    }
                    levels >>= 1;
                    depth -= 1;
                    if depth == 0 {
                        return Ok(());
                    }
                }
                _ => {}
            }
        }
        Err(Stop::More)
    }

    /// Passes over the rest of a string, eight bytes at a time.
    #[inline]
    fn pass_string(&mut self) -> Parsed<()> {
        const ONES: u64 = u64::MAX / 255;
        const HIGH: u64 = ONES << 7;
        let bytes = self.bytes;
        let mut at = self.at;
        loop {
            while at + 8 <= bytes.len() {
                let eight = [
                    bytes[at],
                    bytes[at + 1],
                    bytes[at + 2],
                    bytes[at + 3],
                    bytes[at + 4],
                    bytes[at + 5],
                    bytes[at + 6],
                    bytes[at + 7],
                ];
                let word = u64::from_le_bytes(eight);
                let (quotes, escapes) = (word ^ (ONES * b'"' as u64), word ^ (ONES * b'\\' as u64));
                // The high bit of each byte that is zero, and maybe of some above it.
                let found =
                    ((quotes.wrapping_sub(ONES) & !quotes) | (escapes.wrapping_sub(ONES) & !escapes)) & HIGH;
                if found != 0 {
                    at += (found.trailing_zeros() / 8) as usize;
                    break;
                }
                at += 8;
            }
            if at >= bytes.len() {
                return Err(Stop::More);
            }
            match bytes[at] {
                b'"' => {
                    self.at = at + 1;
                    return Ok(());
                }
                // Whatever is escaped, it does not end the string.
                b'\\' => at += 2,
                _ => at += 1,
            }
        }
    }
}

/// An integer; what is behind a decimal point is dropped.
#[inline]
pub(super) fn integer(number: &[u8]) -> Option<i64> {
    let (is_negative, digits) = match number {
        [b'-', rest @ ..] => (true, rest),
        all => (false, all),
    };
    let mut value: i64 = 0;
    #[allow(clippy::needless_range_loop, reason = "as fast in builds that do not inline iterators")]
    for at in 0..digits.len() {
        match digits[at] {
            byte @ b'0'..=b'9' => value = value.checked_mul(10)?.checked_sub(i64::from(byte - b'0'))?,
            b'.' if at > 0 && digits[at + 1..].iter().all(u8::is_ascii_digit) => break,
            _ => return real(number).map(|real| real as i64),
        }
    }
    // Counted down, since the lowest number has no positive counterpart.
    if digits.is_empty() || is_negative {
        Some(value).filter(|_| !digits.is_empty())
    } else {
        value.checked_neg()
    }
}

/// Microseconds as nanoseconds, exactly: a double has not enough digits for microseconds since 1970 with decimals.
#[inline]
pub(super) fn nanos(micros: &[u8]) -> Option<i64> {
    let point =
        micros.iter().position(|byte| !byte.is_ascii_digit() && *byte != b'-').unwrap_or(micros.len());
    let (whole, decimals) = micros.split_at(point);
    let whole = integer(whole)?.checked_mul(1000)?;
    let Some((b'.', decimals)) = decimals.split_first() else {
        return if decimals.is_empty() { Some(whole) } else { real_nanos(micros) };
    };
    if !decimals.iter().all(u8::is_ascii_digit) {
        return real_nanos(micros);
    }
    let digit = |at: usize| decimals.get(at).map_or(0, |digit| i64::from(digit - b'0'));
    let part = digit(0) * 100 + digit(1) * 10 + digit(2) + i64::from(digit(3) >= 5);
    if micros[0] == b'-' { whole.checked_sub(part) } else { whole.checked_add(part) }
}

fn real_nanos(micros: &[u8]) -> Option<i64> {
    real(micros).map(|micros| (micros * 1000.0).round() as i64)
}

fn real(number: &[u8]) -> Option<f64> {
    std::str::from_utf8(number).ok()?.parse().ok().filter(|number: &f64| number.abs() < 9e18)
}

/// The text of a string as it is written; an escape that is none stays as it is.
pub(super) fn text(written: &[u8]) -> String {
    if !written.contains(&b'\\') {
        return String::from_utf8_lossy(written).into_owned();
    }
    let quoted = [b"\"", written, b"\""].concat();
    serde_json::from_slice(&quoted).unwrap_or_else(|_| String::from_utf8_lossy(written).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn microseconds_are_read_exactly() {
        let cases: [(&str, Option<i64>); 13] = [
            ("2211714153399.54", Some(2_211_714_153_399_540)),
            ("1669783687464181", Some(1_669_783_687_464_181_000)),
            ("1669783687464181.123", Some(1_669_783_687_464_181_123)),
            ("0.0005", Some(1)),
            ("0.0004", Some(0)),
            ("7.", Some(7000)),
            ("-1.5", Some(-1500)),
            ("-0.25", Some(-250)),
            ("1.5e3", Some(1_500_000)),
            ("1e400", None),
            ("99999999999999999999", None),
            ("", None),
            ("1.2.3", None),
        ];
        for (text, expected) in cases {
            assert_eq!(nanos(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn integers_are_read_over_their_whole_range() {
        let cases: [(&str, Option<i64>); 9] = [
            ("0", Some(0)),
            ("-5242880", Some(-5_242_880)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("512.0", Some(512)),
            ("2e3", Some(2000)),
            ("-", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(integer(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn values_are_passed_over_and_their_ends_are_found() {
        let values = [
            r#"{"a": [1, {"b": "}]\"\\"}], "c": nan}"#,
            r#""C:\Users\x""#,
            "[[[[]]]]",
            "null",
            "-1.5e-3",
            "\"12345678901234567890\\\"\"",
        ];
        for value in values {
            let written = format!(" {value},");
            let mut cursor = Cursor::new(written.as_bytes());
            assert_eq!(cursor.raw(), Ok(value.as_bytes()), "{value}");
            assert_eq!(cursor.at(), written.len() - 1);
            for end in 0..written.len() - 1 {
                let cut = Cursor::new(&written.as_bytes()[..end]).pass();
                assert_eq!(cut, Err(Stop::More), "{value} cut after {end}");
            }
        }
    }

    #[test]
    fn wrong_brackets_and_great_depth_are_refused_where_they_are() {
        assert_eq!(Cursor::new(b"{\"a\":[}").pass(), Err(Stop::Wrong { at: 6, expected: "`]`" }));
        assert_eq!(Cursor::new(b"  ?").pass(), Err(Stop::Wrong { at: 2, expected: "a value" }));
        let deep = vec![b'['; 1 << 20];
        let depth = MAX_DEPTH as usize;
        let stop = Stop::Wrong { at: depth, expected: "fewer values within values" };
        assert_eq!(Cursor::new(&deep).pass(), Err(stop));
    }

    #[test]
    fn escapes_are_resolved_and_what_is_none_stays() {
        assert_eq!(text(br"a\u0041\n"), "aA\n");
        assert_eq!(text(br"C:\Users"), r"C:\Users");
        assert_eq!(text(&[b'a', 0xff]), "a\u{FFFD}");
    }
}
