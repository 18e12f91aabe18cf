"""Counts the bytes of live tensors without the recorder, as a truth to hold recorded allocations against.

`LiveBytes` is a dispatch mode: it sees every tensor that an operator gives back, below autograd, and keeps
a weak reference to its storage, so that it knows when the last tensor of it is gone. What an operator
allocates for itself and gives back before it returns is not seen: at the end of a step the two counts agree
to the byte, in its middle the recorder's may be higher.

As a program it runs another one under that mode, and under torch's own profiler, and writes what they saw:

    python live_bytes.py truth.json train.py --steps 3

`truth.json` holds `steps`, a list of `{"step", "live_bytes", "peak_bytes"}` (live at the end of the step,
and the most that was alive at the end of an operator in it; steps are those of `tg.step`), and
`profiler_peak_bytes`, the largest `Total Allocated` that torch's CPU allocator reported to the profiler:
temporaries within operators included.
"""

from __future__ import annotations

import json
import runpy
import sys
import tempfile
from typing import Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.profiler import ProfilerActivity, profile
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode


class LiveBytes(TorchDispatchMode):
    """Knows how many bytes the storages on `device_type` hold that were made, or seen, while it was on."""

    def __init__(self, device_type: str = "cpu") -> None:
        super().__init__()
        self._device_type = device_type
        #: Address of the storage's C++ object → a weak reference, which keeps it from being used again; size.
        self._storages: dict[int, tuple[StorageWeakRef, int]] = {}
        #: Of all in `_storages`, those that are gone by now included: not less than what is alive.
        self._known_bytes = 0
        self._peak_bytes = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for leaf in pytree.tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self.see(leaf)
        if self._known_bytes > self._peak_bytes:
            self._peak_bytes = max(self._peak_bytes, self.live())
        return result

    def see(self, tensor: torch.Tensor) -> None:
        """Counts the tensor's storage from now on, if it is not counted yet."""
        if tensor.device.type != self._device_type or tensor.layout != torch.strided:
            return
        storage = tensor.untyped_storage()
        _, counted_bytes = self._storages.get(storage._cdata, (None, 0))
        self._storages[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())
        self._known_bytes += storage.nbytes() - counted_bytes

    def live(self) -> int:
        """Bytes that are alive now."""
        for address in [address for address, (reference, _) in self._storages.items() if reference.expired()]:
            self._known_bytes -= self._storages.pop(address)[1]
        return self._known_bytes

    def take_peak(self) -> int:
        """The most bytes that were alive at the end of an operator since this was asked last."""
        peak, self._peak_bytes = self._peak_bytes, self.live()
        return peak


def profiler_peak(profiler: Any) -> int:
    """The most that torch's CPU allocator had given out, of what it gave out while it was profiled."""
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/profile.json"
        profiler.export_chrome_trace(path)
        with open(path) as file:
            events = json.load(file)["traceEvents"]
    memory = [event["args"] for event in events if event.get("name") == "[memory]"]
    return max(reading["Total Allocated"] for reading in memory if reading["Device Type"] == 0)


def main() -> None:
    import tidegauge as tg

    truth_path, script, *arguments = sys.argv[1:]
    steps: list[dict[str, Any]] = []
    mode = LiveBytes()

    def count(step: dict[str, Any]) -> None:
        steps.append({"step": step["step"], "live_bytes": mode.live(), "peak_bytes": mode.take_peak()})

    tg.on_step(count)
    sys.argv = [script, *arguments]
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler, mode:
        runpy.run_path(script, run_name="__main__")
    with open(truth_path, "w") as file:
        json.dump({"steps": steps, "profiler_peak_bytes": profiler_peak(profiler)}, file)


if __name__ == "__main__":
    main()
