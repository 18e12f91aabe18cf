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
        ("profiler trace", PROFILER_TRACE.to_vec()),
        ("profiler trace of 2021", OLD_PROFILER_TRACE.to_vec()),
        (
            "raw memory timeline",
            b"[[-1,1,512,0],[10,2,4096,4],[11,3,-4096,4],[11,3,4096,5],[12,4,-4096,5]]".to_vec(),
        ),
        (
            "memory timeline",
            b"[[1,2,5],[[0,8,0,0,0,16,0,0,0],[0,8,0,0,0,32,0,0,4],[0,8,0,0,0,0,0,0,0]]]".to_vec(),
        ),
        ("nvidia-smi log", NVIDIA_SMI.to_vec()),
        ("nvidia-smi log of processes", NVIDIA_SMI_PROCESSES.to_vec()),
    ]
}

const PROFILER_TRACE: &[u8] = br#"{"schemaVersion": 1, "distributedInfo": {"rank": 1, "world_size": 2},
"deviceProperties": [{"id": 0, "name": "GPU", "totalGlobalMem": 1000000}], "baseTimeNanoseconds": 1700000000000000000,
"traceEvents": [
{"ph": "X", "cat": "user_annotation", "name": "ProfilerStep#3", "pid": 5, "tid": 5, "ts": 10.5, "dur": 100.25},
{"ph": "X", "cat": "cpu_op", "name": "aten::mm", "pid": 5, "tid": "5", "ts": 11.0, "dur": 20, "args": {"Ev Idx": 1}},
{"ph": "X", "cat": "cpu_op", "name": "aten::empty", "pid": 5, "tid": 5, "ts": 12, "dur": 2},
{"ph": "X", "cat": "python_function", "name": "train.py(7): main", "pid": 5, "tid": 5, "ts": 9, "dur": 200},
{"ph": "i", "cat": "cpu_instant_event", "s": "t", "name": "[memory]", "pid": 5, "tid": 5, "ts": 12.5,
 "args": {"Total Reserved": 4096, "Total Allocated": 600, "Bytes": 512, "Device Id": 0, "Device Type": 1, "Addr": 4096}},
{"ph": "i", "name": "[memory]", "pid": 5, "tid": 5, "ts": 40,
 "args": {"Total Reserved": 8192, "Total Allocated": 88, "Bytes": -512, "Device Id": 0, "Device Type": 1, "Addr": 4096}},
{"ph": "i", "name": "[memory]", "pid": 5, "tid": 5, "ts": 30,
 "args": {"Total Reserved": 0, "Total Allocated": 8, "Bytes": 8, "Device Id": -1, "Device Type": 0, "Addr": 77}},
{"ph": "M", "name": "process_name", "pid": 5, "tid": 0, "ts": 1, "args": {"name": "python3"}}
], "traceName": "t\u00e9st.json"}"#;

const OLD_PROFILER_TRACE: &[u8] = br#"[{"ph": "X", "cat": "Operator", "name": "aten::add", "pid": 1, "tid": "1", "ts": 5, "dur": 9,
"args": {"Call stack": "a.py(1): f;b.py(2): g"}},
{"ph": "i", "name": "[memory]", "pid": 1, "tid": 1, "ts": 6, "args": {"Device Type": 0, "Device Id": -1, "Bytes": 64}},
{"ph": "i", "name": "[memory]", "pid": 1, "tid": 1, "ts": 8, "args": {"Device Type": 0, "Device Id": -1, "Bytes": -64}}]"#;

const NVIDIA_SMI: &[u8] =
    b"timestamp, index, uuid, name, memory.total [MiB], memory.used [MiB], utilization.gpu [%]\n\
2023/08/01 10:11:12.345, 0, GPU-1, NVIDIA A100, 40960 MiB, 123 MiB, 5 %\n\
2023/08/01 10:11:12.346, 1, GPU-2, NVIDIA A100, 40960 MiB, [N/A], [Not Supported]\n\
2023/08/01 10:11:13.345, 0, GPU-1, NVIDIA A100, 40960 MiB, 456 MiB, 97 %\n";

const NVIDIA_SMI_PROCESSES: &[u8] =
    b"timestamp, gpu_uuid, pid, name, used_gpu_memory [MiB]\n2023/08/01 10:11:12.345, GPU-1, 77, python, 100 MiB\n";

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
