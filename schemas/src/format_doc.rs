//! `FORMAT.md`, made from the code so that it cannot say anything else.

use std::fmt::Write as _;

use crate::alert_grammar;
use crate::journal::{CHUNK_BYTES, CHUNK_HEADER_BYTES, SLOTS_PER_CHUNK};
use crate::kinds::{Category, CheckpointKind, EventKind};
use crate::metrics;
use crate::table::Table;
use crate::version::{
    FORMAT_VERSION, KEY_CHECKSUM, KEY_CONSUMED, KEY_FORMAT_VERSION, KEY_RUN_ID, KEY_SEQ, KEY_SUPERSEDES,
    KEY_TABLE, OLDEST_READABLE_VERSION,
};

const HEAD: &str = "\
# The Tidegauge trace format

<!-- Made by `tidegauge schema --markdown`; edit the code in schemas/src, not this file. -->

A trace is a folder of Parquet files, a few JSON files and, while it is being recorded or after a crash, a journal.
Any Parquet reader opens a table as it is:

```python
duckdb.sql(\"SELECT kind, count(*) FROM read_parquet('RUN/events/**/*.parquet') GROUP BY kind\")
polars.scan_parquet(\"RUN/events\"); pandas.read_parquet(\"RUN/events\"); pyarrow.dataset.dataset(\"RUN/events\", partitioning=\"hive\")
```

Such readers see what is sealed. Rows that are still in a journal are seen by `tidegauge`, and by everybody after
`tidegauge-record recover RUN`.

## Layout

```text
RUN/
  run.json                                              format version, run id, when it started, the user's config
  TABLE/rank=R/process=P/part-NNNNNN.parquet            tables of one process, by the first chunk in the part
  TABLE/rank=R/process=P/part-NNNNNN-MMMMMM.parquet     a merged part, by its first and last
  node_samples/host=NAME/part-rR-pP-NNNNNN.parquet      devices and node, sampled once per node, by process P of rank R
  _process/rank=R/process=P/process.json                host, pid, clock, how it ended, what was dropped, what recording cost
  _process/rank=R/process=P/journal/                    only while recording, or after a crash
```

`process` is the first number that the process could claim with `mkdir`. Files whose name begins with a dot are being
written and are to be ignored. A part appears under its name only when it is whole and on the disk, and a name never
changes what it stands for.

Parts of a long run are merged while it records: a merged part holds the row groups of its inputs, in their order. It
names them as superseded and takes their place: first it appears, then they go. In the milliseconds between, and after a
crash in them until `tidegauge-record recover`, a reader that opens the folder as it is sees their rows twice;
`tidegauge` does not. Who keeps parts of a running process open by name holds a shared `flock` on
`_process/rank=R/process=P` meanwhile: nothing is merged until it is released.

## Rules

* `seq` orders all rows of one process. Replay follows it; `time` has ties and small steps back between threads.
* Times are UTC. They come from a monotonic clock that was tied to the wall clock once, when recording began: a step of
  the wall clock does not show.
* Null means unknown or not applicable, never 0.
* `size_bytes` is the requested size. On a free of any kind it is null: the size is that of the block's alloc.
* A `mark` ends the phase that bears its name: the phase began at the mark, span boundary or step boundary before.
* A counter that was read at a checkpoint is a row of `samples` with the checkpoint's `seq`.
* A kind, category or metric that a reader does not know is to be counted and left out, not refused.
* `watched` in `process.json` is there where `tidegauge-record` recorded a command from outside: what became of it. Its
  `samples` then bear the `pid` that they are of, and null for all processes of the command together.
* `retention` in `process.json` says which allocation events are kept: `all`, `{\"ring\": {\"records\": N}}` (the newest,
  as often as they were asked for, and at the end), `{\"windows\": {\"first\": N, \"every\": K}}` (those of the first N steps of
  each epoch, and of steps whose number in the epoch K divides). Then there are gaps in `seq`. A window begins with what
  happened in the gap and still matters: a `baseline` for each block that was allocated in it and is alive, frees of
  blocks that were alive before it, segment events. Each bears its own `seq` and time, so curves inside of windows are
  absolute, and in gaps a lower bound. `samples` then hold `allocated_bytes` and `peak_allocated_bytes` at each step's
  end, from all events.
* An import (`tidegauge import`) is a recording that another tool made, as a trace. Its `process.json` has `ended` `unknown`,
  `versions.recording` says what it was, `clock_source` is `file`, or `none` where the file had no times and rows lie a
  microsecond apart; `coverage` says in sentences which part of the program the recording covers, `operators` is the
  profiler's table where the file had one: `name`, `device`, `calls`, `self_bytes`, `inclusive_bytes` (allocated − freed),
  `self_allocated_bytes`, `inclusive_allocated_bytes`. It never had chunks: `tidegauge.consumed` counts the parts of a table.
";

