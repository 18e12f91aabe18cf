//! `tidegauge estimate` on the example models: what people and programs read.

use serde_json::Value;
use tidegauge_tests::c_programs::in_repository;
use tidegauge_tests::programs::{output_of, program};

fn estimate(model: &str, options: &[&str]) -> String {
    let path = in_repository("examples/models").join(model);
    output_of(program("tidegauge").arg("estimate").arg(path).args(options))
}

#[test]
fn a_sketched_model_beside_the_standard_one() {
    insta::assert_snapshot!("estimate_sketched", estimate("sketched-mlp.json", &[]));
    insta::assert_snapshot!("estimate_sketched_csv", estimate("sketched-mlp.json", &["--format", "csv"]));
    insta::assert_snapshot!("estimate_sketched_md", estimate("sketched-mlp.json", &["--format", "md"]));
}

#[test]
fn a_transformer_with_its_parts_and_checkpointed() {
    let options = ["--batch", "4", "--sequence", "512", "--parts", "--checkpoint-segments", "4", "-n", "9"];
    insta::assert_snapshot!("estimate_gpt_parts", estimate("gpt-small.json", &options));
}

#[test]
fn the_whole_is_the_sum_of_the_layers() {
    for model in ["gpt-small.json", "sketched-mlp.json", "convolutional.json"] {
        for options in [&["--json"][..], &["--json", "--parts"], &["--json", "--checkpoint-segments", "2"]] {
            let rows: Vec<Value> = serde_json::from_str(&estimate(model, options)).unwrap();
            let (total, layers) = rows.split_last().unwrap();
            assert_eq!(total["layer"], "total");
            for key in ["parameters", "parameter_bytes", "buffer_bytes", "gradient_bytes", "optimizer_bytes"]
            {
                let sum: i64 = layers.iter().map(|row| row[key].as_i64().unwrap()).sum();
                assert_eq!(total[key], sum, "{model} {key}");
            }
            let sum: i64 = layers.iter().map(|row| row["activation_bytes"].as_i64().unwrap()).sum();
            assert_eq!(total["activation_bytes"], sum);
            assert!(total["peak_activation_bytes"].as_i64().unwrap() >= sum);
        }
    }
}

#[test]
fn what_is_wrong_is_said_with_the_file_and_exit_code_2() {
    let folder = tempfile::tempdir().unwrap();
    let cases = [
        ("model.json", r#"{"layers": [{"type": "liner"}]}"#, "0: unknown type `liner`; known: linear"),
        ("cut.json", "{\"layers\": [\n  {\"type\": ", "not JSON with comments: "),
        ("other.json", r#"{"weights": []}"#, "neither a trace nor a recording that can be read"),
    ];
    for (name, text, expected) in cases {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        let done = program("tidegauge").arg("estimate").arg(&path).output().unwrap();
        let told = String::from_utf8(done.stderr).unwrap();
        assert_eq!(done.status.code(), Some(2));
        assert!(told.starts_with(&format!("tidegauge: {expected}")), "{told}");
        assert!(told.trim_end().ends_with(&path.display().to_string()), "{told}");
    }
}

#[test]
fn a_run_without_modules_has_nothing_to_estimate() {
    let folder = tempfile::tempdir().unwrap();
    let run = tidegauge_tests::TraceBuilder::new().alloc(1, 100).free(1).write(&folder.path().join("run"));
    let done = program("tidegauge").arg("estimate").arg(run).output().unwrap();
    assert_eq!(done.status.code(), Some(2));
    let told = String::from_utf8(done.stderr).unwrap();
    assert!(told.starts_with("tidegauge: the trace has no modules"), "{told}");
}
