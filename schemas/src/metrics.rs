//! Metrics that the recorder itself samples. A program's own counters bear whatever names it gives them.

/// A metric of tables `samples` and `node_samples`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Its name, which ends in its unit.
    pub name: &'static str,
    /// What it is and where it is read.
    pub doc: &'static str,
}

/// Defines a constant for each metric, and the list of all.
macro_rules! metrics {
    ($($constant:ident = $name:literal, $doc:literal;)+) => {
        $(#[doc = concat!("`", $name, "`: ", $doc)] pub const $constant: Metric = Metric { name: $name, doc: $doc };)+

        /// All of them.
        pub const ALL: &[Metric] = &[$($constant,)+];
    };
}

metrics! {
    // Of the allocations of one process.
    ALLOCATED = "allocated_bytes", "allocated on the device at the end of a step, from all allocation events, kept or not";
    PEAK_ALLOCATED = "peak_allocated_bytes", "highest allocated on the device since the step began, from all allocation events, kept or not";
    // Of one process.
    RSS = "rss_bytes", "resident memory of the process, shared pages included (/proc/PID/statm)";
    PEAK_RSS = "peak_rss_bytes", "highest resident memory so far, as the kernel kept it: not a sampled figure (VmHWM in /proc/PID/status)";
    VIRTUAL = "virtual_bytes", "address space of the process (/proc/PID/statm)";
    SHARED = "shared_bytes", "resident pages that belong to files or shared memory, whether or not another process maps them too (/proc/PID/statm)";
    SWAP = "swap_bytes", "anonymous memory of the process that is swapped out (VmSwap in /proc/PID/status)";
    CPU = "cpu_seconds", "processor time of the process since it began, user and system, in steps of a clock tick (/proc/PID/stat)";
    MINOR_FAULTS = "minor_faults", "page faults of the process since it began that needed no disk (/proc/PID/stat)";
    MAJOR_FAULTS = "major_faults", "page faults of the process since it began that waited for a disk (/proc/PID/stat)";
    THREADS = "threads", "threads of the process (/proc/PID/stat)";

    // Of a launcher's process tree: the command and all that it started, directly or not.
    TREE_RSS = "tree_rss_bytes", "sum of rss_bytes over the process tree: a page that several map counts once for each, so it can exceed the memory in use";
    TREE_UNSHARED = "tree_unshared_bytes", "sum of rss_bytes − shared_bytes over the process tree: anonymous pages; those that a fork still shares count once for each";
    TREE_SWAP = "tree_swap_bytes", "sum of swap_bytes over the process tree";
    TREE_CPU = "tree_cpu_percent", "processor time of the process tree since the sample before, 100 = one core; without processes that came and went in between";
    TREE_PROCESSES = "tree_processes", "processes in the tree";
    TREE_THREADS = "tree_threads", "threads in the process tree";

    // Of the node.
    MEMORY_TOTAL = "memory_total_bytes", "memory of the node (MemTotal in /proc/meminfo)";
    MEMORY_AVAILABLE = "memory_available_bytes", "what a new program could have without swapping, by the kernel's estimate (MemAvailable in /proc/meminfo)";
    MEMORY_USED = "memory_used_bytes", "memory_total_bytes − memory_available_bytes";
    SWAP_TOTAL = "swap_total_bytes", "swap space of the node (/proc/meminfo)";
    SWAP_USED = "swap_used_bytes", "swap space in use (/proc/meminfo)";
    CPU_PERCENT = "cpu_percent", "use of all processors of the node since the sample before, 100 = all of them (/proc/stat)";
    LOAD_1MIN = "load_1min", "processes that run or wait, averaged over a minute (/proc/loadavg)";
    LOAD_5MIN = "load_5min", "the same over 5 minutes";
    LOAD_15MIN = "load_15min", "the same over 15 minutes";
    PSI_MEMORY_SOME = "psi_memory_some_percent", "time in which some task of the node waited for memory, of the last 10 s (/proc/pressure/memory)";
    PSI_MEMORY_FULL = "psi_memory_full_percent", "time in which all tasks of the node that could run waited for memory, of the last 10 s (/proc/pressure/memory)";

    // Of the control group that the recorded process is in.
    CGROUP_CURRENT = "cgroup_current_bytes", "memory of the control group, page cache included (memory.current; version 1: memory.usage_in_bytes)";
    CGROUP_LIMIT = "cgroup_limit_bytes", "the smallest limit of the control group and of those above it that can be seen; absent if none is set (memory.max; version 1: hierarchical_memory_limit)";
    CGROUP_PEAK = "cgroup_peak_bytes", "highest memory of the control group so far, as the kernel kept it (memory.peak; version 1: memory.max_usage_in_bytes)";
    CGROUP_SWAP = "cgroup_swap_bytes", "swap space that the control group uses (memory.swap.current; version 1: memory.memsw − memory)";
    CGROUP_OOM_KILLS = "cgroup_oom_kills", "processes that the kernel has killed for want of memory in the control group since it was made (oom_kill in memory.events; version 1: memory.oom_control)";
    CGROUP_PSI_MEMORY_SOME = "cgroup_psi_memory_some_percent", "time in which some task of the control group waited for memory, of the last 10 s (memory.pressure)";
    CGROUP_PSI_MEMORY_FULL = "cgroup_psi_memory_full_percent", "time in which all tasks of the control group that could run waited for memory, of the last 10 s (memory.pressure)";

    // Of a device, by NVML.
    GPU_TOTAL = "gpu_total_bytes", "memory of the device";
    GPU_USED = "gpu_used_bytes", "memory in use by programs, whoever they are; with drivers before 510 with what the driver keeps for itself";
    GPU_FREE = "gpu_free_bytes", "memory of the device that nobody uses";
    GPU_RESERVED = "gpu_reserved_bytes", "memory that the driver and the firmware keep for themselves; unknown with drivers before 510";
    GPU_UTILIZATION = "gpu_utilization_percent", "time in which a kernel ran, over the driver's last sampling period";
    GPU_MEMORY_UTILIZATION = "gpu_memory_utilization_percent", "time in which device memory was read or written, over the driver's last sampling period";
    GPU_POWER = "gpu_power_watts", "power draw of the board; from Ampere on averaged over a second";
    GPU_POWER_LIMIT = "gpu_power_limit_watts", "power limit that is enforced";
    GPU_TEMPERATURE = "gpu_temperature_celsius", "temperature of the chip";
    GPU_SM_CLOCK = "gpu_sm_clock_mhz", "clock of the multiprocessors";
    GPU_THROTTLE_REASONS = "gpu_throttle_reasons", "why clocks are held down, a bit mask: 1 idle, 2 clocks set by the user, 4 power cap, 8 hardware slowdown, 16 sync boost, 32 thermal (software), 64 thermal (hardware), 128 power brake, 256 display clocks";
    GPU_PROCESS_USED = "gpu_process_used_bytes", "device memory of one process of the tree, its CUDA context included";
    GPU_TREE_USED = "gpu_tree_used_bytes", "sum of gpu_process_used_bytes over the process tree";

    // Of the sampler.
    SAMPLER_LATENESS = "sampler_lateness_seconds", "how much later than due a sample was taken";
    SAMPLER_COST = "sampler_cost_seconds", "processor time that taking a sample took";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_end_in_their_unit() {
        const UNITS: [&str; 9] =
            ["bytes", "seconds", "percent", "watts", "celsius", "mhz", "1min", "5min", "15min"];
        const COUNTED: [&str; 5] = ["faults", "threads", "processes", "kills", "reasons"];
        for (index, metric) in ALL.iter().enumerate() {
            assert!(ALL.iter().skip(index + 1).all(|other| other.name != metric.name), "{}", metric.name);
            let unit = metric.name.rsplit('_').next().unwrap();
            assert!(UNITS.contains(&unit) || COUNTED.contains(&unit), "{}", metric.name);
        }
    }
}
