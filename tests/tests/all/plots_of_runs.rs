//! `tidegauge plot activations`, `compare`, `plan` and `ranks`: what they say is what the commands with the same data say,
//! or was counted by hand; and they say why where there is nothing.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use tidegauge_analyzer::render;
use tidegauge_recorder::{self as tg, Existing, Recorder};
use tidegauge_schemas::EventKind;
use tidegauge_tests::TraceBuilder;
use tidegauge_tests::programs::{output_of, program};

use crate::recording::turn;
use crate::{activations, compare, plan, ranks};

/// What a file of a plot may have at most.
const MOST_BYTES: usize = 300 << 10;
/// A name from somebody who means no good.
const HOSTILE: &str = "</desc><script>alert('1')</script>&\u{1b}[31m\u{202e}模型";

fn tidegauge(kind: &str, runs: &[&Path], options: &[&str]) -> Command {
    let mut command = program("tidegauge");
    command.args(["plot", kind]).args(runs).args(options);
    command
}

/// A plot as it was drawn twice, and not too large.
fn plot(kind: &str, runs: &[&Path], options: &[&str]) -> String {
    let draw = || output_of(tidegauge(kind, runs, options).arg("-q"));
    let svg = draw();
    assert_eq!(svg, draw(), "{kind}: the same bytes");
    assert!(svg.len() < MOST_BYTES, "{kind}: {} bytes", svg.len());
    svg
}

/// What a plot says to those who do not see it.
fn description(svg: &str) -> &str {
    let (_, from) = svg.split_once("<desc>").unwrap();
    from.split_once("</desc>").unwrap().0
}

fn refused(kind: &str, runs: &[&Path], options: &[&str]) -> String {
    let Output { status, stdout, stderr } = tidegauge(kind, runs, options).output().unwrap();
    assert_eq!((status.code(), stdout.len()), (Some(2), 0), "{kind}");
    String::from_utf8(stderr).unwrap()
}

fn rows(command: &[&str], run: &Path) -> Vec<Value> {
    let mut tidegauge = program("tidegauge");
    tidegauge.arg(command[0]).arg(run).args(&command[1..]).args(["--json", "-q"]);
    serde_json::from_str(&output_of(&mut tidegauge)).unwrap()
}

fn bytes(value: &Value) -> String {
    render::bytes(value.as_i64().unwrap())
}

/// All sizes and both themes: none fails, and none has a script or a control character.
fn expect_every_size(kind: &str, runs: &[&Path], options: &[&str]) {
    for (width, height) in [("400", "300"), ("4000", "300"), ("400", "4000"), ("4000", "4000")] {
        let size = ["--width", width, "--height", height, "--theme", "dark"];
        let svg = plot(kind, runs, &[&size, options].concat());
        assert!(svg.contains(&format!("width=\"{width}\"")), "{kind}: {}", &svg[..200]);
        assert!(!svg.contains("<script") && !svg.contains('\u{1b}'), "{kind}");
    }
}

#[test]
fn modules_have_the_figures_of_activations() {
    let folder = tempfile::tempdir().unwrap();
    let run = activations::training().write(folder.path());
    let svg = plot("activations", &[&run], &[]);
    let said = description(&svg);
    for row in rows(&["activations", "--by", "module"], &run) {
        let share = row["share"].as_f64().unwrap() * 100.0;
        let figure = format!("{}: {}, {share:.1} %", row["module"].as_str().unwrap(), bytes(&row["bytes"]));
        assert!(said.contains(&figure), "{figure}: {said}");
    }
    assert!(said.contains("in step 1, which holds most: 704 B"), "{said}");
    assert!(said.contains("net.two: 400 B, 56.8 %, 500 B recomputed"), "{said}");
    assert!(svg.contains(">\n400 B, 56.8 %\n") && svg.contains("recomputed (mean)"), "labels: {svg}");
    expect_every_size("activations", &[&run], &[]);
}

