//! What `tidegauge report` makes of runs of all kinds: which parts its page has, and that its figures are those of the
//! commands. What a browser does with it is tested in `tests/python/test_report.py`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tidegauge_schemas::EventKind;
use tidegauge_tests::TraceBuilder;
use tidegauge_tests::programs::{output_of, program};

use crate::victim::Victim;

pub(crate) const MIB: u64 = 1 << 20;

/// A page, taken apart as a browser does it.
pub(crate) struct Page {
    pub(crate) html: String,
    /// The scripts: the tag of each, and what stands in it.
    pub(crate) scripts: Vec<(String, String)>,
    /// All the rest.
    pub(crate) outside: String,
    /// What the page's script reads.
    pub(crate) data: Value,
}

impl Page {
    pub(crate) fn parse(html: String) -> Self {
        let (mut scripts, mut outside, mut rest) = (Vec::new(), String::new(), html.as_str());
        while let Some((before, from)) = rest.split_once("<script") {
            let (tag, from) = from.split_once('>').unwrap();
            let (script, after) = from.split_once("</script>").unwrap();
            scripts.push((tag.trim().to_owned(), script.to_owned()));
            outside += before;
            rest = after;
        }
        outside += rest;
        let data = serde_json::from_str(&scripts[0].1).unwrap();
        Self { scripts, outside, data, html }
    }

    /// The part of that name.
    fn section(&self, id: &str) -> Option<&str> {
        let (_, from) = self.outside.split_once(&format!("<section id=\"{id}\">"))?;
        Some(from.split_once("</section>").unwrap().0)
    }

    fn figures(&self) -> &[Value] {
        self.data["figures"].as_array().unwrap()
    }

    /// Each device's moments.
    fn moments(&self) -> Vec<(i64, &Vec<Value>)> {
        let devices = self.data["moments"]["devices"].as_array().unwrap();
        devices.iter().map(|of| (of["device"].as_i64().unwrap(), of["moments"].as_array().unwrap())).collect()
    }
}

/// The page of runs.
pub(crate) fn report(runs: &[&Path], options: &[&str]) -> Page {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.html");
    let _ = output_of(program("tidegauge").arg("report").args(runs).arg("-o").arg(&path).args(options));
    Page::parse(std::fs::read_to_string(path).unwrap())
}

fn page_of(trace: &TraceBuilder) -> Page {
    let folder = tempfile::tempdir().unwrap();
    report(&[&trace.write(folder.path())], &["-q"])
}

fn json(command: &str, run: &Path, options: &[&str]) -> Value {
    let text = output_of(program("tidegauge").args([command, "-q"]).arg(run).args(options).arg("--json"));
    serde_json::from_str(&text).unwrap()
}

/// Steps with three phases and two sites; each step leaves `kept_mib` behind.
pub(crate) fn training(steps: i64, kept_mib: u64) -> TraceBuilder {
    let held = |trace: TraceBuilder, address: u64, bytes: u64, site: &str| {
        trace.event(EventKind::Alloc, address, Some(bytes), Some(site))
    };
    let model = held(TraceBuilder::new(), 1, 10 * MIB, "net.weights");
    (0..steps).fold(model, |trace, number| {
        trace.step(number, 1.0 / (number + 1) as f64, |step| {
            let step = step
                .span("forward", |span| {
                    let more = number.cast_unsigned() % 7 * 1000;
                    held(held(span, 2, 20 * MIB + more, "net.conv"), 3, 7 * MIB, "net.conv2").free(3)
                })
                .span("backward", |span| held(span, 4, 10 * MIB, "net.weights.grad").free(2))
                .span("optimizer", |span| held(span, 5, 3 * MIB, "step.buffer").free(5).free(4));
            match kept_mib {
                0 => step,
                mib => held(step, 1000 + number.cast_unsigned(), mib * MIB, "history.append"),
            }
        })
    })
}

#[test]
fn a_run_without_events_has_a_page_that_says_so() {
    let page = page_of(&TraceBuilder::new());
    assert!(page.outside.contains("<p>No memory was recorded.</p>"), "{}", page.outside);
    assert_eq!((page.figures().len(), page.moments().len()), (0, 0));
    assert!(page.section("recording").is_some() && page.section("oom").is_none());
}

