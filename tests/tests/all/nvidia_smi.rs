//! nvidia-smi's CSV on the command line, and the use of devices in timelines: of such a log, and of a trace.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tidegauge_schemas::Table;
use tidegauge_tests::programs::{built, output_of, program, wait_until};

use crate::launched::{Launched, largest, samples};

const MIB: i64 = 1 << 20;

/// A log of `-lms 250` of two devices, in MiB as `used` says for each reading; some cells have no reading.
pub(crate) fn log(path: &Path, used: impl Fn(i64, i64) -> i64, readings: i64) -> PathBuf {
    let mut text = "timestamp, index, name, uuid, memory.total [MiB], memory.used [MiB], utilization.gpu [%], power.draw [W]\n"
        .to_owned();
    for reading in 0..readings {
        for device in 0..2 {
            let millis = reading * 250 + device;
            let power = if device == 0 { "[N/A]".to_owned() } else { format!("{}.25 W", 100 + reading) };
            text += &format!(
                "2024/02/29 23:{:02}:{:02}.{:03}, {device}, NVIDIA A100-SXM4-80GB, GPU-{device}f, 81920 MiB, {} MiB, {} %, {power}\n",
                millis / 60_000,
                millis / 1000 % 60,
                millis % 1000,
                used(reading, device),
                reading % 101,
            );
        }
    }
    std::fs::write(path, text).unwrap();
    path.to_owned()
}

fn json(arguments: &[&str], run: &Path) -> Value {
    let text =
        output_of(program("tidegauge").args(&arguments[..1]).arg(run).args(&arguments[1..]).arg("--json"));
    serde_json::from_str(&text).unwrap()
}

fn wave(reading: i64, device: i64) -> i64 {
    if reading < 40 { 4 } else { 30_000 + 5000 * device + (reading * 7919) % 1000 }
}

#[test]
fn every_command_takes_a_log() {
    let folder = tempfile::tempdir().unwrap();
    let run = log(&folder.path().join("gpu.csv"), wave, 400);
    let peak = |device: i64| (0..400).map(|reading| wave(reading, device)).max().unwrap() * MIB;
    let summary = json(&["summary"], &run);
    let used = summary["device_use"].as_array().unwrap();
    assert_eq!(used.len(), 2);
    for (number, device) in (0..).zip(used) {
        assert_eq!(device["peak_used_bytes"], peak(number));
        assert_eq!(device["total_bytes"], 81920 * MIB);
        assert_eq!(device["name"], "NVIDIA A100-SXM4-80GB");
        assert_eq!(device["mean_interval_nanos"], 250_000_000);
        let first = (0..400).find(|reading| wave(*reading, number) * MIB == peak(number)).unwrap();
        assert_eq!(device["peak_time"], (first * 250 + number) as f64 / 1000.0);
    }
    assert_eq!(summary["started"], "2024-02-29T23:00:00Z");
    assert_eq!(summary["duration_nanos"], (399 * 250 + 1) * 1_000_000i64);
    assert_eq!(summary["devices"], Value::Array(Vec::new()));
    assert_eq!(summary["peak_rss_bytes"], Value::Null);
    assert_eq!(summary["warnings"].as_array().unwrap().len(), 1, "{}", summary["warnings"]);

    let text = output_of(program("tidegauge").arg("summary").arg(&run));
    for part in
        ["device 1 used  35.2 GiB", "devices 0, 1: NVIDIA A100-SXM4-80GB, 80.0 GiB each", "every 250 ms"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }

    // More stretches of time than readings, so that each value is seen.
    let rows = json(&["timeline", "--device", "1", "-n", "20000"], &run);
    let rows = rows.as_array().unwrap();
    assert!(rows.iter().all(|row| row["curve"] == "used" && row["device"] == 1));
    let mut seen: Vec<i64> = rows.iter().map(|row| row["last_bytes"].as_i64().unwrap()).collect();
    seen.dedup();
    let mut expected: Vec<i64> = (0..400).map(|reading| wave(reading, 1) * MIB).collect();
    expected.dedup();
    assert_eq!(seen, expected);

    let sql = "SELECT metric, device, COUNT(*) AS n, MAX(value) AS most FROM node_samples GROUP BY metric, device \
               ORDER BY metric, device";
    let rows = json(&["query", sql], &run);
    let counts: Vec<(&str, i64)> = rows
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["metric"].as_str().unwrap(), row["n"].as_i64().unwrap()))
        .collect();
    let expected = [
        ("gpu_power_watts", 400),
        ("gpu_total_bytes", 1),
        ("gpu_total_bytes", 1),
        ("gpu_used_bytes", 400),
        ("gpu_used_bytes", 400),
        ("gpu_utilization_percent", 400),
        ("gpu_utilization_percent", 400),
    ];
    assert_eq!(counts, expected);

    let svg = output_of(program("tidegauge").args(["plot", "timeline"]).arg(&run));
    assert!(svg.contains("device 1: in use by all programs"), "the fullest device is drawn");
    assert!(svg.contains("peak 35.2 GiB"));
    let zoomed =
        output_of(program("tidegauge").args(["plot", "timeline", "--device", "0", "--end", "5s"]).arg(&run));
    assert!(zoomed.contains("peak 4.00 MiB"), "{zoomed}");

    for (command, said) in [("steps", "no steps"), ("phases", "no phases"), ("peaks", "no allocations")] {
        let output = program("tidegauge").arg(command).arg(&run).output().unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && errors.contains(said), "{command}: {errors}");
        assert_eq!(json(&[command], &run), Value::Array(Vec::new()));
    }
}

