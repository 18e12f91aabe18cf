//! Logs as nvidia-smi writes them, as other programs write them again, and as they are after an accident.

use std::path::Path;

use tidegauge_schemas::layout::ProcessId;
use tidegauge_schemas::metrics;

use super::*;
use crate::load::SampleRow;

const SECOND: i64 = 1_000_000_000;
/// 2023-08-01T10:11:12Z.
const START: i64 = 1_690_884_672 * SECOND;
const MIB: f64 = 1_048_576.0;

fn parse(content: impl AsRef<[u8]>) -> Result<ForeignProcess> {
    let content = content.as_ref().to_vec();
    let mut input = Input::from_bytes(Path::new("gpu.csv"), content).unwrap();
    Ok(read(&mut input, ProcessId { rank: 0, process: 0 })?.remove(0))
}

fn values(process: &ForeignProcess, metric: metrics::Metric) -> Vec<(i64, i16, f64)> {
    let of_metric = |row: &&SampleRow| row.metric == metric.name;
    let rows = process.node_samples().iter().filter(of_metric);
    rows.map(|row| (row.time_nanos, row.device, row.value)).collect()
}

const LOG: &str = "\
timestamp, index, name, uuid, pci.bus_id, memory.total [MiB], memory.used [MiB], memory.free [MiB], memory.reserved [MiB], utilization.gpu [%], utilization.memory [%], power.draw [W], enforced.power.limit [W], temperature.gpu, clocks.current.sm [MHz], clocks_event_reasons.active
2023/08/01 10:11:12.000, 0, NVIDIA H100 80GB HBM3, GPU-aa, 00000000:0F:00.0, 81559 MiB, 1234 MiB, 79000 MiB, 540 MiB, 56 %, 12 %, 250.25 W, 700.00 W, 41, 1980 MHz, 0x0000000000000004
2023/08/01 10:11:12.003, 1, NVIDIA H100 80GB HBM3, GPU-bb, 00000000:10:00.0, 81559 MiB, 0 MiB, 81000 MiB, 540 MiB, [N/A], [N/A], [Unknown Error], 700.00 W, 30, 210 MHz, [Not Supported]
2023/08/01 10:11:12.503, 0, NVIDIA H100 80GB HBM3, GPU-aa, 00000000:0F:00.0, 81559 MiB, 2048 MiB, 79000 MiB, 540 MiB, 57 %, 12 %, 251.00 W, 700.00 W, 42, 1980 MHz, 0x0000000000000001
2023/08/01 10:11:12.506, 1, NVIDIA H100 80GB HBM3, GPU-bb, 00000000:10:00.0, 81559 MiB, 7 MiB, 81000 MiB, 540 MiB, [N/A], [N/A], N/A, 700.00 W, 30, 210 MHz, [N/A]
";

#[test]
fn every_column_is_read_in_its_unit() {
    let process = parse(LOG).unwrap();
    let of = |metric| values(&process, metric);
    let second = START + 503_000_000;
    assert_eq!(
        of(metrics::GPU_USED),
        [
            (START, 0, 1234.0 * MIB),
            (START + 3_000_000, 1, 0.0),
            (second, 0, 2048.0 * MIB),
            (second + 3_000_000, 1, 7.0 * MIB)
        ]
    );
    // What hardly ever changes is kept once.
    assert_eq!(of(metrics::GPU_TOTAL), [(START, 0, 81559.0 * MIB), (START + 3_000_000, 1, 81559.0 * MIB)]);
    assert_eq!(of(metrics::GPU_POWER_LIMIT).len(), 2);
    assert_eq!(of(metrics::GPU_RESERVED)[0].2, 540.0 * MIB);
    assert_eq!(of(metrics::GPU_FREE)[1].2, 81000.0 * MIB);
    // What a device does not tell is no reading.
    assert_eq!(of(metrics::GPU_UTILIZATION), [(START, 0, 56.0), (second, 0, 57.0)]);
    assert_eq!(of(metrics::GPU_MEMORY_UTILIZATION).len(), 2);
    assert_eq!(of(metrics::GPU_POWER), [(START, 0, 250.25), (second, 0, 251.0)]);
    assert_eq!(of(metrics::GPU_TEMPERATURE).len(), 4);
    assert_eq!(of(metrics::GPU_SM_CLOCK)[3].2, 210.0);
    assert_eq!(of(metrics::GPU_THROTTLE_REASONS), [(START, 0, 4.0), (second, 0, 1.0)]);
    let devices = &process.info.devices;
    assert_eq!(devices.len(), 2);
    assert_eq!(devices[1].uuid.as_deref(), Some("GPU-bb"));
    assert_eq!(devices[1].name.as_deref(), Some("NVIDIA H100 80GB HBM3"));
    assert_eq!(devices[0].pci_bus_id.as_deref(), Some("00000000:0F:00.0"));
    assert_eq!(devices[0].total_bytes, Some(81559 << 20));
    assert_eq!(process.info.notes, ["its times are local and name no zone: they are read as UTC"]);
    assert!(process.has_times());
}

