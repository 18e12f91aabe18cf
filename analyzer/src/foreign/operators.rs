//! The profiler's operators: what `key_averages` sums up. A trace keeps them in `process.json`, so the type is the format's.

pub use tidegauge_schemas::Operator;
