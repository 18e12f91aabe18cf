//! The tables of a trace and their columns.

use std::sync::{Arc, LazyLock};

use arrow::datatypes::{Schema, SchemaRef};

use crate::column::{Column, ColumnType};

/// A table of the trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Table {
    /// Allocation events.
    Events,
    /// Spans, marks, steps, epochs, losses, alerts, oom.
    Checkpoints,
    /// Counters of one process over time.
    Samples,
    /// Allocation sites: id to name and stack.
    Sites,
    /// Modules of the model.
    Modules,
    /// Counters of devices and of the node, sampled once per node.
    NodeSamples,
}

const fn column(
    name: &'static str,
    column_type: ColumnType,
    nullable: bool,
    unit: &'static str,
    doc: &'static str,
) -> Column {
    Column { name, column_type, nullable, unit, doc }
}

const SEQ: Column = column(
    "seq",
    ColumnType::U64,
    false,
    "",
    "total order within one process; replay follows it, never `time`",
);
const TIME: Column =
    column("time", ColumnType::Time, false, "ns", "when; ties and small steps back between threads occur");

const EVENTS: &[Column] = &[
    SEQ,
    TIME,
    column("kind", ColumnType::Text, false, "", "what happened; see Event kinds"),
    column("device", ColumnType::I16, false, "", "-1 the host, 0… accelerators in the framework's order"),
    column(
        "address",
        ColumnType::U64,
        true,
        "",
        "address of the block or segment; null for oom and snapshot, and where a recording of another tool does not tell it",
    ),
    column(
        "size_bytes",
        ColumnType::I64,
        true,
        "bytes",
        "requested size; null on a free of any kind, where it is that of its alloc, unless it has no address",
    ),
    column(
        "stream",
        ColumnType::U64,
        true,
        "",
        "stream that the block belongs to; null where there are none",
    ),
    column("pool", ColumnType::Text, true, "", "allocator pool; null for the default one"),
    column("thread", ColumnType::U32, true, "", "thread id of the operating system"),
    column("site", ColumnType::U32, true, "", "who allocated: `site` of table sites"),
    column("category", ColumnType::Text, true, "", "what the framework said the block is; see Categories"),
];

const CHECKPOINTS: &[Column] = &[
    SEQ,
    TIME,
    column("kind", ColumnType::Text, false, "", "what it marks; see Checkpoint kinds"),
    column("name", ColumnType::Text, true, "", "phase, mark, alert rule or config key"),
    column("step", ColumnType::I64, true, "", "training step"),
    column("epoch", ColumnType::I64, true, "", "epoch"),
    column("thread", ColumnType::U32, true, "", "thread id of the operating system"),
    column("value", ColumnType::F64, true, "", "loss, or the alert's or config key's value"),
    column("batch_size", ColumnType::I64, true, "samples", "samples in the step's batch"),
];

const SAMPLES: &[Column] = &[
    SEQ,
    TIME,
    column("metric", ColumnType::Text, false, "", "what was read; the name ends in its unit; see Metrics"),
    column("device", ColumnType::I16, false, "", "-1 the host, 0… accelerators"),
    column("pid", ColumnType::U32, true, "", "process that it is of; null for the recorded process itself"),
    column("value", ColumnType::F64, false, "", "the reading, in the unit that the metric's name says"),
];

const SITES: &[Column] = &[
    SEQ,
    TIME,
    column("site", ColumnType::U32, false, "", "id; unique within one process"),
    column(
        "name",
        ColumnType::Text,
        false,
        "",
        "module path, operator, function or what the program called it",
    ),
    column(
        "stack",
        ColumnType::Text,
        true,
        "",
        "frames, innermost first, a line each: `function at file:line`",
    ),
];

const MODULES: &[Column] = &[
    SEQ,
    TIME,
    column("module", ColumnType::Text, false, "", "path of the module within the model"),
    column("type", ColumnType::Text, true, "", "its class"),
    column(
        "parameters",
        ColumnType::I64,
        true,
        "",
        "number of parameters, of the module itself, not of children",
    ),
    column("parameter_bytes", ColumnType::I64, true, "bytes", "their size"),
    column("buffers", ColumnType::I64, true, "", "number of elements in buffers of the module itself"),
    column("buffer_bytes", ColumnType::I64, true, "bytes", "their size"),
    column("dtypes", ColumnType::Text, true, "", "element types, separated by `,`"),
    column("shapes", ColumnType::Text, true, "", "JSON object: parameter name to shape"),
    column("inputs", ColumnType::Text, true, "", "JSON array: shapes of the tensors that it was called with"),
    column("outputs", ColumnType::Text, true, "", "JSON array: shapes of the tensors that it returned"),
];

const NODE_SAMPLES: &[Column] = &[
    SEQ,
    TIME,
    column("metric", ColumnType::Text, false, "", "what was read; the name ends in its unit; see Metrics"),
    column("device", ColumnType::I16, false, "", "-1 the node itself, 0… accelerators in NVML's order"),
    column("uuid", ColumnType::Text, true, "", "identity of the accelerator"),
    column("value", ColumnType::F64, false, "", "the reading, in the unit that the metric's name says"),
];

impl Table {
    /// Every table.
    pub const ALL: [Self; 6] =
        [Self::Events, Self::Checkpoints, Self::Samples, Self::Sites, Self::Modules, Self::NodeSamples];

    /// Name of the table and of its folder in the trace.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Checkpoints => "checkpoints",
            Self::Samples => "samples",
            Self::Sites => "sites",
            Self::Modules => "modules",
            Self::NodeSamples => "node_samples",
        }
    }

    /// What the table holds, one line.
    #[must_use]
    pub const fn doc(self) -> &'static str {
        match self {
            Self::Events => "Allocation events of one process.",
            Self::Checkpoints => "Spans, marks, steps, epochs, loss, alerts and oom of one process.",
            Self::Samples => {
                "Counters of one process over time. A counter read at a checkpoint bears the checkpoint's `seq`."
            }
            Self::Sites => "What the `site` numbers of events mean.",
            Self::Modules => {
                "The modules of the model: a row when one is seen first, and when it is called with other shapes."
            }
            Self::NodeSamples => "Counters of devices and of the node, sampled once per node.",
        }
    }

    /// The columns, in the order of the file.
    #[must_use]
    pub const fn columns(self) -> &'static [Column] {
        match self {
            Self::Events => EVENTS,
            Self::Checkpoints => CHECKPOINTS,
            Self::Samples => SAMPLES,
            Self::Sites => SITES,
            Self::Modules => MODULES,
            Self::NodeSamples => NODE_SAMPLES,
        }
    }

    /// The Arrow schema in memory. Cheap: it is made once.
    #[must_use]
    pub fn schema(self) -> SchemaRef {
        static SCHEMAS: LazyLock<[SchemaRef; 6]> = LazyLock::new(|| {
            Table::ALL.map(|table| {
                Arc::new(Schema::new(table.columns().iter().map(Column::field).collect::<Vec<_>>()))
            })
        });
        Arc::clone(&SCHEMAS[self as usize])
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}