/// The columns of `LOG` in another order and its cells changed by `cell`.
fn rewritten(order: &[usize], separator: &str, cell: impl Fn(usize, &str) -> String) -> String {
    let line = |(number, line): (usize, &str)| {
        let fields: Vec<&str> = line.split(", ").collect();
        let cells: Vec<String> = order.iter().map(|&at| cell(number, fields[at])).collect();
        cells.join(separator)
    };
    LOG.lines().enumerate().map(line).collect::<Vec<_>>().join("\n") + "\n"
}

fn sorted(process: &ForeignProcess) -> Vec<(i64, i16, String, u64)> {
    let key = |row: &SampleRow| (row.time_nanos, row.device, row.metric.clone(), row.value.to_bits());
    process.node_samples().iter().map(key).collect()
}

#[test]
fn order_units_quotes_and_line_ends_make_no_difference() {
    let expected = sorted(&parse(LOG).unwrap());
    let same = |_: usize, cell: &str| cell.to_owned();
    let in_order: Vec<usize> = (0..16).collect();
    let reversed: Vec<usize> = (0..16).rev().collect();
    let nounits = |line: usize, cell: &str| {
        let is_value = line > 0 && [" MiB", " %", " W", " MHz"].iter().any(|unit| cell.ends_with(unit));
        if is_value { cell.split(' ').next().unwrap_or_default().to_owned() } else { cell.to_owned() }
    };
    let quoted = |_: usize, cell: &str| format!("\"{cell}\"");
    let cases = [
        rewritten(&reversed, ", ", same),
        rewritten(&in_order, ", ", nounits),
        rewritten(&reversed, ",", nounits),
        rewritten(&in_order, ",", quoted),
        rewritten(&in_order, ", ", same).replace('\n', "\r\n"),
        format!("\u{feff}{LOG}"),
        LOG.replace('\n', "\n\n"),
        LOG.trim_end().to_owned(),
        // Started again: the header once more.
        LOG.replacen(
            "2023/08/01 10:11:12.503",
            &format!("{}\n2023/08/01 10:11:12.503", LOG.lines().next().unwrap()),
            1,
        ),
        // Names as they are asked for.
        LOG.replace("clocks_event_reasons", "clocks_throttle_reasons")
            .replace("clocks.current.sm", "clocks.sm"),
        LOG.replace("index, name, uuid, pci.bus_id", "index, gpu_name, gpu_uuid, gpu_bus_id"),
    ];
    for case in cases {
        let process = parse(&case).unwrap();
        assert_eq!(sorted(&process), expected, "{case}");
        assert_eq!(process.info.notes.len(), 1, "{:?}", process.info.notes);
        assert!(is_start_of(case.as_bytes()), "{case}");
    }
}

#[test]
fn rounds_without_times_begin_when_a_device_is_there_again() {
    let log = "uuid, memory.used [MiB]\nGPU-b, 1\nGPU-a, 2\nGPU-b, 3\nGPU-a, 4\nGPU-a, 5\n";
    let process = parse(log).unwrap();
    assert!(!process.has_times());
    let expected =
        [(0, 0, MIB), (0, 1, 2.0 * MIB), (1000, 0, 3.0 * MIB), (1000, 1, 4.0 * MIB), (2000, 1, 5.0 * MIB)];
    assert_eq!(values(&process, metrics::GPU_USED), expected);
    assert_eq!(process.info.notes.len(), 1);
    assert!(process.info.notes[0].contains("timestamp"));
}

