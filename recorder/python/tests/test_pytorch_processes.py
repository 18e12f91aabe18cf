"""Ranks, data-loader workers, forks, and programs that end badly."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from torch_program import KILLED, record

DDP = """
import torch.distributed as dist
def work(rank, run, port):
    if port:
        os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2")
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    dist.init_process_group("gloo")
    tg.start(run)
    torch.manual_seed(0)
    net = nn.parallel.DistributedDataParallel(Net())
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    tg.attach(net, optimizer)
    for x, y in DataLoader(data(32), batch_size=8):
        nn.functional.mse_loss(net(x), y).backward()
        optimizer.step()
        optimizer.zero_grad()
    tg.stop()
    dist.destroy_process_group()
"""

SPAWNED = """
if __name__ == "__main__":
    import socket
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    torch.multiprocessing.spawn(work, (RUN, port), nprocs=2)
"""

LAUNCHED = """
work(int(os.environ["RANK"]), RUN, None)
"""


@pytest.mark.parametrize("spawned", [True, False], ids=["spawn", "torchrun"])
def test_ranks_of_a_distributed_job(tmp_path: Path, spawned: bool) -> None:
    command = [] if spawned else ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    outcome = record(tmp_path, DDP + (SPAWNED if spawned else LAUNCHED), command=command)
    rows = outcome.query(
        "SELECT rank, kind, count(*) AS n FROM checkpoints WHERE kind = 'step_end' GROUP BY rank, kind"
    )
    assert sorted((row["rank"], row["n"]) for row in rows) == [(0, 4), (1, 4)]
    for rank in (0, 1):
        spans = [
            row["name"] for row in outcome.checkpoints if row["rank"] == rank and row["kind"] == "span_begin"
        ]
        assert spans == ["data", "forward", "backward", "optimizer", "zero_grad"] * 4
        paths = {event["path"] for event in outcome.events if event["rank"] == rank}
        assert {"Net.norm", "Net.blocks.0.up", "SGD"} <= paths
        process = json.loads(
            (outcome.run / "_process" / f"rank={rank}" / "process=0" / "process.json").read_text()
        )
        assert (process["ended"], process["notes"]) == ("clean", [])


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_workers_of_a_data_loader(tmp_path: Path, context: str) -> None:
    outcome = record(
        tmp_path,
        f"""
class Samples(torch.utils.data.Dataset):
    def __len__(self):
        return 32
    def __getitem__(self, index):
        # A worker of a forked process has our hooks in its memory: they do nothing.
        assert torch.utils.data.get_worker_info() is not None
        assert not tg.is_on()
        hooks = torch.nn.modules.module
        assert not hooks._global_forward_hooks and not hooks._global_forward_pre_hooks
        nn.Linear(32, 1)(torch.ones(2, 32)).sum().backward()
        return torch.full((32,), float(index)), torch.ones(1)
def main():
    tg.start(RUN)
    net = Net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    tg.attach(net, optimizer)
    for x, y in DataLoader(Samples(), batch_size=8, num_workers=2, multiprocessing_context="{context}"):
        nn.functional.mse_loss(net(x), y).backward()
        optimizer.step()
        optimizer.zero_grad()
    tg.stop()
if __name__ == "__main__":
    main()
""",
    )
    assert [batch for _, _, batch in outcome.steps()] == [8] * 4
    assert outcome.spans("data") == ["+data", "-data"] * 4
    assert outcome.process["notes"] == []
    assert [path.name for path in (outcome.run / "_process" / "rank=0").iterdir()] == ["process=0"]


ENDING = """
tg.start(RUN)
net = Net()
optimizer = torch.optim.Adam(net.parameters())
tg.attach(net, optimizer)
class Last(nn.Module):
    def forward(self, x):
        kept = torch.ones(12345)
        end()
for number, (x, y) in enumerate(DataLoader(data(64), batch_size=8)):
    nn.functional.mse_loss(net(x), y).backward()
    optimizer.step()
    optimizer.zero_grad()
    if number == 4:
        Last()(x)
