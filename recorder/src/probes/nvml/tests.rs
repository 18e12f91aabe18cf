//! The probe against the library that stands in for the driver's (`tests/fake-nvml`).

use std::path::PathBuf;
use std::time::Duration;

use tidegauge_schemas::metrics::{self, Metric};

use super::*;
use crate::probes::collected::Collected;

/// A library of its own for each test: a copy is another library to the loader, and has its own state file.
pub(crate) struct StandIn {
    folder: tempfile::TempDir,
    start: Instant,
}

impl StandIn {
    pub(crate) fn new(state: &str) -> Self {
        let test = std::env::current_exe().unwrap();
        // …/target/PROFILE/deps/TEST → …/target/PROFILE/libfake_nvml.so
        let built = test.ancestors().nth(2).unwrap().join("libfake_nvml.so");
        assert!(built.exists(), "{} is not built: `cargo build --workspace` first", built.display());
        let stand_in = Self { folder: tempfile::tempdir().unwrap(), start: Instant::now() };
        std::fs::copy(built, stand_in.library()).unwrap();
        stand_in.tell(state);
        stand_in
    }

    fn library(&self) -> PathBuf {
        self.folder.path().join("libfake.so")
    }

    /// From now on it says this.
    fn tell(&self, state: &str) {
        std::fs::write(self.folder.path().join("libfake.so.state"), state).unwrap();
    }

    pub(crate) fn open(&self) -> Result<NvmlProbe, NvmlAbsent> {
        self.open_in(PidNamespace::Initial)
    }

    pub(crate) fn open_in(&self, namespace: PidNamespace) -> Result<NvmlProbe, NvmlAbsent> {
        NvmlProbe::open_library(Some(self.library().as_os_str()), namespace)
    }

    /// A sample so many milliseconds after the start.
    fn sample(&self, probe: &mut NvmlProbe, after_millis: u64) -> Collected {
        let mut sink = Collected::default();
        probe.sample_devices_at(self.start + Duration::from_millis(after_millis), &mut sink);
        sink
    }

    fn sample_processes(&self, probe: &mut NvmlProbe, ours: &[u32]) -> Collected {
        let mut sink = Collected::default();
        probe.sample_processes_at(self.start, &|pid| ours.contains(&pid), &mut sink);
        sink
    }
}

fn of(sink: &Collected, device: i16, metric: Metric) -> Option<f64> {
    let mut found =
        sink.readings.iter().filter(|reading| reading.device == device && reading.metric == metric);
    let value = found.next().map(|reading| reading.value);
    assert!(found.next().is_none(), "{} twice", metric.name);
    value
}

fn names(sink: &Collected, device: i16) -> Vec<&'static str> {
    let of_device = sink.readings.iter().filter(|reading| reading.device == device);
    of_device.map(|reading| reading.metric.name).collect()
}

/// The readings of processes: device, pid, value.
fn processes(sink: &Collected) -> Vec<(i16, Option<u32>, f64)> {
    sink.readings.iter().map(|reading| (reading.device, reading.pid, reading.value)).collect()
}

const GIB: f64 = (1_u64 << 30) as f64;

