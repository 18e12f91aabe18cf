"""What the CUDA part makes of an allocator's trace and snapshot, with an allocator that needs no GPU.

The real allocator is not to be had without one. That CUDA is left alone until a program uses it is tested,
with the real one, in test_allocator_extension.py.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from allocator_program import PACKAGE, TESTS, environment, query
from conftest import ROOT

sys.path.insert(0, str(PACKAGE))

from tidegauge.pytorch.compiled_library import CompiledLibrary, ExtensionError, TorchBuild  # noqa: E402

STUBS = PACKAGE / "tidegauge" / "pytorch" / "cuda_stubs"


def kinds() -> dict[int, str]:
    """Numbers of the recorder's event kinds, by its C header."""
    header = (ROOT / "recorder" / "include" / "tidegauge.h").read_text()
    return {
        int(code): name.lower() for name, code in re.findall(r"#define TIDEGAUGE_EVENT_(\w+) (\d+)", header)
    }


PRELUDE = f"""
import ctypes, time
from pathlib import Path
import tidegauge.pytorch.extension as module
from tidegauge.pytorch.compiled_library import CompiledLibrary, TorchBuild
from tidegauge.pytorch.extension import AllocatorExtension
fake = CompiledLibrary(
    TorchBuild.installed(), Path({str(TESTS)!r}) / "fake_cuda_backend.cpp", uses=("c10_cuda", "c10"),
    includes=[[Path({str(STUBS)!r})]],
).open()[0]

class Told(ctypes.Structure):
    _fields_ = [("kind", ctypes.c_int32), ("device", ctypes.c_int16), ("address", ctypes.c_uint64),
                ("size_bytes", ctypes.c_uint64), ("stream", ctypes.c_uint64), ("pool", ctypes.c_char * 48)]

KINDS = {kinds()} | {{-1: "OOM"}}

def told():
    count = fake.fake_told(None, 0)
    rows = (Told * count)()
    fake.fake_told(rows, count)
    fake.fake_forget()
    none = 2**64 - 1
    return [(KINDS[row.kind], row.device, row.address, row.size_bytes,
             None if row.stream == none else row.stream, row.pool.decode() or None) for row in rows]

extension = AllocatorExtension()
library = extension._load_cuda()
functions = module._Functions.of({{
    "tidegauge_event": ctypes.cast(fake.fake_event, ctypes.c_void_p).value,
    "tidegauge_oom": ctypes.cast(fake.fake_oom, ctypes.c_void_p).value,
}})

def attach(functions=functions):
    # Past the question to torch.cuda, which knows of no device here.
    status, message = extension._call(library, "tidegauge_torch_attach_cuda", ctypes.byref(functions))
    return status.name, message

BASE = [1 << 40, 2 << 40]
"""


def fake_compiles() -> str | None:
    """Why there is no fake backend; None where there is. Its functions are those of recent versions."""
    build = TorchBuild.installed()
    if build.why_no_cuda is not None:
        return build.why_no_cuda
    try:
        CompiledLibrary(
            build, TESTS / "fake_cuda_backend.cpp", uses=("c10_cuda", "c10"), includes=[[STUBS]]
        ).open()
    except ExtensionError as error:
        if build.number >= 2014:
            raise
        return str(error)
    return None


@pytest.fixture(scope="module", autouse=True)
def fake() -> None:
    reason = fake_compiles()
    if reason is not None:
        pytest.skip(reason)


def run(program: str, *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + program, *arguments],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def test_each_action_becomes_its_event() -> None:
    run(
        """
fake.fake_set(b"native", 1)
assert attach()[0] == "DONE"
told()
# ALLOC, FREE_REQUESTED, FREE_COMPLETED, SEGMENT_ALLOC, SEGMENT_FREE, SEGMENT_MAP, SEGMENT_UNMAP, SNAPSHOT,
# OOM, ANNOTATE
for action in range(10):
    address, size = ctypes.c_size_t(0x1000 + action), ctypes.c_size_t(100 + action)
    fake.fake_trace(ctypes.c_size_t(1), action, address, size, ctypes.c_uint64(action % 2))
private, stream = "private:0:1", 0x101
assert told() == [
    ("alloc", 1, 0x1000, 100, stream, None),
    ("free_requested", 1, 0x1001, 0, stream, private),
    ("free_completed", 1, 0x1002, 0, stream, None),
    ("segment_alloc", 1, 0x1003, 103, stream, private),
    ("segment_free", 1, 0x1004, 104, stream, None),
    ("segment_map", 1, 0x1005, 105, stream, private),
    ("segment_unmap", 1, 0x1006, 106, stream, None),
    ("OOM", 1, 0, 108, 0, None),
], told()
extension._cuda = library
extension.detach_cuda()
fake.fake_trace(ctypes.c_size_t(0), 0, ctypes.c_size_t(1), ctypes.c_size_t(1), ctypes.c_uint64(0))
assert told() == []
"""
    )


