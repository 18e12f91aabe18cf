//! The committed C header is what the sources of the C ABI say. `make header` writes it anew.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;

/// In the order in which a reader of the header needs them.
const SOURCES: [&str; 5] = ["status.rs", "options.rs", "control.rs", "recording.rs", "events.rs"];

fn header() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml")).unwrap();
    let builder = cbindgen::Builder::new().with_config(config);
    let builder =
        SOURCES.iter().fold(builder, |builder, name| builder.with_src(root.join("src/c_api").join(name)));
    let mut header = Vec::new();
    builder.generate().unwrap().write(&mut header);
    String::from_utf8(header).unwrap()
}

#[test]
fn tidegauge_h_is_what_the_code_says() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/include/tidegauge.h");
    let text = header();
    if std::env::var_os("UPDATE_HEADER").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    let file = std::fs::read_to_string(path).unwrap_or_default();
    assert!(file == text, "recorder/include/tidegauge.h is out of date: make header");
}

/// Where a function is declared: comments speak of functions as well, but their lines begin with a blank.
fn declaration(header: &str, name: &str) -> Option<usize> {
    let call = format!("{name}(");
    let is_declared = |at: usize| !header[..at].rsplit('\n').next().is_some_and(|line| line.starts_with(' '));
    header.match_indices(&call).map(|(at, _)| at).find(|at| is_declared(*at))
}

/// A function that cbindgen does not understand is left out without an error.
#[test]
fn every_exported_function_is_declared_with_its_rules() {
    let header = header();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/c_api");
    let mut functions = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let exported =
            text.lines().filter_map(|line| line.strip_prefix("pub ")?.split_once("extern \"C\" fn "));
        for (_, signature) in exported {
            let name = signature.split('(').next().unwrap();
            let place = declaration(&header, name).unwrap_or_else(|| panic!("{name} is not declared"));
            let comment = &header[header[..place].rfind("/**").unwrap()..place];
            // Where lines break does not matter.
            let comment = comment.replace("\n * ", " ");
            for rule in ["Thread:", "Forked child:", "Signal handler:", "Inside an allocator:"] {
                assert!(comment.contains(rule), "{name} does not say its rule: {rule}\n{comment}");
            }
            functions += 1;
        }
    }
    assert!(functions > 20, "{functions} functions");
}