#[test]
fn rows_that_name_no_device_are_of_one() {
    let process = parse("memory.used [MiB], utilization.gpu [%]\n100 MiB, 1 %\n200 MiB, 2 %\n").unwrap();
    assert_eq!(values(&process, metrics::GPU_USED), [(0, 0, 100.0 * MIB), (1000, 0, 200.0 * MIB)]);
    assert!(process.info.notes.iter().any(|note| note.contains("no column says which GPU")));
}

#[test]
fn mig_instances_have_identities_of_their_own() {
    let log = "\
timestamp, uuid, memory.used [MiB], utilization.gpu [%]
2023/08/01 10:11:12.000, MIG-41b3359c-e721-56e5-8009-12e5797ed514, 12 MiB, [N/A]
2023/08/01 10:11:12.000, MIG-5b2a, 4000 MiB, [N/A]
2023/08/01 10:11:13.000, MIG-41b3359c-e721-56e5-8009-12e5797ed514, 14 MiB, [N/A]
";
    let process = parse(log).unwrap();
    let used = values(&process, metrics::GPU_USED);
    assert_eq!(used.iter().map(|(_, device, _)| *device).collect::<Vec<_>>(), [0, 1, 0]);
    assert!(values(&process, metrics::GPU_UTILIZATION).is_empty());
}

#[test]
fn a_last_line_that_is_cut_off_is_left_out() {
    let whole = values(&parse(LOG).unwrap(), metrics::GPU_USED).len();
    let last = LOG.trim_end().rfind('\n').unwrap() + 1;
    for end in last + 1..LOG.trim_end().len() {
        // The last cell is `[N/A]`: without its bracket it is no reading and no number.
        let process = parse(&LOG[..end]).unwrap();
        assert_eq!(values(&process, metrics::GPU_USED).len(), whole - 1, "{end}");
        assert!(process.info.notes.iter().any(|note| note.contains("cut off")), "{end}");
    }
    let log = "uuid, memory.used [MiB]\nGPU-abc, 100 MiB\nGPU-abc, 2";
    assert_eq!(values(&parse(log).unwrap(), metrics::GPU_USED).len(), 1, "the unit is missing");
    let log = "memory.used [MiB], uuid\n100 MiB, GPU-abc\n100 MiB, GPU-a";
    assert_eq!(parse(log).unwrap().info.devices.len(), 1, "an identity that is cut off is no device");
}

#[test]
fn lines_that_are_no_rows_are_counted() {
    let log = "\
No devices were found
index, memory.used [MiB], utilization.gpu [%]
0, 100 MiB, 1 %
Unable to determine the device handle for GPU0000:0F:00.0: GPU is lost
0, 1index, memory.used [MiB], utilization.gpu [%], pstate
0, [GPU is lost], [GPU is lost]
0, 200 MiB, 3 %
";
    let process = parse(log).unwrap();
    assert_eq!(values(&process, metrics::GPU_USED), [(0, 0, 100.0 * MIB), (2000, 0, 200.0 * MIB)]);
    let said = "3 lines are no rows and are left out, the first is line 1: `No devices were found`";
    assert!(process.info.notes.iter().any(|note| note == said), "{:?}", process.info.notes);
}

#[test]
fn processes_have_samples_of_their_own() {
    let log = "\
timestamp, gpu_uuid, pid, process_name, used_gpu_memory [MiB]
2023/08/01 10:11:12.000, GPU-aa, 4242, /usr/bin/python3, 1000 MiB
2023/08/01 10:11:12.000, GPU-bb, 4243, chrome --type=gpu-process --a=b,c,d, 20 MiB
2023/08/01 10:11:13.000, GPU-aa, 4242, /usr/bin/python3, [N/A]
";
    let process = parse(log).unwrap();
    let rows: Vec<_> =
        process.samples().iter().map(|row| (row.time_nanos, row.device, row.pid, row.value)).collect();
    assert_eq!(rows, [(START, 0, Some(4242), 1000.0 * MIB), (START, 1, Some(4243), 20.0 * MIB)]);
    assert!(process.samples().iter().all(|row| row.metric == metrics::GPU_PROCESS_USED.name));
    assert!(process.node_samples().is_empty());
}

