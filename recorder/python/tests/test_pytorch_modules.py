"""Sites of allocations in forward and backward, and the table of modules."""

from __future__ import annotations

import json
from pathlib import Path

from torch_program import record


def test_blocks_bear_the_module_that_made_them_in_forward_and_backward(tmp_path: Path) -> None:
    outcome = record(
        tmp_path,
        """
tg.start(RUN)
net = Net()
optimizer = torch.optim.Adam(net.parameters())
tg.attach(net, optimizer)
x = torch.randn(16, 32)
net(x)
loss = net(x).sum()
tg.checkpoint("backward begins")
loss.backward()
tg.checkpoint("backward ends")
outside = torch.ones(1111)
optimizer.step()
within = {name: sum(p.nbytes for p in part.parameters(recurse=False)) for name, part in net.named_modules()}
say(within=within)
tg.stop()
""",
    )
    (begin,), (end,) = outcome.marks("backward begins"), outcome.marks("backward ends")
    blocks = outcome.blocks()
    forward = {block["path"] for block in blocks if block["begin"] < begin and not block["is_baseline"]}
    blocks_of_net = {f"Net.blocks.{n}{part}" for n in (0, 1) for part in ("", ".up", ".down")}
    assert blocks_of_net | {"Net.norm", "Net.head"} <= forward
    # Gradients of a module's own parameters were allocated when backward was at it.
    sizes: dict[str, int] = {}
    for block in blocks:
        if block["category"] == "gradient":
            assert begin < block["begin"] < end
            sizes[block["path"]] = sizes.get(block["path"], 0) + block["bytes"]
    assert sizes == {f"Net.{name}": size for name, size in outcome.said[0]["within"].items() if size}
    # relu, in no module of its own, is its block's.
    in_backward = {block["path"] for block in blocks if begin < block["begin"] < end}
    assert (
        {"Net.blocks.0", "Net.blocks.1"}
        <= in_backward
        <= blocks_of_net | {"Net.norm", "Net.head", "Net", None}
    )
    (outside,) = [block for block in blocks if block["bytes"] == 4444]
    assert outside["path"] is None
    assert {block["path"] for block in blocks if block["category"] == "optimizer_state"} == {"Adam"}


def test_rows_of_modules(tmp_path: Path) -> None:
    outcome = record(
        tmp_path,
        """
tg.start(RUN)
class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(inplace=True))
        self.unused = nn.Linear(2, 2, dtype=torch.float64)
    def forward(self, x, *, scale=None):
        y = self.inner(x)
        return {"y": y * scale, "x": (x,)}
two = Two()
tg.attach(two, name="two")
for batch in (3, 5, 3, 5):
    two(torch.randn(batch, 4), scale=torch.ones(1))["y"].sum().backward()
for batch in range(6, 40):
    two(torch.randn(batch, 4), scale=torch.ones(1))
tg.stop()
""",
    )
    rows = outcome.query("SELECT * FROM modules ORDER BY seq")
    by_path: dict[str, list[dict]] = {}
    for row in rows:
        by_path.setdefault(row["module"], []).append(row)
    assert set(by_path) == {"two", "two.inner", "two.inner.0", "two.inner.1", "two.inner.2", "two.unused"}
    linear = by_path["two.inner.0"]
    assert len(linear) == 8
    assert [json.loads(row["inputs"]) for row in linear[:3]] == [[[3, 4]], [[5, 4]], [[6, 4]]]
    assert json.loads(linear[0]["outputs"]) == [[3, 8]]
    assert (linear[0]["type"], linear[0]["parameters"], linear[0]["parameter_bytes"]) == ("Linear", 40, 160)
    assert json.loads(linear[0]["shapes"]) == {"weight": [8, 4], "bias": [8]}
    norm = by_path["two.inner.1"][0]
    assert (norm["buffers"], norm["buffer_bytes"], norm["dtypes"]) == (17, 72, "float32,int64")
    (unused,) = by_path["two.unused"]
    assert (unused["parameter_bytes"], unused["dtypes"], unused["inputs"]) == (48, "float64", None)
    assert json.loads(by_path["two"][0]["outputs"]) == [[3, 8], [3, 4]]


