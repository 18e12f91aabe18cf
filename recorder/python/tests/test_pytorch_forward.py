"""Forward calls with arguments, results and tracers that are out of the ordinary: phases begin and end as
ever, and the program does what it does without us.
"""

from __future__ import annotations

from pathlib import Path

from test_pytorch_phases import balanced, between
from torch_program import record

FORWARD_AND_BACKWARD = ["+forward", "-forward", "+backward", "-backward"]

ODD_VALUES = """
from typing import NamedTuple
class KeysValues(NamedTuple):
    keys: torch.Tensor
    values: torch.Tensor
class Cache:
    def __init__(self, keys, values):
        self.keys, self.values = keys, values
class Frame:
    touched = []
    def __getattr__(self, name):
        Frame.touched.append(name)
        raise AttributeError(name)
class Lazy(dict):
    asked = 0
    def values(self):
        Lazy.asked += 1
        return super().values()
class Shaped:
    shape = torch.tensor([1, 2])
class Evil(torch.Tensor):
    @classmethod
    def __torch_function__(cls, function, types, arguments=(), keywords=None):
        if function in (nn.functional.linear, torch.Tensor.sum):
            with torch._C.DisableTorchFunctionSubclass():
                return function(*(a.as_subclass(torch.Tensor) if isinstance(a, Evil) else a
                                  for a in arguments))
        raise RuntimeError("no such thing")
class Any(nn.Module):
    def __init__(self, result):
        super().__init__()
        self.layer = nn.Linear(8, 8)
        self.result = result
    def forward(self, x, *others, **more):
        y = self.layer(x if isinstance(x, torch.Tensor) else torch.ones(2, 8))
        return y, self.result(y)
"""


def test_odd_arguments_and_results_leave_no_phase_open(tmp_path: Path) -> None:
    outcome = record(
        tmp_path,
        ODD_VALUES
        + """
x = torch.randn(2, 8)
evil = torch.randn(2, 8).as_subclass(Evil)
nested = torch.nested.nested_tensor([torch.randn(3, 8), torch.randn(2, 8)])
tg.start(RUN)
# Takes the allocator of the CPU although a tensor answers whatever it is asked with an exception.
tg.attach(steps=False)
kept = torch.empty(98765, dtype=torch.uint8)
def twice(name, call):
    tg.checkpoint(name)
    for _ in range(2):
        call().sum().backward()
    tg.checkpoint(name + " end")
pair, cache = Any(lambda y: KeysValues(y, y)), Any(lambda y: Cache(y, y))
twice("named tuple", lambda: pair(x)[0])
twice("attributes", lambda: cache(x, past=cache(x)[1])[0])
twice("frame", lambda: pair(x, Frame())[0])
twice("shaped", lambda: pair(Shaped())[0])
twice("lazy", lambda: pair(Lazy(x=x))[0])
twice("evil", lambda: pair(evil)[0])
stack = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
twice("nested", lambda: torch.nested.to_padded_tensor(stack(nested), 0.0))
for keys_values in DataLoader([KeysValues(torch.ones(8), torch.ones(8))] * 4, batch_size=2):
    pair(keys_values.keys)
say(touched=Frame.touched, asked=Lazy.asked)
tg.stop()
""",
    )
    balanced(outcome)
    for name in ("named tuple", "frame", "shaped", "lazy", "evil", "nested"):
        assert between(outcome, name) == FORWARD_AND_BACKWARD * 2, name
    assert between(outcome, "attributes") == (["+forward", "-forward"] * 2 + ["+backward", "-backward"]) * 2
    assert outcome.said == [{"touched": [], "asked": 0}]
    assert [block["bytes"] for block in outcome.blocks()].count(98765) == 1
    rows = outcome.query("SELECT outputs FROM modules WHERE module = 'Any'")
    assert rows[0]["outputs"] == "[[2, 8], [2, 8], [2, 8]]"


