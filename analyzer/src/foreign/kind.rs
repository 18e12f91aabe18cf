//! What a file is, by what its content begins with: names lie, and downloads lose theirs.

use super::{memory_timeline, nvidia_smi};

/// The kinds that there are importers for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A pickled PyTorch memory snapshot.
    SnapshotPickle,
    /// The same as JSON.
    SnapshotJson,
    /// A Kineto or Chrome trace.
    ChromeTrace,
    /// A memory timeline of torch.profiler.
    MemoryTimeline,
    /// What nvidia-smi prints with `--format=csv`.
    NvidiaSmi,
}

/// Keys of the outermost object of a snapshot.
const SNAPSHOT_KEYS: [&str; 6] = [
    "segments",
    "device_traces",
    "allocator_settings",
    "external_annotations",
    "host_segments",
    "host_traces",
];
/// Keys of the outermost object of a trace.
const TRACE_KEYS: [&str; 9] = [
    "traceEvents",
    "schemaVersion",
    "deviceProperties",
    "distributedInfo",
    "displayTimeUnit",
    "traceName",
    "baseTimeNanoseconds",
    "otherData",
    "systemTraceEvents",
];

/// The kind of a file that begins so; if it is none, what it seems to be.
pub(super) fn kind(start: &[u8]) -> Result<Kind, String> {
    let text = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start);
    let text = text.trim_ascii_start();
    match text {
        [] => Err("it is empty".to_owned()),
        [0x80, protocol, ..] if (2..=5).contains(protocol) => Ok(Kind::SnapshotPickle),
        [0x80, protocol, ..] if *protocol < 2 || *protocol < 32 => {
            Err(format!("a pickle of protocol {protocol}; protocols 2 to 5 are read"))
        }
        [b'P', b'K', 3, 4, ..] => Err("a zip file, as torch.save writes: not a memory snapshot".to_owned()),
        [b'P', b'A', b'R', b'1', ..] => {
            Err("a Parquet file; of a trace, name the folder that has run.json".to_owned())
        }
        [b'{', ..] => object_kind(text),
        [b'[', ..] => array_kind(text),
        _ if nvidia_smi::is_start_of(start) => Ok(Kind::NvidiaSmi),
        _ if start.contains(&0) => Err("binary content of no kind that is known".to_owned()),
        _ => Err("text of no kind that is known".to_owned()),
    }
}

/// An object is what its outermost keys say.
fn object_kind(text: &[u8]) -> Result<Kind, String> {
    let mut first = None;
    let mut keys = OuterKeys::new(text);
    for key in keys.by_ref() {
        if SNAPSHOT_KEYS.iter().any(|known| known.as_bytes() == key) {
            return Ok(Kind::SnapshotJson);
        }
        if TRACE_KEYS.iter().any(|known| known.as_bytes() == key) {
            return Ok(Kind::ChromeTrace);
        }
        first = first.or(Some(key));
    }
    // What has a lot to say before its events is a trace: its reader will see.
    if keys.is_cut_off() {
        return Ok(Kind::ChromeTrace);
    }
    let first: String =
        first.map_or_else(String::new, |key| String::from_utf8_lossy(key).chars().take(60).collect());
    let first = crate::render::printable(&first);
    Err(format!("a JSON object that is neither a trace nor a snapshot (its first key is `{first}`)"))
}

/// A list is what its first element is.
fn array_kind(text: &[u8]) -> Result<Kind, String> {
    let element = text[1..].trim_ascii_start();
    match element.first() {
        Some(b'[') if memory_timeline::is_start_of(text) => Ok(Kind::MemoryTimeline),
        // An empty list of events, or of segments: nothing either way.
        Some(b']') => Err("an empty list".to_owned()),
        Some(b'{') => {
            let is_segment = OuterKeys::new(element).any(|key| key == b"blocks" || key == b"total_size");
            Ok(if is_segment { Kind::SnapshotJson } else { Kind::ChromeTrace })
        }
        _ => Err("a JSON list of neither events nor segments".to_owned()),
    }
}

/// The keys of the object that a text begins with, as far as the text goes; values are skipped.
struct OuterKeys<'a> {
    text: &'a [u8],
    at: usize,
    depth: usize,
    expects_key: bool,
    is_closed: bool,
}

impl<'a> OuterKeys<'a> {
    fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0, depth: 0, expects_key: false, is_closed: false }
    }

    /// Whether the text ends before the object does; asked after the last key.
    fn is_cut_off(&self) -> bool {
        !self.is_closed
    }

    /// The string that begins at `at`, without its quotes; `at` is behind it then.
    fn string(&mut self) -> Option<&'a [u8]> {
        let start = self.at + 1;
        let mut end = start;
        loop {
            match self.text.get(end)? {
                b'"' => break,
                b'\\' => end += 2,
                _ => end += 1,
            }
        }
        self.at = end + 1;
        self.text.get(start..end)
    }
}

impl<'a> Iterator for OuterKeys<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            match self.text.get(self.at)? {
                b'"' => {
                    let is_key = self.expects_key && self.depth == 1;
                    let string = self.string()?;
                    if is_key {
                        self.expects_key = false;
                        return Some(string);
                    }
                    continue;
                }
                b'{' | b'[' => {
                    self.depth += 1;
                    self.expects_key = self.depth == 1;
                }
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        self.is_closed = true;
                        return None;
                    }
                }
                b',' if self.depth == 1 => self.expects_key = true,
                _ => {}
            }
            self.at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_tells_the_kind() {
        let cases: [(&[u8], Kind); 13] = [
            (b"\x80\x04\x95", Kind::SnapshotPickle),
            (b"\x80\x02}q\x00", Kind::SnapshotPickle),
            (br#"{"segments": []}"#, Kind::SnapshotJson),
            (br#" {"version": {"device_traces": 1}, "allocator_settings": {}}"#, Kind::SnapshotJson),
            (br#"[{"device": 0, "blocks": []}]"#, Kind::SnapshotJson),
            (br#"{"note": "\"segments\": ", "traceEvents": ["#, Kind::ChromeTrace),
            (br#"{"metadata": {"long": "#, Kind::ChromeTrace),
            (br#"[{"ph": "X", "args": {"blocks": 1}}]"#, Kind::ChromeTrace),
            (br"[[-1, 1, 512, 7], ", Kind::MemoryTimeline),
            (b"timestamp, name, memory.used [MiB]\n", Kind::NvidiaSmi),
            (b"\xef\xbb\xbfindex, memory.used\r\n", Kind::NvidiaSmi),
            (b"2023/08/01 10:11:12.345, 0, 1024 MiB\n", Kind::NvidiaSmi),
            (b"name, pid, used_gpu_memory [MiB]", Kind::NvidiaSmi),
        ];
        for (start, expected) in cases {
            assert_eq!(kind(start), Ok(expected), "{}", String::from_utf8_lossy(start));
        }
    }

    #[test]
    fn what_is_no_recording_is_said() {
        let cases: [(&[u8], &str); 9] = [
            (b"", "empty"),
            (b"\x80\x09", "protocol 9"),
            (b"PK\x03\x04rest", "torch.save"),
            (b"PAR1", "run.json"),
            (br#"{"model": 1, "x": {"segments": 2}} "#, "first key is `model`"),
            (b"[]", "empty list"),
            (b"[1, 2]", "neither events nor segments"),
            (b"hello world", "text"),
            (b"\x00\x01\x02", "binary"),
        ];
        for (start, expected) in cases {
            let reason = kind(start).unwrap_err();
            assert!(reason.contains(expected), "{reason}");
        }
    }
}
