//! What was alive at moments, as the report's page reads it: compact JSON.
//!
//! Names in it are as hostile as they come: whoever puts it into a page passes it through [`json_for_script`].

use serde_json::{Value, json};

use super::cells::shortened;
use crate::analysis::{DeviceMoments, MomentRow, Moments, Reason, Share};

/// Longer names are cut in their middle, so that a few of them do not make a page of megabytes.
const MOST_CHARACTERS: usize = 300;

/// Moments by device. Bytes and blocks are integers; `t` is nanoseconds since `origin_nanos`, which a double of JavaScript
/// has exactly up to 104 days (2^53 ns); `origin_nanos` is none, so it is text.
///
/// ```json
/// {"origin_nanos":"1767225600000000000","has_times":true,"devices":[{"device":0,"name":"device 0",
///  "kinds":["parameter"],"moments":[{"t":123,"why":"step peak","step":3,"phase":"forward","bytes":6,"exact":true,
///  "c":[[kind,bytes,blocks]],"s":[[site,bytes,blocks]],"more":[sites,bytes,blocks]}]}],"sites":["name"]}
/// ```
///
/// `kind` and `site` are places in the lists of names, `site` null where it is not known; `more` is what the sites that are
/// not listed have. Where `exact` is false another event of the same nanosecond follows, and `seq` says which one it is.
#[must_use]
pub fn moments_json(moments: &Moments) -> String {
    let sites: Vec<String> = moments.sites.iter().map(|name| cut(name)).collect();
    let devices = moments.devices.iter().map(|device| device_json(device, moments.origin_nanos));
    json!({
        "origin_nanos": moments.origin_nanos.to_string(),
        "has_times": moments.has_times,
        "devices": devices.collect::<Vec<_>>(),
        "sites": sites,
    })
    .to_string()
}

fn device_json(device: &DeviceMoments, origin_nanos: i64) -> Value {
    let moments = device.moments.iter().map(|moment| moment_json(moment, origin_nanos));
    json!({
        "device": device.device,
        "name": super::device_name(device.device),
        "kinds": device.kinds.iter().map(|name| cut(name)).collect::<Vec<_>>(),
        "moments": moments.collect::<Vec<_>>(),
    })
}

fn moment_json(moment: &MomentRow, origin_nanos: i64) -> Value {
    let is_more = |reason: &&Reason| moment.reasons.len() == 1 || **reason != Reason::Grid;
    let why: Vec<String> = moment.reasons.iter().filter(is_more).map(why).collect();
    let mut value = json!({
        "t": moment.time_nanos.saturating_sub(origin_nanos),
        "why": why.join(", "),
        "step": moment.step,
        "phase": moment.phase.as_deref().map(cut),
        "bytes": moment.allocated_bytes,
        "exact": moment.is_exact,
        "c": moment.categories.iter().map(share).collect::<Vec<_>>(),
        "s": moment.sites.iter().map(share).collect::<Vec<_>>(),
        "more": share(&moment.other_sites),
    });
    if !moment.is_exact {
        value["seq"] = json!(moment.seq);
    }
    value
}

fn share<K: serde::Serialize>(share: &Share<K>) -> Value {
    // Of memory in blocks that are not known only the sum is.
    let blocks = (share.blocks > 0 || share.bytes == 0).then_some(share.blocks);
    json!([share.of, share.bytes, blocks])
}

fn why(reason: &Reason) -> String {
    match reason {
        Reason::DevicePeak => "peak".to_owned(),
        Reason::StepPeak(step) => format!("peak of step {step}"),
        Reason::PhasePeak(name) => format!("peak of {}", cut(name)),
        Reason::Oom => "failed allocation".to_owned(),
        Reason::Grid => "moment".to_owned(),
    }
}

fn cut(name: &str) -> String {
    shortened(name, MOST_CHARACTERS)
}

/// JSON as it can stand in a `<script>`: nothing in it ends the element or begins a comment, and no line separator of
/// JavaScript is left. It is the same JSON, since these characters occur in its strings only.
#[must_use]
pub fn json_for_script(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                escaped.push_str(&format!("\\u{:04x}", u32::from(character)));
            }
            _ => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(site: &str, phase: &str) -> Moments {
        let moment = MomentRow {
            time_nanos: 1_767_225_600_000_000_123,
            seq: 9,
            is_exact: false,
            step: Some(3),
            phase: Some(phase.to_owned()),
            reasons: vec![Reason::StepPeak(3), Reason::Grid],
            allocated_bytes: 60,
            categories: vec![Share { of: 0, bytes: 60, blocks: 2 }],
            sites: vec![Share { of: Some(0), bytes: 50, blocks: 1 }, Share { of: None, bytes: 7, blocks: 1 }],
            other_sites: Share { of: 2, bytes: 3, blocks: 4 },
        };
        Moments {
            origin_nanos: 1_767_225_600_000_000_000,
            has_times: true,
            devices: vec![DeviceMoments {
                device: 0,
                kinds: vec!["parameter".to_owned()],
                moments: vec![moment],
            }],
            sites: vec![site.to_owned()],
        }
    }

    #[test]
    fn the_page_reads_what_was_found() {
        let value: Value = serde_json::from_str(&moments_json(&moments("model.py:3", "forward"))).unwrap();
        let expected = json!({
            "origin_nanos": "1767225600000000000",
            "has_times": true,
            "devices": [{
                "device": 0,
                "name": "device 0",
                "kinds": ["parameter"],
                "moments": [{
                    "t": 123, "why": "peak of step 3", "step": 3, "phase": "forward", "bytes": 60,
                    "exact": false, "seq": 9, "c": [[0, 60, 2]], "s": [[0, 50, 1], [null, 7, 1]], "more": [2, 3, 4],
                }],
            }],
            "sites": ["model.py:3"],
        });
        assert_eq!(value, expected);
    }

    #[test]
    fn no_name_gets_out_of_a_script() {
        let hostile =
            "</script><script>alert(1)</script><!-- --> ]]> & \u{2028}\u{2029} \" \\ \u{0} \u{202e}";
        let json = moments_json(&moments(hostile, hostile));
        let escaped = json_for_script(&json);
        for forbidden in ["<", ">", "&", "\u{2028}", "\u{2029}", "</script>", "<!--"] {
            assert!(!escaped.contains(forbidden), "{forbidden}");
        }
        let parsed = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        assert_eq!(parsed(&escaped), parsed(&json), "it is the same JSON");
        assert_eq!(parsed(&escaped)["sites"][0], hostile);
    }

    #[test]
    fn a_name_without_end_is_cut() {
        let long = "x".repeat(100_000);
        let json = moments_json(&moments(&long, &long));
        assert!(json.len() < 2000, "{}", json.len());
    }
}
