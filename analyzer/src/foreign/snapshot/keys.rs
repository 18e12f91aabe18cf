//! The keys of a snapshot's dicts, numbered: comparing numbers is what a million dicts are told apart by.

use crate::foreign::pickle::TextId;

/// Defines a number for each key, and the list of all.
macro_rules! keys {
    ($($name:ident = $text:literal;)+) => {
        #[allow(non_camel_case_types, clippy::upper_case_acronyms)]
        #[repr(u32)]
        enum Number { $($name,)+ }

        $(pub(super) const $name: TextId = Number::$name as TextId;)+

        /// Their texts, in the order of the numbers.
        pub(super) const ALL: &[&str] = &[$($text,)+];
    };
}

keys! {
    ACTION = "action";
    ADDR = "addr";
    SIZE = "size";
    STREAM = "stream";
    TIME_US = "time_us";
    FRAMES = "frames";
    DEVICE_FREE = "device_free";
    POOL_ID = "pool_id";
    USER_METADATA = "user_metadata";
    FILENAME = "filename";
    LINE = "line";
    NAME = "name";
    ADDRESS = "address";
    REQUESTED_SIZE = "requested_size";
    STATE = "state";
    HISTORY = "history";
    REAL_SIZE = "real_size";
    DEVICE = "device";
    TOTAL_SIZE = "total_size";
    SEGMENT_POOL_ID = "segment_pool_id";
    BLOCKS = "blocks";
    STAGE = "stage";
    SEGMENTS = "segments";
    DEVICE_TRACES = "device_traces";
    HOST_SEGMENTS = "host_segments";
    HOST_TRACES = "host_traces";
    EXTERNAL_ANNOTATIONS = "external_annotations";
    ALLOCATOR_SETTINGS = "allocator_settings";
}
