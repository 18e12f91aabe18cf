//! A line of CSV as fields.
//!
//! nvidia-smi quotes nothing and puts a space after each comma; spreadsheets and data frames that wrote the file again
//! quote. A line is never continued on the next one, so a stray quote spoils no more than its line.

use std::borrow::Cow;

/// The fields of a line without the space around them; of one in quotes what they enclose.
pub(super) fn split(line: &str) -> Vec<Cow<'_, str>> {
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let (field, after) = match rest.trim_start().strip_prefix('"') {
            Some(quoted) => unquote(quoted),
            None => until_comma(rest),
        };
        fields.push(field);
        match after {
            Some(after) => rest = after,
            None => return fields,
        }
    }
}

fn until_comma(text: &str) -> (Cow<'_, str>, Option<&str>) {
    match text.split_once(',') {
        Some((field, after)) => (Cow::Borrowed(field.trim()), Some(after)),
        None => (Cow::Borrowed(text.trim()), None),
    }
}

/// A field up to its closing quote; two quotes are one of the field's own.
fn unquote(text: &str) -> (Cow<'_, str>, Option<&str>) {
    let mut field = String::new();
    let mut rest = text;
    while let Some((part, after)) = rest.split_once('"') {
        field += part;
        match after.strip_prefix('"') {
            Some(after) => {
                field.push('"');
                rest = after;
            }
            None => {
                let (tail, after) = until_comma(after);
                field += &tail;
                return (Cow::Owned(field.trim().to_owned()), after);
            }
        }
    }
    // Without a closing quote the rest of the line is the field.
    field += rest;
    (Cow::Owned(field.trim().to_owned()), None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_split_at_commas_outside_of_quotes() {
        let cases: [(&str, &[&str]); 8] = [
            ("a, b [MiB],c", &["a", "b [MiB]", "c"]),
            ("", &[""]),
            ("a,", &["a", ""]),
            (r#""a, b", "c ""d""" ,e"#, &["a, b", r#"c "d""#, "e"]),
            (r#""open, b"#, &["open, b"]),
            (r#"a "quoted" word, b"#, &[r#"a "quoted" word"#, "b"]),
            (r#""", "x"y, z"#, &["", "xy", "z"]),
            (r#"""#, &[""]),
        ];
        for (line, expected) in cases {
            assert_eq!(split(line), expected, "{line}");
        }
    }
}
