//! The C ABI: programs in C are compiled with the committed header, run, killed, and their traces compared with what
//! they counted themselves.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use arrow::array::AsArray as _;
use arrow::datatypes::Int64Type;
use serde_json::Value;
use tidegauge_analyzer::load::{EventRow, Process, Rows};
use tidegauge_schemas::process::Ended;
use tidegauge_schemas::{CheckpointKind, Table, Trace};
use tidegauge_tests::c_programs::{compile, compiler, include_folder, library};
use tidegauge_tests::programs::{output_of, program, say, wait_until};

use crate::victim::{Victim, kill, warnings};

/// What the example says of itself: lines of a word and the rest.
struct Said(String);

impl Said {
    fn all<'a>(&'a self, word: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.lines().filter_map(move |line| line.strip_prefix(word)?.strip_prefix(' '))
    }

    fn one<'a>(&'a self, word: &'a str) -> &'a str {
        let mut all = self.all(word);
        let one = all.next().unwrap_or_else(|| panic!("it says nothing of {word}: {}", self.0));
        assert_eq!(all.next(), None, "{word}");
        one
    }

    fn number(&self, word: &str) -> u64 {
        self.one(word).parse().unwrap()
    }

    /// Number and loss of each step or evaluation.
    fn losses(&self, word: &str) -> Vec<(i64, f64)> {
        let pair = |line: &str| {
            let (number, loss) = line.split_once(' ').unwrap();
            (number.parse().unwrap(), loss.parse().unwrap())
        };
        self.all(word).map(pair).collect()
    }
}

fn json(arguments: &[&str], run: &str) -> Value {
    let mut command = program("tidegauge");
    command.arg(arguments[0]).arg(run).args(&arguments[1..]).arg("--json");
    serde_json::from_str(&output_of(&mut command)).unwrap()
}

fn events(process: &Process) -> Vec<EventRow> {
    let batches = Rows::new(process).events().map(Result::unwrap);
    batches.flat_map(|batch| (0..batch.len()).map(|row| batch.row(row)).collect::<Vec<_>>()).collect()
}

/// What is the same for the example however it is run.
fn example(folder: &Path) -> Command {
    let mut command = Command::new(compile("examples/c/train.c", folder));
    command.args(["3", "40"]).current_dir(folder).env_remove("TIDEGAUGE").env_remove("TIDEGAUGE_RUN_ID");
    command
}