TRACERS = """
from torch.fx.experimental.proxy_tensor import make_fx
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
class Part(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(32, 8), nn.ReLU())
    def forward(self, x, again=None):
        return self.net(x) + 1
class Whole(nn.Module):
    def __init__(self):
        super().__init__()
        self.part = Part()
    def forward(self, x):
        return self.part(x, again=x)
class Tracing(nn.Module):
    def __init__(self):
        super().__init__()
        self.whole = Whole()
    def forward(self, x):
        return torch.fx.symbolic_trace(self.whole)(x)
class Functions(TorchFunctionMode):
    def __torch_function__(self, function, types, arguments=(), keywords=None):
        seen.append(str(function))
        return function(*arguments, **(keywords or {}))
class Operations(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        seen.append(str(function))
        return function(*arguments, **(keywords or {}))
whole, x = Whole(), torch.randn(4, 32)
def loss(x):
    return torch.autograd.grad(whole(x).sum(), list(whole.parameters()))
def graphs():
    symbolic = torch.fx.symbolic_trace(whole)
    assert torch.equal(symbolic(x), whole(x))
    Tracing()(x)
    return [str(symbolic.graph), str(make_fx(whole)(x).graph), str(make_fx(loss)(x).graph)]
def modes():
    found = []
    for mode in (Functions, Operations):
        for _ in range(2):
            seen.clear()
            # Made within, so that what is done for a first call is seen as well.
            net = nn.Sequential(nn.Linear(32, 32), nn.Linear(32, 1))
            optimizer = torch.optim.Adam(net.parameters())
            with mode():
                net(x).sum().backward()
                optimizer.step()
                optimizer.zero_grad()
            found.append(list(seen))
    return found
seen = []
"""


def test_what_a_tracer_or_a_mode_sees_is_the_program_alone(tmp_path: Path) -> None:
    outcome = record(
        tmp_path,
        TRACERS
        + """
before = graphs(), modes()
tg.start(RUN)
tg.attach()
tg.checkpoint("traced")
torch.fx.symbolic_trace(whole)
tg.checkpoint("traced end")
assert graphs() == before[0]
after = modes()
assert after == before[1], [set(a).symmetric_difference(b) for a, b in zip(after, before[1])]
tg.stop()
""",
    )
    balanced(outcome)
    # Nothing was computed.
    assert between(outcome, "traced") == []


def test_hooks_do_not_pile_up_and_names_take_no_time(tmp_path: Path) -> None:
    outcome = record(
        tmp_path,
        """
import time
class Part(nn.Module):
    def forward(self, z):
        return z * 2
class Around(nn.Module):
    def __init__(self):
        super().__init__()
        self.part = Part()
    def forward(self, z):
        return self.part(z).sum()
tg.start(RUN)
tg.attach()
encoder, around = nn.Linear(8, 8), Around()
z = encoder(torch.randn(2, 8)) * 2
def hooks_of(node):
    # The handle of one more hook shows all that are on the node.
    handle = node.register_prehook(lambda _: None)
    number = len(handle.hooks_dict_ref())
    handle.remove()
    return number - 1
for _ in range(5):
    around(z).backward(retain_graph=True)
of_kept = hooks_of(z.grad_fn)
meta = torch.randn(4, device="meta", requires_grad=True)
root = meta * 2
for _ in range(5):
    torch.autograd.grad(root, meta, torch.ones(4, device="meta"), retain_graph=True)
say(of_kept=of_kept, of_root=hooks_of(root.grad_fn))
def first_calls(number):
    layers = [nn.Identity() for _ in range(number)]
    x = torch.ones(1)
    began = time.process_time()
    for layer in layers:
        layer(x)
    return (time.process_time() - began) / number, layers
few, some = first_calls(500)
many, others = first_calls(8000)
say(few=few, many=many)
del some[:]
del others[:]
nn.Linear(8, 8)(torch.ones(8)); nn.Linear(8, 8)(torch.ones(8))
kept = [nn.Linear(8, 8) for _ in range(2)]
for layer in kept:
    layer(torch.ones(8))
say(names=[tg.pytorch._installation.sites.by_id[id(layer)].path for layer in kept])
class Raising(torch.optim.SGD):
    def step(self, closure=None):
        raise ValueError
try:
    Raising(encoder.parameters(), lr=0.1).step()
except ValueError:
    pass
tg.stop()
""",
    )
    hooks, seconds, names = outcome.said
    assert hooks == {"of_kept": 0, "of_root": 0}
    assert seconds["many"] < 4 * seconds["few"]
    # The encoder is the first; numbers of modules that are no more are taken again.
    assert names["names"] == ["Linear-2", "Linear-3"]
    balanced(outcome)
    assert outcome.spans("optimizer") == ["+optimizer", "-optimizer"]
