//! Small files of other tools, one of each kind: what tests of damage begin with.

use serde_json::json;

use crate::snapshot_maker::{SnapshotShape, make_snapshot};

/// Their names and contents.
#[must_use]
pub fn all() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("pickled snapshot", pickled_snapshot()),
        ("JSON snapshot", json_snapshot()),
        ("old list of segments", old_segments()),
    ]
}

/// A pickled snapshot of 60 entries.
fn pickled_snapshot() -> Vec<u8> {
    let mut pickle = Vec::new();
    let shape = SnapshotShape { entries: 60, stacks: 5, depth: 4, live: 8 };
    make_snapshot(&mut pickle, shape).unwrap_or_else(|error| panic!("writing to memory: {error}"));
    pickle
}

fn json_snapshot() -> Vec<u8> {
    let frames = json!([{"name": "forward", "filename": "model.py", "line": 3}]);
    let entry = |action: &str, address: u64, size: u64, time: u64| {
        json!({"action": action, "addr": address, "size": size, "stream": 0, "time_us": time, "frames": frames,
               "pool_id": [0, 1]})
    };
    let snapshot = json!({
        "segments": [{
            "device": 0, "address": 4096, "total_size": 8192, "stream": 0, "segment_pool_id": [0, 1],
            "blocks": [
                {"address": 4096, "size": 512, "requested_size": 500, "state": "active_allocated", "frames": frames},
                {"address": 4608, "size": 512, "requested_size": 12, "state": "active_pending_free", "frames": []},
                {"address": 5120, "size": 7168, "requested_size": 0, "state": "inactive"},
            ],
        }],
        "device_traces": [
            [entry("segment_map", 4096, 8192, 10), entry("alloc", 4608, 12, 11), entry("free_requested", 4608, 12, 13),
             {"action": "oom", "device_free": 100, "size": 999_999, "time_us": 14}, entry("free_completed", 8000, 90, 15),
             {"action": "annotate", "addr": 4096, "user_metadata": "weights", "size": 500, "time_us": 16}],
            [entry("alloc", 4608, 12, 12), entry("segment_unmap", 1 << 40, 12, 12)],
        ],
        "external_annotations": [{"name": "ProfilerStep#1", "stage": "START", "device": 0, "time_us": 10},
                                 {"name": "ProfilerStep#1", "stage": "END", "device": 0, "time_us": 15}],
        "allocator_settings": {"expandable_segments": true, "roundup": {"1": 2}},
    });
    snapshot.to_string().into_bytes()
}

fn old_segments() -> Vec<u8> {
    let frames = json!([{"name": "forward", "filename": "model.py", "line": 3}]);
    let segments = json!([{
        "device": 1, "address": 0, "total_size": 2048, "stream": 0,
        "blocks": [
            {"size": 1024, "state": "active_allocated", "history": [{"addr": 0, "real_size": 1000, "frames": frames}]},
            {"size": 1024, "state": "inactive"},
        ],
    }]);
    segments.to_string().into_bytes()
}
