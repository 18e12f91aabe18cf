//! What the runs of a comparison are called: by what the user named them, else by their folders.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tidegauge_schemas::run::Config;

/// Keys of a run's configuration that name it, the first one there is.
const KEYS: [&str; 3] = ["name", "configuration", "label"];

/// A name for each run, all of them different: that of its configuration, else its folder's. Runs whose names are alike
/// are told apart by as much of their paths as it takes, then by a number.
#[must_use]
pub fn configuration_names(runs: &[(&Path, &Config)]) -> Vec<String> {
    let given: Vec<Option<String>> = runs.iter().map(|(_, config)| given_name(config)).collect();
    let paths: Vec<PathBuf> = runs.iter().map(|(path, _)| absolute(path)).collect();
    let plain = |at: usize| given[at].clone().unwrap_or_else(|| last_parts(&paths[at], 1));
    let plain: Vec<String> = (0..runs.len()).map(plain).collect();
    let mut names: Vec<String> = Vec::new();
    for at in 0..runs.len() {
        let alike: Vec<usize> = (0..runs.len()).filter(|&other| plain[other] == plain[at]).collect();
        let name = match (alike.len(), parts_to_tell_apart(&alike, &paths)) {
            (1, _) | (_, None) => plain[at].clone(),
            (_, Some(parts)) if given[at].is_some() => {
                format!("{} ({})", plain[at], last_parts(&paths[at], parts))
            }
            (_, Some(parts)) => last_parts(&paths[at], parts),
        };
        let numbered = (2..).map(|number| format!("{name} #{number}"));
        let free = std::iter::once(name.clone()).chain(numbered).find(|name| !names.contains(name));
        names.extend(free);
    }
    names
}

fn given_name(config: &Config) -> Option<String> {
    KEYS.iter().find_map(|key| match config.get(*key)? {
        Value::String(text) if !text.trim().is_empty() => Some(text.trim().to_owned()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    })
}

/// `.` and `..` name no folder; a path that cannot be resolved stays as it is.
fn absolute(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// How many last parts of their paths tell all of these apart; `None` if no number does.
fn parts_to_tell_apart(alike: &[usize], paths: &[PathBuf]) -> Option<usize> {
    let longest = alike.iter().map(|&at| paths[at].components().count()).max()?;
    (1..=longest).find(|&parts| {
        let mut ends: Vec<String> = alike.iter().map(|&at| last_parts(&paths[at], parts)).collect();
        ends.sort_unstable();
        ends.windows(2).all(|pair| pair[0] != pair[1])
    })
}

fn last_parts(path: &Path, parts: usize) -> String {
    let all: Vec<_> = path.components().collect();
    let last: PathBuf = all[all.len().saturating_sub(parts)..].iter().collect();
    last.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(runs: &[(&str, &[(&str, Value)])]) -> Vec<String> {
        let config = |pairs: &[(&str, Value)]| {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect()
        };
        let configs: Vec<Config> = runs.iter().map(|(_, pairs)| config(pairs)).collect();
        let runs: Vec<_> =
            runs.iter().zip(&configs).map(|((path, _), config)| (Path::new(*path), config)).collect();
        configuration_names(&runs)
    }

    #[test]
    fn a_run_is_called_what_its_user_called_it_else_by_its_folder() {
        let called = [
            ("/nowhere/a", &[("label", Value::from("third")), ("name", Value::from(" + AMP "))][..]),
            ("/nowhere/b", &[("configuration", Value::from(8))]),
            ("/nowhere/c", &[("name", Value::from("")), ("batch_size", Value::from(4))]),
        ];
        assert_eq!(names(&called), ["+ AMP", "8", "c"]);
    }

    #[test]
    fn names_that_are_alike_are_told_apart() {
        assert_eq!(
            names(&[("/nowhere/a/trace", &[]), ("/nowhere/b/trace", &[]), ("/nowhere/b/other", &[])]),
            ["a/trace", "b/trace", "other"]
        );
        let same = [("name", Value::from("Baseline"))];
        assert_eq!(
            names(&[("/nowhere/a", &same), ("/nowhere/b", &same), ("/nowhere/c", &[])]),
            ["Baseline (a)", "Baseline (b)", "c"]
        );
        assert_eq!(names(&[("/nowhere/a", &[]), ("/nowhere/a", &[])]), ["a", "a #2"], "the same run twice");
        let hostile = [("name", Value::from("a #2"))];
        assert_eq!(
            names(&[("/nowhere/a", &[]), ("/nowhere/a", &[]), ("/nowhere/c", &hostile)]),
            ["a", "a #2", "a #2 #2"]
        );
    }
}
