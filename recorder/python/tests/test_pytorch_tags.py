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
reused = 0
former = None
for _ in range(30):
    layer = nn.Linear(300, 300, bias=False)
    layer(torch.zeros(1, 300))
    present = id(layer.weight), layer.weight.data_ptr()
    reused += present == former
    former = present
    del layer
layer = nn.Linear(211, 211, bias=False)
optimizer = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9)
states = 0
former = None
for _ in range(30):
    optimizer.state.clear()
    layer(torch.zeros(1, 211)).sum().backward()
    optimizer.step()
    (momentum,) = [state["momentum_buffer"] for state in optimizer.state.values()]
    present = id(momentum), momentum.data_ptr()
    states += present == former
    former = present
    optimizer.zero_grad(set_to_none=False)
    del momentum
# torch refuses to swap tensors that anything refers to weakly.
torch.utils.swap_tensors(layer.weight, nn.Parameter(torch.zeros(211, 211)))
say(reused=reused, states=states)
tg.stop()
""",
    )
    assert outcome.said[0]["reused"] > 0 and outcome.said[0]["states"] > 0
    weights = [block for block in outcome.blocks() if block["bytes"] == 300 * 300 * 4]
    assert [block["category"] for block in weights] == ["parameter"] * 30
    of_state = [
        block
        for block in outcome.blocks()
        if block["bytes"] == 211 * 211 * 4 and block["category"] == "optimizer_state"
    ]
    assert len(of_state) == 30
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