#[test]
fn many_modules_are_the_largest_and_the_sum_of_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let long = "x".repeat(500);
    let builder = TraceBuilder::new().step(0, 1.0, |step| {
        let forward = step.span("forward", |inside| {
            (1..=200u64).fold(inside, |inside, n| {
                let site = match n {
                    200 => format!("net.{HOSTILE}.relu"),
                    199 => format!("net.{long}.relu"),
                    _ => format!("net.layer{n}.relu"),
                };
                inside.event(EventKind::Alloc, n, Some(n * 1024), Some(&site))
            })
        });
        forward.span("backward", |inside| (1..=200).fold(inside, TraceBuilder::free))
    });
    let run = builder.write(folder.path());
    let found = rows(&["activations", "--by", "module"], &run);
    assert_eq!(found.len(), 200);
    let svg = plot("activations", &[&run], &[]);
    let said = description(&svg);
    let (shown, rest) = said.split_once(" smaller modules: ").unwrap();
    let rest_count: usize = shown.rsplit_once(' ').unwrap().1.parse().unwrap();
    let sum: i64 = (1..=rest_count as i64).map(|n| n * 1024).sum();
    assert!(rest.starts_with(&render::bytes(sum)), "{rest_count} of the smallest: {said}");
    assert!(said.contains("&lt;script&gt;") && said.contains("net.layer198: 198 KiB"), "{said}");
    expect_every_size("activations", &[&run], &[]);
}

#[test]
fn without_modules_there_are_phases_and_without_both_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let step = |builder: TraceBuilder, number: i64| {
        builder.step(number, 1.0, |step| {
            step.span("forward", |inside| inside.alloc(1, 3 << 20)).span("backward", |inside| inside.free(1))
        })
    };
    let run = (0..3).fold(TraceBuilder::new(), step).write(folder.path());
    let svg = plot("activations", &[&run], &[]);
    assert!(description(&svg).contains("modules are not known. forward: 3.00 MiB"), "{svg}");
    expect_every_size("activations", &[&run], &[]);

    let bare = tempfile::tempdir().unwrap();
    let run = TraceBuilder::new().alloc(1, 100).write(bare.path());
    let said = refused("activations", &[&run], &[]);
    assert!(said.contains("the trace has no activations by module or phase: "), "{said}");
}

#[test]
fn runs_have_the_figures_of_compare() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let base = compare::record(folder.path(), "Baseline", 160 << 20);
    let half = compare::record(folder.path(), HOSTILE.replace('/', "-").as_str(), 80 << 20);
    let runs: [&Path; 3] = [&base, &half, &base];
    let found = compare::compare(&runs, &["-q"]);
    let svg = plot("compare", &runs, &[]);
    let said = description(&svg);
    assert!(said.contains(&format!("Baseline: {}", bytes(&found[0]["peak_bytes"]))), "{said}");
    let delta = found[1]["peak_delta_bytes"].as_i64().unwrap();
    let share = found[1]["peak_delta_share"].as_f64().unwrap() * 100.0;
    let changed = format!(
        "{}, {} ({share:+.1} %), better",
        bytes(&found[1]["peak_bytes"]),
        render::signed_bytes(delta)
    );
    assert!(said.contains(&changed), "{changed}: {said}");
    assert!(said.contains("+0 B (+0.0 %), within noise"), "the same run: {said}");
    let loss = format!("loss {:.3e}", found[0]["final_loss"].as_f64().unwrap());
    assert!(said.contains(&loss), "{loss}: {said}");
    let time = render::duration(found[0]["step_nanos"].as_i64().unwrap());
    assert!(said.contains(&format!("a step takes {time}")), "{time}: {said}");
    assert!(svg.contains("Baseline (base)") && svg.contains("time per step"), "labels: {svg}");
    // In a narrow plot these are words.
    let narrow = plot("compare", &runs, &["--width", "500"]);
    assert!(narrow.contains(&format!("a step takes {time}; {loss}")), "{narrow}");
    expect_every_size("compare", &runs, &[]);

    let said = refused("compare", &[&base], &[]);
    assert!(said.contains("compare takes several runs"), "{said}");
}

