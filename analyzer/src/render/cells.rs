//! A table of typed cells, and its four forms. Data forms have integer bytes and nanoseconds, text has units.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};
use tidegauge_schemas::layout::ProcessId;

use super::units;

/// How a result is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Aligned, with units.
    Text,
    /// An array of flat objects.
    Json,
    /// RFC 4180.
    Csv,
    /// A Markdown table.
    Markdown,
}

/// A column: its key in data, and its heading for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Key in JSON and CSV, with the unit as in the trace.
    pub key: String,
    /// Heading; empty for a column that only data has.
    pub heading: String,
}

/// A value with its unit.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// Not known or not applicable.
    Unknown,
    /// A name.
    Text(String),
    /// A number without a unit.
    Count(i64),
    /// Bytes.
    Bytes(i64),
    /// A difference of bytes.
    DeltaBytes(i64),
    /// A duration, nanoseconds.
    Nanos(i64),
    /// A real number.
    Real(f64),
    /// A share of one.
    Share(f64),
    /// A difference as a share of what it is a difference to.
    DeltaShare(f64),
    /// True or false.
    Flag(bool),
}

impl Cell {
    /// A name that may not be known.
    #[must_use]
    pub fn text(text: Option<&str>) -> Self {
        text.map_or(Self::Unknown, |text| Self::Text(text.to_owned()))
    }

    /// A number that may not be known.
    #[must_use]
    pub fn count(count: Option<i64>) -> Self {
        count.map_or(Self::Unknown, Self::Count)
    }

    /// Bytes that may not be known.
    #[must_use]
    pub fn bytes(bytes: Option<i64>) -> Self {
        bytes.map_or(Self::Unknown, Self::Bytes)
    }

    pub(crate) fn for_people(&self) -> String {
        match self {
            Self::Unknown => "–".to_owned(),
            Self::Text(text) => printable(text),
            Self::Count(count) => count.to_string(),
            Self::Bytes(bytes) => units::bytes(*bytes),
            Self::DeltaBytes(bytes) => units::signed_bytes(*bytes),
            Self::Nanos(nanos) => units::duration(*nanos),
            Self::Real(value) if value.fract() == 0.0 && value.abs() >= 10.0 => format!("{value:.0}"),
            Self::Real(value) => format!("{value:.5}"),
            Self::Share(share) => format!("{:.1} %", share * 100.0),
            // Without a minus sign before what rounds to nothing.
            Self::DeltaShare(share) => format!("{:+.1} %", (share * 1000.0).round() / 10.0 + 0.0),
            Self::Flag(flag) => if *flag { "yes" } else { "no" }.to_owned(),
        }
    }

    fn json(&self) -> Value {
        match self {
            Self::Unknown => Value::Null,
            Self::Text(text) => json!(text),
            Self::Count(number) | Self::Bytes(number) | Self::DeltaBytes(number) | Self::Nanos(number) => {
                json!(number)
            }
            // Infinite and undefined losses exist; JSON has no word for them.
            Self::Real(value) | Self::Share(value) | Self::DeltaShare(value) => json!(value),
            Self::Flag(flag) => json!(flag),
        }
    }

    fn csv(&self) -> String {
        match self {
            Self::Unknown => String::new(),
            Self::Text(text) if text.contains([',', '"', '\n', '\r']) => {
                format!("\"{}\"", text.replace('"', "\"\""))
            }
            Self::Text(text) => text.clone(),
            Self::Count(number) | Self::Bytes(number) | Self::DeltaBytes(number) | Self::Nanos(number) => {
                number.to_string()
            }
            Self::Real(value) | Self::Share(value) | Self::DeltaShare(value) => value.to_string(),
            Self::Flag(flag) => flag.to_string(),
        }
    }

    pub(crate) const fn is_number(&self) -> bool {
        !matches!(self, Self::Text(_) | Self::Flag(_) | Self::Unknown)
    }
}

