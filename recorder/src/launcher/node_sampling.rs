//! The thread that samples devices and the node. A thread of its own, since a device that has fallen off the bus can hold
//! a call of the driver up for seconds.

use std::sync::PoisonError;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use tidegauge_schemas::journal::Counter;

use super::journal_sink::{Destination, JournalSink};
use super::node_claim::NodeClaim;
use super::sampling::{SharedPids, StopFlag};
use super::schedule::Schedule;
use super::scribe::Message;
use crate::active::Active;
use crate::probes::{NodeProbe, NvmlProbe, Sink as _};
use crate::run_folder;
use crate::ticks;

/// How often the node is read, and how often somebody who does not sample it tries to become the one who does.
const NODE_EVERY: Duration = Duration::from_secs(1);
/// Devices are not read more often: a round of calls to the driver takes up to milliseconds.
const MIN_DEVICE_INTERVAL: Duration = Duration::from_millis(100);

/// Samples the node, if nobody else does, and the tree's use of devices.
pub(crate) struct NodeSampler {
    pub(crate) active: &'static Active,
    pub(crate) sink: JournalSink,
    pub(crate) scribe: Sender<Message>,
    pub(crate) claim: NodeClaim,
    pub(crate) interval: Duration,
    /// Devices that were asked for; all if none.
    pub(crate) devices: Option<Vec<u32>>,
    pub(crate) pids: SharedPids,
}

impl NodeSampler {
    /// Until it is told to stop.
    pub(crate) fn run(mut self, stop: &StopFlag) {
        let mut nvml = self.open_devices();
        let mut node = None;
        let start = Instant::now();
        let mut node_rounds = Schedule::new(start, NODE_EVERY.max(self.interval));
        let mut device_rounds = Schedule::new(start, self.interval.max(MIN_DEVICE_INTERVAL));
        let mut counted_nanos = 0;
        let mut samples_node = false;
        loop {
            let is_last = stop.is_set();
            let now = Instant::now();
            let is_node_due = node_rounds.take(now).is_some();
            if is_node_due {
                samples_node = self.claim.is_held();
            }
            if samples_node && (is_node_due || is_last) {
                node.get_or_insert_with(NodeProbe::new).sample(self.sink.to(Destination::NodeSamples));
            }
            if (device_rounds.take(now).is_some() || is_last)
                && let Some(nvml) = &mut nvml
            {
                if samples_node {
                    nvml.sample_devices(self.sink.to(Destination::NodeSamples));
                }
                // A copy: the driver may take its time.
                let pids = self.pids.lock().unwrap_or_else(PoisonError::into_inner).clone();
                nvml.sample_processes(&|pid| pids.contains(&pid), self.sink.to(Destination::Samples));
            }
            let cpu_nanos = ticks::thread_cpu_nanos();
            self.active.journal.control.count(Counter::BackgroundCpuNanos, cpu_nanos - counted_nanos);
            counted_nanos = cpu_nanos;
            if is_last {
                return;
            }
            let next = if nvml.is_some() {
                device_rounds.next().min(node_rounds.next())
            } else {
                node_rounds.next()
            };
            std::thread::park_timeout(next.saturating_duration_since(Instant::now()));
        }
    }

    fn open_devices(&mut self) -> Option<NvmlProbe> {
        let opened = NvmlProbe::open();
        let mut nvml =
            opened.inspect_err(|absent| self.sink.note(format!("devices are not sampled: {absent}"))).ok()?;
        // Of several ranks one samples for all of them, whichever devices each asked for.
        let is_alone = run_folder::world_size().is_none_or(|size| size <= 1);
        if let Some(wanted) = self.devices.as_ref().filter(|_| is_alone)
            && let Err(unknown) = nvml.select(wanted)
        {
            let line = format!("all devices are sampled: {unknown}");
            let _ = self.scribe.send(Message::Say(line.clone()));
            self.sink.note(line);
        }
        let devices = nvml.devices();
        self.sink.know(&devices);
        let _ = self.scribe.send(Message::Devices(devices));
        Some(nvml)
    }
}