#[test]
fn a_peak_is_stacked_by_what_it_consists_of() {
    let folder = |name: &str| {
        let folder = tempfile::Builder::new().prefix(name).tempdir().unwrap();
        let run = activations::training().write(folder.path());
        (folder, run)
    };
    let ((_one, first), (_two, second)) = (folder("one"), folder("two"));
    let held = rows(&["peaks", "--by", "category"], &first);
    let svg = plot("compare", &[&first, &second], &[]);
    assert!(description(&svg).contains("by what it consists of"), "{svg}");
    assert!(held.len() > 2, "{held:?}");
    for row in held.iter().filter(|row| row["bytes"].as_i64().unwrap() > 0) {
        let category = row["category"].as_str().unwrap();
        assert!(svg.contains(&format!("\n{category}\n")), "{category} is in the legend: {svg}");
    }
}

#[test]
fn of_many_runs_those_that_changed_most_are_shown() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let sizes: Vec<u64> = (0..20).map(|n| 1 << 20 << (n % 7)).collect();
    let record = |(n, size): (usize, &u64)| compare::record(folder.path(), &format!("run {n:02}"), *size);
    let runs: Vec<PathBuf> = sizes.iter().enumerate().map(record).collect();
    let runs: Vec<&Path> = runs.iter().map(PathBuf::as_path).collect();
    let svg = plot("compare", &runs, &["--height", "2000"]);
    let said = description(&svg);
    assert!(said.contains("left out: 8 whose peak changed less"), "{said}");
    // 64 times, 32, 16 and 8 times as much as the base, in their order; of 4 times the first three.
    let shown: Vec<usize> = (0..20).filter(|n| said.contains(&format!("run {n:02}: "))).collect();
    let mut expected: Vec<usize> = (1..20).collect();
    expected.sort_by_key(|n| (std::cmp::Reverse(sizes[*n]), *n));
    expected.truncate(11);
    expected.push(0);
    expected.sort_unstable();
    assert_eq!(shown, expected);
}

#[test]
fn a_plan_has_the_figures_of_plan() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let runs: Vec<PathBuf> = [2, 4, 8, 16]
        .iter()
        .map(|size| plan::record(folder.path(), &format!("batch {size}"), &[*size; 4], &[]))
        .collect();
    let runs: Vec<&Path> = runs.iter().map(PathBuf::as_path).collect();
    let budget = ["--budget", "600MiB"];
    let svg = plot("plan", &runs, &budget);
    let said = description(&svg);
    // 300 + 7 × 38 MiB is less than 570 and 300 + 7 × 39 MiB is not.
    assert!(
        said.starts_with(
            "Largest batch_size within 600 MiB with 5 % kept free: 38; predicted at 38: 566 MiB"
        ),
        "{said}"
    );
    assert!(said.contains("which is in optimizer, then in backward"), "{said}");
    for size in [2, 4, 8, 16] {
        let point = format!("{} at {size}", render::bytes(plan::law(size) as i64));
        assert!(said.contains(&point), "{point}: {said}");
    }
    assert!(
        svg.contains("\nbudget 600 MiB\n") && svg.contains("largest that fits, predicted at 38: 566 MiB"),
        "labels: {svg}"
    );
    let text = output_of(program("tidegauge").arg("plan").args(&runs).args(budget).arg("-q"));
    let answer = text.lines().next().unwrap();
    assert!(said.starts_with(answer), "{answer}: {said}");
    expect_every_size("plan", &runs, &budget);

    let far = plot("plan", &runs, &["--budget", "80GiB"]);
    assert!(description(&far).contains("the budget lies above what is shown"), "{far}");
    let small = plot("plan", &runs, &["--budget", "100MiB"]);
    assert!(description(&small).starts_with("Not even batch_size 1 fits within 100 MiB"), "{small}");
    assert!(!small.contains("largest that fits"), "{small}");
}