#[test]
fn the_example_is_recorded_as_it_counts_itself() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let said = Said(output_of(example(folder.path()).env("TIDEGAUGE", &run)));
    assert_eq!((said.one("recording"), said.one("trace")), ("on", run.to_str().unwrap()));
    Trace::open(&run).unwrap().validate().unwrap();

    let run = said.one("trace");
    let summary = json(&["summary"], run);
    assert_eq!((&summary["ended"], &summary["warnings"]), (&"clean".into(), &Value::Array(Vec::new())));
    assert_eq!(summary["events"], said.number("events"), "and none of the forked children's");
    assert_eq!((&summary["dropped_events"], said.number("dropped")), (&0.into(), 0));
    let config = serde_json::json!({"model": "mlp", "batch_size": 288, "momentum": 0.9});
    assert_eq!(summary["config"], config);
    let [host] = summary["devices"].as_array().unwrap().as_slice() else { panic!("{summary}") };
    assert_eq!(host["device"], -1);
    assert_eq!(host["peak_allocated_bytes"], said.number("peak_bytes"));
    assert_eq!(host["end_allocated_bytes"], said.number("live_bytes"));
    let holders = host["live_at_peak"].as_array().unwrap();
    let held = holders.iter().map(|holder| holder["bytes"].as_u64().unwrap()).sum::<u64>();
    assert_eq!(held, said.number("peak_bytes"), "who holds the peak is known, block by block");
    let sites: BTreeSet<_> = holders.iter().map(|holder| holder["site"].as_str().unwrap()).collect();
    assert_eq!(sites, BTreeSet::from(["batch", "gradients", "hidden", "model", "output"]));
    for name in ["forward", "backward", "optimizer"] {
        let phase = summary["phases"].as_array().unwrap().iter().find(|row| row["phase"] == name);
        assert_eq!(phase.unwrap()["count"], 120, "{name}");
    }
    assert!(summary["phases"].as_array().unwrap().iter().all(|row| row["phase"] != "in the child"));

    let steps = json(&["steps"], run);
    for (row, number) in steps.as_array().unwrap().iter().zip(0_u64..) {
        assert_eq!((&row["step"], &row["epoch"]), (&number.into(), &(number / 40).into()));
        assert_eq!(row["batch_size"], 288);
    }
    // To the last bit, which the way through JSON may cost.
    let trace = Trace::open(Path::new(run)).unwrap();
    let process = Process::from(trace.process(trace.processes()[0]).unwrap());
    let values = |kind: CheckpointKind| -> Vec<(i64, f64)> {
        let rows = Rows::new(&process).checkpoints().map(Result::unwrap).filter(|row| row.kind == Some(kind));
        rows.map(|row| (row.step.unwrap(), row.value.unwrap())).collect()
    };
    let losses = said.losses("step");
    assert_eq!(values(CheckpointKind::StepEnd), losses);
    assert_eq!(values(CheckpointKind::LossEvaluation), said.losses("evaluation"));
    assert!(losses.len() == 120 && losses[119].1 < 0.5 * losses[0].1, "it learns");
    let samples = Rows::new(&process).samples().map(Result::unwrap);
    let rates = samples.filter(|sample| sample.metric == "learning_rate").map(|sample| sample.value);
    assert_eq!(rates.collect::<Vec<_>>(), [[0.1; 40], [0.1 / 2.0; 40], [0.1 / 3.0; 40]].concat());
}

#[test]
fn without_a_run_in_the_environment_the_example_writes_nothing_and_learns_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = example(folder.path());
    let files =
        || std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    let before = files();
    let off = Said(output_of(&mut command));
    assert_eq!(off.one("recording"), "off");
    assert_eq!(off.all("trace").count(), 0);
    assert_eq!(files(), before);
    let on = Said(output_of(command.env("TIDEGAUGE", "run")));
    assert_eq!(on.one("recording"), "on");
    assert_eq!(on.losses("step"), off.losses("step"));
    assert_eq!(on.number("events"), off.number("events"));
}

#[test]
fn nothing_is_lost_when_a_c_program_is_killed() {
    const THREADS: usize = 4;
    const KILLS: u32 = 10;
    let folder = tempfile::tempdir().unwrap();
    let compiled = compile("tests/c/victim.c", folder.path());
    let mut events = 0;
    for number in 0..KILLS {
        // Its threads are numbered from 1.
        let victim =
            Victim::new(folder.path(), &number.to_string(), THREADS + 1, 1000).program(compiled.clone());
        let mut child = victim.start();
        let counts = victim.counts();
        wait_until("the C program records", || {
            assert!(child.try_wait().unwrap().is_none(), "it ended early:\n{}", victim.errors());
            (1..=THREADS).all(|thread| counts.get(thread) > 0)
        });
        // Into every part of a chunk's life, and beyond the first sealed parts.
        std::thread::sleep(Duration::from_millis(40) * number);
        kill(child);
        let before = victim.found();
        assert_eq!(before.ended, Ended::Killed);
        events += before.assert_complete(&counts);
        let _ = output_of(program("tidegauge-record").arg("recover").arg(&victim.run));
        assert_eq!(victim.found(), before, "recovery changes nothing that is read");
        assert!(victim.process().journal().is_none());
    }
    say(&format!("{KILLS} kills of a C program, {events} events, none lost"));
}