#[test]
fn devices_are_named_and_read() {
    let stand_in = StandIn::new("");
    let mut probe = stand_in.open().unwrap();
    let devices = probe.devices();
    assert_eq!(devices.len(), 2);
    let expected = DeviceInfo {
        index: 0,
        uuid: Some("GPU-5ca1ab1e-0000-0000-0000-000000000000".to_owned()),
        name: Some("NVIDIA Stand-in 16GB".to_owned()),
        total_bytes: Some(16 << 30),
        pci_bus_id: Some("00000000:01:00.0".to_owned()),
        parent_index: None,
    };
    assert_eq!(devices[0], expected);
    assert_eq!(probe.versions(), (Some("580.95.05".to_owned()), Some("13.0".to_owned())));

    let sample = stand_in.sample(&mut probe, 0);
    assert_eq!(sample.notes, Vec::<String>::new());
    for (metric, value) in [
        (metrics::GPU_TOTAL, 16.0 * GIB),
        (metrics::GPU_USED, GIB),
        (metrics::GPU_FREE, 14.75 * GIB),
        (metrics::GPU_RESERVED, 0.25 * GIB),
        (metrics::GPU_UTILIZATION, 37.0),
        (metrics::GPU_MEMORY_UTILIZATION, 12.0),
        (metrics::GPU_POWER, 71.5),
        (metrics::GPU_POWER_LIMIT, 300.0),
        (metrics::GPU_TEMPERATURE, 41.0),
        (metrics::GPU_SM_CLOCK, 1410.0),
        (metrics::GPU_THROTTLE_REASONS, 4.0),
    ] {
        assert_eq!(of(&sample, 0, metric), Some(value), "{}", metric.name);
    }
    assert_eq!(of(&sample, 1, metrics::GPU_USED), Some(0.0), "nothing is used: that is known");
    assert_eq!(names(&sample, 0), names(&sample, 1));
}

#[test]
fn memory_is_read_each_time_and_the_rest_once_a_second() {
    let stand_in = StandIn::new("");
    let mut probe = stand_in.open().unwrap();
    let all = names(&stand_in.sample(&mut probe, 0), 0);
    stand_in.tell("0.memory = 17179869184 0 5\n0.temperature_celsius = 90\n");
    let memory = ["gpu_total_bytes", "gpu_used_bytes", "gpu_free_bytes", "gpu_reserved_bytes"];
    for millis in [100, 500, 999] {
        let sample = stand_in.sample(&mut probe, millis);
        assert_eq!(names(&sample, 0), memory);
        assert_eq!(of(&sample, 0, metrics::GPU_USED), Some(5.0));
    }
    let sample = stand_in.sample(&mut probe, 1000);
    assert_eq!(names(&sample, 0), all);
    assert_eq!(of(&sample, 0, metrics::GPU_TEMPERATURE), Some(90.0));
}

#[test]
fn what_is_not_offered_is_said_once_and_not_asked_again() {
    let stand_in = StandIn::new("1.power_milliwatts =\n1.utilization =\n1.sm_clock_mhz = !no_permission\n");
    let mut probe = stand_in.open().unwrap();
    let sample = stand_in.sample(&mut probe, 0);
    let name = "device 1 (NVIDIA Stand-in 8GB)";
    let expected = [
        format!("{name}: the device does not offer utilization, power"),
        format!("{name}: this user may not read clock"),
    ];
    assert_eq!(sample.notes, expected);
    assert_eq!(of(&sample, 1, metrics::GPU_POWER), None);
    assert_eq!(of(&sample, 1, metrics::GPU_TEMPERATURE), Some(30.0));
    assert_eq!(of(&sample, 0, metrics::GPU_POWER), Some(71.5));
    stand_in.tell("");
    let sample = stand_in.sample(&mut probe, 60_000);
    assert!(sample.notes.is_empty());
    assert_eq!(of(&sample, 1, metrics::GPU_POWER), None, "not asked for again");
}

#[test]
fn what_failed_is_left_alone_for_a_while() {
    let stand_in = StandIn::new("0.temperature_celsius = !timeout\n");
    let mut probe = stand_in.open().unwrap();
    let sample = stand_in.sample(&mut probe, 0);
    assert_eq!(sample.notes.len(), 1, "{:?}", sample.notes);
    assert!(
        sample.notes[0]
            .starts_with("device 0 (NVIDIA Stand-in 16GB): temperature cannot be read now and then")
    );
    stand_in.tell("");
    assert_eq!(of(&stand_in.sample(&mut probe, 9_000), 0, metrics::GPU_TEMPERATURE), None);
    assert_eq!(of(&stand_in.sample(&mut probe, 10_000), 0, metrics::GPU_TEMPERATURE), Some(41.0));
    stand_in.tell("0.temperature_celsius = !unknown\n");
    assert!(stand_in.sample(&mut probe, 20_000).notes.is_empty(), "said once");
}