/// The whole document.
#[must_use]
pub fn markdown() -> String {
    let mut out = String::from(HEAD);
    // Writing to a string cannot fail.
    let _ = writeln!(
        out,
        "\n## Version\n\nThis describes version {FORMAT_VERSION}; versions from {OLDEST_READABLE_VERSION} on are read. \
         The version counts changes of the format and is not that of the product. It stands in `run.json`, in every \
         `process.json`, in the journal and in the metadata of every part."
    );
    tables(&mut out);
    words(&mut out, "Event kinds", EventKind::ALL.iter().map(|kind| (kind.as_str(), kind.doc())));
    words(&mut out, "Checkpoint kinds", CheckpointKind::ALL.iter().map(|kind| (kind.as_str(), kind.doc())));
    words(&mut out, "Categories", Category::ALL.iter().map(|category| (category.as_str(), category.doc())));
    words(&mut out, "Metrics", metrics::ALL.iter().map(|metric| (metric.name, metric.doc)));
    let _ = writeln!(out, "\nA program's own counters bear the names that it gives them.");
    alerts(&mut out);
    words(&mut out, "Metadata of parts", METADATA.into_iter());
    let _ = writeln!(
        out,
        "\n`run.json` and `process.json` end with such a checksum too, in their member `checksum`. Who edits one by hand takes \
         that line out; who rewrites a part drops its checksum.\n\nA reader leaves out the parts that another one supersedes. Two parts of a table and process that consumed the \
         same chunks, or hold the same `seq`, are an error otherwise."
    );
    journal(&mut out);
    out
}

const METADATA: [(&str, &str); 7] = [
    (KEY_FORMAT_VERSION, "version of the format"),
    (KEY_TABLE, "table that the part belongs to"),
    (KEY_RUN_ID, "run id, as in `run.json`"),
    (
        KEY_CONSUMED,
        "journal chunks (for `sites` and `modules`: string ids) whose rows of this table are all in this part, `FIRST-LAST`; a merged part's range covers those between its inputs, which have none",
    ),
    (KEY_SEQ, "lowest and highest `seq` of the rows, `LOW-HIGH`; absent without rows"),
    (
        KEY_CHECKSUM,
        "CRC-32 of the whole file with eight zeros in the place of this value, eight hexadecimal digits; a part without it is taken as it is",
    ),
    (KEY_SUPERSEDES, "of a merged part: file names of the parts that it replaces, separated by `,`"),
];

fn tables(out: &mut String) {
    let _ = writeln!(out, "\n## Tables");
    for table in Table::ALL {
        let _ = writeln!(out, "\n### {table}\n\n{}\n", table.doc());
        let _ = writeln!(
            out,
            "| column | type | Parquet | null | unit | what it holds |\n|---|---|---|---|---|---|"
        );
        for column in table.columns() {
            let _ = writeln!(
                out,
                "| `{}` | {} | {} | {} | {} | {} |",
                column.name,
                column.column_type.name(),
                column.column_type.parquet(),
                if column.nullable { "yes" } else { "no" },
                column.unit,
                column.doc
            );
        }
    }
}

fn words<'a>(out: &mut String, heading: &str, words: impl Iterator<Item = (&'a str, &'a str)>) {
    let _ = writeln!(out, "\n## {heading}\n\n| word | meaning |\n|---|---|");
    for (word, meaning) in words {
        let _ = writeln!(out, "| `{word}` | {meaning} |");
    }
}

fn alerts(out: &mut String) {
    let (grammar, examples, metrics) =
        (alert_grammar::GRAMMAR, alert_grammar::EXAMPLES, alert_grammar::METRICS);
    let _ = write!(out, "\n## Alerts\n\n{grammar}\n```text\n{examples}```\n\n{metrics}");
}

fn journal(out: &mut String) {
    let _ = write!(
        out,
        "
## The journal

Little-endian words of 64 bits, written by stores into shared mappings. Readers other than Tidegauge's own are better
off with `tidegauge-record recover`; this is how it is made.

* `control`: counters of what was dropped, and anchors that tie clock ticks to the monotonic and the wall clock.
* `strings`: names, append-only; each with its id, `seq`, ticks, and a check word that is stored last.
* `chunk-NNNN`: {CHUNK_BYTES} bytes: a header of {CHUNK_HEADER_BYTES} bytes (magic, then the number of the chunk that
  the file holds now, with a check), then {SLOTS_PER_CHUNK} slots of 64 bytes. Record `seq` is slot `seq % {SLOTS_PER_CHUNK}`
  of chunk `seq / {SLOTS_PER_CHUNK}`. Files are used again for later chunks.
* A slot is valid if its first word, the commit word, has `seq + 1` in its low 48 bits and the check of the other seven
  words in its high 16. It is stored last. A slot with a lower number of the same place is of an earlier use.
* A chunk whose rows of a table are in a part (see `{KEY_CONSUMED}`) is not read again for that table.
* `live`: only where not all allocation events are kept: the blocks that were alive before the first chunk whose events
  are not dealt with, and what a reader must still be told of.
"
    );
}