def test_nothing_of_us_is_in_a_model_that_is_copied_or_saved(tmp_path: Path) -> None:
    outcome = record(
        tmp_path,
        """
import importlib, pickle
optimizers = importlib.import_module("torch.optim.optimizer")
def state(module):
    return {name: sorted(part.__dict__) for name, part in module.named_modules()}
net = Net()
optimizer = torch.optim.Adam(net.parameters())
before = state(net), sorted(optimizer.__dict__), [len(part._forward_hooks) + len(part._backward_hooks)
    + len(part._forward_pre_hooks) + len(part._backward_pre_hooks) for part in net.modules()]
hooks = torch.nn.modules.module
functions = lambda: (torch.autograd._engine_run_backward, torch.autograd.graph._engine_run_backward,
    torch.optim.Optimizer.zero_grad, nn.Module.zero_grad,
    torch.utils.data.dataloader._BaseDataLoaderIter.__next__,
    torch.amp.GradScaler.scale, len(hooks._global_forward_hooks), len(hooks._global_forward_pre_hooks),
    len(hooks._global_forward_hooks_always_called),
    len(optimizers._global_optimizer_pre_hooks), len(optimizers._global_optimizer_post_hooks))
originals = functions()
for round in range(2):
    tg.start(f"{RUN}{round or ''}")
    tg.attach(net, optimizer)
    assert functions()[0] is not originals[0]
    net(torch.randn(4, 32)).sum().backward()
    optimizer.step()
    assert state(net) == before[0] and sorted(optimizer.__dict__) == before[1]
    twin = copy.deepcopy(net)
    buffer = io.BytesIO()
    torch.save(net, buffer)
    pickle.loads(pickle.dumps((net, optimizer)))
    assert b"tidegauge" not in buffer.getvalue()
    loaded = torch.load(io.BytesIO(buffer.getvalue()), weights_only=False)
    assert torch.equal(loaded(torch.ones(4, 32)), net(torch.ones(4, 32)))
    twin(torch.randn(4, 32)).sum().backward()
    kept = net(torch.randn(4, 32)).sum()
    if round:
        tg.detach()
    tg.stop()
    assert functions() == originals
    # A graph that was made while recording is used afterwards.
    kept.backward()
tg.attach(net)
assert functions() == originals
""",
    )
    assert outcome.err.count("nothing is recorded") == 1
    assert outcome.process["notes"] == []


def test_torchscript_functional_calls_and_modules_that_come_and_go(tmp_path: Path) -> None:
    outcome = record(
        tmp_path,
        """
import weakref
tg.start(RUN)
tg.attach()
net = Net().eval()
x = torch.randn(4, 32)
torch.jit.script(nn.Sequential(nn.Linear(32, 4), nn.ReLU()))(x).sum().backward()
torch.jit.trace(net, x)(x).sum().backward()
from torch.func import functional_call, grad, vmap
parameters = dict(net.named_parameters())
loss = lambda parameters, x: functional_call(net, parameters, (x,)).sum()
grad(loss)(parameters, x)
vmap(grad(loss), in_dims=(None, 0))(parameters, x.unsqueeze(1))
doubles = nn.Linear(3, 2)
assert torch.autograd.gradcheck(doubles.double(), torch.randn(2, 3, dtype=torch.double, requires_grad=True))
seen = weakref.ref(net)
del net, parameters, loss, doubles
gc.collect()
say(alive=seen() is not None)
for _ in range(50):
    nn.Linear(32, 4)(x)
nn.DataParallel(Net())(x).sum().backward()
class Recursive(nn.Module):
    def __init__(self):
        super().__init__()
        self.leaf = nn.Linear(32, 32)
    def forward(self, x, depth=3):
        return self.leaf(x) if depth == 0 else torch.relu(self(x, depth - 1))
recursive = Recursive()
tg.checkpoint("recursive")
recursive(x).sum().backward()
torch.nn.LazyLinear(3)(x).sum().backward()
tg.stop()
""",
    )
    assert outcome.said[0]["alive"] is False
    assert outcome.process["notes"] == []
    names = {row["name"] for row in outcome.query("SELECT name FROM sites")}
    assert not any(name.startswith("Linear-") for name in names), names
    assert {"Recursive", "Recursive.leaf"} <= names
    (seq,) = outcome.marks("recursive")
    begun = [row for row in outcome.checkpoints if row["seq"] > seq and row["kind"] == "span_begin"]
    assert [row["name"] for row in begun] == ["forward", "backward"] * 2
