"""Installing and taking away, other allocators above and below, the recorder's end, children."""

from __future__ import annotations

from pathlib import Path

import pytest
from allocator_program import OTHERS, query, run_program


def test_blocks_that_outlive_the_allocator_are_freed_and_told(tmp_path: Path) -> None:
    ran = run_program(
        OTHERS
        + """
sink.start(RUN)
before = others.present()
say(others.takes_priority(0))
extension.install_cpu(functions)
say(others.present() != before)
kept = [torch.ones(100) for _ in range(10)]
say(extension.uninstall_cpu())
say(others.present() == before)
say(others.takes_priority(0))
sink.mark("uninstalled")
not_seen = torch.ones(5000)
say(sum(tensor.sum().item() for tensor in kept))
for tensor in kept:
    tensor.resize_(200)  # by the allocator that made it, which is ours
del tensor, kept
sink.mark("freed")
sink.stop()
""",
        tmp_path,
    )
    assert ran.said == [1, True, True, True, 1, 1000.0]
    replay = ran.replay()
    assert sum(replay.at_marks["uninstalled"].values()) == 4000
    assert replay.at_marks["freed"] == {}
    assert not any(event.size_bytes == 20_000 for event in ran.events())


def test_it_can_be_installed_again_and_again(tmp_path: Path) -> None:
    ran = run_program(
        OTHERS
        + """
sink.start(RUN)
before = others.present()
ours = set()
for turn in range(40):
    extension.install_cpu(functions)
    extension.install_cpu(functions)  # is there already
    ours.add(others.present())
    block = torch.empty(turn + 1, dtype=torch.uint8)
    say(extension.uninstall_cpu())
    say(extension.uninstall_cpu())  # is gone already
    say(others.present() == before)
    del block
say(len(ours))
sink.stop()
""",
        tmp_path,
    )
    assert ran.said[:-1] == [True] * 120
    assert ran.said[-1] == 1, "one allocator of ours for the one below it"
    sizes = [event.size_bytes for event in ran.events() if event.kind == "alloc"]
    assert sizes == list(range(1, 41))
    assert ran.replay().alive == {}


def test_it_outlives_the_recording_and_serves_the_next(tmp_path: Path) -> None:
    ran = run_program(
        """
sink.start(RUN)
extension.install_cpu(functions)
kept = torch.ones(10)
sink.stop()
torch.ones(20).sum()
sink.start(RUN + "-second")
also = torch.ones(30)
del kept
sink.mark("end")
del also
sink.stop()
extension.uninstall_cpu()
""",
        tmp_path,
    )
    assert list(ran.replay().alive.values()) == [40]
    second = query(tmp_path / "run-second", "SELECT kind, size_bytes FROM events ORDER BY seq")
    assert second == [
        {"kind": "alloc", "size_bytes": 120},
        {"kind": "free", "size_bytes": None},
        {"kind": "free", "size_bytes": None},
    ]


def test_an_allocator_on_top_of_ours_is_left_and_said(tmp_path: Path) -> None:
    ran = run_program(
        OTHERS
        + """
sink.start(RUN)
extension.install_cpu(functions)
ours = others.present()
say(others.set_delegating(7))
theirs = others.present()
through_both = torch.ones(100)
sink.mark("both")
say(extension.uninstall_cpu())
say(others.present() == theirs)
while_off = torch.ones(1000)
sink.mark("off")

# Wrapped anew, with our first allocator still below: each block is told once.
extension.install_cpu(functions)
say(others.present() not in (ours, theirs))
again = torch.ones(200)
again.resize_(300)
through_both.resize_(400)
sink.mark("again")
say(extension.uninstall_cpu())
say(others.present() == theirs)
del through_both, while_off, again
sink.mark("end")
say(others.set_former(7))
say(others.present() == ours)

# Ours is on top again, and used as it is.
extension.install_cpu(functions)
say(others.present() == ours)
last = torch.ones(500)
del last
say(extension.uninstall_cpu())
say(others.blocks_alive())
sink.stop()
""",
        tmp_path,
    )
    assert ran.said == [1, False, True, True, True, True, 1, True, True, True, 0]
    replay = ran.replay()
    assert not replay.alive_twice
    assert sorted(replay.at_marks["both"].values()) == [400]
    assert sorted(replay.at_marks["off"].values()) == [400]
    assert sorted(replay.at_marks["again"].values()) == [1200, 1600]
    assert replay.at_marks["end"] == {}
    assert replay.alive == {}
    # That of the block that was allocated while nothing was recorded.
    assert len(replay.unknown_frees) == 1


