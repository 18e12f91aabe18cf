//! Every byte of a trace's files flipped, and every file cut at every length: an error that names the file, or the right
//! figures for what is intact; never a panic, never a wrong figure without a warning.

use std::path::{Path, PathBuf};

use tidegauge_analyzer::analysis::{Summary, summary};
use tidegauge_analyzer::load::{Selection, Source};
use tidegauge_analyzer::replay::Window;
use tidegauge_schemas::{Table, Trace};
use tidegauge_tests::TraceBuilder;

use crate::victim::{Victim, folder_in_memory};

/// What `tidegauge summary` shows of a trace, or the error that it ends with.
fn summarize(run: &Path) -> Result<Summary, String> {
    let source = Source::open(&[run], &Selection::default()).map_err(|error| error.to_string())?;
    summary(&source, |_| Ok(Window::ALL), |_| true).map_err(|error| error.to_string())
}

/// A copy of a file in memory that is written back, damaged in one way after the other.
struct Damage {
    path: PathBuf,
    whole: Vec<u8>,
}

impl Damage {
    fn of(path: PathBuf) -> Self {
        Self { whole: std::fs::read(&path).unwrap(), path }
    }

    /// Calls `check` with the file damaged in each way; `places` says which bytes are flipped and which lengths it is
    /// cut to.
    fn each(&self, places: impl Iterator<Item = usize>, mut check: impl FnMut(&str)) {
        for at in places {
            let mut flipped = self.whole.clone();
            // A single bit, another one in each byte, and the whole byte.
            for mask in [1 << (at % 8), 0xFF] {
                flipped[at] = self.whole[at] ^ mask;
                std::fs::write(&self.path, &flipped).unwrap();
                check(&format!("byte {at} ^ {mask:#x}"));
            }
            std::fs::write(&self.path, &self.whole[..at]).unwrap();
            check(&format!("cut to {at} bytes"));
        }
        std::fs::write(&self.path, &self.whole).unwrap();
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }
}

/// True if all that the events and checkpoints say is the same: what `process.json` says may be unknown.
fn same_figures(one: &Summary, two: &Summary) -> bool {
    one.config == two.config
        && one.processes.len() == two.processes.len()
        && one.processes.iter().zip(&two.processes).all(|(one, two)| {
            one.devices == two.devices
                && one.phases == two.phases
                && one.steps == two.steps
                && one.rss == two.rss
                && (one.events, one.span_nanos) == (two.events, two.span_nanos)
        })
}

fn built() -> (tempfile::TempDir, PathBuf) {
    let folder = folder_in_memory();
    let builder = (0..3).fold(TraceBuilder::new(), |builder, step| {
        builder.step(step, 0.5, |builder| {
            let builder = builder.span("forward", |builder| builder.alloc(0x1000, 700).alloc(0x2000, 50));
            builder.mark("backward").free(0x1000).free(0x2000).rss(1 << 20)
        })
    });
    let run = builder.write(folder.path());
    (folder, run)
}

#[test]
fn every_byte_of_a_part() {
    let (_folder, run) = built();
    let good = summarize(&run).unwrap();
    assert_eq!(good.warnings, Vec::<String>::new());
    let mut accepted = 0;
    for table in [Table::Events, Table::Checkpoints, Table::Samples] {
        let trace = Trace::open(&run).unwrap();
        let process = trace.process(trace.processes()[0]).unwrap();
        let damage = Damage::of(process.parts(table)[0].path.clone());
        damage.each(0..damage.whole.len(), |how| match summarize(&run) {
            Ok(summary) => {
                assert_eq!(summary, good, "{}, {how}", damage.name());
                accepted += 1;
            }
            Err(error) => assert!(error.contains(&damage.name()), "{how}: {error}"),
        });
    }
    // A flip in the key that the checksum stands under takes the checksum away, and nothing else.
    assert!(accepted <= 3 * 2 * 24, "{accepted} damaged parts were taken for whole");
}

#[test]
fn every_byte_of_process_json_and_run_json() {
    let folder = folder_in_memory();
    let victim = Victim::new(folder.path(), "a", 1, 100).events(500);
    victim.assert_went_on(victim.finish(), 500);
    let run = &victim.run;
    let good = summarize(run).unwrap();
    assert_eq!(good.warnings, Vec::<String>::new());
    for file in ["_process/rank=0/process=0/process.json", "run.json"] {
        let damage = Damage::of(run.join(file));
        damage.each(0..damage.whole.len(), |how| match summarize(run) {
            Ok(summary) => {
                let is_warned = summary.warnings.iter().any(|warning| warning.contains(&damage.name()));
                assert!(same_figures(&summary, &good), "{file}, {how}");
                assert!(summary == good || is_warned, "{file}, {how}: {:?}", summary.warnings);
            }
            // What is missing from run.json is missing from the trace: the error names both.
            Err(error) => assert!(
                error.contains(&damage.name()) || (error.contains("run.json") && error.contains("trace")),
                "{file}, {how}: {error}"
            ),
        });
    }
}

#[test]
fn every_byte_of_a_journal() {
    let folder = folder_in_memory();
    let victim = Victim::new(folder.path(), "a", 1, 100).deed("_exit", 12);
    victim.finish();
    let run = &victim.run;
    let good = summarize(run).unwrap();
    assert_eq!((good.processes[0].events, victim.counts().get(0)), (12, 12));
    assert!(good.warnings.iter().all(|warning| !warning.contains("not finished")), "{:?}", good.warnings);
    let journal = run.join("_process/rank=0/process=0/journal");
    let chunk = std::fs::read_dir(&journal)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| {
            let bytes = std::fs::read(path).unwrap();
            path.to_string_lossy().contains("chunk-")
                && bytes.get(4096..).is_some_and(|slots| slots.iter().any(|byte| *byte != 0))
        })
        .unwrap();
    for (file, slots) in [(chunk, 4096), (journal.join("strings"), 64)] {
        let damage = Damage::of(file);
        let used = damage.whole.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        // What is between the head's words and the slots is not used.
        let places = (0..24).chain((24..slots).step_by(509)).chain(slots..used);
        damage.each(places, |how| match summarize(run) {
            Ok(summary) => {
                let is_warned = summary.warnings.iter().any(|warning| warning.contains(&damage.name()));
                // A slot that looks begun and not finished is counted, as it would be after a kill.
                let is_counted = summary.warnings.iter().any(|warning| warning.contains("not finished"));
                let one_less = summary.processes[0].events == 11;
                let same = same_figures(&summary, &good);
                assert!(
                    same || is_warned || (is_counted && one_less),
                    "{}, {how}: {summary:?}",
                    damage.name()
                );
            }
            Err(error) => assert!(error.contains(&damage.name()), "{how}: {error}"),
        });
    }
}
