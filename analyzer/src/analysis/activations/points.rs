//! Activations against what they could depend on, for a fit to be made of.

use std::collections::BTreeMap;

use tidegauge_schemas::run::Config;

use super::rows::{Activations, StepActivations};
use crate::analysis::plan::depends_on;

/// What the steps have in common at which a quantity had one value.
#[derive(Debug, Clone, PartialEq)]
pub struct ActivationPoint {
    /// −1 the host, 0… accelerators.
    pub device: i16,
    /// The quantity: `batch_size`, or a key of the configuration.
    pub key: String,
    /// Its value.
    pub x: f64,
    /// Median of the activations at the end of forward.
    pub bytes: i64,
    /// How many steps that is of.
    pub steps: u64,
}

/// For each device and each quantity that steps of `runs` differ in, the activations at each of its values: the batch size
/// that steps told, and numbers of the configuration that memory may depend on, which is beside each run as it began. Sorted by
/// device, key and value.
#[must_use]
pub fn activation_points(runs: &[(&Activations, &Config)]) -> Vec<ActivationPoint> {
    // A value's bits order as it does where it is positive; any order will do to tell values apart.
    let mut groups: BTreeMap<(i16, String, u64), Vec<i64>> = BTreeMap::new();
    for (activations, config) in runs {
        for row in &activations.steps {
            let Some(bytes) = row.bytes().filter(|_| row.forwards > 0) else { continue };
            for (key, x) in quantities(row, activations, config) {
                groups.entry((row.device, key, x.to_bits())).or_default().push(bytes);
            }
        }
    }
    let point = |((device, key, x), mut bytes): ((i16, String, u64), Vec<i64>)| {
        bytes.sort_unstable();
        let (x, steps) = (f64::from_bits(x), bytes.len() as u64);
        ActivationPoint { device, key, x, bytes: bytes[bytes.len() / 2], steps }
    };
    let mut points: Vec<ActivationPoint> = groups.into_iter().map(point).collect();
    points.sort_by(|one, two| {
        (one.device, &one.key).cmp(&(two.device, &two.key)).then(one.x.total_cmp(&two.x))
    });
    let is_alone = |point: &ActivationPoint| {
        points.iter().filter(|other| (other.device, &other.key) == (point.device, &point.key)).count() < 2
    };
    let alone: Vec<bool> = points.iter().map(is_alone).collect();
    points.into_iter().zip(alone).filter(|(_, is_alone)| !is_alone).map(|(point, _)| point).collect()
}

/// The numbers in force when a step ended.
fn quantities(row: &StepActivations, activations: &Activations, config: &Config) -> BTreeMap<String, f64> {
    let number = |(key, value): (&String, &serde_json::Value)| Some((key.clone(), value.as_f64()?));
    let mut quantities: BTreeMap<String, f64> = config.iter().filter_map(number).collect();
    let changes = &activations.config_changes;
    let until = changes.partition_point(|(seq, ..)| *seq <= row.seqs.1);
    quantities.extend(changes[..until].iter().map(|(_, key, value)| (key.clone(), *value)));
    // What the step itself says is nearer than what the run was configured with.
    quantities.extend(row.batch_size.map(|samples| ("batch_size".to_owned(), samples as f64)));
    quantities.retain(|key, x| x.is_finite() && depends_on(key));
    quantities
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(number: i64, batch_size: Option<i64>, bytes: i64) -> StepActivations {
        StepActivations {
            device: 0,
            step: Some(number),
            seqs: (number as u64 * 10, number as u64 * 10 + 9),
            batch_size,
            forwards: 1,
            at_forward_end_bytes: Some(bytes),
            tagged_bytes: Some(0),
            inferred_bytes: Some(bytes),
            at_peak_bytes: Some(bytes),
            recomputed_at_peak_bytes: Some(0),
            recomputed_bytes: Some(0),
            per_sample_bytes: None,
            estimate: None,
        }
    }

    #[test]
    fn steps_are_grouped_by_what_they_differ_in_and_by_nothing_else() {
        let activations = Activations {
            steps: vec![
                step(0, Some(4), 400),
                step(1, Some(4), 410),
                step(2, Some(4), 900),
                step(3, Some(8), 800),
                step(4, None, 1),
            ],
            // From step 3 on.
            config_changes: vec![(31, "time".to_owned(), 64.0)],
            ..Activations::default()
        };
        let config = [("time".to_owned(), 32.into()), ("width".to_owned(), 7.into())].into_iter().collect();
        let points = activation_points(&[(&activations, &config)]);
        let found: Vec<_> =
            points.iter().map(|point| (point.key.as_str(), point.x, point.bytes, point.steps)).collect();
        assert_eq!(
            found,
            [
                ("batch_size", 4.0, 410, 3),
                ("batch_size", 8.0, 800, 1),
                ("time", 32.0, 410, 3),
                ("time", 64.0, 800, 2)
            ]
        );
        assert!(activation_points(&[(&Activations::default(), &config)]).is_empty());

        // Runs that differ; a seed is nothing that memory depends on.
        let of = |size: i64, bytes: i64| Activations {
            steps: vec![step(0, Some(size), bytes)],
            ..Activations::default()
        };
        let with_seed = |seed: i64| -> Config { [("seed".to_owned(), seed.into())].into_iter().collect() };
        let (one, two) = (of(4, 400), of(8, 800));
        let points = activation_points(&[(&one, &with_seed(1)), (&two, &with_seed(2))]);
        let found: Vec<_> = points.iter().map(|point| (point.key.as_str(), point.x, point.bytes)).collect();
        assert_eq!(found, [("batch_size", 4.0, 400), ("batch_size", 8.0, 800)]);
    }
}