#[test]
fn a_device_that_falls_off_the_bus_is_said_once_and_found_again() {
    for error in ["gpu_is_lost", "reset_required", "uninitialized"] {
        let stand_in = StandIn::new("0.compute = 7:100\n1.compute = 7:300\n");
        let mut probe = stand_in.open().unwrap();
        assert!(stand_in.sample(&mut probe, 0).notes.is_empty());
        stand_in.tell(&format!("0.lost = !{error}\n1.compute = 7:300\n"));
        let sample = stand_in.sample(&mut probe, 2_000);
        assert_eq!(sample.notes.len(), 1, "{:?}", sample.notes);
        assert!(sample.notes[0].contains("cannot be reached"), "{:?}", sample.notes);
        assert!(names(&sample, 0).is_empty());
        assert_eq!(names(&sample, 1).len(), 11, "the other goes on");
        assert_eq!(
            processes(&stand_in.sample_processes(&mut probe, &[7])),
            [(1, Some(7), 300.0), (1, None, 300.0)]
        );
        let sample = stand_in.sample(&mut probe, 13_000);
        assert!(sample.notes.is_empty() && names(&sample, 0).is_empty());
        stand_in.tell("");
        assert!(names(&stand_in.sample(&mut probe, 22_999), 0).is_empty(), "not looked for before its time");
        let sample = stand_in.sample(&mut probe, 23_000);
        assert!(sample.notes.len() == 1 && sample.notes[0].ends_with("it can be reached again"));
        assert_eq!(of(&sample, 0, metrics::GPU_USED), Some(GIB));
        // A device that comes and goes all day is not said all day.
        for millis in (30_000..200_000).step_by(20_000) {
            stand_in.tell("0.lost = !gpu_is_lost\n");
            assert!(stand_in.sample(&mut probe, millis).notes.is_empty());
            stand_in.tell("");
            assert!(stand_in.sample(&mut probe, millis + 10_000).notes.is_empty());
        }
    }
}

#[test]
fn a_device_that_cannot_be_opened_at_first_keeps_its_index() {
    let stand_in = StandIn::new("0.lost = !gpu_is_lost\n");
    let mut probe = stand_in.open().unwrap();
    let devices = probe.devices();
    assert_eq!((devices[0].index, &devices[0].uuid, devices[1].index), (0, &None, 1));
    let sample = stand_in.sample(&mut probe, 0);
    assert_eq!(sample.notes.len(), 1);
    assert_eq!(names(&sample, 1).len(), 11);
    stand_in.tell("");
    // The time of opening is a little later than that of the test's start.
    assert_eq!(names(&stand_in.sample(&mut probe, 40_000), 0).len(), 11);
}

#[test]
fn old_drivers_say_memory_in_their_own_way() {
    let stand_in = StandIn::new("0.memory_v2 = !function_not_found\n");
    let mut probe = stand_in.open().unwrap();
    assert_eq!(probe.devices()[0].total_bytes, Some(16 << 30));
    let sample = stand_in.sample(&mut probe, 0);
    assert_eq!(of(&sample, 0, metrics::GPU_USED), Some(1.25 * GIB), "what the driver keeps included");
    assert_eq!(of(&sample, 0, metrics::GPU_FREE), Some(14.75 * GIB));
    assert_eq!(of(&sample, 0, metrics::GPU_RESERVED), None);
    assert!(sample.notes.is_empty());
}

#[test]
fn processes_of_the_tree_are_told_from_others() {
    let state = "0.compute = 11:1000 12:2000 13:4000\n0.graphics = 12:2000 14:8000\n0.mps = 15:16000\n1.compute = 99:1\n";
    let stand_in = StandIn::new(state);
    let mut probe = stand_in.open().unwrap();
    let sample = stand_in.sample_processes(&mut probe, &[11, 12, 15]);
    let expected = [
        (0, Some(11), 1000.0),
        // In two lists, counted once.
        (0, Some(12), 2000.0),
        (0, Some(15), 16000.0),
        (0, None, 19000.0),
        // None of ours: that is known to be nothing.
        (1, None, 0.0),
    ];
    assert_eq!(processes(&sample), expected);
    assert!(sample.notes.is_empty());
}