#[test]
fn a_c_program_that_ends_by_itself_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let compiled = compile("tests/c/victim.c", folder.path());
    let victim = Victim::new(folder.path(), "whole", 4, 1000).program(compiled).events(200_000);
    let status = victim.finish();
    assert!(status.success(), "{}", victim.errors());
    let found = victim.found();
    assert_eq!((found.ended, found.assert_complete(&victim.counts())), (Ended::Clean, 3 * 200_000));
}

#[test]
fn what_fails_says_so_and_what_records_never_fails() {
    let folder = tempfile::tempdir().unwrap();
    let compiled = compile("tests/c/errors.c", folder.path());
    let runs = folder.path().join("runs");
    std::fs::create_dir(&runs).unwrap();
    let _ =
        output_of(Command::new(compiled).arg(&runs).env_remove("TIDEGAUGE_RUN_ID").env_remove("WORLD_SIZE"));

    let of = |name: &str| {
        let trace = Trace::open(&runs.join(name)).unwrap();
        trace.validate().unwrap();
        assert_eq!(trace.processes().len(), 1, "{name}");
        let process = Process::from(trace.process(trace.processes()[0]).unwrap());
        assert_eq!(process.ended, Ended::Clean, "{name}");
        (trace, process)
    };
    let (trace, process) = of("run");
    assert_eq!(process.id.rank, 3);
    assert_eq!(
        trace.info.config,
        *serde_json::json!({"text": "ä\u{FFFD}", "integer": -7, "number": 0.25}).as_object().unwrap()
    );
    for (process, name) in [(&process, "run"), (&of("child").1, "child")] {
        let rows = || Rows::new(process);
        let events = events(process);
        assert_eq!(events.len(), 6, "{name}: NULL is no block");
        let names = rows().site_names().unwrap();
        let site = |at: usize| names.get(&events[at].site).map(String::as_str);
        assert_eq!((site(0), site(2), site(4)), (None, Some("here only"), None), "{name}: sites are left");
        let sizes = events.iter().map(|event| event.size_bytes).collect::<Vec<_>>();
        assert_eq!(sizes, [Some(4), None, Some(100), None, Some(200), None], "{name}");
        let checkpoints: Vec<_> = rows().checkpoints().map(Result::unwrap).collect();
        let marks: Vec<_> = checkpoints.iter().filter(|row| row.kind == Some(CheckpointKind::Mark)).collect();
        assert_eq!(marks.len(), 4, "{name}: NULL is no name");
        assert_eq!(marks[2].name.as_deref(), Some("\u{FFFD}\u{FFFD} of no encoding"), "{name}");
        let samples = rows().samples().map(Result::unwrap).filter(|sample| sample.metric == "a name");
        assert_eq!(samples.count(), 1, "{name}");
    }
    assert_eq!(warnings(&runs.join("run")).iter().filter(|warning| warning.contains("damage")).count(), 0);
    assert_eq!(events(&of("run-2").1).len(), 1);
    let made =
        std::fs::read_dir(&runs).unwrap().map(|entry| entry.unwrap().file_name()).collect::<BTreeSet<_>>();
    assert_eq!(made, ["child", "file", "run", "run-2"].map(Into::into).into());
}

#[test]
fn a_malloc_that_records_itself_neither_hangs_nor_records_the_recorder() {
    let folder = tempfile::tempdir().unwrap();
    let compiled = compile("tests/c/allocator.c", folder.path());
    let run = folder.path().join("run");
    let said = output_of(Command::new(compiled).arg(&run));
    let (blocks, block_bytes) = said.trim().split_once(' ').unwrap();
    let (blocks, block_bytes): (u64, i64) = (blocks.parse().unwrap(), block_bytes.parse().unwrap());
    let trace = Trace::open(&run).unwrap();
    let process = Process::from(trace.process(trace.processes()[0]).unwrap());
    assert_eq!(process.losses().dropped_records, 0);
    let (mut allocated, mut rows) = (0, 0);
    for batch in process.batches(Table::Events, &["size_bytes"]) {
        let batch = batch.unwrap();
        let sizes = batch.column_by_name("size_bytes").unwrap().as_primitive::<Int64Type>();
        allocated += sizes.iter().filter(|size| *size == Some(block_bytes)).count() as u64;
        rows += batch.num_rows() as u64;
    }
    assert_eq!(allocated, blocks);
    // The C library's own blocks, for threads and names, are the program's as well. The recorder's, which seals a
    // million records meanwhile, would be thousands.
    assert!((2 * blocks..2 * blocks + 200).contains(&rows), "{rows} events of {blocks} blocks");
}

