"""What the events say is alive, against an independent count of torch's storages."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch_program import record

TRUTH = """
from live_storages import LiveStorages
"""

LOOP = """
def train(net, optimizer, live, steps=4):
    loader = DataLoader(data(), batch_size=16)
    for x, y in loader:
        loss = nn.functional.mse_loss(net(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        truth = live.bytes()
        tg.checkpoint("truth")
        say(bytes=truth)
"""


def compare(outcome):
    marks = outcome.marks("truth")
    assert len(marks) == len(outcome.said) > 0
    assert [outcome.live_bytes(seq) for seq in marks] == [said["bytes"] for said in outcome.said]


@pytest.mark.parametrize(
    "late", [False, True], ids=["attached before the model", "attached between two epochs"]
)
def test_live_bytes_equal_the_storages_that_are_alive(tmp_path: Path, late: bool) -> None:
    outcome = record(
        tmp_path,
        TRUTH
        + LOOP
        + f"""
late = {late}
tg.start(RUN)
if not late:
    tg.attach()
net = Net()
optimizer = torch.optim.Adam(net.parameters())
if late:
    loss = net(torch.randn(16, 32)).sum()
    loss.backward()
    optimizer.step()
    del loss
    tg.attach(net, optimizer)
with LiveStorages() as live:
    truth = live.bytes()
    tg.checkpoint("truth")
    say(bytes=truth)
    train(net, optimizer, live)
    # What was there before recording is freed like the rest.
    net = optimizer = None
    gc.collect()
    truth = live.bytes()
    tg.checkpoint("truth")
    say(bytes=truth)
tg.stop()
""",
    )
    compare(outcome)
    assert any(block["is_baseline"] for block in outcome.blocks()) == late


def test_a_second_recording_counts_what_the_first_has_left(tmp_path: Path) -> None:
    outcome = record(
        tmp_path,
        TRUTH
        + LOOP
        + """
net = Net()
optimizer = torch.optim.AdamW(net.parameters())
tg.start(RUN + "-first")
tg.attach(net, optimizer)
with LiveStorages() as live:
    train(net, optimizer, live)
    between = torch.ones(1000)
    tg.stop()
    after = torch.ones(500)
    print(json.dumps("second"))
    tg.start(RUN)
    tg.attach(net, optimizer)
    say(bytes=live.bytes()); tg.checkpoint("truth")
    del between, after
    train(net, optimizer, live)
tg.stop()
""",
    )
    said = outcome.said[4:]
    marks = outcome.marks("truth")
    assert [outcome.live_bytes(seq) for seq in marks] == [fact["bytes"] for fact in said]


def test_categories_are_the_bytes_of_the_tensors(tmp_path: Path) -> None:
    outcome = record(
        tmp_path,
        """
net = Net()
optimizer = torch.optim.Adam(net.parameters())
tg.start(RUN)
tg.attach(net, optimizer)
x, y = next(iter(DataLoader(data(), batch_size=16)))
for _ in range(2):
    nn.functional.mse_loss(net(x), y).backward()
    optimizer.step()
    tg.checkpoint("here")
    optimizer.zero_grad()
parameters = [*net.parameters(), *net.buffers()]
state = [t for s in optimizer.state.values() for t in s.values()]
say(parameter=sum(t.nbytes for t in parameters), gradient=sum(p.nbytes for p in net.parameters()),
    optimizer_state=sum(t.nbytes for t in state), input=x.nbytes + y.nbytes)
tg.stop()
""",
    )
    for seq in outcome.marks("here"):
        for category, size in outcome.said[0].items():
            assert outcome.bytes_of(category, seq) == size, category


def test_tied_weights_views_and_sparse_gradients(tmp_path: Path) -> None:
    outcome = record(
        tmp_path,
        """
class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(100, 16, sparse=True)
        self.out = nn.Linear(16, 100, bias=False)
        self.own = nn.Linear(16, 16)
        self.view = nn.Parameter(self.own.weight.data[:4])
        self.register_buffer("none", None)
        self.empty = nn.Parameter(torch.empty(0))
    def forward(self, x):
        return self.out(self.own(self.embedding(x)))
net = Tied()
sparse = torch.optim.SparseAdam([net.embedding.weight])
dense = torch.optim.SGD([*net.out.parameters(), *net.own.parameters()], lr=0.1, momentum=0.9)
tg.start(RUN)
tg.attach(net, [sparse, dense])
meta = nn.Linear(8, 8, device="meta")
tg.attach(meta)
meta(torch.empty(2, 8, device="meta"))
for _ in range(3):
    net(torch.randint(0, 100, (8,))).sum().backward()
    sparse.step(); dense.step()
    indices, values = net.embedding.weight.grad._indices(), net.embedding.weight.grad._values()
    tg.checkpoint("here")
    say(gradient=sum(p.grad.nbytes for p in dense.param_groups[0]["params"]) + values.nbytes + indices.nbytes)
    sparse.zero_grad(); dense.zero_grad()
tg.stop()
""",
    )
    assert outcome.process["notes"] == []
    sizes = [outcome.bytes_of("gradient", seq) for seq in outcome.marks("here")]
    assert sizes == [fact["gradient"] for fact in outcome.said]