@pytest.mark.parametrize("kind", ["with_contexts", "plain"])
def test_an_allocator_without_a_raw_deleter_is_followed(tmp_path: Path, kind: str) -> None:
    ran = run_program(
        OTHERS
        + """
kind = sys.argv[2]
say(others["set_" + kind](0))
before = torch.ones(10)
sink.start(RUN)
extension.install_cpu(functions)
say(others.raw())  # 1: it has no raw deleter, and we do not say that it has
kept = torch.arange(100.0)
if kind == "plain":
    lazy = torch._lazy_clone(kept)
    lazy += 1
else:
    lazy = kept.clone() + 1
    try:
        torch._lazy_clone(kept)
    except RuntimeError:
        pass
    else:
        sys.exit("torch clones lazily what has a context: it would be given back wrong")
say([kept.sum().item(), lazy.sum().item(), torch.empty(0).numel()])
model = torch.nn.Linear(50, 50)
model(torch.ones(4, 50)).sum().backward()
sink.mark("kept")
gradients = [parameter.grad for parameter in model.parameters()]  # Python sees what it has asked for
storages = live_storages()
say(sum(storages[address] for address in storages if address != before.data_ptr()))
try:
    torch.empty(2**41, dtype=torch.uint8)
except (RuntimeError, MemoryError) as error:
    say(str(error))
del kept, lazy, model, gradients
gc.collect()
say(extension.uninstall_cpu())
del before
say(others.blocks_alive())
sink.stop()
""",
        tmp_path,
        [kind],
    )
    assert ran.said[:2] == [1, 1]
    assert ran.said[2] == [4950.0, 5050.0, 0]
    replay = ran.replay()
    assert not replay.alive_twice and not replay.unknown_frees
    assert sum(replay.at_marks["kept"].values()) == ran.said[3]
    assert "bad_alloc" in ran.said[4]
    assert [event.size_bytes for event in ran.events() if event.kind == "oom"] == [2**41]
    assert replay.alive == {} and ran.said[5] is True
    assert ran.said[6] == 0


def test_a_forked_child_works_and_records_nothing(tmp_path: Path) -> None:
    ran = run_program(
        """
sink.start(RUN)
extension.install_cpu(functions)
kept = torch.ones(1000)
sink.mark("fork")
child = os.fork()
if child == 0:
    own = torch.ones(2000)
    kept.add_(1)
    kept.resize_(3000)
    del kept
    torch.nn.Linear(20, 20)(torch.ones(2, 20)).sum().backward()
    os._exit(0 if own.sum() == 2000 and extension.uninstall_cpu() else 1)
say(os.waitpid(child, 0)[1])
say(kept.sum().item())
more = torch.ones(10)
sink.mark("end")
del kept, more
extension.uninstall_cpu()
sink.stop()
""",
        tmp_path,
    )
    assert ran.said == [0, 1000.0]
    replay = ran.replay()
    assert not replay.alive_twice and not replay.unknown_frees
    assert sorted(replay.at_marks["end"].values()) == [40, 4000]
    assert not any(event.size_bytes in (8000, 12_000) for event in ran.events())


def test_workers_of_a_data_loader_forked_or_spawned(tmp_path: Path) -> None:
    ran = run_program(
        """
from torch.utils.data import DataLoader, Dataset

class Images(Dataset):
    def __len__(self): return 32
    def __getitem__(self, index): return torch.full((3, 8, 8), float(index)), torch.tensor(index)

def main():
    sink.start(RUN)
    extension.install_cpu(functions)
    for context in ("fork", "spawn"):
        loader = DataLoader(Images(), batch_size=4, num_workers=2, multiprocessing_context=context)
        means = sum(images.mean().item() for images, _ in loader)
        say([means, sum(labels.sum().item() for _, labels in loader)])
        gc.collect()
        sink.mark(context)
    extension.uninstall_cpu()
    sink.stop()

if __name__ == "__main__":
    main()
""",
        tmp_path,
    )
    assert ran.said == [[124.0, 496], [124.0, 496]]
    replay = ran.replay()
    assert not replay.alive_twice and not replay.unknown_frees
    assert replay.at_marks["fork"] == {} and replay.at_marks["spawn"] == {}
    assert len({event.thread for event in ran.events() if event.kind == "alloc"}) >= 1


def test_a_compiled_model_is_right_and_followed(tmp_path: Path) -> None:
    ran = run_program(
        """
torch.manual_seed(1)
layers = [torch.nn.Linear(64, 128), torch.nn.GELU(), torch.nn.LayerNorm(128), torch.nn.Linear(128, 8)]
model = torch.nn.Sequential(*layers)
batch = torch.randn(32, 64)
expected = model(batch)
compiled = torch.compile(model)
sink.start(RUN)
extension.install_cpu(functions)
difference = (compiled(batch) - expected).abs().max().item()
say(difference < 1e-5)
for _ in range(3):
    model.zero_grad(set_to_none=True)
    compiled(batch).square().mean().backward()
gc.collect()
sink.mark("trained")
storages = [parameter.grad.untyped_storage() for parameter in model.parameters()]
say({str(storage.data_ptr()): storage.nbytes() for storage in storages})
extension.uninstall_cpu()
sink.stop()
say(torch._dynamo.utils.counters["frames"]["ok"] >= 1)
""",
        tmp_path,
        more={"TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "inductor")},
    )
    assert ran.said[0] is True and ran.said[2] is True
    replay = ran.replay()
    assert not replay.alive_twice and not replay.unknown_frees
    gradients = {int(address): size for address, size in ran.said[1].items()}
    assert gradients.items() <= replay.at_marks["trained"].items()
