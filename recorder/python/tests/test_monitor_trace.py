"""What the monitors write to an open trace, read back by the analyzer; and that they cost nothing much
without one."""

from __future__ import annotations

from pathlib import Path

from conftest import query, run_python


def names(run: Path, kind: str) -> list[str]:
    rows = query(run, f"select name from checkpoints where kind = '{kind}' order by seq")
    return [row["name"] for row in rows]


def test_moments_and_phases(run: Path) -> None:
    run_python(
        """
import sys, tidegauge as tg
from tidegauge.monitor import *
MemoryMonitor.print_memory_usage("before the trace")
tg.start(sys.argv[1])
MemoryMonitor.print_memory_usage("After model creation: ")
MemoryMonitor.print_memory_usage()
MemoryTracker().record("initialization")
profiler = BatchMemoryProfiler()
for name in ("start", "data_to_gpu", "forward"):
    profiler.checkpoint(name)
profiler.disable()
profiler.checkpoint("not this")
with track_memory("outer"):
    with track_memory("inner"):
        pass
MemoryProfiler().profile_operation(lambda: None, "an operation")
try:
    with track_memory("failing"):
        raise ValueError
except ValueError:
    pass
tg.stop()
with track_memory("after the trace"):
    pass
""",
        str(run),
    )
    assert names(run, "mark") == [
        "After model creation",
        "memory usage",
        "initialization",
        "start",
        "data_to_gpu",
        "forward",
    ]
    assert names(run, "span_begin") == ["outer", "inner", "an operation", "failing"]
    assert names(run, "span_end") == ["inner", "outer", "an operation", "failing"]
    # There is no GPU: its counters are absent, not 0. Each checkpoint has resident memory.
    of_checkpoints = "where seq in (select seq from checkpoints)"
    metrics = query(run, f"select metric, count(*) as n from samples {of_checkpoints} group by metric")
    assert not [row for row in metrics if "torch" in row["metric"]]
    assert [row["n"] for row in metrics if row["metric"] == "rss_bytes"] == [6 + 8]


def test_counters_of_a_gpu(run: Path) -> None:
    # The GPU is a stand-in.
    run_python(
        """
import sys, torch, tidegauge as tg
sys.path.insert(0, sys.argv[2])
from fake_cuda import FakeCuda
from tidegauge.monitor import *
torch.cuda = fake = FakeCuda(devices=2)
fake.device = 1
tg.start(sys.argv[1])
with track_memory("block"):
    fake.alloc(30, device=1)
    fake.free(10, device=1)
MemoryMonitor.print_memory_usage("x")
tg.stop()
""",
        str(run),
        str(Path(__file__).parent),
    )
    rows = query(
        run, "select metric, device, value from samples where metric like 'torch%' order by seq, metric"
    )
    found = {(row["metric"], row["device"], row["value"] / 2**20) for row in rows}
    assert found == {
        ("torch_allocated_bytes", 1, 20.0),
        ("torch_reserved_bytes", 1, 30.0),
        ("torch_peak_allocated_bytes", 1, 30.0),
    }


def test_epochs_and_losses(run: Path) -> None:
    run_python(
        """
import sys, tidegauge as tg
from tidegauge.monitor import EpochMemoryMonitor
tg.start(sys.argv[1])
monitor = EpochMemoryMonitor(enabled=True, verbose_batches=1)
for _ in range(2):
    monitor.on_epoch_start()
    for number in range(3):
        monitor.on_batch_end(number, 0.5 + number)
    monitor.on_epoch_end()
with tg.epoch(7):
    monitor.on_epoch_start()
    monitor.on_batch_end(0)
    monitor.on_epoch_end()
    tg.checkpoint("still in 7")
tg.stop()
""",
        str(run),
    )
    rows = query(run, "select kind, name, epoch from checkpoints order by seq")
    assert [(row["kind"], row["name"], row["epoch"]) for row in rows] == [
        *(
            row
            for epoch in (0, 1)
            for row in [
                ("epoch_begin", None, epoch),
                *[("mark", "batch", epoch)] * 3,
                ("epoch_end", None, epoch),
            ]
        ),
        ("epoch_begin", None, 7),
        ("mark", "batch", 7),
        ("mark", "still in 7", 7),
        ("epoch_end", None, 7),
    ]
    losses = query(run, "select value from samples where metric = 'loss' order by seq")
    assert [row["value"] for row in losses] == [0.5, 1.5, 2.5] * 2


