//! `tidegauge summary --json`: one object, whose keys are a contract.

use serde_json::{Value, json};
use tidegauge_schemas::process::Ended;

use super::hints::{hint_json, hints_text};
use super::leaks::leaks_table;
use super::tables::phases_table;
use crate::analysis::{
    CurveSpread, DeviceSummary, DeviceUse, NamedCategory, OfRank, PeakSummary, ProcessSummary, RankSpread,
    Summary,
};

/// The summary as one object. With several processes `ended` is that of the one that ended worst, sums are over all.
#[must_use]
pub fn summary_json(summary: &Summary) -> Value {
    let processes = &summary.processes;
    let ended = processes.iter().map(|process| process.ended).max_by_key(|ended| severity(*ended));
    let devices: Vec<Value> = processes
        .iter()
        .flat_map(|process| process.devices.iter().map(|device| device_json(process, device)))
        .collect();
    json!({
        "run": summary.run,
        "started": summary.started,
        "config": summary.config,
        "ended": ended.map(Ended::as_str),
        "coverage": coverage(processes),
        "duration_nanos": processes.iter().filter_map(|process| process.span_nanos).map(|span| span.1 - span.0).max(),
        "events": processes.iter().map(|process| process.events).sum::<u64>(),
        "dropped_events": processes.iter().map(|process| process.dropped_events).sum::<u64>(),
        "recording_cost": recording_cost(processes),
        "peak_rss_bytes": processes.iter().filter_map(|process| process.rss.as_ref()).map(|rss| rss.bytes).max(),
        "device_use": processes.iter().flat_map(device_use_json).collect::<Vec<_>>(),
        "devices": devices,
        "phases": processes.iter().flat_map(phases_json).collect::<Vec<_>>(),
        "ranks": summary.ranks.as_ref().map(|ranks| ranks_json(ranks, processes)),
        "steps": steps_json(processes),
        "growth": growth_json(processes),
        "hints": hints_text(summary),
        "hint_details": summary.hints.iter().map(hint_json).collect::<Vec<_>>(),
        "warnings": summary.warnings,
    })
}

/// The sentences; of several processes each says of which it is.
fn coverage(processes: &[ProcessSummary]) -> Vec<String> {
    let of_process = |process: &ProcessSummary| {
        let id = if processes.len() > 1 { format!("{}: ", process.id) } else { String::new() };
        process.coverage.iter().map(|sentence| format!("{id}{sentence}")).collect::<Vec<_>>()
    };
    processes.iter().flat_map(of_process).collect()
}

const fn severity(ended: Ended) -> u8 {
    match ended {
        Ended::Clean => 0,
        Ended::Running => 1,
        Ended::Killed => 2,
        _ => 3,
    }
}

fn recording_cost(processes: &[ProcessSummary]) -> Value {
    let costs: Vec<_> = processes.iter().filter_map(|process| process.cost).collect();
    if costs.is_empty() {
        return Value::Null;
    }
    json!({
        "records": costs.iter().map(|cost| cost.records).sum::<u64>(),
        "left_out_events": costs.iter().map(|cost| cost.left_out_events).sum::<u64>(),
        "background_cpu_seconds": costs.iter().map(|cost| cost.background_cpu_seconds).sum::<f64>(),
        "written_bytes": costs.iter().map(|cost| cost.written_bytes).sum::<u64>(),
        "merged_bytes": costs.iter().map(|cost| cost.merged_bytes).sum::<u64>(),
        "peak_journal_bytes": costs.iter().map(|cost| cost.peak_journal_bytes).max(),
    })
}

fn ranks_json(ranks: &RankSpread, processes: &[ProcessSummary]) -> Value {
    let of = |of: &OfRank| json!({"rank": of.process.rank, "process": of.process.process, "bytes": of.value});
    let curve = |spread: &CurveSpread| {
        json!({
            "curve": spread.curve,
            "ranks": spread.ranks,
            "highest": of(&spread.highest),
            "lowest": of(&spread.lowest),
            "median_bytes": spread.median_bytes,
        })
    };
    let origin = |of: &OfRank| {
        let process = processes.iter().find(|process| process.id == of.process);
        process.and_then(|process| process.span_nanos).map_or(0, |span| span.0)
    };
    json!({
        "processes": ranks.processes,
        "curves": ranks.curves.iter().map(curve).collect::<Vec<_>>(),
        "first_oom": ranks.first_oom.as_ref().map(|oom| {
            json!({"rank": oom.process.rank, "process": oom.process.process, "time_nanos": oom.value - origin(oom)})
        }),
    })
}

