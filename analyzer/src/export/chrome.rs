//! The JSON of `chrome://tracing`, which Perfetto, Speedscope and others read too.
//!
//! `traceEvents`: counters (`C`), slices (`X`; `B` and `E` where the recording ends before they do), instants (`i`) and
//! names (`M`). Times are microseconds, with nanoseconds as decimals, since `baseTimeNanoseconds`: a double, which readers
//! make of them, could not hold nanoseconds since 1970.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::slices::{Slice, SliceKind};
use super::timeline_feed::feed;
use super::timeline_sink::{Counter, Instant, Lane, ProcessHeader, TimelineSink};
use super::{Shown, write_error};
use crate::error::Result;
use crate::load::{Rows, Source};

/// Writes the timelines of all processes of `source`, and returns what to know before believing them.
///
/// # Errors
/// If the recording cannot be read, or `out` takes no more.
pub fn chrome(source: &Source, shown: Shown<'_>, out: &mut dyn Write) -> Result<Vec<String>> {
    let mut origin_nanos = i64::MAX;
    for process in &source.processes {
        origin_nanos = origin_nanos.min(Rows::new(process).first_nanos()?);
    }
    let run = source.path.display().to_string();
    let mut writer = ChromeWriter { out, origin_nanos, is_first: true, pid: 0, tids: Vec::new() };
    writer.head(&run).map_err(write_error)?;
    let warnings = feed(source, shown, &mut writer)?;
    writer.out.write_all(b"\n]}\n").and_then(|()| writer.out.flush()).map_err(write_error)?;
    Ok(warnings)
}

struct ChromeWriter<'a> {
    out: &'a mut dyn Write,
    origin_nanos: i64,
    is_first: bool,
    /// Of the process that is being written.
    pid: u32,
    /// Numbers of its lanes.
    tids: Vec<u32>,
}

/// An event; what is `None` is left out.
#[derive(Default, Serialize)]
struct Event<'a> {
    ph: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cat: Option<&'a str>,
    name: &'a str,
    pid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    tid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    s: Option<&'static str>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    args: Map<String, Value>,
}

impl ChromeWriter<'_> {
    fn head(&mut self, run: &str) -> io::Result<()> {
        let version = env!("CARGO_PKG_VERSION");
        let other = json!({"run": run, "writer": format!("tidegauge {version}")});
        let base_nanos = self.origin_nanos;
        write!(
            self.out,
            "{{\"displayTimeUnit\":\"ms\",\"baseTimeNanoseconds\":{base_nanos},\"otherData\":{other},\"traceEvents\":["
        )
    }

    /// Begins an event after those before.
    fn separate(&mut self) -> io::Result<()> {
        let separator: &[u8] = if std::mem::replace(&mut self.is_first, false) { b"\n" } else { b",\n" };
        self.out.write_all(separator)
    }

    /// Writes an event with its time and duration.
    fn write(&mut self, time_nanos: i64, duration_nanos: Option<i64>, event: &Event<'_>) -> io::Result<()> {
        self.separate()?;
        let nanos = time_nanos.saturating_sub(self.origin_nanos).max(0);
        write!(self.out, "{{\"ts\":{}.{:03},", nanos / 1000, nanos % 1000)?;
        if let Some(nanos) = duration_nanos {
            write!(self.out, "\"dur\":{}.{:03},", nanos / 1000, nanos % 1000)?;
        }
        let text = serde_json::to_string(event)?;
        // The rest of the object, after its brace.
        self.out.write_all(text.as_bytes().get(1..).unwrap_or_default())
    }

    fn name(&mut self, what: &str, tid: Option<u32>, args: Value) -> io::Result<()> {
        self.separate()?;
        let event = json!({"ph": "M", "name": what, "pid": self.pid, "tid": tid.unwrap_or(0), "args": args});
        write!(self.out, "{event}")
    }
}

impl TimelineSink for ChromeWriter<'_> {
    fn process(&mut self, process: &ProcessHeader<'_>) -> io::Result<()> {
        self.pid = process.pid;
        self.tids = process.lanes.iter().map(|lane| lane.tid).collect();
        self.name("process_name", None, json!({"name": process.name}))?;
        self.name("process_sort_index", None, json!({"sort_index": process.index}))?;
        if !process.labels.is_empty() {
            self.name("process_labels", None, json!({"labels": process.labels.join(", ")}))?;
        }
        for Lane { tid, name, .. } in process.lanes {
            self.name("thread_name", Some(*tid), json!({"name": name}))?;
        }
        Ok(())
    }

    fn new_counter(&mut self, _: &Counter) -> io::Result<()> {
        // A counter is declared by its first value.
        Ok(())
    }

    fn count(&mut self, time_nanos: i64, counter: &Counter, bytes: i64) -> io::Result<()> {
        self.separate()?;
        let nanos = time_nanos.saturating_sub(self.origin_nanos).max(0);
        // By hand: there are as many of them as events.
        let (pid, name) = (self.pid, &counter.name);
        let (micros, rest) = (nanos / 1000, nanos % 1000);
        write!(
            self.out,
            "{{\"ts\":{micros}.{rest:03},\"ph\":\"C\",\"name\":\"{name}\",\"pid\":{pid},\"args\":{{\"bytes\":{bytes}}}}}"
        )
    }

    fn begin(&mut self, time_nanos: i64, slice: &Slice, end_nanos: Option<i64>) -> io::Result<()> {
        let args = match slice.kind {
            SliceKind::Phase { step, .. } => vec![("step", step.map(Value::from))],
            SliceKind::Step { epoch, loss, batch_size, .. } => vec![
                ("epoch", epoch.map(Value::from)),
                ("loss", loss.map(Value::from)),
                ("batch_size", batch_size.map(Value::from)),
            ],
        };
        let event = Event {
            ph: if end_nanos.is_some() { "X" } else { "B" },
            cat: Some(slice.category()),
            name: &slice.name(),
            pid: self.pid,
            tid: self.tids.get(slice.lane).copied(),
            args: known(args),
            ..Event::default()
        };
        // Threads' clocks can step back against each other.
        let duration_nanos = end_nanos.map(|end_nanos| end_nanos.saturating_sub(time_nanos).max(0));
        self.write(time_nanos, duration_nanos, &event)
    }

    fn end(&mut self, time_nanos: i64, slice: &Slice) -> io::Result<()> {
        if slice.end_nanos.is_some() {
            return Ok(());
        }
        let tid = self.tids.get(slice.lane).copied();
        let name = slice.name();
        self.write(time_nanos, None, &Event { ph: "E", name: &name, pid: self.pid, tid, ..Event::default() })
    }

    fn instant(&mut self, time_nanos: i64, instant: &Instant<'_>) -> io::Result<()> {
        let args = vec![
            ("device", instant.device.map(Value::from)),
            ("asked_bytes", instant.asked_bytes.map(Value::from)),
            ("value", instant.value.map(Value::from)),
        ];
        let tid = instant.lane.and_then(|lane| self.tids.get(lane).copied());
        let event = Event {
            ph: "i",
            cat: Some(instant.category),
            name: instant.name,
            pid: self.pid,
            // One of the whole process needs a thread all the same.
            tid: Some(tid.unwrap_or(self.pid)),
            s: Some(if tid.is_some() { "t" } else { "p" }),
            args: known(args),
        };
        self.write(time_nanos, None, &event)
    }
}

fn known(args: Vec<(&str, Option<Value>)>) -> Map<String, Value> {
    args.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}
