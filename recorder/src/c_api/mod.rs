//! The C ABI: what `include/tidegauge.h` declares. cbindgen makes the header of these sources (`make header`), and
//! `tests/c_header.rs` sees that it is what they say; so comments of public items here are read by C programmers.
//!
//! Every function is a thin shell around the Rust API. The shell holds three promises that Rust callers do not need:
//! no panic crosses into C, a recording function leaves `errno` as it was, and what the recorder allocates for itself
//! is not recorded even where the program's own `malloc` records. It keeps the one [`Recorder`](crate::Recorder) of the process, behind a
//! lock that the path of a record never sees.

mod control;
mod events;
mod options;
mod recording;
mod status;
mod text;

pub use control::{
    TidegaugeRecovered, tidegauge_dropped_records, tidegauge_is_on, tidegauge_recover, tidegauge_run_path,
    tidegauge_start, tidegauge_start_from_environment, tidegauge_start_with, tidegauge_stop,
    tidegauge_version,
};
pub use events::{
    TIDEGAUGE_ANY_STREAM, TIDEGAUGE_EVENT_ALLOC, TIDEGAUGE_EVENT_BASELINE, TIDEGAUGE_EVENT_FREE,
    TIDEGAUGE_EVENT_FREE_COMPLETED, TIDEGAUGE_EVENT_FREE_REQUESTED, TIDEGAUGE_EVENT_SEGMENT_ALLOC,
    TIDEGAUGE_EVENT_SEGMENT_FREE, TIDEGAUGE_EVENT_SEGMENT_MAP, TIDEGAUGE_EVENT_SEGMENT_UNMAP,
    tidegauge_event,
};
pub use options::{
    TidegaugeOptions, tidegauge_options_free, tidegauge_options_from_environment, tidegauge_options_new,
    tidegauge_options_set_config_integer, tidegauge_options_set_config_number,
    tidegauge_options_set_config_text, tidegauge_options_set_counters_at_checkpoints,
    tidegauge_options_set_interval_millis, tidegauge_options_set_join_existing,
    tidegauge_options_set_journal_cap_bytes, tidegauge_options_set_rank, tidegauge_options_set_ring,
    tidegauge_options_set_windows,
};
pub use recording::{
    TIDEGAUGE_HOST, TidegaugeSite, tidegauge_alloc, tidegauge_alloc_at, tidegauge_counter, tidegauge_dump,
    tidegauge_epoch_begin, tidegauge_epoch_end, tidegauge_free, tidegauge_loss_evaluation, tidegauge_mark,
    tidegauge_oom, tidegauge_site_enter, tidegauge_site_leave, tidegauge_span_begin, tidegauge_span_end,
    tidegauge_step_begin, tidegauge_step_end,
};
pub use status::{TidegaugeStatus, tidegauge_last_error_message};
