"""Allocations on the CPU, against torch's profiler and against the storages that Python sees."""

from __future__ import annotations

import json
from pathlib import Path

from allocator_program import OTHERS, query, run_program

TRAINING = """
def make():
    torch.manual_seed(1)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.BatchNorm2d(8), torch.nn.ReLU(inplace=True),
        torch.nn.Flatten(), torch.nn.Linear(8 * 16 * 16, 64), torch.nn.GELU(), torch.nn.Linear(64, 10),
    )
    return model, torch.optim.Adam(model.parameters(), lr=1e-3)

def step(model, optimizer, images, labels):
    loss = torch.nn.functional.cross_entropy(model(images), labels)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return loss.item()

def data():
    return torch.randn(16, 3, 16, 16), torch.randint(0, 10, (16,))
"""


def test_every_event_of_the_profiler_is_ours_in_order_with_address_and_bytes(tmp_path: Path) -> None:
    ran = run_program(
        TRAINING
        + """
from torch.profiler import ProfilerActivity, profile, record_function
step(*make(), *data())  # what torch sets up once
sink.start(RUN)
with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
    extension.install_cpu(functions)
    with record_function("recorded"):
        sink.mark("begin")
        model, optimizer = make()
        for _ in range(4):
            step(model, optimizer, *data())
        del model, optimizer
        gc.collect()
        sink.mark("end")
    extension.uninstall_cpu()
sink.stop()
profiler.export_chrome_trace("profile.json")
""",
        tmp_path,
    )
    events = ran.events()
    begin, end = (next(event.seq for event in events if event.name == name) for name in ("begin", "end"))
    ours = [event for event in events if begin < event.seq < end]
    theirs = profiled_between(tmp_path / "profile.json", "recorded")
    assert len(theirs) > 500

    sizes: dict[int, int] = {}
    signed = []
    for event in ours:
        assert event.address is not None
        if event.kind == "alloc":
            assert event.size_bytes is not None
            sizes[event.address] = event.size_bytes
            signed.append((event.address, event.size_bytes))
        else:
            signed.append((event.address, -sizes[event.address]))
    assert signed == theirs


def profiled_between(file: Path, name: str) -> list[tuple[int, int]]:
    """Address and signed bytes of the profiler's memory events within the span."""
    events = json.loads(file.read_text())["traceEvents"]
    span = next(
        event for event in events if event.get("name") == name and event.get("cat") == "user_annotation"
    )
    memory = [
        event for event in events if event.get("name") == "[memory]" and event["args"]["Device Type"] == 0
    ]
    memory.sort(key=lambda event: event["ts"])
    inside = [event["args"] for event in memory if span["ts"] <= event["ts"] <= span["ts"] + span["dur"]]
    return [(args["Addr"], args["Bytes"]) for args in inside]


def test_what_is_alive_after_each_step_is_what_python_sees(tmp_path: Path) -> None:
    ran = run_program(
        TRAINING
        + """
sink.start(RUN)
known = set(live_storages())
extension.install_cpu(functions)
model, optimizer = make()
for number in range(5):
    step(model, optimizer, *data())
    gc.collect()
    sink.mark(f"step {number}")
    say({str(address): size for address, size in live_storages().items() if address not in known})
extension.uninstall_cpu()
sink.stop()
""",
        tmp_path,
    )
    replay = ran.replay()
    assert not replay.alive_twice and not replay.unknown_frees
    for number, seen in enumerate(ran.said):
        expected = {int(address): size for address, size in seen.items()}
        # Parameters, buffers and, after the first step, twice as much of Adam's.
        assert len(expected) > 15
        assert replay.at_marks[f"step {number}"] == expected


