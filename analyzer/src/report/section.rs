//! A part of the page: a heading, sentences, a plot, tables.

use super::table::HtmlTable;
use crate::plot::in_page_colours;
use crate::render::{Table, shortened};

/// Longer sentences and lines are cut in their middle: names in them have no end.
const MOST_CHARACTERS: usize = 2000;

/// A part of the page, in the order in which it is shown.
#[derive(Debug, Clone, Default)]
pub struct Section {
    /// Name in links to it: ASCII letters and `-`.
    pub(super) id: &'static str,
    pub(super) heading: String,
    /// Sentences below the heading.
    pub(super) sentences: Vec<String>,
    /// Plots, in the colours of the page.
    pub(super) plots: Vec<String>,
    /// What is told as on a terminal.
    pub(super) told: Option<String>,
    pub(super) tables: Vec<HtmlTable>,
    /// Items of a list.
    pub(super) items: Vec<String>,
}

impl Section {
    /// An empty part.
    #[must_use]
    pub fn new(id: &'static str, heading: impl Into<String>) -> Self {
        Self { id, heading: heading.into(), ..Self::default() }
    }

    /// With a sentence more.
    #[must_use]
    pub fn sentence(mut self, sentence: impl Into<String>) -> Self {
        self.sentences.push(shortened(&sentence.into(), MOST_CHARACTERS));
        self
    }

    /// With sentences more.
    #[must_use]
    pub fn sentences(self, sentences: impl IntoIterator<Item = String>) -> Self {
        sentences.into_iter().fold(self, Self::sentence)
    }

    /// With a plot, as `plot::*_svg` draws it in light colours; or the sentence why there is none.
    #[must_use]
    pub fn plot(mut self, drawn: Result<&str, String>) -> Self {
        match drawn {
            Ok(svg) => self.plots.push(in_page_colours(svg)),
            Err(reason) => self.sentences.push(shortened(&reason, MOST_CHARACTERS)),
        }
        self
    }

    /// With a table of which at most `most` rows are shown; nothing if it is empty.
    #[must_use]
    pub fn table(mut self, caption: &str, table: &Table, most: usize) -> Self {
        if !table.rows.is_empty() {
            self.tables.push(HtmlTable::new(caption, table, most));
        }
        self
    }

    /// With lines that are told as on a terminal.
    #[must_use]
    pub fn told(mut self, text: impl Into<String>) -> Self {
        let lines: Vec<String> = text.into().lines().map(|line| shortened(line, MOST_CHARACTERS)).collect();
        self.told = Some(lines.join("\n"));
        self
    }

    /// With items of a list.
    #[must_use]
    pub fn items(mut self, items: impl IntoIterator<Item = String>) -> Self {
        self.items.extend(items.into_iter().map(|item| shortened(&item, MOST_CHARACTERS)));
        self
    }

    /// Whether there is nothing below the heading.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sentences.is_empty()
            && self.plots.is_empty()
            && self.told.is_none()
            && self.tables.is_empty()
            && self.items.is_empty()
    }
}
