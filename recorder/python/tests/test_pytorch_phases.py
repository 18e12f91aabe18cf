"""Phases and steps that are recorded without touching the training loop."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch_program import Outcome, record

PART = ["+forward", "-forward", "+loss", "-loss", "+backward", "-backward"]
UPDATE = ["+optimizer", "-optimizer", "+zero_grad", "-zero_grad"]
DATA = ["+data", "-data"]


def between(outcome: Outcome, name: str) -> list[str]:
    """Beginnings and ends of phases and steps between the marks `NAME` and `NAME end`."""
    rows = outcome.checkpoints
    names = [row["name"] if row["kind"] == "mark" else None for row in rows]
    first, last = names.index(name), names.index(f"{name} end")
    signs = {"span_begin": "+", "span_end": "-", "step_begin": "[", "step_end": "]"}
    return [
        signs[row["kind"]] + (row["name"] or str(row["step"]))
        for row in rows[first:last]
        if row["kind"] in signs
    ]


def balanced(outcome: Outcome) -> None:
    """Every phase that began has ended, by thread, the innermost first; nothing failed."""
    open_: dict[tuple[int, int, int], list[str]] = {}
    for row in outcome.checkpoints:
        stack = open_.setdefault((row["rank"], row["process"], row["thread"]), [])
        if row["kind"] == "span_begin":
            stack.append(row["name"])
        elif row["kind"] == "span_end":
            assert stack.pop() == row["name"]
    assert all(not stack for stack in open_.values()), open_
    assert outcome.process["notes"] == []


def test_a_loop_with_a_data_loader(tmp_path: Path) -> None:
    outcome = record(
        tmp_path,
        """
