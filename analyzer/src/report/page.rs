//! The page as a whole.

use askama::Template;

use super::figure::Figure;
use super::scripts::{self, OWN, STYLE};
use super::section::Section;
use crate::error::{Error, Result};
use crate::plot::{Theme, page_colours};
use crate::render::json_for_script;

/// A figure that is read first.
#[derive(Debug, Clone)]
pub struct Card {
    /// What it is.
    pub name: String,
    /// The figure.
    pub value: String,
    /// Where and when.
    pub detail: String,
}

/// All that the page shows.
#[derive(Debug, Clone)]
pub struct Report {
    /// Name of the run.
    pub title: String,
    /// Which process the page is about, and when it ran.
    pub subtitle: String,
    /// The run in three sentences.
    pub verdict: Vec<String>,
    /// Figures that are read first.
    pub cards: Vec<Card>,
    /// The interactive timelines.
    pub figures: Vec<Figure>,
    /// The bands below them, as [`super::bands_json`] writes them.
    pub bands_json: String,
    /// The timeline as a plot, for readers without scripts and for paper.
    pub timeline: Section,
    /// What was alive at chosen moments, as `render::moments_json` writes it.
    pub moments_json: String,
    /// The parts below the timeline.
    pub sections: Vec<Section>,
    /// The version that made it.
    pub version: &'static str,
}

#[derive(Template)]
#[template(path = "report.html")]
struct Page<'a> {
    report: &'a Report,
    policy: String,
    style: String,
    plotly: &'a str,
    own: &'a str,
    data: String,
}

impl Report {
    /// The page, HTML.
    ///
    /// # Errors
    /// If the template cannot be filled.
    pub fn html(&self) -> Result<String> {
        let plotly = scripts::plotly()?;
        let hashes = [&plotly, OWN].map(scripts::policy_hash).join(" ");
        // Nothing is fetched; the style and what plotly makes of it may stand in the page; plots are saved as images.
        let policy = format!(
            "default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; \
             form-action 'none'"
        );
        let colours = |theme| page_colours(theme);
        let style =
            STYLE.replace("/*light*/", &colours(Theme::Light)).replace("/*dark*/", &colours(Theme::Dark));
        let figures: Vec<&str> = self.figures.iter().map(|figure| figure.json.as_str()).collect();
        let data = format!(
            "{{\"figures\":[{}],\"bands\":{},\"moments\":{}}}",
            figures.join(","),
            self.bands_json,
            self.moments_json
        );
        let page =
            Page { report: self, policy, style, plotly: &plotly, own: OWN, data: json_for_script(&data) };
        page.render().map_err(|error| Error::Report { reason: error.to_string() })
    }
}