def test_evaluations_of_a_loss(run: Path) -> None:
    run_python(
        """
import sys, tidegauge as tg
from tidegauge.monitor import monitor_loss
tg.start(sys.argv[1])
with monitor_loss(lambda x: x * x, verbose_evaluations=2) as loss:
    for x in range(1000):
        loss(x)
tg.stop()
""",
        str(run),
    )
    rows = query(run, "select step, value from checkpoints where kind = 'loss_evaluation' order by seq")
    assert [(row["step"], row["value"]) for row in rows] == [(x, float(x * x)) for x in range(1000)]


def test_spans_of_generators_and_tasks_nest(run: Path) -> None:
    run_python(
        """
import asyncio, sys, tidegauge as tg
from tidegauge.monitor import monitor_memory
tg.start(sys.argv[1])
@monitor_memory("load")
def load():
    for number in range(2):
        yield number
for number in load():
    with tg.step(number), tg.span("forward"):
        pass
@monitor_memory("first")
async def first():
    await asyncio.sleep(0)
@monitor_memory("second")
async def second():
    await asyncio.sleep(0)
async def main():
    await asyncio.gather(first(), second())
asyncio.run(main())
tg.stop()
""",
        str(run),
    )
    rows = query(run, "select kind, name from checkpoints order by seq")
    spans = [
        (row["kind"].removeprefix("span_"), row["name"]) for row in rows if row["kind"].startswith("span")
    ]
    stretch = lambda name: [("begin", name), ("end", name)]  # noqa: E731
    assert spans == [
        *stretch("load"),
        *stretch("forward"),
        *stretch("load"),
        *stretch("forward"),
        *stretch("load"),
        *stretch("first"),
        *stretch("second"),
        *stretch("first"),
        *stretch("second"),
    ]


def test_training_and_inference(run: Path) -> None:
    run_python(
        """
import sys, torch, tidegauge as tg
from torch.utils.data import DataLoader, TensorDataset
from tidegauge.monitor import AdaptiveBatchTrainer, StreamingInference
tg.start(sys.argv[1])
model = torch.nn.Linear(3, 2)
dataset = TensorDataset(torch.ones(20, 3), torch.zeros(20, dtype=torch.long))
trainer = AdaptiveBatchTrainer(model, torch.optim.SGD(model.parameters(), lr=0.0), max_memory_mb=1e9)
trainer.max_batch_size = 8
for _ in range(2):
    trainer.train_epoch(DataLoader(dataset, batch_size=4))
StreamingInference(model, chunk_size=8).predict_large_batch(torch.ones(20, 3))
tg.stop()
""",
        str(run),
    )
    steps = query(run, "select step, batch_size, value from checkpoints where kind = 'step_end' order by seq")
    assert [(row["step"], row["batch_size"]) for row in steps] == [
        (0, 8),
        (1, 8),
        (2, 4),
        (3, 8),
        (4, 8),
        (5, 4),
    ]
    assert all(row["value"] > 0 for row in steps)
    in_step = query(run, "select name from checkpoints where kind = 'span_begin' and step = 3 order by seq")
    assert [row["name"] for row in in_step] == ["data", "zero_grad", "forward", "backward", "optimizer"]
    begun = names(run, "span_begin")
    assert begun.count("batch size trial") == 2 and begun.count("chunk") == 3