#[test]
fn what_nvml_does_not_say_of_a_process_is_absent() {
    let stand_in = StandIn::new("0.compute = 11:1000 12:n/a\n1.compute = 13:n/a\n");
    let mut probe = stand_in.open().unwrap();
    let sample = stand_in.sample_processes(&mut probe, &[11, 12]);
    assert_eq!(
        processes(&sample),
        [(0, Some(11), 1000.0), (1, None, 0.0)],
        "no total without all of its parts"
    );
    assert_eq!(
        sample.notes,
        ["device 0 (NVIDIA Stand-in 16GB): NVML does not say how much a process uses (N/A)"]
    );
    assert!(stand_in.sample_processes(&mut probe, &[11, 12]).notes.is_empty(), "said once");
    assert_eq!(processes(&stand_in.sample_processes(&mut probe, &[11]))[1], (0, None, 1000.0));
}

#[test]
fn lists_that_a_device_does_not_keep_are_missed_only_if_they_matter() {
    let stand_in = StandIn::new("0.graphics =\n0.mps =\n1.compute =\n");
    let mut probe = stand_in.open().unwrap();
    let sample = stand_in.sample_processes(&mut probe, &[1]);
    assert_eq!(processes(&sample), [(0, None, 0.0)]);
    assert_eq!(sample.notes, ["device 1 (NVIDIA Stand-in 8GB): the device does not offer processes"]);
}

#[test]
fn in_a_container_processes_are_not_guessed() {
    let stand_in = StandIn::new("0.compute = 11:1000\n");
    for namespace in [PidNamespace::Inner, PidNamespace::Unknown] {
        let mut probe = stand_in.open_in(namespace).unwrap();
        let sample = stand_in.sample_processes(&mut probe, &[11]);
        assert!(sample.readings.is_empty());
        assert_eq!(sample.notes.len(), 1);
        assert!(stand_in.sample_processes(&mut probe, &[11]).notes.is_empty(), "said once");
        assert_eq!(
            of(&stand_in.sample(&mut probe, 0), 0, metrics::GPU_USED),
            Some(GIB),
            "the rest is sampled"
        );
    }
}

#[test]
fn mig_instances_are_devices_of_their_own() {
    let state = "0.mig_mode = 1\n\
        0.utilization =\n\
        0.mig.0.uuid = MIG-aaaa\n0.mig.0.name = NVIDIA Stand-in 16GB MIG 1g.5gb\n0.mig.0.memory = 5000 10 700\n\
        0.mig.0.compute = 11:600\n0.mig.0.power_milliwatts = !invalid_argument\n\
        0.mig.3.uuid = MIG-dddd\n0.mig.3.memory = 9000 0 0\n0.mig.3.compute = none\n";
    let stand_in = StandIn::new(state);
    let mut probe = stand_in.open().unwrap();
    let devices = probe.devices();
    let named =
        devices.iter().map(|device| (device.index, device.uuid.as_deref().unwrap(), device.parent_index));
    let expected = [
        (0, "GPU-5ca1ab1e-0000-0000-0000-000000000000", None),
        (1, "GPU-0ddba11-0000-0000-0000-000000000001", None),
        (2, "MIG-aaaa", Some(0)),
        (3, "MIG-dddd", Some(0)),
    ];
    assert_eq!(named.collect::<Vec<_>>(), expected);
    assert_eq!(devices[2].name.as_deref(), Some("NVIDIA Stand-in 16GB MIG 1g.5gb"));
    assert_eq!(
        (devices[2].total_bytes, devices[2].pci_bus_id.as_deref()),
        (Some(5000), Some("00000000:01:00.0"))
    );
    let sample = stand_in.sample(&mut probe, 0);
    assert_eq!(
        (of(&sample, 2, metrics::GPU_USED), of(&sample, 3, metrics::GPU_TOTAL)),
        (Some(700.0), Some(9000.0))
    );
    assert_eq!(of(&sample, 2, metrics::GPU_POWER), None);
    let processes = processes(&stand_in.sample_processes(&mut probe, &[11]));
    assert!(
        processes.contains(&(2, Some(11), 600.0)) && processes.contains(&(3, None, 0.0)),
        "{processes:?}"
    );
    // An instance that is removed is as good as lost.
    stand_in.tell("0.mig_mode = 1\n");
    let sample = stand_in.sample(&mut probe, 1_000);
    assert_eq!(
        sample.notes.iter().filter(|note| note.contains("cannot be reached")).count(),
        2,
        "{:?}",
        sample.notes
    );
}