tg.start(RUN)
tg.attach()
net = Net()
optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
criterion = nn.MSELoss()
losses = []
for epoch in range(2):
    net.train()
    for x, y in DataLoader(data(48), batch_size=16):
        loss = criterion(net(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    net.eval()
    with torch.no_grad():
        for x, y in DataLoader(data(16), batch_size=8):
            criterion(net(x), y)
say(losses=losses)
tg.stop()
""",
    )
    balanced(outcome)
    evaluation = [*DATA, "+eval", "-eval", "+eval", "-eval"] * 2
    assert outcome.spans() == ((DATA + PART + UPDATE) * 3 + evaluation) * 2
    assert outcome.steps() == [
        (n, pytest.approx(loss), 16) for n, loss in enumerate(outcome.said[0]["losses"])
    ]
    # Evaluation is in no step, and a batch that is asked for by a training step is part of it.
    step = None
    for row in outcome.checkpoints:
        step = {"step_begin": row["step"], "step_end": None}.get(row["kind"], step)
        if row["name"] == "eval":
            assert step is None
        if row["name"] == "optimizer":
            assert step is not None


def test_accumulation_and_a_gan_are_one_step_for_each_update(tmp_path: Path) -> None:
    outcome = record(
        tmp_path,
        """
tg.start(RUN)
tg.attach()
net, other = Net(), Net()
optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
second = torch.optim.SGD(other.parameters(), lr=0.01)
tg.checkpoint("accumulation")
for number, (x, y) in enumerate(DataLoader(data(64), batch_size=8)):
    (nn.functional.mse_loss(net(x), y) / 4).backward()
    if number % 4 == 3:
        optimizer.step()
        optimizer.zero_grad()
tg.checkpoint("accumulation end")
tg.checkpoint("gan")
for x, y in DataLoader(data(24), batch_size=8):
    nn.functional.mse_loss(net(x), y).backward()
    optimizer.step(); optimizer.zero_grad()
    nn.functional.mse_loss(other(x), y).backward()
    second.step(); second.zero_grad()
tg.checkpoint("gan end")
tg.checkpoint("plain")
x, y = torch.randn(4, 32), torch.randn(4, 1)
for _ in range(3):
    nn.functional.mse_loss(net(x), y).backward()
    optimizer.step(); optimizer.zero_grad()
tg.checkpoint("plain end")
tg.stop()
""",
    )
    balanced(outcome)
    fb = ["+forward", "-forward", "+backward", "-backward"]
    accumulation = between(outcome, "accumulation")
    assert accumulation == [
        *DATA,
        "[0",
        *fb,
        *(DATA + fb) * 3,
        *UPDATE,
        "]0",
        "[1",
        *(DATA + fb) * 4,
        *UPDATE,
        "]1",
    ]
    assert [s for s in between(outcome, "gan") if s[0] in "[]"] == ["[2", "]2", "[3", "]3", "[4", "]4"]
    assert [s for s in between(outcome, "plain") if s[0] in "[]"] == ["[5", "]5", "[6", "]6", "[7"]
    assert [batch for _, _, batch in outcome.steps()] == [8] * 5 + [4] * 3


def test_steps_of_the_program_are_the_only_ones(tmp_path: Path) -> None:
    outcome = record(
        tmp_path,
        """
tg.start(RUN)
tg.attach()
net = Net()
optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
for number, (x, y) in enumerate(DataLoader(data(32), batch_size=8)):
    with tg.step(10 + number, batch_size=8) as step:
        step.loss = nn.functional.mse_loss(net(x), y)
        step.loss.backward()
        optimizer.step()
        optimizer.zero_grad()
nn.functional.mse_loss(net(x), y).backward()
tg.stop()
""",
    )
    balanced(outcome)
    kinds = [(row["kind"], row["step"]) for row in outcome.checkpoints if row["kind"].startswith("step")]
    assert kinds == [(kind, number) for number in range(10, 14) for kind in ("step_begin", "step_end")]


def test_checkpointing_lbfgs_double_backward_and_exceptions(tmp_path: Path) -> None:
    outcome = record(
        tmp_path,
        """
from torch.utils.checkpoint import checkpoint
tg.start(RUN)
tg.attach(steps=False)
x, y = torch.randn(8, 32, requires_grad=True), torch.randn(8, 1)

class Checkpointed(Net):
    reentrant = False
    def forward(self, x):
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=self.reentrant)
        return self.head(x)

net = Checkpointed()
for reentrant in (False, True):
    net.reentrant = reentrant
    name = f"reentrant {reentrant}"
    tg.checkpoint(name); net(x).sum().backward(); tg.checkpoint(name + " end")

plain = Net()
lbfgs = torch.optim.LBFGS(plain.parameters(), max_iter=2)
def closure():
    lbfgs.zero_grad()
    loss = nn.functional.mse_loss(plain(x), y)
    loss.backward()
    return loss
tg.checkpoint("lbfgs"); lbfgs.step(closure); tg.checkpoint("lbfgs end")

tg.checkpoint("double")
(gradient,) = torch.autograd.grad(plain(x).sum(), x, create_graph=True)
gradient.pow(2).sum().backward()
tg.checkpoint("double end")

class Raises(nn.Module):
    def __init__(self, error):
        super().__init__()
        self.inner = Net()
        self.error = error
    def forward(self, x):
        self.inner(x)
        raise self.error

def attempt(call, *arguments):
    try:
        call(*arguments)
    except BaseException as error:
        return type(error).__name__

for error in (ValueError, KeyboardInterrupt, SystemExit):
    tg.checkpoint(error.__name__)
    assert attempt(nn.Sequential(Raises(error)), x) == error.__name__
    tg.checkpoint(error.__name__ + " end")

tg.checkpoint("after")
plain(x).sum().backward()
tg.checkpoint("after end")

def failing():
    raise RuntimeError("closure")
tg.checkpoint("step")
assert attempt(lbfgs.step, failing) == "RuntimeError"
plain(x).sum().backward()
sgd = torch.optim.SGD(plain.parameters(), lr=0.1)
sgd.step()
tg.checkpoint("step end")

class BadBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x): return x * 1
    @staticmethod
    def backward(ctx, g): raise RuntimeError("backward")
tg.checkpoint("backward")
assert attempt(BadBackward.apply(plain(x)).sum().backward) == "RuntimeError"
plain(x).sum().backward()
tg.checkpoint("backward end")
with torch.inference_mode():
    tg.checkpoint("inference"); plain(torch.randn(2, 32)); tg.checkpoint("inference end")
