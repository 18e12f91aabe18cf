//! What FORMAT.md says of alert expressions: their grammar and the names of metrics. Text only: the recorder parses them,
//! and its tests hold this text and its code together.

/// How an expression is built and what it means.
pub const GRAMMAR: &str = "\
`tidegauge-record --alert EXPR` watches a threshold, and so does a recorder in the program (`TIDEGAUGE_ALERTS`, expressions
separated by `;`, or its builder). An alert that is raised is a row of `checkpoints` of kind `alert` and a line in the log.

```ebnf
alert    = metric, [ \"growth\" ], operator, value, [ rate ], [ \"over\", window ], [ \"for\", duration ] ;
metric   = word, [ \"[\", device, \"]\" ], { \".\", word } | \"counter(\", name, \")\" ;
device   = digits | \"host\" ;
operator = \">\" | \">=\" | \"<\" | \"<=\" ;
value    = [ \"-\" ], number, [ unit ] ;
unit     = \"B\" | \"KiB\" | \"MiB\" | \"GiB\" | \"TiB\" | \"kB\" | \"MB\" | \"GB\" | \"TB\" | \"%\" | \"W\" | \"C\" ;
rate     = \"/\", ( \"step\" | \"s\" | \"min\" | \"h\" ) ;
window   = digits | duration ;
duration = number, ( \"ms\" | \"s\" | \"min\" | \"h\" ) ;
```

* ASCII, at most 1024 bytes. Blanks may stand between the parts of an alert, and between a number and its unit. `KiB` is
  1024 bytes, `kB` 1000; units in any case of letters. A number without a unit is in that of the metric.
* `%` is of the total that the table names; where none is named there is no `%`, but for metrics that are percentages.
* Without brackets an alert is on each device by itself: `gpu[1].used` is that of device 1, `allocated[host]` that of the
  host. What is of processes is watched on each process by itself.
* `growth` is the median of the slopes between all pairs of points of the window (Theil and Sen), so that a spike is not
  growth. `/step` looks at the ends of the last 5 to 1000000 steps (20 if `over` is missing), a rate per time at so much
  time (10min if it is missing). It is said once the window is full and has five points, and of at most 64 points spread
  over it. Steps are known in the program only.
* `for`: the condition must have held so long, without a reading in between at which it did not.
* A raised alert is over when the value is back past the threshold by 5 % of the threshold, `growth` by half of it. Then it
  can be raised again.
* Only `growth` and counters have negative thresholds.
";

/// Expressions, one a line, and what they ask for.
pub const EXAMPLES: &str = "\
gpu.used > 90%                                       # any device is nearly full
gpu[1].used > 70GiB for 30s                          # device 1, for at least half a minute
rss > 40GiB                                          # the process tree
rss.process >= 38GB                                  # any one process of it
node.available < 5%                                  # the node runs out of memory
cgroup.used > 95% for 5s                             # the container's limit is near
gpu.utilization < 10% for 5min                       # the device waits
gpu.temperature > 85C
gpu.power > 650W for 10s
node.available growth < -1GiB/min over 5min          # at this rate it will
gpu.used growth > 1%/h over 30min
allocated growth > 5MiB/step over 20                 # a leak, in a program that records itself
allocated[host] growth > 100kB/step over 100 for 1min
counter(queue_bytes) > 2GiB                          # a counter of the program's own
counter(loss) < -1000
";

/// The table of metrics: what they are called here and in `samples` and `node_samples`.
pub const METRICS: &str = "\
| metric | launcher reads | in the program | unit | `%` is of | what it is |
|---|---|---|---|---|---|
| `rss` | `tree_rss_bytes` | `rss_bytes` | bytes | `memory_total_bytes` | resident memory of the process tree; in the program, of the process |
| `rss.process` | `rss_bytes` | `rss_bytes` | bytes | `memory_total_bytes` | resident memory of any one process |
| `swap` | `tree_swap_bytes` | `swap_bytes` | bytes |  | swapped memory of the process tree; in the program, of the process |
| `cpu` | `tree_cpu_percent` |  | percent |  | processor time of the process tree; 100 is one processor |
| `processes` | `tree_processes` |  | count |  | processes in the tree |
| `node.used` | `memory_used_bytes` |  | bytes | `memory_total_bytes` | memory of the node that is in use |
| `node.available` | `memory_available_bytes` |  | bytes | `memory_total_bytes` | memory of the node that can be had without swapping |
| `node.swap` | `swap_used_bytes` |  | bytes |  | swap space of the node that is in use |
| `node.cpu` | `cpu_percent` |  | percent |  | processors of the node |
| `node.pressure` | `psi_memory_some_percent` |  | percent |  | time in which something waited for memory |
| `cgroup.used` | `cgroup_current_bytes` |  | bytes | `cgroup_limit_bytes` | memory that counts against the limit of the cgroup |
| `gpu.used` | `gpu_used_bytes` |  | bytes | `gpu_total_bytes` | memory of a device that is in use, by whomever |
| `gpu.free` | `gpu_free_bytes` |  | bytes | `gpu_total_bytes` | memory of a device that is free |
| `gpu.tree` | `gpu_tree_used_bytes` |  | bytes | `gpu_total_bytes` | memory of a device that the process tree uses |
| `gpu.process` | `gpu_process_used_bytes` |  | bytes | `gpu_total_bytes` | memory of a device that any one process uses |
| `gpu.utilization` | `gpu_utilization_percent` |  | percent |  | time in which a device was busy |
| `gpu.power` | `gpu_power_watts` |  | watts |  | power that a device draws |
| `gpu.temperature` | `gpu_temperature_celsius` |  | celsius |  | temperature of a device |
| `allocated` |  | `allocated_bytes` | bytes |  | what the program holds of a device or of the host, by its allocation events |
| `reserved` |  | `reserved_bytes` | bytes |  | what a framework's allocator took from a device, where it says so |
| `counter(NAME)` |  | `NAME` | any |  | a counter of the program's own |
";
