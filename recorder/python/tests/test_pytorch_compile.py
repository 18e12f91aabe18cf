"""torch.compile: the same graphs, breaks and recompilations with us as without."""

from __future__ import annotations

from pathlib import Path

from torch_program import record

PROGRAM = """
import torch._dynamo
from torch._dynamo.utils import counters
ATTACHED = os.environ["ATTACHED"] == "1"
if ATTACHED:
    tg.start(RUN)
    tg.attach()
torch._dynamo.config.cache_size_limit = 4
net = Net()
optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
step = torch.compile(net, backend="aot_eager")
whole = torch.compile(Net(), backend="aot_eager", fullgraph=True)
part = Net()
part.blocks[0].compile(backend="aot_eager")
compiled_step = torch.compile(optimizer.step, backend="aot_eager")

class Broken(Net):
    def forward(self, x):
        x = self.blocks[0](x)
        torch._dynamo.graph_break()
        return self.head(self.blocks[1](x))
broken = torch.compile(Broken(), backend="aot_eager")

@torch.compile(backend="aot_eager")
def in_function(x):
    return net(x).sum()

results = []
for x, y in DataLoader(data(96), batch_size=16):
    optimizer.zero_grad()
    for model in (step, whole, part, broken):
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        results.append(loss.item())
    in_function(x).backward()
    compiled_step()
with torch.no_grad():
    results.append(step(x).sum().item())
told = ("stats", "graph_break", "recompiles", "resumes")
say(counters={name: dict(counter) for name, counter in counters.items() if name in told},
    results=results, graphs=torch._dynamo.utils.counters["stats"]["unique_graphs"],
    compiled=[f"{m.co_name} {os.path.basename(m.co_filename or str())}:{m.co_firstlineno}" for m in
    torch._dynamo.utils.get_compilation_metrics()])
if ATTACHED: tg.stop()
"""


def test_counters_of_dynamo_are_the_same(tmp_path: Path) -> None:
    outcomes = []
    for attached in ("0", "1"):
        folder = tmp_path / attached
        folder.mkdir()
        outcomes.append(
            record(folder, PROGRAM, env={"ATTACHED": attached, "TORCHINDUCTOR_CACHE_DIR": str(folder)})
        )
    without, with_us = (outcome.said[0] for outcome in outcomes)
    assert without["graphs"] > 4
    assert with_us == without
    recorded = outcomes[1]
    assert recorded.process["notes"] == []
    forward = recorded.spans("forward")
    assert forward == ["+forward", "-forward"] * (len(forward) // 2) and len(forward) >= 2 * 4 * 6