#[test]
fn a_run_of_samples_alone_shows_its_resident_size() {
    let trace = (0..20u64).fold(TraceBuilder::new(), |trace, at| trace.rss((100 + at) * MIB));
    let page = page_of(&trace);
    assert!(page.outside.contains("Memory peaked at 119 MiB resident on the host"), "{}", page.outside);
    assert!(page.outside.contains("no allocations were recorded"), "{}", page.outside);
    assert_eq!(page.figures().len(), 1);
    assert_eq!(page.moments().len(), 0, "what is alive is not known");
    assert!(page.section("timeline").unwrap().contains("<svg"));
}

#[test]
fn a_run_of_one_event_has_one_moment() {
    let page = page_of(&TraceBuilder::new().alloc(1, 5000));
    let [(0, moments)] = page.moments()[..] else { panic!("{}", page.data["moments"]) };
    assert_eq!((moments.len(), &moments[0]["bytes"], &moments[0]["t"]), (1, &json!(5000), &json!(0)));
    assert_eq!(moments[0]["why"], "peak");
    assert!(page.outside.contains("Memory peaked at 4.88 KiB"), "{}", page.outside);
}

#[test]
fn steps_without_phases_are_shown_and_missing_phases_are_said() {
    let trace = (0..5).fold(TraceBuilder::new(), |trace, at| {
        trace.step(at, 1.0, |step| step.alloc(1, (1 + at.cast_unsigned()) * MIB).free(1))
    });
    let page = page_of(&trace);
    assert!(page.section("steps").unwrap().contains("<svg"));
    assert!(page.section("phases").unwrap().contains("The recording has no phases"));
    assert_eq!(page.data["bands"].as_array().unwrap().len(), 2, "steps, every second one in another colour");
}

#[test]
fn moments_are_many_and_their_figures_are_those_of_peaks() {
    let folder = tempfile::tempdir().unwrap();
    let run = training(120, 0).write(folder.path());
    let page = report(&[&run], &["-q"]);
    let [(0, moments)] = page.moments()[..] else { panic!("one device") };
    assert!(moments.len() >= 500, "{}", moments.len());
    let summary = json("summary", &run, &[]);
    let peak = moments.iter().find(|of| of["why"].as_str().unwrap().starts_with("peak,")).unwrap();
    assert_eq!(peak["bytes"], summary["devices"][0]["peak_allocated_bytes"]);
    let names = [
        ("category", "c", &page.data["moments"]["devices"][0]["kinds"]),
        ("site", "s", &page.data["moments"]["sites"]),
    ];
    let exact = moments.iter().filter(|of| of["exact"] == true);
    let mut compared = 0;
    for moment in exact.step_by(moments.len() / 8) {
        for (by, key, names) in &names {
            let at = format!("{}ns", moment["t"]);
            let rows = json("peaks", &run, &["--at", &at, "--by", by]);
            let figures = |bytes: &Value, blocks: &Value| (bytes.as_i64().unwrap(), blocks.as_i64().unwrap());
            let expected: BTreeMap<String, (i64, i64)> = rows
                .as_array()
                .unwrap()
                .iter()
                .map(|row| (row[by].as_str().unwrap().to_owned(), figures(&row["bytes"], &row["blocks"])))
                .collect();
            let found: BTreeMap<String, (i64, i64)> = moment[key]
                .as_array()
                .unwrap()
                .iter()
                .map(|of| {
                    let name = names[of[0].as_u64().unwrap() as usize].as_str().unwrap();
                    (name.to_owned(), figures(&of[1], &of[2]))
                })
                .collect();
            assert_eq!(found, expected, "{by} at {at}");
            compared += 1;
        }
    }
    assert!(compared >= 12, "{compared}");
    // Peaks of every step, by the table of steps.
    for row in json("steps", &run, &[]).as_array().unwrap() {
        let why = format!("peak of step {}", row["step"]);
        let is_it = |of: &&Value| of["why"].as_str().unwrap().split(", ").any(|reason| reason == why);
        assert_eq!(moments.iter().find(is_it).unwrap()["bytes"], row["peak_bytes"], "{why}");
    }
}

