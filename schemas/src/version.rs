//! The format's version and the metadata keys that every part carries.
//!
//! The format version counts changes of the layout on disk; it is not the version of the product.

/// The version that this build writes.
pub const FORMAT_VERSION: u32 = 1;

/// The oldest version that this build still reads.
pub const OLDEST_READABLE_VERSION: u32 = 1;

/// Parquet key-value metadata: the format version, decimal.
pub const KEY_FORMAT_VERSION: &str = "tidegauge.format_version";
/// Parquet key-value metadata: the name of the table that the part belongs to.
pub const KEY_TABLE: &str = "tidegauge.table";
/// Parquet key-value metadata: the run's id, as in `run.json`.
pub const KEY_RUN_ID: &str = "tidegauge.run_id";
/// Parquet key-value metadata: what the part consumed, `FIRST-LAST`, both inclusive: journal chunks, or for
/// `sites` ids of the string table. Wider than its rows where the table had none at an end, and in a merged part where
/// there were none between its inputs.
pub const KEY_CONSUMED: &str = "tidegauge.consumed";
/// Parquet key-value metadata: lowest and highest `seq` of the rows, `LOW-HIGH`, inclusive; absent without rows.
pub const KEY_SEQ: &str = "tidegauge.seq";
/// Parquet key-value metadata: CRC-32 of the whole file with eight zeros in the place of this value, eight hexadecimal
/// digits; absent in files of other tools.
pub const KEY_CHECKSUM: &str = "tidegauge.checksum";
/// Parquet key-value metadata of a merged part: the file names that it replaces, separated by `,`.
pub const KEY_SUPERSEDES: &str = "tidegauge.supersedes";
