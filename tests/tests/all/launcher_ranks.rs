//! Several launchers on one host record into one run; devices and alerts.

use std::path::PathBuf;
use std::process::Stdio;

use arrow::array::AsArray as _;
use arrow::datatypes::Int32Type;
use tidegauge_schemas::{Table, Trace};
use tidegauge_tests::programs::{Running, program, wait_until};

use crate::launched::{Launched, names, samples};
use crate::victim::checkpoints;

#[test]
fn ranks_share_a_run_and_one_samples_the_node() {
    const RANKS: u32 = 4;
    let launched = Launched::new().option(&["--interval", "20ms"]);
    // Each waits until all are there, so that they overlap.
    let folder = launched.folder.path().join("there");
    std::fs::create_dir(&folder).unwrap();
    let script = format!(
        "touch {0}/$OMPI_COMM_WORLD_RANK; while [ $(ls {0} | wc -l) -lt {RANKS} ]; do sleep 0.02; done; sleep 0.5; exit $OMPI_COMM_WORLD_RANK",
        folder.display()
    );
    let start = |rank: u32| {
        let mut command = launched.command(&["sh".as_ref(), "-c".as_ref(), script.as_ref()]);
        let number = rank.to_string();
        command.env("OMPI_COMM_WORLD_RANK", &number).env("OMPI_COMM_WORLD_LOCAL_RANK", &number);
        command.env("OMPI_COMM_WORLD_SIZE", RANKS.to_string()).stderr(Stdio::null());
        Running::start(&mut command)
    };
    let mut launchers: Vec<Running> = (0..RANKS).map(start).collect();
    for (rank, launcher) in (0..).zip(&mut launchers) {
        assert_eq!(launcher.wait().unwrap().code(), Some(rank));
    }
    let folders = names(launched.folder.path());
    assert!(!folders.iter().any(|name| name.starts_with("run-")), "{folders:?}");
    let trace = Trace::open(&launched.run).unwrap();
    trace.validate().unwrap();
    let ids: Vec<(u32, u32)> = trace.processes().iter().map(|id| (id.rank, id.process)).collect();
    assert_eq!(ids, (0..RANKS).map(|rank| (rank, 0)).collect::<Vec<_>>());
    let of_node = |rank| samples(&launched.process(rank, 0), Table::NodeSamples).len();
    let samplers: Vec<u32> = (0..RANKS).filter(|rank| of_node(*rank) > 0).collect();
    // Whoever came first may have ended before the last began to end.
    assert!(!samplers.is_empty() && samplers.len() < RANKS as usize, "{samplers:?}");
    for rank in 0..RANKS {
        let info = launched.process(rank, 0).info.unwrap();
        assert_eq!((info.local_rank, info.world_size), (Some(rank), Some(RANKS)));
        assert!(!samples(&launched.process(rank, 0), Table::Samples).is_empty());
    }
}

/// The library that stands in for the driver's.
fn fake_nvml() -> String {
    let launcher = PathBuf::from(program("tidegauge-record").get_program());
    launcher.with_file_name("libfake_nvml.so").display().to_string()
}

#[test]
fn devices_are_sampled_and_named() {
    let launched = Launched::new().variable("TIDEGAUGE_NVML_LIBRARY", &fake_nvml());
    let mut launcher = launched.start("signal-counter", &[]);
    wait_until("devices are sampled", || {
        let rows = samples(&launched.process(0, 0), Table::NodeSamples);
        (0..2).all(|device| rows.iter().any(|row| row.metric == "gpu_used_bytes" && row.device == device))
    });
    launched.end(1);
    assert_eq!(launcher.wait().unwrap().code(), Some(1));
    let process = launched.process(0, 0);
    let info = process.info.as_ref().unwrap();
    assert!(
        info.devices.len() >= 2 && info.devices.iter().all(|device| device.uuid.is_some()),
        "{:?}",
        info.devices
    );
    let uuid = info.devices.iter().find(|device| device.index == 1).unwrap().uuid.clone().unwrap();
    let mut found = 0;
    for batch in process.batches(Table::NodeSamples, &["device", "uuid"]) {
        let batch = batch.unwrap();
        let uuids = batch.column_by_name("uuid").unwrap().as_dictionary::<Int32Type>();
        let texts = uuids.values().as_string::<i32>();
        found += uuids.keys().iter().flatten().filter(|key| texts.value(*key as usize) == uuid).count();
    }
    assert!(found > 0, "rows of device 1 bear its identity");
    assert!(launched.errors().contains("peak device memory  gpu 0: "), "{}", launched.errors());
    assert!(samples(&process, Table::Samples).iter().all(|row| row.metric != "gpu_used_bytes"));
}

#[test]
fn an_alert_is_a_row_a_line_and_a_command() {
    let launched = Launched::new();
    let told = launched.folder.path().join("told");
    let command = format!(
        "echo \"$TIDEGAUGE_ALERT|$TIDEGAUGE_ALERT_VALUE|$TIDEGAUGE_RUN\" >> {}; echo noise",
        told.display()
    );
    let launched =
        launched.option(&["--interval", "10ms", "--alert", "rss > 50MiB", "--alert", "rss > 50TiB"]);
    let launched = launched.option(&["--alert", "allocated > 1GiB", "--on-alert", &command]);
    let mut launcher = launched.start("memory-toucher", &["100"]);
    wait_until("the command was run", || told.exists());
    launched.end(1);
    assert!(launcher.wait().unwrap().success());
    let errors = launched.errors();
    assert_eq!(errors.matches("alert: rss > 50MiB: ").count(), 1, "{errors}");
    assert!(errors.contains("\n  alert               rss > 50MiB   (1 time)\n"), "{errors}");
    let told = std::fs::read_to_string(told).unwrap();
    let words: Vec<&str> = told.trim_end().split('|').collect();
    assert_eq!((words[0], words[2]), ("rss > 50MiB", launched.run.to_str().unwrap()));
    assert!(words[1].parse::<f64>().unwrap() > 50.0 * 1024.0 * 1024.0, "{told}");
    let process = launched.process(0, 0);
    let rows = checkpoints(&process);
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!((&*rows[0].kind, rows[0].name.as_deref()), ("alert", Some("rss > 50MiB")));
    // What only the program itself knows is watched there.
    let out = launched
        .command(&["sh".as_ref(), "-c".as_ref(), "echo $TIDEGAUGE_ALERTS".as_ref()])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(out.stdout).unwrap(), "allocated > 1GiB\n");
    let refused = program("tidegauge-record").args(["--alert", "rss >", "--", "true"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(125));
    let refused = String::from_utf8(refused.stderr).unwrap();
    assert!(refused.contains("rss >") && refused.contains('^'), "{refused}");
}