#[test]
fn what_does_not_fit_is_said() {
    let log = "\
timestamp, index, uuid, memory.used [MiB], pstate, fan.speed [%]
2023/08/01 10:11:12.000, 0, GPU-aa, 1 MiB, P0, 30 %
2023/08/01 09:11:12.000, 0, GPU-bb, 2 MiB, P0, 30 %
";
    let notes = parse(log).unwrap().info.notes;
    for part in ["`pstate`, `fan.speed`", "another GPU's", "step back 1 times"] {
        assert!(notes.iter().any(|note| note.contains(part)), "{part}: {notes:?}");
    }
}

#[test]
fn errors_name_line_and_column() {
    let header = "timestamp, index, memory.used [MiB], power.draw [W]\n";
    let row = |row: &str| format!("{header}2023/08/01 10:11:12.000, 0, 1 MiB, 1.0 W\n{row}\n");
    let cases = [
        (String::new(), "line 1 is no header"),
        (header.to_owned(), "no rows"),
        ("0, 1234 MiB, 56 %\n".to_owned(), "line 1 is no header"),
        ("2023/08/01 10:11:12.345, 0, 12\n".to_owned(), "noheader"),
        ("1, 2\n3, 4\n".to_owned(), "line 1 is no header"),
        (
            row("2023/08/01 10:11:12.000, 0, 12x4 MiB, 1 W"),
            "line 3, column `memory.used`: expected a size as 1234 MiB, found `12x4 MiB`",
        ),
        (row("2023/08/01 10:11:12.000, 0, -1 MiB, 1 W"), "`memory.used`"),
        (row("2023/08/01 10:11:12.000, 0, 1e99 MiB, 1 W"), "`memory.used`"),
        (row("2023/08/01 10:11:12.000, 0, 99999999999999 MiB, 1 W"), "`memory.used`"),
        (row("2023/08/01 10:11:12.000, 0, 5 %, 1 W"), "`memory.used`"),
        (row("2023/08/01 10:11:12.000, 0, 1 MiB, high"), "line 3, column `power.draw`: expected a power"),
        (row("2023/13/01 10:11:12.000, 0, 1 MiB, 1 W"), "line 3, column `timestamp`: expected a time"),
        (row("2023/08/01 10:11:12.000, zero, 1 MiB, 1 W"), "line 3, column `index`"),
        (row("2023/08/01 10:11:12.000, -1, 1 MiB, 1 W"), "line 3, column `index`"),
        (row("2023/08/01 10:11:12.000, 99999, 1 MiB, 1 W"), "line 3, column `index`"),
        ("pid, used_gpu_memory [MiB]\nmany, 4 MiB\n".to_owned(), "line 2, column `pid`"),
        (format!("{header}{}", "x".repeat(100_000)), "line 2 is longer than 64 KiB"),
        ("\u{feff}".to_owned() + &"1".repeat(100_000), "longer"),
    ];
    for (log, part) in cases {
        let error = parse(&log).unwrap_err().to_string();
        assert!(error.contains(part) && error.starts_with("not a readable nvidia-smi CSV"), "{error}");
        assert_eq!(error.lines().count(), 1);
    }
    let utf_16: Vec<u8> = "\u{feff}index, memory.used [MiB]\r\n0, 1 MiB\r\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    assert!(is_start_of(&utf_16));
    assert!(parse(&utf_16).unwrap_err().to_string().contains("UTF-16"));
}

#[test]
fn the_kind_is_known_by_its_first_lines() {
    for text in [
        "memory.used [MiB]\n5 MiB",
        "No devices were found\n",
        "uuid\nGPU-1\n",
        "a, b\n1, 2\n",
        "",
        "{}",
        "[[1, 2]]",
    ] {
        assert_eq!(is_start_of(text.as_bytes()), text.starts_with("memory"), "{text}");
    }
    assert!(is_start_of(b"0, 1234 MiB, 56 %"), "for an error that says what to do");
    assert!(is_start_of(b"2023/08/01 10:11:12.345, 0, 12"));
}

/// Whatever byte is another one, there is an error or a log.
#[test]
fn no_changed_byte_is_fatal() {
    let log = &LOG[..LOG.len() / 2];
    for at in 0..log.len() {
        for byte in [b',', b'"', b'\n', b'[', b'-', b'9', b'.', b'e', 0, 0xff] {
            let mut content = log.as_bytes().to_vec();
            content[at] = byte;
            if let Err(error) = parse(&content) {
                assert_eq!(error.to_string().lines().count(), 1, "{error}");
            }
            is_start_of(&content);
        }
        let _ = parse(&log[..at]);
    }
}
