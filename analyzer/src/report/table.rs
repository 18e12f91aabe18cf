//! Tables of the page: what people read in the cell, what columns are sorted by, exact values where one points at a cell.

use crate::render::{Cell, Table, device_name, shortened};

/// Longer texts are cut in their middle: names have no end, and a table has hundreds of them.
const MOST_CHARACTERS: usize = 1000;

/// A table, ready for the template.
#[derive(Debug, Clone)]
pub(super) struct HtmlTable {
    pub(super) caption: String,
    pub(super) headings: Vec<Heading>,
    pub(super) rows: Vec<Vec<HtmlCell>>,
    /// How many rows there are besides those shown.
    pub(super) left_out: usize,
}

#[derive(Debug, Clone)]
pub(super) struct Heading {
    pub(super) text: String,
    pub(super) is_number: bool,
}

#[derive(Debug, Clone)]
pub(super) struct HtmlCell {
    pub(super) text: String,
    /// What it is sorted by, if that is not its text; empty where it is not known.
    pub(super) sort: Option<String>,
    /// The exact value with its unit, where the text is rounded.
    pub(super) exact: Option<String>,
    pub(super) is_number: bool,
}

impl HtmlTable {
    /// Columns without a heading are for data only and are left out.
    pub(super) fn new(caption: &str, table: &Table, most: usize) -> Self {
        let shown: Vec<usize> =
            (0..table.columns.len()).filter(|at| !table.columns[*at].heading.is_empty()).collect();
        let is_number = |at: usize| table.rows.iter().any(|row| row.get(at).is_some_and(Cell::is_number));
        let headings = shown
            .iter()
            .map(|&at| Heading { text: table.columns[at].heading.clone(), is_number: is_number(at) })
            .collect();
        let rows = table.rows.iter().take(most);
        let rows = rows
            .map(|row| {
                shown
                    .iter()
                    .filter_map(|&at| Some(HtmlCell::new(&table.columns[at].key, row.get(at)?)))
                    .collect()
            })
            .collect();
        let left_out = table.rows.len().saturating_sub(most);
        Self { caption: caption.to_owned(), headings, rows, left_out }
    }

    /// Whether there are rows enough to look for some among them.
    pub(super) fn is_long(&self) -> bool {
        self.rows.len() > 8
    }
}

impl HtmlCell {
    fn new(key: &str, cell: &Cell) -> Self {
        let (sort, exact) = match cell {
            Cell::Text(_) => (None, None),
            Cell::Unknown => (Some(String::new()), None),
            Cell::Count(number) => (Some(number.to_string()), None),
            Cell::Bytes(number) | Cell::DeltaBytes(number) => {
                (Some(number.to_string()), Some(format!("{number} bytes")))
            }
            Cell::Nanos(number) => (Some(number.to_string()), Some(format!("{number} ns"))),
            // What is no number is as good as unknown.
            Cell::Real(value) if value.is_nan() => (Some(String::new()), None),
            Cell::Real(value) if value.is_infinite() => {
                (Some(if *value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned()), None)
            }
            Cell::Real(value) | Cell::Share(value) | Cell::DeltaShare(value) => {
                (Some(value.to_string()), Some(value.to_string()))
            }
            Cell::Flag(flag) => (Some(u8::from(*flag).to_string()), None),
        };
        let text = match cell {
            // Its number is for data.
            Cell::Count(device) if key == "device" => device_name(*device as i16),
            cell => cell.for_people(),
        };
        Self { text: shortened(&text, MOST_CHARACTERS), sort, exact, is_number: cell.is_number() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_rounded_for_people_and_exact_for_sorting() {
        let mut table = Table::new(&[("site", "Site"), ("key", ""), ("bytes", "Bytes")]);
        table.rows.push(vec![Cell::Text("a<b".into()), Cell::Count(1), Cell::Bytes(1_500_000)]);
        table.rows.push(vec![Cell::Unknown, Cell::Count(2), Cell::Unknown]);
        let html = HtmlTable::new("Who", &table, 1);
        assert_eq!((html.headings.len(), html.rows.len(), html.left_out), (2, 1, 1));
        let bytes = &html.rows[0][1];
        assert_eq!((bytes.text.as_str(), bytes.sort.as_deref()), ("1.43 MiB", Some("1500000")));
        assert_eq!(bytes.exact.as_deref(), Some("1500000 bytes"));
        assert!(html.headings[1].is_number && !html.headings[0].is_number && !html.is_long());
    }
}