/// Columns wider than this are not aligned: names have no end, and formatting panics beyond 65,535 characters of width.
const MOST_ALIGNED: usize = 1000;

/// A text of at most so many characters, cut in its middle: both of its ends tell it from others.
#[must_use]
pub(crate) fn shortened(text: &str, most: usize) -> String {
    let count = text.chars().count();
    if count <= most {
        return text.to_owned();
    }
    let half = most / 2;
    let head = text.chars().take(half);
    head.chain(['…']).chain(text.chars().skip(count - half)).collect()
}

/// Names come from strangers: control characters must not reach a terminal, nor an XML file.
pub(crate) fn printable(text: &str) -> String {
    let is_shown = |c: char| !c.is_control() && c != '\u{FFFE}' && c != '\u{FFFF}';
    text.chars().map(|c| if is_shown(c) { c } else { '\u{FFFD}' }).collect()
}

/// Rows of cells under columns.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// The columns.
    pub columns: Vec<Column>,
    /// As many cells as columns each.
    pub rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table without rows.
    #[must_use]
    pub fn new(columns: &[(&str, &str)]) -> Self {
        let column =
            |&(key, heading): &(&str, &str)| Column { key: key.to_owned(), heading: heading.to_owned() };
        let columns = columns.iter().map(column).collect();
        Self { columns, rows: Vec::new() }
    }

    /// Puts columns `rank` and `process` before the others; people see them if they are told apart by them.
    #[must_use]
    pub fn of_process(mut self, id: ProcessId, is_one_of_several: bool) -> Self {
        let heading = |text: &str| if is_one_of_several { text.to_owned() } else { String::new() };
        let column = |key: &str, text: &str| Column { key: key.to_owned(), heading: heading(text) };
        self.columns.splice(0..0, [column("rank", "Rank"), column("process", "Process")]);
        for row in &mut self.rows {
            row.splice(0..0, [Cell::Count(i64::from(id.rank)), Cell::Count(i64::from(id.process))]);
        }
        self
    }

    /// Adds the rows of a table; cells under columns that one of them lacks are unknown.
    pub fn append(&mut self, mut other: Self) {
        for column in &other.columns {
            if !self.columns.iter().any(|known| known.key == column.key) {
                self.columns.push(column.clone());
                self.rows.iter_mut().for_each(|row| row.push(Cell::Unknown));
            }
        }
        let place = |column: &Column| other.columns.iter().position(|known| known.key == column.key);
        let places: Vec<Option<usize>> = self.columns.iter().map(place).collect();
        for row in &mut other.rows {
            let mut take = |at: usize| std::mem::replace(&mut row[at], Cell::Unknown);
            self.rows.push(places.iter().map(|at| at.map_or(Cell::Unknown, &mut take)).collect());
        }
    }

    /// In that format; text ends with a newline.
    #[must_use]
    pub fn render(&self, format: Format) -> String {
        match format {
            Format::Text => self.text(),
            Format::Json => self.json_text(),
            Format::Csv => self.csv(),
            Format::Markdown => self.markdown(),
        }
    }

    /// The rows as objects.
    #[must_use]
    pub fn json(&self) -> Vec<Value> {
        let object = |row: &Vec<Cell>| {
            let pairs = self.columns.iter().zip(row).map(|(column, cell)| (column.key.clone(), cell.json()));
            Value::Object(pairs.collect::<Map<_, _>>())
        };
        self.rows.iter().map(object).collect()
    }

    fn json_text(&self) -> String {
        // One row to a line: readable, and a diff shows what changed.
        let rows: Vec<String> = self.json().iter().map(ToString::to_string).collect();
        if rows.is_empty() { "[]\n".to_owned() } else { format!("[\n  {}\n]\n", rows.join(",\n  ")) }
    }

    fn csv(&self) -> String {
        let keys = self.columns.iter().map(|column| Cell::Text(column.key.clone()).csv());
        let mut text = keys.collect::<Vec<_>>().join(",") + "\n";
        for row in &self.rows {
            text += &(row.iter().map(Cell::csv).collect::<Vec<_>>().join(",") + "\n");
        }
        text
    }

    fn shown(&self) -> Vec<usize> {
        (0..self.columns.len()).filter(|&at| !self.columns[at].heading.is_empty()).collect()
    }

    fn markdown(&self) -> String {
        let shown = self.shown();
        let escaped = |text: &str| text.replace('\\', "\\\\").replace('|', "\\|");
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let mut text = line(shown.iter().map(|&at| escaped(&self.columns[at].heading)).collect());
        let rule = shown.iter().map(|&at| if self.is_number(at) { "---:" } else { "---" }.to_owned());
        text += &line(rule.collect());
        for row in &self.rows {
            text += &line(shown.iter().map(|&at| escaped(&row[at].for_people())).collect());
        }
        text
    }

    fn is_number(&self, at: usize) -> bool {
        self.rows.iter().any(|row| row[at].is_number())
    }

    /// Aligned columns, two spaces apart, indented by two.
    #[must_use]
    pub fn text(&self) -> String {
        let shown = self.shown();
        let heading = shown.iter().map(|&at| self.columns[at].heading.clone()).collect();
        let rows = self.rows.iter().map(|row| shown.iter().map(|&at| row[at].for_people()).collect());
        let lines: Vec<Vec<String>> = std::iter::once(heading).chain(rows).collect();
        let width = |at: usize| lines.iter().map(|line| line[at].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..shown.len()).map(|at| width(at).min(MOST_ALIGNED)).collect();
        let are_numbers: Vec<bool> = shown.iter().map(|&at| self.is_number(at)).collect();
        let mut text = String::new();
        for line in &lines {
            let mut out = String::from(" ");
            for ((cell, width), &is_number) in line.iter().zip(&widths).zip(&are_numbers) {
                // Writing to a string cannot fail.
                let _ = if is_number {
                    write!(out, " {cell:>width$} ", width = *width)
                } else {
                    write!(out, " {cell:<width$} ", width = *width)
                };
            }
            text += out.trim_end();
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_end_is_printed_and_aligns_nothing() {
        let mut table = table();
        table.rows[0][0] = Cell::Text("x".repeat(100_000));
        let text = table.text();
        assert!(text.len() < 103_000 && text.contains(&"x".repeat(100_000)), "{}", text.len());
    }

    fn table() -> Table {
        let mut table = Table::new(&[("phase", "Phase"), ("peak_bytes", "Peak"), ("seq", "")]);
        table.rows = vec![
            vec![Cell::Text("forward".into()), Cell::Bytes(3 << 20), Cell::Count(7)],
            vec![Cell::Text("a|b, \"c\"\u{1b}[31m".into()), Cell::Unknown, Cell::Count(8)],
        ];
        table
    }

    #[test]
    fn each_format_says_the_same() {
        let text = table().render(Format::Text);
        assert_eq!(
            text,
            "  Phase              Peak\n  forward        3.00 MiB\n  a|b, \"c\"\u{FFFD}[31m         –\n"
        );
        let csv = table().render(Format::Csv);
        assert_eq!(csv, "phase,peak_bytes,seq\nforward,3145728,7\n\"a|b, \"\"c\"\"\u{1b}[31m\",,8\n");
        let json: Value = serde_json::from_str(&table().render(Format::Json)).unwrap();
        assert_eq!(json[0], json!({"phase": "forward", "peak_bytes": 3_145_728, "seq": 7}));
        assert_eq!(json[1]["peak_bytes"], Value::Null);
        let markdown = table().render(Format::Markdown);
        assert!(
            markdown.starts_with("| Phase | Peak |\n| --- | ---: |\n| forward | 3.00 MiB |\n"),
            "{markdown}"
        );
        assert!(markdown.contains("a\\|b"));
    }

    #[test]
    fn no_rows_are_an_empty_array() {
        assert_eq!(Table::new(&[("a", "A")]).render(Format::Json), "[]\n");
    }
}
