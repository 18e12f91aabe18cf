//! Several expressions in one text: how the launcher hands those on that only the process can watch.

use super::alert::Alert;
use super::error::AlertError;

/// The text for the environment. No expression contains a `;`.
pub(crate) fn join<'a>(alerts: impl IntoIterator<Item = &'a Alert>) -> String {
    let expressions: Vec<String> = alerts.into_iter().map(ToString::to_string).collect();
    expressions.join("; ")
}

/// The expressions of such a text, which may also have one on each line. Empty ones are left out.
pub(crate) fn split(text: &str) -> impl Iterator<Item = Result<Alert, AlertError>> + '_ {
    let expressions = text.split([';', '\n', '\r']).map(str::trim_ascii);
    expressions.filter(|expression| !expression.is_empty()).map(str::parse)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_joined_is_split_again() {
        let alerts: Vec<Alert> = ["gpu.used > 90%", "counter(a b) > 1", "allocated growth > 5MiB/step"]
            .map(|expression| expression.parse().unwrap())
            .into();
        let text = join(&alerts);
        assert_eq!(text, "gpu.used > 90%; counter(a b) > 1; allocated growth > 5MiB/step over 20");
        assert_eq!(split(&text).collect::<Result<Vec<_>, _>>().unwrap(), alerts);
        assert_eq!(join(&[]), "");
        assert!(tidegauge_schemas::alert_grammar::GRAMMAR.contains(crate::environment::ALERTS_VARIABLE));
    }

    #[test]
    fn one_bad_expression_does_not_take_the_others_with_it() {
        let found: Vec<bool> =
            split(";rss > 1GiB\n\n rss > ;; cpu > 90%\r\n").map(|alert| alert.is_ok()).collect();
        assert_eq!(found, [true, false, true]);
        assert_eq!(split("").count(), 0);
    }
}