def test_blocks_made_before_recording_are_adopted_and_their_frees_seen(tmp_path: Path) -> None:
    ran = run_program(
        TRAINING
        + """
import numpy
model, optimizer = make()
step(model, optimizer, *data())
earlier = [torch.empty(1000), torch.empty(0), torch.from_numpy(numpy.zeros(10))]
earlier.append(torch.empty(10).share_memory_())
source = torch.ones(100)
lazy = torch._lazy_clone(source)
sink.start(RUN)
extension.prepare_cpu(functions)
say([extension.adopt_cpu(tensor.untyped_storage()) for tensor in [*earlier, source, lazy]])
say([extension.adopt_cpu(parameter.untyped_storage())[2] for parameter in model.parameters()])
say([extension.adopt_cpu(parameter.untyped_storage())[2] for parameter in model.parameters()])
say([[parameter.data_ptr(), parameter.untyped_storage().nbytes()] for parameter in model.parameters()])
extension.install_cpu(functions)
for tensor in earlier: say(tensor.sum().item() if tensor.numel() == 10 else None)
lazy += 1
say([source.sum().item(), lazy.sum().item()])
for _ in range(3):
    step(model, optimizer, *data())
sink.mark("before")
del model, optimizer, earlier
gc.collect()
sink.mark("after")
sink.stop()
""",
        tmp_path,
    )
    adopted = ran.said[0]
    assert adopted[0][1:] == [4000, False]
    assert adopted[1:] == [None] * 5
    assert set(ran.said[1]) == {False} and set(ran.said[2]) == {True}
    between = False
    freed = []
    for event in ran.events():
        between = event.name == "before" or (between and event.name != "after")
        if between and event.kind == "free":
            freed.append(event.address)
    assert {address for address, _ in ran.said[3]} | {adopted[0][0]} <= set(freed)
    assert [100.0, 200.0] in ran.said


def test_storages_of_every_kind_keep_working_and_are_freed_once(tmp_path: Path) -> None:
    ran = run_program(
        """
import io, numpy
sink.start(RUN)
extension.install_cpu(functions)

def work():
    grown = torch.ones(10)
    grown.resize_(1000)
    assert grown[:10].sum() == 10 and grown.untyped_storage().nbytes() == 4000
    grown.untyped_storage().resize_(0)
    grown.untyped_storage().resize_(64)
    assert grown.untyped_storage().nbytes() == 64

    for empty in (torch.empty(0), torch.zeros(0, 5), torch.empty(0).resize_(0), torch.empty(3, 0).clone()):
        assert empty.untyped_storage().data_ptr() == 0

    array = numpy.arange(100.0)
    theirs = torch.from_numpy(array)
    theirs += 1
    assert array[0] == 1 and (theirs * 2).sum() == 2 * array.sum()
    ours = torch.arange(50.0).numpy()  # the array keeps the block
    assert ours.sum() == 1225

    source = torch.arange(1000.0)
    lazy = torch._lazy_clone(source)
    another = torch._lazy_clone(lazy)
    lazy += 1
    source += 2
    assert [int(tensor[0]) for tensor in (source, lazy, another)] == [2, 1, 0]

    shared = torch.arange(1000.0)
    shared.share_memory_()
    assert shared.is_shared() and shared.sum() == 499500

    image = torch.randn(2, 3, 8, 8).to(memory_format=torch.channels_last)
    assert image.is_contiguous(memory_format=torch.channels_last)
    assert torch.nn.functional.conv2d(image, torch.randn(4, 3, 3, 3)).shape == (2, 4, 6, 6)

    stored = io.BytesIO()
    torch.save({"weights": torch.arange(300.0), "lazy": lazy}, stored)
    stored.seek(0)
    assert torch.load(stored)["weights"].sum() == 44850
    torch.save(torch.arange(300.0), "weights.pt")
    assert torch.load("weights.pt", mmap=True).sum() == 44850

    module = torch.jit.script(torch.nn.Linear(4, 4))
    assert module(torch.ones(2, 4)).shape == (2, 4)
    assert torch.sparse_coo_tensor([[0, 1]], [1.0, 2.0], (3,)).to_dense().sum() == 3
    assert torch.quantize_per_tensor(torch.ones(10), 0.1, 0, torch.quint8).dequantize().sum() == 10
    torch.linalg.svd(torch.randn(20, 20)); torch.fft.fft(torch.randn(64)); torch.sort(torch.randn(1000))

work()
gc.collect()
sink.mark("worked")
work()
gc.collect()
sink.mark("again")
sink.stop()
work()
""",
        tmp_path,
    )
    replay = ran.replay()
    assert not replay.alive_twice and not replay.unknown_frees
    # What the first time left, torch keeps for good; the second leaves nothing more.
    assert sum(replay.at_marks["again"].values()) == sum(replay.at_marks["worked"].values())


