//! The page's scripts: plotly, as the `plotly` crate carries it, and its own.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};

/// The page's own script.
pub(super) const OWN: &str = include_str!("../../templates/report.js");
/// Its style.
pub(super) const STYLE: &str = include_str!("../../templates/report.css");
/// The comment that plotly begins with.
const PLOTLY: &str = "plotly.js v";
const OPEN: &str = "<script type=\"text/javascript\">";

/// plotly's script alone. The crate hands it out in one text with MathJax, of 2 MB, which no plot here needs.
///
/// # Errors
/// If the crate's text is not made as it was.
pub(super) fn plotly() -> Result<String> {
    let all = plotly::Plot::offline_js_sources();
    // The script itself has neither tag: a page would end there.
    let mut scripts = all.split(OPEN).skip(1).filter_map(|script| Some(script.split_once("</script>")?.0));
    let found = scripts.find(|script| script.get(..400).unwrap_or(script).contains(PLOTLY));
    let missing = || Error::Plot { reason: "plotly's script is not where its package had it".to_owned() };
    Ok(found.ok_or_else(missing)?.to_owned())
}

/// How a content policy names a script.
pub(super) fn policy_hash(script: &str) -> String {
    format!("'sha256-{}'", STANDARD.encode(Sha256::digest(script.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plotly_comes_without_mathjax() {
        let script = plotly().unwrap();
        assert!((4_000_000..6_000_000).contains(&script.len()), "{}", script.len());
        assert!(
            !script.contains("</script") && !script.contains("MathJax.js"),
            "what ends a script, or another one"
        );
    }

    #[test]
    fn hashes_are_those_that_browsers_compute() {
        // From the specification of Content Security Policy, level 3.
        assert_eq!(
            policy_hash("alert('Hello, world.');"),
            "'sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng='"
        );
    }
}