fn device_use_json(process: &ProcessSummary) -> Vec<Value> {
    let origin = process.span_nanos.map_or(0, |span| span.0);
    let of_device = |device: &DeviceUse| {
        json!({
            "rank": process.id.rank,
            "device": device.device,
            "name": device.name,
            "uuid": device.uuid,
            "total_bytes": device.total_bytes,
            "peak_used_bytes": device.used.bytes,
            "mean_interval_nanos": device.interval_nanos,
            "peak_time": device.used.time_nanos.map(|time| (time - origin) as f64 / 1e9),
        })
    };
    process.device_use.iter().map(of_device).collect()
}

fn phases_json(process: &ProcessSummary) -> Vec<Value> {
    let mut rows = phases_table(&process.phases).json();
    for row in &mut rows {
        row["rank"] = json!(process.id.rank);
        row["process"] = json!(process.id.process);
    }
    rows
}

fn steps_json(processes: &[ProcessSummary]) -> Value {
    let of_one = |process: &ProcessSummary| {
        json!({
            "rank": process.id.rank,
            "process": process.id.process,
            "count": process.steps.count,
            "mean_nanos": (process.steps.count > 0).then_some(process.steps.mean_nanos),
            "first_loss": process.steps.first_loss,
            "last_loss": process.steps.last_loss,
            "unfinished": process.steps.unfinished,
        })
    };
    processes.iter().map(of_one).collect()
}

fn growth_json(processes: &[ProcessSummary]) -> Vec<Value> {
    let grown: Vec<_> = processes.iter().filter_map(|process| process.growth.clone()).collect();
    // Who grows is for `leaks`.
    leaks_table(&grown, 0).json()
}

fn device_json(process: &ProcessSummary, device: &DeviceSummary) -> Value {
    let origin = process.span_nanos.map_or(0, |span| span.0);
    let peak = |peak: &PeakSummary| {
        json!({
            "bytes": peak.bytes,
            "time_nanos": peak.time_nanos.map(|time| time - origin),
            "step": peak.step,
            "phase": peak.phase,
            "event_index": peak.event_index,
        })
    };
    let holders: Vec<Value> = device
        .holders
        .iter()
        .map(|holder| json!({"site": holder.site, "bytes": holder.bytes, "blocks": known(holder.blocks)}))
        .collect();
    json!({
        "rank": process.id.rank,
        "process": process.id.process,
        "device": device.device,
        "peak_allocated_bytes": device.allocated.bytes,
        "peak_active_bytes": device.active.bytes,
        "peak_reserved_bytes": device.reserved.as_ref().map(|reserved| reserved.bytes),
        "peak_time": device.active.time_nanos.map(|time| (time - origin) as f64 / 1e9),
        "peak_step": device.active.step,
        "peak_phase": device.active.phase,
        "peak_event_index": device.active.event_index,
        "initial_active_bytes": device.initial_active_bytes,
        "end_active_bytes": device.end_active_bytes,
        "end_allocated_bytes": device.end_allocated_bytes,
        "peaks": {
            "allocated": peak(&device.allocated),
            "active": peak(&device.active),
            "reserved": device.reserved.as_ref().map(peak),
        },
        "live_at_peak": holders,
        "categories_at_peak": device.categories.iter().map(category_json).collect::<Vec<_>>(),
    })
}

fn category_json(of: &NamedCategory) -> Value {
    json!({
        "category": of.category,
        "bytes": of.total.bytes,
        "blocks": of.total.blocks,
        "tagged_bytes": of.total.tagged_bytes,
        "inferred_bytes": of.total.inferred_bytes,
        "unknown_bytes": of.total.unknown_bytes,
        "recomputed_bytes": of.total.recomputed_bytes,
    })
}

/// Of memory in blocks that are not known only the sum is.
fn known(blocks: i64) -> Option<i64> {
    (blocks != 0).then_some(blocks)
}
