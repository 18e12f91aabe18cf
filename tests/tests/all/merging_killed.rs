//! A merge that is killed at each of its system calls that change files costs nothing.

use std::collections::BTreeMap;
use std::path::Path;

use tidegauge_tests::programs::{output_of, program, say};
use tidegauge_tests::traced::{TracedEnd, run_traced};

use crate::merging::{build, file_name as name, merge_victim, rows};
use crate::recovery_killed::copy;
use crate::victim::{folder_in_memory, listing};

/// Parts that are there, superseded ones among them: another reader would see their rows twice. Nothing is half written.
fn count_of_parts(run: &Path) -> usize {
    let files = listing(run);
    let half_written = files.iter().filter(|(path, _)| name(path).starts_with(".tmp"));
    assert_eq!(half_written.count(), 0, "half written");
    files.iter().filter(|(path, _)| path.extension().is_some_and(|ending| ending == "parquet")).count()
}

#[test]
fn a_merge_can_be_killed_at_each_of_its_system_calls() {
    let folder = folder_in_memory();
    let pristine = build(100, 20).write(folder.path());
    let before = rows(&pristine);
    let recover = |run: &Path| {
        let _ = output_of(program("tidegauge-record").arg("recover").arg(run));
    };
    let mut killed: BTreeMap<&str, u64> = BTreeMap::new();
    for kill_at in 0.. {
        let run = folder.path().join(format!("copy-{kill_at}"));
        copy(&pristine, &run);
        // Merged parts are merged again.
        let end = match run_traced(&mut merge_victim(&run, 3), kill_at) {
            Err(error) => {
                say(&format!("SKIPPED: tracing is not permitted here: {error}"));
                return;
            }
            Ok(end) => end,
        };
        assert!(rows(&run) == before, "{end:?}");
        if let TracedEnd::After(calls, is_fine) = end {
            assert!(is_fine && calls == kill_at, "it ended by itself after {calls} calls");
            assert_eq!(count_of_parts(&run), 4);
            break;
        }
        if let TracedEnd::KilledBefore(call) = end {
            *killed.entry(call).or_default() += 1;
        }
        if kill_at % 2 == 0 {
            recover(&run);
            assert!(rows(&run) == before, "{end:?}, then recovered");
            let parts = count_of_parts(&run);
            let _ = output_of(&mut merge_victim(&run, 1000));
            assert!(parts >= 4);
        } else {
            // Or it is merged further without.
            let _ = output_of(&mut merge_victim(&run, 1000));
            recover(&run);
        }
        assert!(rows(&run) == before, "{end:?}, then merged");
        assert_eq!(count_of_parts(&run), 4, "{end:?}");
        std::fs::remove_dir_all(&run).unwrap();
    }
    say(&format!("killed before each of {killed:?}"));
    for call in ["fsync", "openat", "write", "rename", "unlink"] {
        assert!(killed.get(call).is_some_and(|times| *times >= 4), "{call}: {killed:?}");
    }
}