tg.stop()
""",
    )
    assert outcome.process["notes"] == []
    again = ["+recompute", "-recompute"] * 2
    for reentrant in (False, True):
        found = between(outcome, f"reentrant {reentrant}")
        assert found == ["+forward", "-forward", "+backward", *again, "-backward"]
    once = ["+zero_grad", "-zero_grad", "+forward", "-forward", "+backward", "-backward"]
    lbfgs = between(outcome, "lbfgs")
    assert lbfgs[0] == "+optimizer" and lbfgs[-1] == "-optimizer"
    assert lbfgs[1:-1] == once * ((len(lbfgs) - 2) // 6) and len(lbfgs) > 2
    forward, backward = ["+forward", "-forward"], ["+backward", "-backward"]
    assert between(outcome, "double") == forward + backward * 2
    assert between(outcome, "ValueError") == forward
    # Torch calls no hook after these: they are ended when the thread comes by again.
    assert between(outcome, "KeyboardInterrupt") == ["+forward"]
    assert between(outcome, "SystemExit") == ["-forward", "+forward"]
    assert between(outcome, "after") == ["-forward", *forward, *backward]
    step = between(outcome, "step")
    assert step == ["+optimizer", "-optimizer", *forward, *backward, "+optimizer", "-optimizer"]
    assert between(outcome, "backward") == (forward + backward) * 2
    assert between(outcome, "inference") == ["+eval", "-eval"]


def test_threads_have_phases_of_their_own(tmp_path: Path) -> None:
    outcome = record(
        tmp_path,
        """
tg.start(RUN)
net = Net()
tg.attach(net, name="net")
start = threading.Barrier(3)
def work():
    start.wait()
    for _ in range(20):
        net(torch.randn(4, 32)).sum().backward()
threads = [threading.Thread(target=work) for _ in range(2)]
for thread in threads: thread.start()
start.wait()
for _ in range(20):
    net(torch.randn(4, 32)).sum().backward()
for thread in threads: thread.join()
tg.stop()
""",
    )
    balanced(outcome)
    threads = {row["thread"] for row in outcome.checkpoints if row["kind"] == "span_begin"}
    assert len(threads) == 3
    for thread in threads:
        assert outcome.spans(thread=thread) == ["+forward", "-forward", "+backward", "-backward"] * 20


def test_a_scaled_loss_is_recorded_as_it_was(tmp_path: Path) -> None:
    outcome = record(
        tmp_path,
        """
tg.start(RUN)
tg.attach()
net = Net()
optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
losses = []
for x, y in DataLoader(data(48), batch_size=16):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = nn.functional.mse_loss(net(x), y)
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad()
    losses.append(loss.item())
say(losses=losses)
tg.stop()
""",
    )
    balanced(outcome)
    assert [loss for _, loss, _ in outcome.steps()] == pytest.approx(outcome.said[0]["losses"])
    assert outcome.spans() == (DATA + ["+forward", "-forward", "+backward", "-backward"] + UPDATE) * 3


def test_spans_of_the_program_around_the_same_calls_are_counted_once(tmp_path: Path) -> None:
    outcome = record(
        tmp_path,
        """
tg.start(RUN)
net = Net()
optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
tg.attach(net, optimizer)
loader = DataLoader(data(32), batch_size=8)
batches = iter(loader)
for _ in range(4):
    with tg.span("data"):
        x, y = next(batches)
    with tg.span("forward"):
        loss = nn.functional.mse_loss(net(x), y)
    with tg.span("backward"):
        loss.backward()
    with tg.span("optimizer"):
        optimizer.step()
        optimizer.zero_grad()
tg.stop()
""",
    )
    phases = {row["phase"]: row["count"] for row in outcome.table("phases")}
    assert phases == {name: 4 for name in ("data", "forward", "backward", "optimizer", "zero_grad")}
    steps = outcome.table("steps")
    assert [row["step"] for row in steps] == [0, 1, 2, 3]
