//! `tidegauge activations`: figures that are counted by hand, in every form and of every rank.

use std::path::Path;

use serde_json::{Value, json};
use tidegauge_recorder::{self as tg, Existing, Recorder};
use tidegauge_schemas::EventKind;
use tidegauge_tests::TraceBuilder;
use tidegauge_tests::programs::{output_of, program};

use crate::recording::turn;

fn activations(run: &Path, options: &[&str]) -> Vec<Value> {
    let text = output_of(program("tidegauge").arg("activations").arg(run).args(options).arg("--json"));
    serde_json::from_str(&text).unwrap()
}

/// Parameters of 1000, and two steps: two modules' activations of `a` and `b`, a temporary block, the loss outside of
/// forward, gradients of activations, and one activation that is made once more.
pub(crate) fn training() -> TraceBuilder {
    let step = |builder: TraceBuilder, number: i64, a: u64, b: u64| {
        builder.step(number, 1.0, |builder| {
            let builder = builder.span("forward", |builder| {
                let builder = builder.event(EventKind::Alloc, 2, Some(a), Some("net.one.relu"));
                let builder = builder.alloc(3, 70).free(3);
                builder.event(EventKind::Alloc, 4, Some(b), Some("net.two.gelu"))
            });
            let builder = builder.event(EventKind::Alloc, 5, Some(4), Some("net.loss"));
            let builder = builder.span("backward", |builder| {
                let builder = builder.span("recompute", |builder| {
                    builder.event(EventKind::Alloc, 6, Some(500), Some("net.two.gelu"))
                });
                builder.alloc(7, 30).free(7).free(6).free(4).free(2).alloc(8, 100)
            });
            builder.span("optimizer", |builder| builder).span("zero_grad", |builder| builder.free(8)).free(5)
        })
    };
    let builder = TraceBuilder::new().event(EventKind::Alloc, 1, Some(1000), Some("net.weight"));
    step(step(builder, 0, 100, 200), 1, 300, 400)
}

#[test]
fn figures_are_those_counted_by_hand() {
    let folder = tempfile::tempdir().unwrap();
    let run = training().write(folder.path());
    let rows = activations(&run, &[]);
    let expected = |step: i64, held: i64| {
        json!({
            "rank": 0, "process": 0, "device": 0, "step": step, "batch_size": null, "forwards": 1,
            "at_forward_end_bytes": held, "tagged_bytes": 0, "inferred_bytes": held, "per_sample_bytes": null,
            "at_peak_bytes": held + 500, "recomputed_at_peak_bytes": 500, "recomputed_bytes": 500,
            "estimate_from_checkpoints_bytes": held, "estimate_counter": "allocated_bytes",
            "difference_bytes": 0, "evidence": "measured",
        })
    };
    assert_eq!(rows, [expected(0, 304), expected(1, 704)]);

    let modules = activations(&run, &["--by", "module"]);
    let figures: Vec<_> = modules
        .iter()
        .map(|row| {
            json!([row["module"], row["bytes"], row["blocks"], row["mean_bytes"], row["recomputed_bytes"]])
        })
        .collect();
    assert_eq!(
        figures,
        [
            json!(["net.two", 400, 1, 300, 500]),
            json!(["net.one", 300, 1, 200, 0]),
            json!(["net", 4, 1, 4, 0])
        ]
    );
    assert_eq!(modules[0]["share"], 400.0 / 704.0);
    assert_eq!(modules[0]["forward_nanos"], Value::Null, "no phase is a module's");

    let phases = activations(&run, &["--by", "phase"]);
    let figures: Vec<_> = phases
        .iter()
        .map(|row| json!([row["phase"], row["count"], row["mean_bytes"], row["max_bytes"]]))
        .collect();
    assert_eq!(
        figures,
        [
            json!(["forward", 2, 500, 700]),
            json!(["recompute", 2, 1004, 1204]),
            json!(["backward", 2, 4, 4]),
            json!(["optimizer", 2, 4, 4]),
            json!(["zero_grad", 2, 4, 4]),
        ]
    );

    let text = output_of(program("tidegauge").arg("activations").arg(&run));
    let (headline, _) = text.split_once('\n').unwrap();
    assert_eq!(
        headline,
        "rank 0 process 0, device 0: 704 B of activations after forward at most, in step 1; allocated rose by 704 B, \
         +0 B (+0.0 %); 500 B a step are made once more within backward"
    );
}

