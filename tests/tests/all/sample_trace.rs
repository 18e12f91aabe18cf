//! The committed trace of each format version stays readable, and says what it always said.

use std::path::PathBuf;

use tidegauge_schemas::{Table, Trace};
use tidegauge_tests::programs::{output_of, program};

fn sample() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../schemas/samples/v1")
}

#[test]
fn version_1_is_valid() {
    let trace = Trace::open(&sample()).unwrap();
    trace.validate().unwrap();
    let process = trace.process(trace.processes()[0]).unwrap();
    for table in [Table::Events, Table::Checkpoints, Table::Samples, Table::Sites] {
        assert!(process.parts(table).iter().map(|part| part.rows).sum::<u64>() > 0, "{table}");
    }
}

/// What the commands say of it, as text: names, alignment, units.
#[test]
fn reports_stay_as_they_are() {
    let run = |arguments: &[&str]| {
        let mut command = program("tidegauge");
        // Relative, so that the path in the report is the same everywhere.
        command.current_dir(sample().join("..")).env("NO_COLOR", "1").args(arguments);
        output_of(&mut command)
    };
    insta::assert_snapshot!("summary", run(&["summary", "v1", "-n", "5"]));
    insta::assert_snapshot!("summary_md", run(&["summary", "v1", "-n", "3", "--format", "md"]));
    insta::assert_snapshot!("summary_json", run(&["summary", "v1", "--json"]));
    insta::assert_snapshot!("phases", run(&["phases", "v1"]));
    insta::assert_snapshot!("steps_csv", run(&["steps", "v1", "--format", "csv"]));
    insta::assert_snapshot!("peaks", run(&["peaks", "v1", "--by", "module", "-n", "6"]));
    insta::assert_snapshot!("peaks_phase", run(&["peaks", "v1", "--by", "phase", "--format", "csv"]));
    insta::assert_snapshot!("timeline", run(&["timeline", "v1", "-n", "6"]));
    let sql = "SELECT kind, COUNT(*) AS n, SUM(size_bytes) AS bytes FROM events GROUP BY kind ORDER BY kind";
    insta::assert_snapshot!("query", run(&["query", "v1", sql]));
    insta::assert_snapshot!("plot_phases", run(&["plot", "phases", "v1"]));
}