#[test]
fn a_plan_by_another_key_or_by_values_and_one_that_is_refused() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let record = |size: u64| {
        let config = [("samples", size as i64 * 10)];
        plan::record(folder.path(), &format!("of {size}"), &[size; 4], &config)
    };
    let runs = [record(6), record(8), record(12)];
    let runs: Vec<&Path> = runs.iter().map(PathBuf::as_path).collect();
    let budget = ["--budget", "450MiB"];
    let by_key =
        plot("plan", &runs, &[&budget[..], &["--key", "samples", "--ignore", "batch_size"]].concat());
    assert!(by_key.contains("Largest samples within 450 MiB"), "{by_key}");
    assert!(
        description(&by_key).contains(&format!("{} at 120", render::bytes(plan::law(12) as i64))),
        "{by_key}"
    );
    // A plan of one size, of none that is known, and without a budget: refused with the words of `plan`.
    let one = [runs[0]];
    for (runs, options) in
        [(&one[..], &budget[..]), (&runs[..], &["--key", "depth", "--budget", "1GiB"]), (&runs[..], &[])]
    {
        let of_plan: Vec<String> = options.iter().map(|option| option.replace("--key", "--by")).collect();
        let output = program("tidegauge").arg("plan").args(runs).args(&of_plan).arg("-q").output().unwrap();
        let said = refused("plan", runs, &[options, &["-q"]].concat());
        assert_eq!(said, String::from_utf8(output.stderr).unwrap(), "{options:?}");
        assert!(said.starts_with("tidegauge: "), "{said}");
    }
}

#[test]
fn ranks_have_the_peaks_of_steps() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    ranks::record(&run, folder.path(), 0..6, None);
    let steps = rows(&["steps"], &run);
    let highest = steps.iter().rev().max_by_key(|row| row["peak_bytes"].as_i64()).unwrap();
    let svg = plot("ranks", &[&run], &[]);
    let said = description(&svg);
    let expected = format!(
        "highest {}: rank {}, step {}",
        bytes(&highest["peak_bytes"]),
        highest["rank"],
        highest["step"]
    );
    assert!(said.contains("6 ranks, 10 steps") && said.contains(&expected), "{expected}: {said}");
    assert!(said.contains("no rank stands out"), "each holds a little more than the one before: {said}");
    // The colour scale goes from the lowest to the highest, and with so few cells each has its figure.
    let lowest = steps.iter().map(|row| row["peak_bytes"].as_i64().unwrap()).min().unwrap();
    assert!(svg.contains(&format!("\n{}\n", render::bytes(lowest))), "{svg}");
    for row in &steps {
        assert!(svg.contains(&format!("\n{}\n", bytes(&row["peak_bytes"]))), "{row}");
    }
    expect_every_size("ranks", &[&run], &[]);

    for (options, what) in
        [(&["--rank", "3"][..], "second rank"), (&["--device", "-1", "--end", "1ns"], "steps")]
    {
        let said = refused("ranks", &[&run], options);
        assert!(said.contains(&format!("the trace has no {what}")), "{options:?}: {said}");
    }
}

#[test]
fn a_rank_that_stands_out_is_named_and_a_step_that_one_lacks_is_a_gap() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    for rank in 0..5u32 {
        let builder = Recorder::builder(&run).existing(Existing::Join).rank(rank);
        let recorder = builder.start().unwrap();
        for number in 0..if rank == 1 { 4 } else { 6 } {
            let _step = tg::step(number);
            let size = if rank == 3 { 50 << 20 } else { (20 << 20) + u64::from(rank) * 1000 };
            tg::alloc(0, 64, size);
            tg::free(0, 64);
        }
        recorder.stop().unwrap();
    }
    let of_rank_1 = rows(&["steps", "--rank", "1"], &run);
    assert_eq!(json!(of_rank_1.len()), json!(4));
    let svg = plot("ranks", &[&run], &[]);
    let said = description(&svg);
    assert!(said.contains("rank 3 stands out: 50.0 MiB, the median rank 20.0 MiB"), "{said}");
    assert!(said.contains("highest 50.0 MiB: rank 3, step 0"), "{said}");
    assert!(svg.contains("no such step"), "{svg}");
    expect_every_size("ranks", &[&run], &[]);
}
