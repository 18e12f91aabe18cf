//! `tidegauge-record --torch`: what the command finds in its environment, and that nothing of it stays. What Python does
//! with it is tested in `recorder/python/tests/test_launch_bootstrap.py`.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use tidegauge_schemas::Trace;
use tidegauge_tests::programs::{output_of, program};

use crate::launched::Launched;

const NAME: &str = "sitecustomize.py";
/// Shows what it finds, and the file as long as it is there.
const SHOW: &str = r#"echo "$PYTHONPATH|$TIDEGAUGE_TORCH|${TIDEGAUGE_OWNER-unset}"; cat "${PYTHONPATH%%:*}/sitecustomize.py""#;

/// The first folder of PYTHONPATH, the other words of the line that [`SHOW`] prints, and the file.
fn shown(mut launched: std::process::Command) -> (PathBuf, Vec<String>, String) {
    let out = output_of(&mut launched);
    let (line, file) = out.split_once('\n').unwrap();
    let (paths, others) = line.split_once('|').unwrap();
    let (first, rest) = paths.split_once(':').unwrap_or((paths, ""));
    let words = std::iter::once(rest).chain(others.split('|')).map(str::to_owned).collect();
    (PathBuf::from(first), words, file.to_owned())
}

fn source() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../recorder/python/python/tidegauge/bootstrap")
        .join(NAME);
    std::fs::read_to_string(path).unwrap()
}

fn command(launched: &Launched) -> std::process::Command {
    let mut command = launched.command(&["sh".as_ref(), "-c".as_ref(), OsStr::new(SHOW)]);
    command.env_remove("PYTHONPATH").env_remove("TIDEGAUGE_OWNER");
    command
}

#[test]
fn interpreters_find_it_first_and_nothing_stays() {
    let launched = Launched::new().option(&["-q", "--torch"]);
    let (folder, words, file) = shown(command(&launched));
    assert_eq!(words, ["", "1", "unset"]);
    assert!(folder.starts_with(&launched.run), "{}", folder.display());
    assert!(file == source(), "it is another file:\n{file}");
    assert!(!folder.exists());
    let trace = Trace::open(&launched.run).unwrap();
    trace.validate().unwrap();
    assert!(launched.process(0, 0).journal().is_none());

    let mut second = command(&launched);
    second.env("PYTHONPATH", "/a:/b:").env("TIDEGAUGE_OWNER", "12:0");
    let (folder, words, file) = shown(second);
    assert_eq!(words, ["/a:/b:", "1", ""], "who records outside does not record what is started here");
    assert!(file == source(), "it is another file:\n{file}");
    assert!(!folder.exists());
}

#[test]
fn a_run_whose_name_cannot_stand_in_a_list_has_it_elsewhere() {
    let mut launched = Launched::new().option(&["-q", "--torch"]);
    launched.run = launched.folder.path().join("at 12:30");
    let temporary = launched.folder.path().join("temporary");
    std::fs::create_dir(&temporary).unwrap();
    let mut command = command(&launched);
    let (folder, _, file) = shown({
        command.env("TMPDIR", &temporary);
        command
    });
    assert!(folder.starts_with(&temporary), "{}", folder.display());
    assert!(file == source(), "it is another file:\n{file}");
    assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0);
}

#[test]
fn without_it_the_environment_is_left_alone() {
    let launched = Launched::new().option(&["-q"]);
    let script = r#"echo "${PYTHONPATH-unset}|${TIDEGAUGE_TORCH-unset}|${TIDEGAUGE_OWNER-unset}""#;
    let mut command = launched.command(&["sh".as_ref(), "-c".as_ref(), script.as_ref()]);
    let out = output_of(command.env_remove("PYTHONPATH").env_remove("TIDEGAUGE_OWNER"));
    assert_eq!(out, "unset|unset|unset\n");
}

#[test]
fn a_command_that_is_not_recorded_runs_without() {
    let mut launched = Launched::new().option(&["--torch"]);
    // Not even the superuser makes folders there.
    launched.run = PathBuf::from("/proc/nowhere/run");
    let script = "echo \"$PYTHONPATH|$TIDEGAUGE_TORCH\"; exit 3";
    let mut command = launched.command(&["sh".as_ref(), "-c".as_ref(), script.as_ref()]);
    let output = command.env_remove("PYTHONPATH").output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "|\n");
}

#[test]
fn a_process_that_runs_already_cannot_be_told() {
    let output = program("tidegauge-record").args(["--torch", "--pid", "1"]).output().unwrap();
    assert_eq!(output.status.code(), Some(125));
}