#[test]
fn a_library_that_is_closed_while_it_records_stays() {
    let folder = tempfile::tempdir().unwrap();
    // Not linked with the library: that would keep it as well.
    let compiled = folder.path().join("plugin");
    let source = tidegauge_tests::c_programs::in_repository("tests/c/plugin.c");
    let _ = output_of(compiler().arg(source).arg("-o").arg(&compiled).arg("-ldl"));
    let run = folder.path().join("run");
    let _ = output_of(Command::new(compiled).arg(library()).arg(&run));
    let trace = Trace::open(&run).unwrap();
    let process = Process::from(trace.process(trace.processes()[0]).unwrap());
    assert_eq!((process.ended, events(&process).len()), (Ended::Clean, 200_000));
}

#[test]
fn the_header_is_c_and_cpp() {
    let folder = tempfile::tempdir().unwrap();
    let header = include_folder().join("tidegauge.h");
    // Twice, as it comes through other headers.
    let source = folder.path().join("includes.c");
    let text = "#include \"tidegauge.h\"\n#include \"tidegauge.h\"\nTidegaugeStatus status = TIDEGAUGE_STATUS_OFF;\n";
    std::fs::write(&source, text).unwrap();
    for standard in ["-std=c99", "-std=c11", "-std=c17"] {
        let _ = output_of(compiler().arg(standard).arg("-fsyntax-only").arg(&source));
    }
    let cpp = |standard: &str| {
        let mut command = Command::new("c++");
        command.args([
            "-x",
            "c++",
            standard,
            "-Wall",
            "-Wextra",
            "-Werror",
            "-pedantic",
            "-fsyntax-only",
            "-I",
        ]);
        command.arg(include_folder()).arg(&source);
        command
    };
    if Command::new("c++").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
        say(&format!("NOT TESTED: there is no c++ to read {} with", header.display()));
        return;
    }
    for standard in ["-std=c++11", "-std=c++17"] {
        let _ = output_of(&mut cpp(standard));
    }
}

#[test]
fn the_library_exports_what_the_header_declares_and_nothing_else() {
    let header = std::fs::read_to_string(include_folder().join("tidegauge.h")).unwrap();
    let without_comments =
        header.split("/*").map(|piece| piece.split_once("*/").map_or(piece, |piece| piece.1));
    let without_comments = without_comments.collect::<String>();
    let words = without_comments.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '('));
    let functions = words.filter_map(|word| word.split_once('(').map(|(name, _)| name));
    let declared = functions.filter(|name| name.starts_with("tidegauge_")).collect::<BTreeSet<_>>();
    let symbols = output_of(Command::new("nm").args(["-D", "--defined-only"]).arg(library()));
    let exported = symbols.lines().map(|line| line.rsplit(' ').next().unwrap()).collect::<BTreeSet<_>>();
    assert!(declared.len() > 30, "{declared:?}");
    // No malloc, no fork, nothing that a program could get by accident.
    assert_eq!(exported, declared);
}

#[test]
fn an_example_that_cannot_record_trains_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    File::create(&file).unwrap();
    let output = example(folder.path()).env("TIDEGAUGE", &file).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && errors.contains("not recorded: cannot record into this folder"),
        "{errors}"
    );
    let said = Said(String::from_utf8_lossy(&output.stdout).into_owned());
    assert_eq!((said.one("recording"), said.losses("step").len()), ("off", 120));
}