"""

ENDS = {
    "exception": ("def end(): raise ValueError('the end')", 1, "clean"),
    "sys.exit": ("def end(): sys.exit(3)", 3, "clean"),
    "os._exit": ("def end(): os._exit(4)", 4, None),
    "SIGKILL": ("def end():\n    import signal; os.kill(os.getpid(), signal.SIGKILL)", KILLED, None),
    "abort": ("def end(): os.abort()", -6, None),
}


@pytest.mark.parametrize("name", ENDS)
def test_a_program_that_ends_in_the_middle_is_recorded_to_its_last_call(tmp_path: Path, name: str) -> None:
    end, code, ended = ENDS[name]
    outcome = record(tmp_path, end + ENDING, expect=code)
    if ended is not None:
        assert outcome.process["ended"] == ended
    # A trace that was not closed is read as it is.
    last = [
        event for event in outcome.events if event["size_bytes"] == 4 * 12345 and event["kind"] == "alloc"
    ]
    assert len(last) == 1
    assert last[0]["path"] == "Last"
    begun = [row["name"] for row in outcome.checkpoints if row["kind"] == "span_begin"]
    assert begun == ["data", "forward", "backward", "optimizer", "zero_grad"] * 5 + ["forward"]
    assert len([row for row in outcome.checkpoints if row["kind"] == "step_begin"]) == 5


def test_blocks_that_outlive_the_recording_are_freed_safely(tmp_path: Path) -> None:
    outcome = record(
        tmp_path,
        """
net = Net()
tg.start(RUN)
tg.attach(net)
kept = [torch.ones(n) for n in range(1, 2000)]
shared = torch.ones(100).share_memory_()
grown = torch.ones(10); grown.resize_(100000)
view = kept[100][3:]
loss = net(torch.randn(4, 32)).sum()
tg.stop()
loss.backward()
total = sum(float(t.sum()) for t in kept)
grown.resize_(300000)
del kept, grown, net, loss
gc.collect()
say(total=total, view=float(view.sum()), allocator=torch.ones(5).sum().item())
""",
    )
    assert outcome.said == [{"total": 1999 * 1000.0, "view": 98.0, "allocator": 5.0}]


def test_without_a_compiler_phases_are_recorded_and_it_is_said(tmp_path: Path) -> None:
    outcome = record(
        tmp_path,
        """
tg.start(RUN)
net = Net()
tg.attach(net)
net(torch.randn(4, 32)).sum().backward()
tg.stop()
""",
        env={
            "PATH": "/nonexistent",
            "CXX": "/nonexistent/c++",
            "XDG_CACHE_HOME": str(tmp_path),
            "HOME": str(tmp_path),
        },
    )
    assert outcome.spans() == ["+forward", "-forward", "+backward", "-backward"]
    assert outcome.events == []
    (note,) = outcome.process["notes"]
    assert "allocations on the CPU are not recorded" in note
    assert len([line for line in outcome.err.splitlines() if line.startswith("tidegauge")]) == 1


def test_running_out_of_memory_on_the_cpu_is_recorded_and_survived(tmp_path: Path) -> None:
    outcome = record(
        tmp_path,
        """
tg.start(RUN)
net = Net()
optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
tg.attach(net, optimizer)
class Greedy(nn.Module):
    def forward(self, x):
        return x.sum() + torch.empty(2**50)
for x, y in DataLoader(data(24), batch_size=8):
    try:
        Greedy()(x)
    except RuntimeError:
        pass
    nn.functional.mse_loss(net(x), y).backward()
    optimizer.step()
    optimizer.zero_grad()
tg.stop()
""",
    )
    ooms = [row for row in outcome.checkpoints if row["kind"] == "oom"]
    assert len(ooms) == 3
    assert {event["size_bytes"] for event in outcome.events if event["kind"] == "oom"} == {2**52}
    assert len(outcome.steps()) == 3
    assert outcome.spans("forward") == ["+forward", "-forward"] * 6