def test_what_is_there_comes_first() -> None:
    run(
        """
fake.fake_set(b"native", 1)
fake.fake_use(0, 3, 1000, 0)
fake.fake_use(1, 5, 2000, 0)
fake.fake_use(1, 6, 3000, 0)
fake.fake_use(1, 6, 0, 1)  # given up, another stream uses it
assert attach()[0] == "DONE"
private = "private:0:1"
there = [
    ("segment_alloc", 0, BASE[0], 64 * 4096, 0x100, None),
    ("baseline", 0, BASE[0] + 3 * 4096, 1000, 0x100, None),
    ("segment_map", 1, BASE[1], 64 * 4096, 0x101, private),
    ("baseline", 1, BASE[1] + 5 * 4096, 2000, 0x101, private),
    ("baseline", 1, BASE[1] + 6 * 4096, 3000, 0x101, private),
    ("free_requested", 1, BASE[1] + 6 * 4096, 0, 0x101, private),
]
assert told() == there
assert attach()[0] == "ALREADY" and told() == []
fake.fake_snapshot()
assert told() == []
extension._cuda = library
extension.detach_cuda()
extension.detach_cuda()
fake.fake_use(0, 3, 0, 0)
assert told() == []
# A second recording: told anew, listened to once.
assert attach()[0] == "DONE"
assert told() == [there[0]] + there[2:]
assert fake.fake_attached() == 1
fake.fake_use(0, 9, 10, 0)
assert told() == [("alloc", 0, BASE[0] + 9 * 4096, 10, 0x100, None)]
"""
    )


def test_what_the_recorder_keeps_of_it(tmp_path: Path) -> None:
    run(
        """
import sys
from recorder_sink import RecorderSink
sink = RecorderSink()
fake.fake_set(b"native", 1)
fake.fake_use(1, 5, 2000, 0)
sink.start(sys.argv[1])
assert attach(module._Functions.of(sink.functions()))[0] == "DONE"
fake.fake_use(0, 7, 1000, 0)
fake.fake_use(0, 7, 0, 1)
fake.fake_use(0, 7, 0, 0)
fake.fake_trace(ctypes.c_size_t(0), 8, ctypes.c_size_t(123), ctypes.c_size_t(1 << 30), ctypes.c_uint64(0))
sink.stop()
""",
        str(tmp_path / "run"),
    )
    columns = "kind, device, address, size_bytes, stream, pool"
    told = query(tmp_path / "run", f"SELECT {columns} FROM events ORDER BY seq")
    first, second = 1 << 40, 2 << 40

    def event(
        kind: str, device: int, address: int | None, size: int | None, pool: str | None = None
    ) -> dict[str, object]:
        stream = None if kind == "oom" else 0x100 + device
        values: dict[str, object] = {
            "kind": kind,
            "device": device,
            "address": address,
            "size_bytes": size,
            "stream": stream,
            "pool": pool,
        }
        return values

    assert told == [
        event("segment_alloc", 0, first, 64 * 4096),
        event("segment_map", 1, second, 64 * 4096, "private:0:1"),
        event("baseline", 1, second + 5 * 4096, 2000, "private:0:1"),
        event("alloc", 0, first + 7 * 4096, 1000),
        event("free_requested", 0, first + 7 * 4096, None),
        event("free_completed", 0, first + 7 * 4096, None),
        event("oom", 0, None, 1 << 30),
    ]


def test_it_is_refused_where_it_can_not_work() -> None:
    run(
        """
fake.fake_set(b"native", 0)
assert attach() == ("NOT_INITIALIZED", "CUDA has not been initialized yet")
fake.fake_set(b"cudaMallocAsync", 1)
assert attach() == ("UNSUPPORTED", "cudaMallocAsync does not support attachAllocatorTraceTracker"), attach()
fake.fake_set(b"native", 1)
assert attach(module._Functions.of({}))[0] == "UNSUPPORTED"
assert fake.fake_attached() == 0 and told() == []
assert attach()[0] == "DONE"
"""
    )


def test_counters_are_those_of_the_device() -> None:
    run(
        """
import torch
fake.fake_set(b"native", 1)
torch.cuda.is_initialized = lambda: True  # there is no GPU
extension._cuda = library
assert extension.cuda_counters(1) == module.CudaCounters(1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
assert extension.cuda_counters(99) is None
"""
    )


def test_whatever_other_threads_do_no_block_is_missed_or_told_twice() -> None:
    rounds = int(os.environ.get("TIDEGAUGE_ATTACHES", "30"))
    run(
        f"ROUNDS = {rounds}"
        + """
fake.fake_set(b"native", 1)
fake.fake_operations.restype = ctypes.c_uint64
fake.fake_state.argtypes = [ctypes.c_size_t, ctypes.c_size_t]
extension._cuda = library

def wait_for(more):
    until, deadline = fake.fake_operations() + more, time.monotonic() + 60
    while fake.fake_operations() < until:
        assert time.monotonic() < deadline
        time.sleep(0.0001)

waited = 0
for turn in range(ROUNDS):
    fake.fake_start(ctypes.c_size_t(4))
    wait_for(1000)
    assert attach()[0] == "DONE"
    wait_for(1000)
    fake.fake_stop()
    alive = {}
    began = set()
    for kind, device, address, size, stream, pool in told():
        place = device, address
        if kind in ("segment_alloc", "segment_map"):
            assert device not in began, "a device's state is told once"
            began.add(device)
            continue
        assert device in began, "and before all that happens to it"
        if kind in ("alloc", "baseline"):
            assert place not in alive, (turn, kind, place)
            alive[place] = 1
        elif kind == "free_requested":
            assert alive[place] == 1, (turn, place)
            alive[place] = 2
        elif kind == "free_completed":
            assert alive.pop(place) == 2, (turn, place)
        waited += kind != "baseline"
    found = {(device, BASE[device] + block * 4096): fake.fake_state(device, block)
             for device in range(2) for block in range(64)}
    assert alive == {place: state for place, state in found.items() if state}, turn
    extension.detach_cuda()
assert waited > 1000 * ROUNDS
assert fake.fake_attached() == 1
"""
    )
