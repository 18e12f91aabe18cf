//! The demo at a small size: a real training run recorded, then analysed. What is claimed of training shows, and `make demo`
//! leaves what it says.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tidegauge_tests::programs::{output_of, program};

fn train(folder: &Path, name: &str, arguments: &[&str]) -> Value {
    let run = folder.join(name);
    let small = ["--cells", "32", "--channels", "8", "--simulations", "4", "--frames", "16"];
    let printed = output_of(program("burgers").arg("--run").arg(&run).args(small).args(arguments));
    assert!(printed.contains("trace: "), "{printed}");
    let text = output_of(program("tidegauge").arg("summary").arg(&run).arg("--json"));
    serde_json::from_str(&text).unwrap()
}

fn phase<'a>(summary: &'a Value, name: &str) -> &'a Value {
    let phases = summary["phases"].as_array().unwrap();
    phases.iter().find(|row| row["phase"] == name && row["device"] == -1).unwrap()
}

fn activations(summary: &Value) -> f64 {
    phase(summary, "forward")["mean_delta_bytes"].as_f64().unwrap()
}

#[test]
fn activations_dominate_rise_in_forward_fall_in_backward_and_scale() {
    let folder = tempfile::tempdir().unwrap();
    let base = train(folder.path(), "base", &["--batch-size", "8", "--rollout-steps", "2", "--epochs", "3"]);
    assert_eq!(base["ended"], "clean");
    assert_eq!(base["dropped_events"], 0);
    assert_eq!(base["warnings"], Value::Array(Vec::new()));
    for name in ["start", "data_to_device", "forward", "backward", "optimizer"] {
        assert!(phase(&base, name)["count"].as_u64().unwrap() > 5, "{name}");
    }
    let host = base["devices"].as_array().unwrap().iter().find(|device| device["device"] == -1).unwrap();
    let peak = host["peak_allocated_bytes"].as_f64().unwrap();
    assert!(activations(&base) > 0.5 * peak, "activations are most of the peak");
    let freed = -phase(&base, "backward")["mean_delta_bytes"].as_f64().unwrap();
    assert!(freed > 0.8 * activations(&base), "backward gives them back: {freed}");
    let kept = phase(&base, "optimizer")["mean_delta_bytes"].as_f64().unwrap();
    assert!(kept.abs() < 0.2 * activations(&base), "the optimizer is flat: {kept}");
    let named = host["live_at_peak"].as_array().unwrap().iter();
    let of_unet =
        named.filter(|holder| holder["site"].as_str().is_some_and(|site| site.starts_with("unet.")));
    let of_unet: f64 = of_unet.map(|holder| holder["bytes"].as_f64().unwrap()).sum();
    assert!(of_unet > 0.5 * peak, "and who holds them is known");
    let losses = &base["steps"][0];
    assert!(losses["last_loss"].as_f64() < losses["first_loss"].as_f64(), "{losses}");

    let batch =
        train(folder.path(), "batch", &["--batch-size", "16", "--rollout-steps", "2", "--epochs", "1"]);
    let rollout =
        train(folder.path(), "rollout", &["--batch-size", "8", "--rollout-steps", "4", "--epochs", "1"]);
    for (name, other) in [("batch size", &batch), ("rollout steps", &rollout)] {
        let ratio = activations(other) / activations(&base);
        assert!((1.7..2.3).contains(&ratio), "twice the {name}: {ratio} times the activations");
    }
}

/// The lines of `make demo` that come after the recording, as make would run them for this folder.
fn commands_after_recording(folder: &Path) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let target = Path::new(program("tidegauge").get_program()).ancestors().nth(2).unwrap().to_owned();
    let mut make = Command::new("make");
    make.current_dir(root).args(["--dry-run", "--no-print-directory", "demo"]);
    make.arg(format!("DEMO={}", folder.display())).arg(format!("TARGET={}", target.display()));
    let lines: Vec<String> = output_of(&mut make).lines().map(str::to_owned).collect();
    let recorded = lines.iter().position(|line| line.contains("/burgers --run ")).unwrap();
    lines[recorded + 1..].to_vec()
}

/// Names of the files in a folder, in order.
fn files(folder: &Path) -> Vec<String> {
    let names = folder.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

#[test]
fn make_demo_leaves_what_it_says() {
    let folder = tempfile::tempdir().unwrap();
    // It has the step that the target draws, and is small.
    let steps = ["--batch-size", "2", "--rollout-steps", "2", "--epochs", "3"];
    let summary = train(folder.path(), "trace", &steps);
    assert!(summary["steps"][0]["count"].as_u64().unwrap() > 50, "{}", summary["steps"]);
    let mut said = String::new();
    for command in commands_after_recording(folder.path()) {
        said = output_of(Command::new("sh").args(["-c", &command]));
    }
    let report = folder.path().join("report.html");
    assert!(said.contains(report.to_str().unwrap()), "says what to open: {said}");

    let expected = [
        "phases.svg",
        "plots",
        "report.html",
        "summary.json",
        "summary.md",
        "summary.txt",
        "timeline-step-50.svg",
        "timeline.svg",
        "trace",
    ];
    assert_eq!(files(folder.path()), expected);
    let plots = folder.path().join("plots");
    let expected = [
        "activations.svg",
        "blocks.svg",
        "breakdown.svg",
        "leaks.svg",
        "phases.svg",
        "steps.svg",
        "timeline.svg",
    ];
    assert_eq!(files(&plots), expected, "all but those of several ranks or runs, and of segments");
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    assert_eq!(read(&plots.join("timeline.svg")), read(&folder.path().join("timeline.svg")));
    assert_eq!(
        serde_json::from_str::<Value>(&read(&folder.path().join("summary.json"))).unwrap(),
        summary,
        "the same trace gives the same summary"
    );
    let page = read(&report);
    for name in &expected {
        let plot = read(&plots.join(name));
        let description = plot.split_once("<desc").unwrap().1.split_once("</desc>").unwrap().0;
        let text = description.split_once('>').unwrap().1;
        assert!(text.len() > 20 && page.contains(text), "{name} is on the page: {text}");
    }
}
