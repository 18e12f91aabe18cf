//! The file that `tidegauge report` writes: nothing gets out of it or into it, it is the same every time, and there is none
//! where something is wrong.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tidegauge_schemas::EventKind;
use tidegauge_tests::programs::{output_of, program};
use tidegauge_tests::{TraceBuilder, foreign_samples};

use crate::report::{MIB, report, training};

/// A name that does harm wherever it is put in without care.
const HOSTILE: &str = "</script><script>alert(1)</script><img src=x onerror=alert(2)>'\"`${1}&lt;b&gt;<!--\u{2028}]]>\u{202e}\u{7}";

fn tried(runs: &[&Path], output: &Path, options: &[&str]) -> Output {
    program("tidegauge").arg("report").args(runs).arg("-o").arg(output).args(options).output().unwrap()
}

/// What was said by a report that was refused.
fn refused(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    said
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn hostile_run(folder: &Path) -> PathBuf {
    let config = json!({"model": HOSTILE, HOSTILE: HOSTILE, "batch_size": 4, "long": "x".repeat(3_000_000)});
    let mut trace = TraceBuilder::new().config(serde_json::from_value(config).unwrap());
    let long = format!("{HOSTILE}{}", "y".repeat(100_000));
    for number in 0..20i64 {
        trace = trace.step(number, 1.0, |step| {
            let step = step.span(HOSTILE, |span| {
                let name = format!("{HOSTILE}{number}");
                span.event(EventKind::Alloc, 1, Some(MIB), Some(&name))
            });
            let kept = 100 + number.cast_unsigned();
            let step = step.span(&long, |span| span.event(EventKind::Alloc, kept, Some(MIB), Some(&long)));
            step.mark(&long).free(1)
        });
    }
    trace.alert(HOSTILE, 1.0).oom(50 * MIB).write(folder)
}

#[test]
fn names_stay_text() {
    let folder = tempfile::tempdir().unwrap();
    let run = hostile_run(folder.path());
    let page = report(&[&run, &run], &["-q"]);
    let tags: Vec<&str> = page.scripts.iter().map(|(tag, _)| tag.as_str()).collect();
    assert_eq!(tags, [r#"type="application/json" id="data""#, "", ""]);
    for harm in ["<script", "<img", "onerror=alert(2)>", "<!--", "</script", "\u{7}"] {
        assert!(!page.outside.contains(harm), "{harm}");
    }
    assert!(
        page.outside.contains("&#60;img src=x onerror=alert(2)&#62;")
            || page.outside.contains("&lt;img src=x")
    );
    for harm in ["<", ">", "&", "\u{2028}"] {
        assert!(!page.scripts[0].1.contains(harm), "{harm}");
    }
    let sites = page.data["moments"]["sites"].as_array().unwrap();
    assert!(sites.iter().any(|site| site == &json!(format!("{HOSTILE}3"))), "read back, it is the same name");
    assert!(page.html.len() < 8_000_000, "names of 100,000 characters are cut: {}", page.html.len());
}

#[test]
fn nothing_is_asked_for_and_only_the_pages_own_scripts_may_run() {
    let folder = tempfile::tempdir().unwrap();
    let page = report(&[&training(5, 0).write(folder.path())], &["-q"]);
    let policy = page.outside.split("http-equiv=\"Content-Security-Policy\" content=\"").nth(1).unwrap();
    let policy = policy.split('"').next().unwrap().replace("&#39;", "'").replace("&#x27;", "'");
    let directives: Vec<&str> = policy.split(';').map(str::trim).collect();
    assert!(
        directives.contains(&"default-src 'none'") && directives.contains(&"base-uri 'none'"),
        "{policy}"
    );
    let scripts = directives.iter().find_map(|of| of.strip_prefix("script-src ")).unwrap();
    let expected: Vec<String> = page.scripts[1..].iter().map(|(_, script)| hash(script)).collect();
    assert_eq!(scripts.split(' ').collect::<Vec<_>>(), expected);
    for text in [&page.outside, &page.scripts[0].1, &page.scripts[2].1] {
        let rest = text.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
        for address in ["http:", "https:", "//cdn", "url(", "src=", "@import", "<link", "<iframe"] {
            let at = rest.find(address);
            assert_eq!(at, None, "{address}: {:?}", at.map(|at| rest.get(at..at + 80)));
        }
    }
}

/// As a content policy names it, by another program's count.
fn hash(script: &str) -> String {
    let mut child = Command::new("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let said = child.wait_with_output().unwrap().stdout;
    let hex = String::from_utf8_lossy(&said);
    let bits: Vec<u8> = hex
        .chars()
        .take(64)
        .flat_map(|digit| (0..4).rev().map(move |bit| (digit.to_digit(16).unwrap() >> bit & 1) as u8))
        .collect();
    let letters: Vec<char> = ('A'..='Z').chain('a'..='z').chain('0'..='9').chain(['+', '/']).collect();
    let number = |bits: &[u8]| (0..6).fold(0, |sum, at| sum * 2 + usize::from(*bits.get(at).unwrap_or(&0)));
    let text: String = bits.chunks(6).map(|bits| letters[number(bits)]).collect();
    format!("'sha256-{text}='")
}

#[test]
fn the_same_run_gives_the_same_bytes_and_the_plots_of_the_command() {
    let folder = tempfile::tempdir().unwrap();
    let run = training(30, 1).write(folder.path());
    let plots = folder.path().join("plots");
    let one = report(&[&run], &["-q", "--svg-dir", plots.to_str().unwrap()]);
    let two = report(&[&run], &["-q"]);
    assert!(one.html == two.html);
    let kinds =
        ["timeline", "breakdown", "phases", "steps", "blocks", "fragmentation", "activations", "leaks"];
    let mut written = names_in(&plots);
    for kind in kinds {
        let drawn = program("tidegauge").args(["plot", kind, "-q"]).arg(&run).output().unwrap();
        let file = plots.join(format!("{kind}.svg"));
        assert_eq!(drawn.status.success(), file.exists(), "{kind}");
        if file.exists() {
            assert!(std::fs::read(&file).unwrap() == drawn.stdout, "{kind}");
            assert!(drawn.stdout.len() <= 300_000, "{kind}");
            written.retain(|name| *name != format!("{kind}.svg"));
        }
    }
    let of_several: Vec<&String> =
        written.iter().filter(|name| !["compare.svg", "plan.svg"].contains(&name.as_str())).collect();
    assert!(of_several.is_empty() && names_in(&plots).len() >= 6, "{written:?}");
}

#[test]
fn what_is_there_is_replaced_only_where_that_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let run = training(3, 0).write(folder.path());
    let (page, plots) = (folder.path().join("report.html"), folder.path().join("plots"));
    std::fs::write(&page, "mine").unwrap();
    let said = refused(&tried(&[&run], &page, &[]));
    assert!(said.contains("--force") && said.contains(page.to_str().unwrap()), "{said}");
    assert_eq!(std::fs::read_to_string(&page).unwrap(), "mine");
    assert!(tried(&[&run], &page, &["--force"]).status.success());
    assert!(std::fs::read_to_string(&page).unwrap().starts_with("<!doctype html>"));
    // A plot that is there already: neither the page nor another plot is written.
    std::fs::create_dir(&plots).unwrap();
    std::fs::write(plots.join("steps.svg"), "mine").unwrap();
    let other = folder.path().join("other.html");
    let options = ["--svg-dir", plots.to_str().unwrap()];
    let said = refused(&tried(&[&run], &other, &options));
    assert!(said.contains("steps.svg"), "{said}");
    assert!(!other.exists());
    assert_eq!(names_in(&plots), ["steps.svg"]);
    assert!(tried(&[&run], &other, &[&options[..], &["-f"]].concat()).status.success());
    assert!(std::fs::read_to_string(plots.join("steps.svg")).unwrap().starts_with("<svg"));
    // Folders where a file is to be, and the other way round, and where nothing can be.
    let said = refused(&tried(&[&run], &plots, &["--force"]));
    assert!(said.contains("it is a folder") && said.contains("plots"), "{said}");
    let said = refused(&tried(&[&run], &other, &["-f", "--svg-dir", page.to_str().unwrap()]));
    assert!(said.contains("it is a file; expected a folder"), "{said}");
    for nowhere in [page.join("below.html"), folder.path().join("missing/report.html")] {
        let said = refused(&tried(&[&run], &nowhere, &[]));
        assert!(said.contains(nowhere.to_str().unwrap()), "{said}");
    }
    assert_eq!(
        names_in(folder.path()),
        ["other.html", "plots", "report.html", "run"],
        "no temporary file is left"
    );
}

#[test]
fn nothing_is_written_of_a_run_that_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let whole = training(6, 0).write(&folder.path().join("whole"));
    let run = training(6, 0).parts_of(40).write(folder.path());
    let out = folder.path().join("out");
    std::fs::create_dir(&out).unwrap();
    let plots = out.join("plots");
    let options = ["-q", "--svg-dir", plots.to_str().unwrap()];
    for table in ["events", "checkpoints", "sites"] {
        let parts = run.join(table).join("rank=0/process=0");
        let name = names_in(&parts).swap_remove(0);
        let part = parts.join(&name);
        let bytes = std::fs::read(&part).unwrap();
        for length in [0, 10, bytes.len() / 2, bytes.len() - 1] {
            std::fs::write(&part, &bytes[..length]).unwrap();
            for runs in [&[run.as_path()][..], &[whole.as_path(), &run]] {
                let said = refused(&tried(runs, &out.join("report.html"), &options));
                assert!(said.contains(part.to_str().unwrap()), "{name} cut to {length}: {said}");
                assert_eq!(names_in(&out), Vec::<String>::new(), "{name} cut to {length}");
            }
        }
        std::fs::write(&part, &bytes).unwrap();
    }
    assert!(tried(&[&run], &out.join("report.html"), &options).status.success(), "whole again");
}

#[test]
fn recordings_of_others_have_pages_and_cut_ones_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let (file, page) = (folder.path().join("recording"), folder.path().join("report.html"));
    for (name, bytes) in foreign_samples::all() {
        std::fs::write(&file, &bytes).unwrap();
        let made = tried(&[&file], &page, &["-q"]);
        assert!(made.status.success(), "{name}: {}", String::from_utf8_lossy(&made.stderr));
        std::fs::remove_file(&page).unwrap();
        let is_text = name.starts_with("nvidia-smi");
        for length in [bytes.len() / 3, bytes.len() / 2, bytes.len() - 2] {
            std::fs::write(&file, &bytes[..length]).unwrap();
            let made = tried(&[&file], &page, &["-q"]);
            if is_text && made.status.success() {
                // A log may end anywhere: what is whole of it is shown.
                std::fs::remove_file(&page).unwrap();
                continue;
            }
            let said = refused(&made);
            assert!(said.contains(file.to_str().unwrap()), "{name} cut to {length}: {said}");
            assert_eq!(names_in(folder.path()), ["recording"], "{name} cut to {length}");
        }
    }
}

#[test]
fn a_trace_without_a_process_has_no_page() {
    let folder = tempfile::tempdir().unwrap();
    let run = training(1, 0).write(folder.path());
    let said = refused(&tried(&[&run], &folder.path().join("a.html"), &["--rank", "7"]));
    assert!(said.contains("rank 7") || said.contains("rank"), "{said}");
    let nothing = folder.path().join("nothing");
    let said = refused(&tried(&[&nothing], &folder.path().join("a.html"), &[]));
    assert!(said.contains(nothing.to_str().unwrap()), "{said}");
    assert!(!folder.path().join("a.html").exists());
    let said = refused(&tried(&[&run], &folder.path().join("a.html"), &["--start", "2s", "--end", "1s"]));
    assert!(said.contains("--start lies after --end"), "{said}");
    let text = output_of(program("tidegauge").arg("summary").arg(&run).arg("--json"));
    assert!(serde_json::from_str::<Value>(&text).is_ok(), "the run itself is whole");
}
