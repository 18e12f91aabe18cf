//! Descriptions that are wrong, and rules against numbers worked out by hand. Those of torch itself are in
//! `tests/python/test_estimate.py`.

use super::{Device, Estimate, Figures, Model, Overrides, estimate, is_model_description};

fn read(text: &str) -> Result<Estimate, String> {
    let model = Model::read(text, &Overrides::default()).map_err(|error| error.to_string())?;
    estimate(&model).map_err(|error| error.to_string())
}

fn row(found: &Estimate, layer: &str) -> Figures {
    found.rows.iter().find(|row| row.layer == layer).unwrap().figures
}

/// The layers, in a model of 2 samples on the CPU.
fn layers(layers: &str) -> String {
    format!(r#"{{"batch": 2, "device": "cpu", "sequence": 6, "layers": [{layers}]}}"#)
}

fn of_layers(text: &str) -> Estimate {
    read(&layers(text)).unwrap()
}

const LINEAR: &str = r#"{"type": "linear", "in_features": 8, "out_features": 4}"#;

#[test]
fn comments_and_trailing_commas_are_read_and_a_bare_list_is_a_model() {
    let text = "// a model\n[ /* one */ {\"type\": \"linear\", \"in_features\": 8, \"out_features\": 4,}, ]";
    let found = read(text).unwrap();
    assert_eq!(found.total.parameters, 36);
    assert!(is_model_description(text.as_bytes()));
}

#[test]
fn examples_are_models() {
    let examples = [
        (include_str!("../../../examples/models/gpt-small.json"), 124_373_760),
        (include_str!("../../../examples/models/sketched-mlp.json"), 898_058),
        (include_str!("../../../examples/models/convolutional.json"), 93_994),
    ];
    for (text, parameters) in examples {
        assert!(is_model_description(text.as_bytes()));
        assert_eq!(read(text).unwrap().total.parameters, parameters);
    }
}

#[test]
fn recordings_are_no_models() {
    for text in
        ["", "[]", "{}", r#"{"traceEvents": []}"#, r#"[[1, 2], ["layers"]]"#, "layers", "[{\"a\": 1}]"]
    {
        assert!(!is_model_description(text.as_bytes()), "{text}");
    }
    assert!(!is_model_description(&[0x80, 0x02, b'}']));
    assert!(is_model_description(b"{\"layers\": [ oops"), "so that the line is told");
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let wrong = |text: &str| read(text).unwrap_err();
    let cases: [(&str, &str); 24] = [
        ("{", "not JSON with comments: Unterminated object on line 1 column 1"),
        (r#"{"layers": [], "layers": []}"#, "not JSON with comments: `layers` stands twice in one object"),
        ("", "not JSON with comments: it is empty"),
        ("3", "model: expected an object { … }, found 3"),
        (r#"{"layer": []}"#, "model: `layers` is missing; expected a list of layers"),
        (r#"{"layers": []}"#, "model: expected at least one layer, found none"),
        (r#"{"layers": [3]}"#, "0: expected an object { … }, found 3"),
        (r#"{"layers": [{}]}"#, "0: `type` is missing; expected the layer's type, like \"linear\""),
        (
            r#"{"colour": 1, "layers": []}"#,
            "model: unknown key `colour`; known here: name, batch, batch_size,",
        ),
        (
            r#"[{"name": "head", "type": "liner"}]"#,
            "head: unknown type `liner`; known: linear, sketched_linear, conv1d, conv2d,",
        ),
        (
            r#"[{"type": "linear", "out_features": 4, "biass": true}]"#,
            "0: unknown key `biass`; known here: name, type, frozen, replaces, in_features, out_features, bias,",
        ),
        (r#"[{"type": "linear"}]"#, "0: `out_features` is missing; expected a positive number"),
        (
            r#"[{"type": "linear", "out_features": 0}]"#,
            "0: expected `out_features` to be a whole number from 1 to 9223372036854775807, found 0",
        ),
        (
            r#"[{"type": "linear", "out_features": 18446744073709551616}]"#,
            "0: expected `out_features` to be a whole number from 1",
        ),
        (r#"[{"type": "linear", "out_features": 2.5}]"#, "0: expected `out_features` to be a whole number"),
        (
            r#"[{"type": "dropout", "p": 1}]"#,
            "0: expected `p` to be a number from 0 up to less than 1, found 1",
        ),
        (r#"[{"type": "activation", "function": "rule"}]"#, "0: unknown function `rule`; known: relu, gelu,"),
        (r#"{"optimizer": "adm", "layers": []}"#, "model: unknown optimizer `adm`; known: adamw, adam,"),
        (r#"{"dtype": "int64", "layers": []}"#, "model: unknown element type `int64`; known: float32, fp32,"),
        (r#"[{"type": "relu"}]"#, "model: `input` is missing; expected the shape of a sample"),
        (
            r#"[{"type": "embedding", "num_embeddings": 5, "embedding_dim": 4}]"#,
            "input: `sequence` is missing; expected the length of a sequence, in the model or as --sequence",
        ),
        (
            r#"[{"type": "sketched_linear", "out_features": 4, "rank": 2, "low_rank": 2}]"#,
            "0: expected `low_rank` to be given once, found `rank` too, which means the same",
        ),
        (
            r#"[{"name": "a", "type": "relu"}, {"name": "a", "type": "relu"}]"#,
            "model: expected `name` to be different for each layer of a list, found two named `a`",
        ),
        (
            r#"[{"type": "conv2d", "out_channels": 4, "kernel_size": [3, 3, 3]}]"#,
            "0: expected `kernel_size` to be a whole number from 1 on, or a list of 2 of them, found [3,3,3]",
        ),
    ];
    for (text, expected) in cases {
        let found = wrong(text);
        assert!(found.starts_with(expected), "{text}: {found}");
    }
}

#[test]
fn shapes_that_do_not_fit_are_said_with_the_layer() {
    let image = |layers: &str| format!(r#"{{"batch": 2, "input": [3, 8, 8], "layers": [{layers}]}}"#);
    let cases = [
        (
            layers(&format!(
                r#"{LINEAR}, {{"name": "next", "type": "linear", "in_features": 5, "out_features": 1}}"#
            )),
            "next: expected 5 in the last dimension (in_features), found 4 in [2, 6, 4]",
        ),
        (
            image(r#"{"type": "conv2d", "in_channels": 4, "out_channels": 2, "kernel_size": 3}"#),
            "0: expected 4 channels (in_channels), found 3 in [2, 3, 8, 8]",
        ),
        (
            image(r#"{"type": "conv2d", "out_channels": 2, "kernel_size": 9}"#),
            "0: expected at least 9 in dimension 2, found 8 in [2, 3, 8, 8]",
        ),
        (
            image(r#"{"type": "conv1d", "out_channels": 2, "kernel_size": 3}"#),
            "0: expected [batch, channels, length], found [2, 3, 8, 8]",
        ),
        (
            image(r#"{"type": "group_norm", "num_groups": 2}"#),
            "0: expected channels in 2 groups of one size, found 3 channels",
        ),
        (
            image(r#"{"type": "reshape", "shape": [5, -1]}"#),
            "0: expected 5 numbers in a sample for [5, -1], found 192",
        ),
        (
            layers(r#"{"name": "block", "type": "transformer_block", "d_model": 10, "num_heads": 4}"#),
            "block.attention: expected a width in 4 heads of one size, found 10",
        ),
        (
            layers(&format!(r#"{{"name": "r", "type": "residual", "layers": [{LINEAR}]}}"#)),
            "r: expected layers that give [2, 6, 8] again, to add it, found [2, 6, 4]",
        ),
        (
            layers(
                r#"{"type": "embedding", "num_embeddings": 5, "embedding_dim": 4}, {"type": "position_embedding", "max_length": 5}"#,
            ),
            "1: expected sequences of at most 5 (num_embeddings), found 6",
        ),
        (
            layers(&format!(r#"{LINEAR}, {{"type": "embedding", "num_embeddings": 5, "embedding_dim": 4}}"#)),
            "1: expected indices (int64)",
        ),
        (
            layers(r#"{"type": "linear", "in_features": 8, "out_features": 4, "weight_of": "nobody"}"#),
            "0: expected an earlier linear or embedding layer `nobody` (weight_of), found none",
        ),
        (
            format!(r#"{{"checkpoint_segments": 3, "layers": [{LINEAR}, {{"type": "relu"}}]}}"#),
            "model: expected at most as many checkpoint segments as layers, found 2 layers",
        ),
    ];
    for (text, expected) in cases {
        let found = read(&text).unwrap_err();
        assert!(found.starts_with(expected), "{text}: {found}");
    }
}

#[test]
fn what_is_too_large_is_an_error_and_no_panic() {
    let most = i64::MAX;
    let cases = [
        format!(r#"[{{"type": "linear", "in_features": {most}, "out_features": {most}}}]"#),
        format!(r#"[{{"type": "linear", "in_features": {most}, "out_features": 1}}]"#),
        format!(r#"{{"batch": {most}, "layers": [{LINEAR}]}}"#),
        format!(
            r#"[{{"type": "sketched_linear", "in_features": 4, "out_features": 4, "rank": {most}, "terms": {most}}}]"#
        ),
        format!(
            r#"{{"input": [1, 4, 4], "layers": [{{"type": "conv2d", "out_channels": 1, "kernel_size": 3, "padding": {most}}}]}}"#
        ),
        format!(
            r#"{{"input": [1, 4, 4], "layers": [{{"type": "conv2d", "out_channels": 1, "kernel_size": {most}, "dilation": {most}}}]}}"#
        ),
        format!(r#"{{"input": [1, 4, 4], "layers": [{{"type": "upsample", "scale_factor": {most}}}]}}"#),
        format!(
            r#"{{"sequence": 3, "layers": [{{"type": "transformer_block", "d_model": {most}, "num_heads": 1}}]}}"#
        ),
        format!(r#"{{"optimizer": {{"name": "lbfgs", "history_size": {most}}}, "layers": [{LINEAR}]}}"#),
    ];
    for text in cases {
        let found = read(&text).unwrap_err();
        assert!(found.ends_with("sizes beyond 2^63 bytes"), "{text}: {found}");
    }
    let repeated = format!(r#"[{{"type": "repeat", "times": {most}, "layers": [{{"type": "relu"}}]}}]"#);
    let repeated = format!(r#"{{"input": [4], "layers": {repeated}}}"#);
    assert!(read(&repeated).unwrap_err().contains("at most 100000 layers"));
    let segments = repeated.replace("\"input\"", "\"checkpoint_segments\": 2, \"input\"");
    assert!(read(&segments).unwrap_err().contains("at most 100000 layers"));
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(read(&deep).unwrap_err().starts_with("not JSON with comments"));
    let nested = (0..40)
        .fold(LINEAR.to_owned(), |inner, _| format!(r#"{{"type": "sequential", "layers": [{inner}]}}"#));
    assert!(read(&layers(&nested)).unwrap_err().contains("nested at most 32 deep"));
}

#[test]
fn a_linear_layer_keeps_its_input_and_shared_storages_count_once() {
    let found =
        of_layers(&format!(r#"{LINEAR}, {{"type": "relu"}}, {{"type": "linear", "out_features": 3}}"#));
    // The batch of 2·6·8 numbers is the input's; relu's result is the next layer's input.
    assert_eq!(row(&found, "input").activation_bytes, 2 * 6 * 8 * 4);
    assert_eq!(row(&found, "0").activation_bytes, 0);
    assert_eq!(row(&found, "1").activation_bytes, 2 * 6 * 4 * 4);
    assert_eq!(row(&found, "2").activation_bytes, 0);
    let of = row(&found, "2");
    assert_eq!((of.parameters, of.parameter_bytes, of.gradient_bytes), (15, 60, 60));
    assert_eq!(of.optimizer_bytes, 2 * 60 + 2 * 4, "two moments, and a counter for each tensor");
    assert_eq!((of.input_bytes, of.output_bytes), (2 * 6 * 4 * 4, 2 * 6 * 3 * 4));
}

#[test]
fn devices_differ_in_dropout() {
    let text = format!(r#"{LINEAR}, {{"type": "dropout"}}"#);
    assert_eq!(row(&of_layers(&text), "1").activation_bytes, 2 * 6 * 4 * 4);
    let on_cuda = Overrides { device: Some(Device::Cuda), ..Overrides::default() };
    let model = Model::read(&layers(&text), &on_cuda).unwrap();
    assert_eq!(row(&estimate(&model).unwrap(), "1").activation_bytes, 2 * 6 * 4);
}

#[test]
fn autocast_keeps_copies_of_weights() {
    let overrides = Overrides { autocast: Some("bf16"), ..Overrides::default() };
    let text = layers(&format!(r#"{LINEAR}, {{"type": "linear", "out_features": 3}}"#));
    let found = estimate(&Model::read(&text, &overrides).unwrap()).unwrap();
    // Of the batch a copy in bfloat16; of the first weight none, since nobody wants the batch's gradient.
    assert_eq!(row(&found, "input").activation_bytes, 0);
    assert_eq!(row(&found, "0").activation_bytes, 2 * 6 * 8 * 2);
    assert_eq!(row(&found, "1").activation_bytes, 2 * 6 * 4 * 2 + 4 * 3 * 2);
    assert_eq!(found.total.parameter_bytes, (36 + 15) * 4);
}

#[test]
fn sketched_layers_are_compared_with_linear_ones() {
    let text =
        r#"{"type": "sketched_linear", "in_features": 64, "out_features": 32, "sketch_size": 4, "terms": 2}"#;
    let found = of_layers(text);
    let of = row(&found, "0");
    assert_eq!((of.parameters, of.buffers), (2 * 4 * 96 + 32, 2 * 4 * 96));
    assert_eq!((of.activation_bytes, of.intermediate_bytes), (2 * 2 * 6 * 4 * 4, 2 * 2 * 6 * 4 * 4));
    let standard = found.rows[1].standard.unwrap();
    assert_eq!((standard.type_name, standard.figures.parameters), ("linear", 64 * 32 + 32));
    assert_eq!(found.standard.unwrap().total.parameters, 64 * 32 + 32);
    let alone = text.replace("\"terms\"", "\"replaces\": null, \"recompute\": true, \"terms\"");
    let found = of_layers(&alone);
    assert!(found.standard.is_none());
    assert_eq!(row(&found, "0").activation_bytes, 0, "only the batch is kept");
}

#[test]
fn repeated_layers_have_one_row_and_parameters_of_their_own() {
    let block = r#"{"name": "b", "type": "transformer_block", "d_model": 8, "num_heads": 2}"#;
    let one = of_layers(block);
    let many = of_layers(&format!(r#"{{"name": "r", "type": "repeat", "times": 5, "layers": [{block}]}}"#));
    assert_eq!(row(&many, "r.b").parameters, 5 * row(&one, "b").parameters);
    let parts = many.rows.iter().filter(|row| row.is_part && !row.has_parts);
    assert_eq!(parts.map(|row| row.figures.parameters).sum::<i64>(), row(&many, "r.b").parameters);
    assert_eq!(many.rows.iter().find(|row| row.layer == "r.b").unwrap().copies, 5);
}

#[test]
fn segments_keep_inputs_and_make_the_rest_again() {
    // Four layers of 8 numbers for each of 2 samples: 64 bytes each.
    let linear = r#"{"type": "linear", "in_features": 8, "out_features": 8}, {"type": "relu"}"#;
    let text = format!(r#"{{"batch": 2, "device": "cpu", "layers": [{linear}, {linear}]}}"#);
    let plain = read(&text).unwrap();
    assert_eq!((plain.total.activation_bytes, plain.peak_activation_bytes), (3 * 64, 3 * 64));
    let overrides = Overrides { checkpoint_segments: Some(2), ..Overrides::default() };
    let found = estimate(&Model::read(&text, &overrides).unwrap()).unwrap();
    assert_eq!((found.total.activation_bytes, found.total.recomputed_bytes), (2 * 64, 2 * 64));
    assert_eq!(found.peak_activation_bytes, 2 * 64 + 64);
}