#[test]
fn curves_have_the_highest_value_exactly() {
    let folder = tempfile::tempdir().unwrap();
    let run = training(40, 1).write(folder.path());
    let page = report(&[&run], &["-q"]);
    let traces = page.figures()[0]["figure"]["data"].as_array().unwrap();
    let exact =
        traces.iter().filter(|of| of["name"] == "allocated").find_map(|of| of["customdata"].as_array());
    let highest = exact.unwrap().iter().map(|bytes| bytes.as_f64().unwrap() as i64).max();
    let summary = json("summary", &run, &[]);
    assert_eq!(highest, summary["devices"][0]["peak_allocated_bytes"].as_i64());
}

#[test]
fn several_ranks_are_shown_and_what_is_missing_or_damaged_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    crate::ranks::record(&run, folder.path(), 0..4, None);
    damage_events(&run, 1);
    let page = report(&[&run], &["-q"]);
    assert!(page.section("ranks").is_some_and(|ranks| ranks.contains("<svg")));
    let recording = page.section("recording").unwrap();
    assert!(recording.contains("rank 1 process 0: left out, it cannot be read"), "{recording}");
    assert!(recording.contains("there is no trace of rank 4, 5, 6"), "{recording}");
    assert!(
        page.outside.contains("<p class=\"subtitle\">rank 3 process 0, of 3 processes"),
        "the highest peak"
    );
    // One of them, asked for.
    let page = report(&[&run], &["-q", "--rank", "2", "--process", "0"]);
    assert!(page.outside.contains("<p class=\"subtitle\">rank 2 process 0, recorded"));
    assert!(page.section("ranks").is_none());
    let peak = json("summary", &run, &["--rank", "2"])["devices"][0]["peak_allocated_bytes"].clone();
    let highest = page.moments()[0].1.iter().map(|of| of["bytes"].as_i64()).max().flatten();
    assert_eq!(highest, peak.as_i64());
}

/// Its pages are garbage, the footer is whole.
fn damage_events(run: &Path, rank: u32) {
    let events = run.join(format!("events/rank={rank}/process=0"));
    let part = std::fs::read_dir(events).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&part).unwrap();
    let length = bytes.len();
    bytes[100..length / 2].fill(0xA5);
    std::fs::write(part, bytes).unwrap();
}

#[test]
fn a_run_out_of_memory_has_a_part_about_it_and_others_have_none() {
    let whole = training(10, 20);
    let page = page_of(&whole);
    assert!(page.section("oom").is_none());
    let folder = tempfile::tempdir().unwrap();
    let run =
        whole.step(10, 0.5, |step| step.span("forward", |span| span.oom(100 * MIB))).write(folder.path());
    let page = report(&[&run], &["-q"]);
    let told = page.section("oom").unwrap();
    let found = json("oom", &run, &[]);
    assert_eq!(found[0]["cause"], "growth");
    assert!(told.contains("Why: ") && told.contains("100 MiB") && told.contains("history.append"), "{told}");
    assert!(page.outside.contains("An allocation failed"), "the verdict");
    let reasons =
        page.moments()[0].1.iter().filter(|of| of["why"].as_str().unwrap().contains("failed allocation"));
    assert_eq!(reasons.count(), 1);
    assert_eq!(
        page.figures()[0]["extra"]["ooms"].as_array().unwrap().len(),
        2,
        "the event and the exception"
    );
}

#[test]
fn a_leak_is_told_with_its_slope() {
    let page = page_of(&training(40, 2));
    assert!(page.outside.contains("leaks 2.00 MiB per step"), "the verdict");
    let leaks = page.section("leaks").unwrap();
    assert!(
        leaks.contains("<svg") && leaks.contains("2.00 MiB") && leaks.contains("history.append"),
        "{leaks}"
    );
    assert!(page_of(&training(40, 0)).outside.contains("nothing leaks"));
}

