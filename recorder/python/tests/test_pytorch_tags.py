"""What blocks are for, when models, parameters and states come and go; what was there before recording."""

from __future__ import annotations

from pathlib import Path

from torch_program import record


def test_models_and_states_at_the_addresses_of_former_ones_are_tagged(tmp_path: Path) -> None:
    outcome = record(
        tmp_path,
        """
tg.start(RUN)
tg.attach()
# By chance, so until it has happened.
rounds = reused = 0
addresses = {}
while reused < 3 and rounds < 1000:
    rounds += 1
    layer = nn.Linear(300, 300, bias=False)
    layer(torch.zeros(1, 300))
    address = layer.weight.data_ptr()
    reused += addresses.get(id(layer.weight)) == address
    addresses[id(layer.weight)] = address
    del layer
class Keeping(torch.optim.Optimizer):
    def __init__(self, parameters):
        super().__init__(parameters, {})
    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                if "kept" not in self.state[parameter]:
                    # So large that the kernel maps it: where the last one was. And it is the same object.
                    others = [torch.empty(0)]
                    while id(others[-1]) != former[0] and len(others) < 50:
                        others.append(torch.empty(0))
                    kept = others.pop()
                    others.clear()
                    kept.resize_(10_000_000)
                    self.state[parameter]["kept"] = kept
layer = nn.Linear(4, 4, bias=False)
optimizer = Keeping(layer.parameters())
resets = states = 0
former = (0, 0)
while states < 3 and resets < 1000:
    resets += 1
    optimizer.state.clear()
    optimizer.step()
    kept = optimizer.state[layer.weight]["kept"]
    present = id(kept), kept.data_ptr()
    states += present == former
    former = present
    del kept
# torch refuses to swap tensors that anything refers to weakly.
torch.utils.swap_tensors(layer.weight, nn.Parameter(torch.zeros(4, 4)))
say(reused=reused, states=states, rounds=rounds, resets=resets)
tg.stop()
""",
    )
    # Otherwise this shows nothing.
    assert (outcome.said[0]["reused"], outcome.said[0]["states"]) == (3, 3), outcome.said
    weights = [block for block in outcome.blocks() if block["bytes"] == 300 * 300 * 4]
    assert [block["category"] for block in weights] == ["parameter"] * outcome.said[0]["rounds"]
    of_state = [
        block
        for block in outcome.blocks()
        if block["bytes"] == 40_000_000 and block["category"] == "optimizer_state"
    ]
    assert len(of_state) == outcome.said[0]["resets"]
    assert outcome.process["notes"] == []


def test_what_is_frozen_is_found_and_nothing_is_told_twice(tmp_path: Path) -> None:
    outcome = record(
        tmp_path,
        """
from live_storages import LiveStorages
net = Net(64)
optimizer = torch.optim.Adam(net.parameters())
net(torch.randn(4, 64)).sum().backward()
optimizer.step()
def closed(held=torch.zeros(4321)):
    return held
live = LiveStorages()
gc.freeze()
tg.start(RUN)
tg.attach()
with live:
    def compare():
        truth = live.bytes()
        tg.checkpoint("truth")
        say(bytes=truth)
    compare()
    rows = [torch.randn(1000) for _ in range(5)]
    tg.detach()
    # Frees of what is known are recorded meanwhile, allocations are not.
    del rows[0]
    made = torch.randn(5000)
    for _ in range(3):
        tg.attach()
        tg.detach()
    tg.attach()
    compare()
    optimizer = made = None
    rows.clear()
    compare()
gc.unfreeze()
tg.stop()
# Another recording knows nothing of the first.
tg.start(RUN + "2")
tg.attach()
tg.stop()
say(parameters=sum(p.nbytes for p in net.parameters()))
""",
    )
    *truths, last = outcome.said
    assert [outcome.live_bytes(seq) for seq in outcome.marks("truth")] == [said["bytes"] for said in truths]
    begun = [event for event in outcome.events if event["kind"] == "baseline"]
    assert len({(event["address"], event["size_bytes"]) for event in begun}) == len(begun)
    (note,) = outcome.process["notes"]
    assert "gc.freeze" in note
    second = type(outcome)(Path(f"{outcome.run}2"), 0, [], "")
    told = [event for event in second.events if event["kind"] == "baseline"]
    of_parameters = sum(event["size_bytes"] for event in told if event["category"] == "parameter")
    # Buffers count as well.
    assert of_parameters >= last["parameters"]
