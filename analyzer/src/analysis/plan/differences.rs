//! What else differs between runs than what a fit is against: a fit through such points would blame the wrong thing.

use serde_json::Value;

use super::{BATCH_SIZE, PlanRun};

/// Numbers on which memory does not depend.
const HARMLESS: [&str; 22] = [
    "seed",
    "random_seed",
    "manual_seed",
    "lr",
    "learning_rate",
    "min_lr",
    "weight_decay",
    "momentum",
    "dropout",
    "beta1",
    "beta2",
    "eps",
    "epochs",
    "num_epochs",
    "max_epochs",
    "steps",
    "num_steps",
    "max_steps",
    "total_steps",
    "warmup_steps",
    "log_every",
    "run",
];
/// Texts on which it does. Others, such as a run's name, are not looked at.
const TELLING: [&str; 8] =
    ["precision", "dtype", "model", "architecture", "optimizer", "amp", "device", "attention"];

/// Whether memory may depend on a number of the configuration.
pub(in crate::analysis) fn depends_on(key: &str) -> bool {
    !HARMLESS.contains(&key)
}

/// Keys of the configurations that differ between runs and on which memory may depend, each with its values; without
/// `key`, and `ignored` ones.
pub(super) fn differing_keys(runs: &[PlanRun<'_>], key: &str, ignored: &[String]) -> Vec<String> {
    let mut keys: Vec<&str> = runs.iter().flat_map(|run| run.config.keys().map(String::as_str)).collect();
    if key != BATCH_SIZE {
        keys.push(BATCH_SIZE);
    }
    keys.sort_unstable();
    keys.dedup();
    keys.retain(|of| *of != key && depends_on(of) && !ignored.iter().any(|ignored| ignored == of));
    let differing = |of: &str| {
        let values: Vec<Option<Value>> = runs.iter().map(|run| telling_value(run, of)).collect();
        let differs = values.iter().any(|value| value != &values[0]);
        differs.then(|| {
            let told = |value: &Option<Value>| value.as_ref().map_or("not told".to_owned(), Value::to_string);
            let mut texts: Vec<String> = values.iter().map(told).collect();
            texts.dedup();
            format!("{of} ({})", texts.join(", "))
        })
    };
    keys.into_iter().filter_map(differing).collect()
}

fn telling_value(run: &PlanRun<'_>, key: &str) -> Option<Value> {
    if key == BATCH_SIZE {
        // What steps told is closer to the truth than the configuration.
        // The last batch of an epoch may be smaller.
        let told = run.readings.readings.iter().filter_map(|reading| reading.batch_size).max();
        if told.is_some() {
            return told.map(Value::from);
        }
    }
    let value = run.config.get(key)?;
    match value {
        // 1 and 1.0 are the same.
        Value::Number(number) => number.as_f64().map(|number| match number as i64 {
            whole if whole as f64 == number => Value::from(whole),
            _ => Value::from(number),
        }),
        Value::Bool(_) => Some(value.clone()),
        Value::String(_) if TELLING.contains(&key) => Some(value.clone()),
        _ => None,
    }
}
