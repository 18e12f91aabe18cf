//! Real recordings that others made, with answers that were computed independently. They are not part of the product.

use std::path::PathBuf;

use serde_json::Value;

/// The folder that `TIDEGAUGE_CORPUS` names, by default `../shared/corpus` beside the repository.
#[must_use]
pub fn folder() -> PathBuf {
    let default = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus");
    std::env::var_os("TIDEGAUGE_CORPUS").map_or_else(default, PathBuf::from)
}

/// The files of a kind, which is the name of their folder, each with its answers by device. None, and a line that says so,
/// where there is no corpus.
#[must_use]
pub fn files(kind: &str) -> Vec<(PathBuf, Value)> {
    let folder = folder();
    let Ok(text) = std::fs::read(folder.join("reference.json")) else {
        eprintln!(
            "SKIPPED: there is no corpus at {}; TIDEGAUGE_CORPUS names another folder",
            folder.display()
        );
        return Vec::new();
    };
    let rows: Vec<Value> =
        serde_json::from_slice(&text).unwrap_or_else(|error| panic!("reference.json: {error}"));
    let of_kind = rows.into_iter().filter_map(|row| {
        let file = row["file"].as_str().filter(|file| file.starts_with(kind))?;
        Some((folder.join(file), row["devices"].clone()))
    });
    of_kind.collect()
}