def test_raw_allocate_gives_and_takes_blocks(tmp_path: Path) -> None:
    ran = run_program(
        OTHERS
        + """
sink.start(RUN)
extension.install_cpu(functions)
say(others.raw())
extension.uninstall_cpu()
say(others.raw())
sink.stop()
""",
        tmp_path,
    )
    assert ran.said == [0, 0]
    events = ran.events()
    assert [(event.kind, event.size_bytes) for event in events] == [
        ("alloc", 777),
        ("alloc", 777),
        ("free", None),
        ("free", None),
    ]
    # The clone dies last.
    assert [event.address for event in events[2:]] == [events[0].address, events[1].address]


def test_threads_never_have_an_address_alive_twice(tmp_path: Path) -> None:
    ran = run_program(
        """
import random
sink.start(RUN)
extension.install_cpu(functions)
torch.set_num_threads(1)
handed = []  # blocks that another thread frees
lock = threading.Lock()

def work(seed):
    chance = random.Random(seed)
    mine = []
    for _ in range(5000):
        block = torch.empty(chance.choice([16, 100, 1000, 4096]), dtype=torch.uint8)
        kind = chance.random()
        if kind < 0.3:
            mine.append(block)
        elif kind < 0.5:
            with lock:
                handed.append(block)
                if len(handed) > 50:
                    handed.pop(chance.randrange(50))
        if len(mine) > 20:
            del mine[chance.randrange(20)]

threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
handed.clear()
sink.mark("joined")
extension.uninstall_cpu()
sink.stop()
""",
        tmp_path,
    )
    replay = ran.replay()
    assert not replay.alive_twice and not replay.unknown_frees
    assert replay.at_marks["joined"] == {}
    (counted,) = query(
        ran.run, "SELECT count(*) AS n, count(DISTINCT thread) AS threads FROM events WHERE kind = 'alloc'"
    )
    assert counted == {"n": 40_000, "threads": 8}


def test_an_address_that_goes_from_thread_to_thread_is_never_alive_twice(tmp_path: Path) -> None:
    ran = run_program(
        OTHERS
        + """
sink.start(RUN)
extension.install_cpu(functions)
churn = CompiledLibrary(TorchBuild.installed(), Path(TESTS) / "other_allocators.cpp").open()[0].churn
churn(4, 5000)
sink.mark("joined")
extension.uninstall_cpu()
sink.stop()
""",
        tmp_path,
    )
    replay = ran.replay()
    assert not replay.alive_twice and not replay.unknown_frees
    assert replay.at_marks["joined"] == {}
    reused: dict[int, set[int | None]] = {}
    for event in ran.events():
        if event.kind == "alloc" and event.address is not None:
            reused.setdefault(event.address, set()).add(event.thread)
    assert any(len(threads) > 1 for threads in reused.values()), "nothing was tried"


def test_a_failed_allocation_is_recorded_and_raised_as_ever(tmp_path: Path) -> None:
    ran = run_program(
        """
def fail(*size):
    try:
        torch.empty(*size, dtype=torch.uint8)
    except RuntimeError as error:
        return [type(error).__name__, str(error)]

before = fail(10**15)
sink.start(RUN)
extension.install_cpu(functions)
say(fail(10**15) == before)
say(before)
torch.ones(10).sum()
extension.uninstall_cpu()
say(fail(10**15) == before)
sink.stop()
""",
        tmp_path,
    )
    assert ran.said[0] is True and ran.said[2] is True
    assert "can't allocate memory" in ran.said[1][1]
    assert [event.size_bytes for event in ran.events() if event.kind == "oom"] == [10**15]
    assert query(ran.run, "SELECT kind FROM checkpoints") == [{"kind": "oom"}]


def test_a_program_that_ends_with_blocks_alive_ends_well(tmp_path: Path) -> None:
    ran = run_program(
        TRAINING
        + """
sink.start(RUN)
extension.install_cpu(functions)
model, optimizer = make()
step(model, optimizer, *data())
sink.mark("kept")
""",
        tmp_path,
    )
    assert ran.stderr == ""
    replay = ran.replay()
    assert not replay.alive_twice
    assert len(replay.at_marks["kept"]) > 15