#[test]
fn a_run_that_was_killed_has_a_page_that_says_how_it_ended() {
    let folder = tempfile::tempdir().unwrap();
    let victim = Victim::new(folder.path(), "a", 1, 100).deed("_exit", 12);
    victim.finish();
    let page = report(&[&victim.run], &["-q"]);
    let ended = json("summary", &victim.run, &[])["ended"].clone();
    assert_ne!(ended, "clean");
    let row = format!("<td>Ended</td><td>{}</td>", ended.as_str().unwrap());
    assert!(page.section("recording").unwrap().contains(&row), "{row}");
    assert!(!page.outside.contains("ended cleanly"));
}

#[test]
fn several_runs_are_compared() {
    let folder = tempfile::tempdir().unwrap();
    let [one, two]: [PathBuf; 2] = [("one", 0), ("two", 3)].map(|(name, kept)| {
        let folder = folder.path().join(name);
        training(12, kept).write(&folder)
    });
    let page = report(&[&one, &two], &["-q"]);
    let comparison = page.section("comparison").unwrap();
    let rows = json("compare", &one, &[two.to_str().unwrap()]);
    for row in rows.as_array().unwrap() {
        let exact = format!("title=\"{} bytes\"", row["peak_bytes"]);
        assert!(comparison.contains(&exact), "{exact}: {rows}");
    }
    assert!(comparison.contains("<svg"));
    assert!(report(&[&one], &["-q"]).section("comparison").is_none());
}

#[test]
fn thirty_devices_have_a_figure_each_and_share_the_rest() {
    let trace = (0..300i64).fold(TraceBuilder::new(), |trace, number| {
        trace.step(number, 1.0, |step| {
            step.span(&format!("phase {}", number % 50), |span| {
                (0..30).fold(span, |span, device| {
                    let site = format!("module {}", number % 60);
                    let address = 1 + number.cast_unsigned();
                    span.on_device(device).event(EventKind::Alloc, address, Some(MIB), Some(&site))
                })
            })
        })
    });
    let page = page_of(&trace);
    assert_eq!(page.figures().len(), 30);
    let bands = page.data["bands"].as_array().unwrap();
    let of_phases: Vec<&Value> = bands.iter().filter(|of| of["yaxis"] == "y3").collect();
    assert_eq!(of_phases.len(), 21, "twenty of their own, and all others");
    let others: Vec<&Value> = of_phases.into_iter().filter(|of| of["text"].is_array()).collect();
    let [others] = others[..] else { panic!("{bands:?}") };
    assert_eq!((&others["name"], others["text"].as_array().unwrap().len()), (&json!("30 other names"), 180));
    assert_eq!(others["x"].as_array().unwrap().len(), 180 * 5);
    let moments: usize = page.moments().iter().map(|(_, moments)| moments.len()).sum();
    assert!((500..=12_000).contains(&moments), "{moments}");
    assert!(page.html.len() < 12_000_000, "{}", page.html.len());
    // One of them, asked for.
    let folder = tempfile::tempdir().unwrap();
    let page = report(&[&trace.write(folder.path())], &["-q", "--device", "17"]);
    assert_eq!(page.figures().len(), 1);
    assert_eq!(page.figures()[0]["extra"]["device"], 17);
    assert!(matches!(page.moments()[..], [(17, _)]));
    assert!(!page.outside.contains("device 16"));
}

#[test]
fn a_part_of_a_run_is_all_that_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let run = training(60, 0).write(folder.path());
    let (start, end) = (200_000, 500_000);
    let page = report(&[&run], &["-q", "--start", "200us", "--end", "500us"]);
    let [(0, moments)] = page.moments()[..] else { panic!("one device") };
    assert!(moments.iter().all(|of| (start..=end).contains(&of["t"].as_i64().unwrap())), "{moments:?}");
    let summary = json("summary", &run, &["--start", "200us", "--end", "500us"]);
    let highest = moments.iter().map(|of| of["bytes"].as_i64()).max().flatten();
    assert_eq!(highest, summary["devices"][0]["peak_allocated_bytes"].as_i64());
    let range = &page.figures()[0]["figure"]["layout"]["xaxis"]["range"];
    let unit = page.figures()[0]["extra"]["nanos_per_unit"].as_f64().unwrap();
    let ends = [0, 1].map(|at| (range[at].as_f64().unwrap() * unit) as i64);
    assert!(ends[0] >= start - 1000 && ends[1] <= end + 1000, "{ends:?}");
}
