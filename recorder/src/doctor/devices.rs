//! NVML, its devices and what they say.

use super::Check;
use crate::probes::collected::Collected;
use crate::probes::{NvmlAbsent, NvmlProbe};

/// A check of the driver and, if it is here, of what its devices do not say.
pub(super) fn checks(opened: Result<NvmlProbe, NvmlAbsent>) -> Vec<Check> {
    let mut probe = match opened {
        Ok(probe) => probe,
        Err(NvmlAbsent { finding, advice, .. }) => return vec![Check::missing("devices", finding, advice)],
    };
    let mut sink = Collected::default();
    probe.sample_devices(&mut sink);
    let (driver, cuda) = probe.versions();
    let unknown = || "unknown".to_owned();
    let devices = probe.devices();
    let listed = devices.iter().map(|device| {
        let name = device.name.clone().unwrap_or_else(unknown);
        let memory = device.total_bytes.map_or_else(unknown, |bytes| format!("{} MiB", bytes >> 20));
        let uuid = device.uuid.clone().unwrap_or_else(unknown);
        let instance =
            device.parent_index.map_or_else(String::new, |parent| format!(", instance of device {parent}"));
        format!("{} {name}, {memory}, {uuid}{instance}", device.index)
    });
    let finding = format!(
        "driver {}, CUDA {}: {}",
        driver.unwrap_or_else(unknown),
        cuda.unwrap_or_else(unknown),
        listed.collect::<Vec<_>>().join("; ")
    );
    let mut checks = vec![Check::works("devices", finding)];
    checks.extend(sink.notes.drain(..).map(|note| {
        Check::limited(
            "device",
            note,
            "nothing, if the product does not have it; else see what nvidia-smi says",
        )
    }));
    checks.push(processes(&mut probe));
    checks
}

/// Whether it can be told what the recorded processes use.
fn processes(probe: &mut NvmlProbe) -> Check {
    const NAME: &str = "device processes";
    if let Some(why) = probe.processes_unknown() {
        return Check::missing(
            NAME,
            format!("device memory of single processes is not known: {why}"),
            "start the container with the host's process ids (docker run --pid=host), or record from the host",
        );
    }
    let mut sink = Collected::default();
    // All of them: whether NVML says anything is seen from any process.
    probe.sample_processes(&|_| true, &mut sink);
    if sink.notes.is_empty() {
        return Check::works(NAME, "device memory is known for each process");
    }
    Check::limited(NAME, sink.notes.join("; "), "see what nvidia-smi says of processes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Status;
    use crate::probes::nvml_tests::StandIn;
    use crate::probes::{NvmlAbsent, PidNamespace};

    fn statuses(checks: &[Check]) -> Vec<(&'static str, Status)> {
        checks.iter().map(|check| (check.name, check.status)).collect()
    }

    #[test]
    fn devices_are_listed() {
        let stand_in = StandIn::new("");
        let checks = checks(stand_in.open());
        assert_eq!(statuses(&checks), [("devices", Status::Works), ("device processes", Status::Works)]);
        let expected = "driver 580.95.05, CUDA 13.0: 0 NVIDIA Stand-in 16GB, 16384 MiB, \
            GPU-5ca1ab1e-0000-0000-0000-000000000000; 1 NVIDIA Stand-in 8GB, 8192 MiB, \
            GPU-0ddba11-0000-0000-0000-000000000001";
        assert_eq!(checks[0].finding, expected);
    }

    #[test]
    fn what_devices_do_not_say_is_listed_with_advice() {
        let stand_in = StandIn::new("0.power_milliwatts =\n0.compute = 7:n/a\n");
        let checks = checks(stand_in.open());
        let expected =
            [("devices", Status::Works), ("device", Status::Limited), ("device processes", Status::Limited)];
        assert_eq!(statuses(&checks), expected);
        assert!(checks[1].finding.ends_with("does not offer power"), "{checks:?}");
    }

    #[test]
    fn a_container_is_named_as_the_reason() {
        let stand_in = StandIn::new("");
        let checks = checks(stand_in.open_in(PidNamespace::Inner));
        assert_eq!(statuses(&checks)[1], ("device processes", Status::Missing));
        assert!(checks[1].advice.as_ref().unwrap().contains("--pid=host"));
    }

    #[test]
    fn an_absent_driver_is_a_finding() {
        let stand_in = StandIn::new("init = !driver_not_loaded\n");
        let absent: NvmlAbsent = stand_in.open().unwrap_err();
        let checks = checks(Err(absent.clone()));
        assert_eq!(statuses(&checks), [("devices", Status::Missing)]);
        assert_eq!(checks[0].advice.as_deref(), Some(absent.advice));
    }
}
