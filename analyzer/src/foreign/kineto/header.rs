//! What a trace says beside its events: devices, rank, versions, the origin of its times.

use std::collections::BTreeMap;

use serde_json::Value;
use tidegauge_schemas::process::DeviceInfo;

use super::cursor::text;
use super::event::sane_nanos;

/// What is known of the program.
#[derive(Debug, Default)]
pub(super) struct Header {
    /// What is to be added to times for nanoseconds since 1970; files of before 2023 have such times as they are.
    pub(super) base_nanos: i64,
    pub(super) devices: Vec<DeviceInfo>,
    pub(super) rank: Option<u32>,
    pub(super) world_size: Option<u32>,
    pub(super) host: String,
    pub(super) versions: BTreeMap<String, String>,
    /// Whether the profiler was asked for allocations, as far as the file says.
    pub(super) has_profiled_memory: Option<bool>,
}

impl Header {
    /// Takes in a value beside the events, as it is written. What is not as expected is not known.
    pub(super) fn take(&mut self, key: &[u8], written: &[u8]) {
        let key = text(key);
        let is_wanted = key.ends_with("_version")
            || matches!(
                &*key,
                "baseTimeNanoseconds"
                    | "deviceProperties"
                    | "distributedInfo"
                    | "host_name"
                    | "profile_memory"
            );
        let Some(value) = is_wanted.then(|| serde_json::from_slice::<Value>(written).ok()).flatten() else {
            return;
        };
        match &*key {
            "baseTimeNanoseconds" => {
                let nanos = value.as_i64().or_else(|| value.as_f64().map(|nanos| nanos as i64));
                self.base_nanos = nanos.and_then(sane_nanos).unwrap_or(0);
            }
            "deviceProperties" => {
                self.devices = value.as_array().into_iter().flatten().filter_map(device).collect();
                self.devices.sort_by_key(|device| device.index);
            }
            "distributedInfo" => {
                self.rank = number(&value["rank"]);
                self.world_size = number(&value["world_size"]);
            }
            "host_name" => self.host = value.as_str().unwrap_or_default().to_owned(),
            "profile_memory" => self.has_profiled_memory = value.as_i64().map(|flag| flag != 0),
            _ => {
                let version = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                self.versions.insert(key.trim_end_matches("_version").to_owned(), version);
            }
        }
    }
}

fn device(properties: &Value) -> Option<DeviceInfo> {
    let text = |key: &str| properties[key].as_str().map(str::to_owned);
    Some(DeviceInfo {
        index: i16::try_from(properties["id"].as_i64()?).ok().filter(|index| *index >= 0)?,
        uuid: text("uuid"),
        name: text("name"),
        total_bytes: properties["totalGlobalMem"].as_u64(),
        pci_bus_id: None,
        parent_index: None,
    })
}

fn number(value: &Value) -> Option<u32> {
    u32::try_from(value.as_u64()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_as_expected_is_not_known() {
        let mut header = Header::default();
        header.take(
            b"deviceProperties",
            br#"[{"id": 1, "name": "B"}, {"id": 0, "totalGlobalMem": 8}, {"id": -1}, 5]"#,
        );
        header.take(b"distributedInfo", br#"{"rank": 3, "world_size": "8"}"#);
        header.take(b"baseTimeNanoseconds", b"1751410836000000000");
        header.take(b"cuda_runtime_version", b"12040");
        header.take(b"host_name", b"nan");
        header.take(b"host_name", b"7");
        let devices: Vec<_> =
            header.devices.iter().map(|device| (device.index, device.total_bytes)).collect();
        assert_eq!(devices, [(0, Some(8)), (1, None)]);
        assert_eq!((header.rank, header.world_size), (Some(3), None));
        assert_eq!(header.base_nanos, 1_751_410_836_000_000_000);
        assert_eq!(header.versions["cuda_runtime"], "12040");
        assert_eq!(header.host, "");
    }
}