#[test]
fn mig_mode_without_instances_is_said() {
    let stand_in = StandIn::new("0.mig_mode = 1\n");
    let mut probe = stand_in.open().unwrap();
    assert_eq!(probe.devices().len(), 2);
    let notes = stand_in.sample(&mut probe, 0).notes;
    assert!(notes.len() == 1 && notes[0].contains("MIG mode is on"), "{notes:?}");
}

#[test]
fn devices_are_selected_by_index() {
    let stand_in = StandIn::new("");
    let mut probe = stand_in.open().unwrap();
    let unknown = UnknownDevice { index: 5, known: "0, 1".to_owned() };
    assert_eq!(probe.select(&[1, 5]), Err(unknown));
    assert_eq!(probe.devices().len(), 2, "nothing changed");
    probe.select(&[1]).unwrap();
    assert_eq!(probe.devices().len(), 1);
    let sample = stand_in.sample(&mut probe, 0);
    assert!(names(&sample, 0).is_empty() && names(&sample, 1).len() == 11);
}

#[test]
fn why_nvml_is_absent_is_said_with_what_to_do() {
    for (state, finding) in [
        ("init = !driver_not_loaded\n", "the driver is not loaded"),
        ("init = !no_permission\n", "may not talk"),
        ("init = !lib_rm_version_mismatch\n", "different versions"),
        ("init = !unknown\n", "does not start"),
        ("devices = 0\n", "knows no device"),
    ] {
        let absent = StandIn::new(state).open().unwrap_err();
        assert!(absent.finding.contains(finding) && !absent.advice.is_empty(), "{absent}");
    }
    let missing =
        NvmlProbe::open_library(Some(OsStr::new("/nowhere/libnvidia-ml.so.1")), PidNamespace::Initial);
    assert!(missing.unwrap_err().to_string().contains("/nowhere/libnvidia-ml.so.1"));
    // A library, but not this one.
    let other = NvmlProbe::open_library(Some(OsStr::new("libc.so.6")), PidNamespace::Initial).unwrap_err();
    assert!(other.finding.contains("not NVML"), "{other}");
}

#[test]
#[ignore = "a measurement"]
fn what_a_sample_costs() {
    let stand_in = StandIn::new("");
    std::fs::remove_file(stand_in.folder.path().join("libfake.so.state")).unwrap();
    let mut probe = stand_in.open().unwrap();
    let mut sink = Collected::default();
    for (what, step) in [("memory", Duration::ZERO), ("everything", Duration::from_secs(1))] {
        const SAMPLES: u32 = 2000;
        let (mut at, before) = (stand_in.start, crate::ticks::thread_cpu_nanos());
        for _ in 0..SAMPLES {
            at += step;
            sink.readings.clear();
            probe.sample_devices_at(at, &mut sink);
        }
        let micros = (crate::ticks::thread_cpu_nanos() - before) as f64 / 1e3 / f64::from(SAMPLES);
        println!("{what} of two devices: {micros:.1} µs");
    }
}