#[test]
fn logs_of_several_nodes_are_processes_of_one_run() {
    let folder = tempfile::tempdir().unwrap();
    for host in ["a", "b"] {
        let most = if host == "a" { 100 } else { 200 };
        log(&folder.path().join(format!("node-{host}.csv")), |reading, _| most + reading, 10);
    }
    let pattern = folder.path().join("node-*.csv");
    let summary = json(&["summary"], &pattern);
    let used: Vec<i64> = summary["device_use"]
        .as_array()
        .unwrap()
        .iter()
        .map(|device| device["peak_used_bytes"].as_i64().unwrap() / MIB)
        .collect();
    assert_eq!(used, [109, 109, 209, 209]);
    assert_eq!(summary["warnings"].as_array().unwrap().len(), 1, "what both say is said once");
    let rows = json(&["timeline", "--process", "1", "-n", "4"], &pattern);
    assert_eq!(rows[0]["min_bytes"], 200 * MIB);
}

#[test]
fn errors_are_one_line_that_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gpu.csv");
    let cases = [
        ("0, 1234 MiB, 56 %\n1, 10 MiB, 0 %\n", "record without `noheader`"),
        ("index, memory.used [MiB]\n0, 12 MiB\n0, twelve MiB\n", "line 3, column `memory.used`"),
        ("index, memory.used [MiB]\n", "no rows"),
    ];
    for (text, part) in cases {
        std::fs::write(&path, text).unwrap();
        let output = program("tidegauge").arg("summary").arg(&path).output().unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{errors}");
        assert!(errors.contains(part) && errors.trim_end().ends_with("gpu.csv"), "{errors}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
    }
}

/// What the driver says is in use, of a program that records itself and is recorded from outside as well.
#[test]
fn timelines_of_a_trace_show_what_devices_have_in_use() {
    let library = built("libfake_nvml.so").display().to_string();
    let launched =
        Launched::new().variable("TIDEGAUGE_NVML_LIBRARY", &library).option(&["--interval", "10ms"]);
    let mut launcher = launched.start("environment-recorder", &["1000"]);
    let readings = || samples(&launched.process(0, 0), Table::NodeSamples);
    let count = || readings().iter().filter(|row| row.metric == "gpu_used_bytes" && row.device == 1).count();
    let before = count();
    wait_until("devices are sampled", || count() > before + 2);
    launched.end(1);
    assert!(launcher.wait().unwrap().success());
    let readings: Vec<_> = readings().into_iter().filter(|row| row.device == 1).collect();
    let most = largest(&readings, "gpu_used_bytes", None).unwrap() as i64;
    // The program's own timeline has its allocations and, of the launcher's recording, the devices.
    for process in ["0", "1"] {
        if process == "1" {
            let mut alone = program("tidegauge");
            alone.args(["timeline", "--process", "1", "--device", "1"]).arg(&launched.run);
            let refused = alone.output().unwrap();
            assert_eq!(refused.status.code(), Some(2), "alone, it knows nothing of devices");
            assert!(String::from_utf8_lossy(&refused.stderr).contains("nothing was recorded of device 1"));
            continue;
        }
        let rows = json(&["timeline", "--process", process, "--device", "1"], &launched.run);
        let rows = rows.as_array().unwrap();
        assert!(!rows.is_empty() && rows.iter().all(|row| row["curve"] == "used"));
        assert_eq!(rows.iter().map(|row| row["max_bytes"].as_i64().unwrap()).max(), Some(most));
    }
    let both = json(&["timeline"], &launched.run);
    let curves = |device: i64| {
        let rows = both.as_array().unwrap().iter().filter(move |row| row["device"] == device);
        rows.map(|row| row["curve"].as_str().unwrap().to_owned()).collect::<std::collections::BTreeSet<_>>()
    };
    assert!(curves(-1).contains("allocated"), "{:?}", curves(-1));
    assert_eq!(curves(1).into_iter().collect::<Vec<_>>(), ["used"]);
    let svg = output_of(program("tidegauge").args(["plot", "timeline", "--device", "1"]).arg(&launched.run));
    assert!(svg.contains("in use by all programs"));
}