#[test]
fn all_ranks_are_told_of_one_after_another() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("two");
    for rank in [0, 1] {
        let builder = Recorder::builder(&run).existing(Existing::Join).rank(rank);
        let recorder = builder.start().unwrap();
        for number in 0..2 {
            let _step = tg::step(number);
            {
                let _forward = tg::span("forward");
                tg::alloc(0, 64, 1000 * u64::from(rank + 1));
            }
            let _backward = tg::span("backward");
            tg::free(0, 64);
        }
        recorder.stop().unwrap();
    }
    let found = |options: &[&str]| -> Vec<Value> {
        let rows = activations(&run, options);
        rows.iter().map(|row| json!([row["rank"], row["step"], row["at_forward_end_bytes"]])).collect()
    };
    assert_eq!(
        found(&[]),
        [json!([0, 0, 1000]), json!([0, 1, 1000]), json!([1, 0, 2000]), json!([1, 1, 2000])]
    );
    assert_eq!(found(&["--rank", "1"]), [json!([1, 0, 2000]), json!([1, 1, 2000])]);
    let modules = activations(&run, &["--by", "module"]);
    assert_eq!(modules.iter().map(|row| row["bytes"].clone()).collect::<Vec<_>>(), [1000, 2000]);
    assert_eq!(modules[0]["module"], Value::Null);
}

#[test]
fn what_is_not_known_is_said_and_is_no_zero() {
    let folder = tempfile::tempdir().unwrap();
    let run = TraceBuilder::new().step(0, 1.0, |builder| builder.alloc(1, 100)).write(folder.path());
    let rows = activations(&run, &[]);
    assert_eq!((&rows[0]["at_forward_end_bytes"], &rows[0]["evidence"]), (&Value::Null, &"unknown".into()));
    let output = program("tidegauge").arg("activations").arg(&run).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("no activations are known"), "{output:?}");
}

#[test]
fn activations_scale_with_what_steps_or_runs_differ_in() {
    let folder = tempfile::tempdir().unwrap();
    let record = |name: &str, batch_sizes: &[u64], length: i64| {
        // One recorder at a time.
        let _turn = turn();
        let run = folder.path().join(name);
        let recorder =
            Recorder::builder(&run).config("length", length).config("seed", length * 7).start().unwrap();
        for (number, batch_size) in (0..).zip(batch_sizes) {
            let mut step = tg::step(number);
            step.set_batch_size(*batch_size);
            {
                let _forward = tg::span("forward");
                tg::alloc(0, 2, 1000 * length.unsigned_abs() + batch_size * (6 << 20));
            }
            {
                let _backward = tg::span("backward");
                tg::free(0, 2);
            }
        }
        recorder.stop().unwrap();
        run
    };
    let short = record("short", &[4, 8, 16], 64);
    let rows = activations(&short, &["--by", "scaling"]);
    let of = |rows: &[Value], key: &str| -> Value {
        rows.iter().find(|row| row["key"] == key && row["device"] == 0).cloned().unwrap_or(Value::Null)
    };
    let batch = of(&rows, "batch_size");
    assert_eq!(
        (&batch["fixed_bytes"], &batch["points"], &batch["refused"]),
        (&json!(64_000), &json!(3), &Value::Null)
    );
    assert!((batch["bytes_per_unit"].as_f64().unwrap() - f64::from(6 << 20)).abs() < 1.0, "{batch}");
    assert_eq!(of(&rows, "length"), Value::Null, "it is the same in all steps");
    let text = output_of(program("tidegauge").arg("activations").arg(&short));
    assert!(text.contains("device 0: activations = 62.5 KiB + 6.00 MiB × batch_size"), "{text}");

    // Runs that differ in the length; that the seed differs as well says nothing.
    let longer = record("longer", &[8], 128);
    let with = ["--by", "scaling", "--with", longer.to_str().unwrap()];
    let short_of_8 = record("short-of-8", &[8], 64);
    let rows = activations(&short_of_8, &with);
    let length = of(&rows, "length");
    assert_eq!((&length["points"], &length["fixed_bytes"]), (&json!(2), &json!(8 * (6 << 20))));
    assert_eq!((of(&rows, "batch_size"), of(&rows, "seed")), (Value::Null, Value::Null));
}
