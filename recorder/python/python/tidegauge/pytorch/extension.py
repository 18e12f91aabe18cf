"""Events of torch's own allocators: the C functions of allocator_cpu.cpp and allocator_cuda.cpp, and their
types.

Importing this compiles nothing and does not import torch; `load` does. Hooks and categories are not known
here.
"""

from __future__ import annotations

import ctypes
import enum
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tidegauge.pytorch.compiled_library import (
    CompiledLibrary,
    ExtensionError,
    TorchBuild,
    cuda_header_folders,
)

if TYPE_CHECKING:
    import torch

__all__ = ["AdoptedBlock", "AllocatorExtension", "CudaCounters", "ExtensionError"]

FOLDER = Path(__file__).resolve().parent
MESSAGE_BYTES = 1024


class Status(enum.IntEnum):
    """What the C functions return; the codes are those of allocator_sink.h."""

    DONE = 0
    ALREADY = 1
    COVERED = 2
    NOT_INSTALLED = 3
    NOT_INITIALIZED = 4
    UNSUPPORTED = 5
    FAILED = 6


class AdoptedBlock(NamedTuple):
    """A block whose free will be recorded."""

    address: int
    size_bytes: int
    came_through_us: bool
    """It was allocated while our allocator was installed, in this recording or an earlier one."""


@dataclass(frozen=True)
class CudaCounters:
    """What torch's allocator counts for a device. Bytes are rounded as it does, but for those requested."""

    allocated_bytes: int
    allocated_peak_bytes: int
    active_bytes: int
    active_peak_bytes: int
    reserved_bytes: int
    reserved_peak_bytes: int
    requested_bytes: int
    requested_peak_bytes: int
    retries: int
    """Allocations that succeeded only after cached memory was given back."""
    ooms: int


FUNCTIONS = ("alloc", "free", "oom", "event")
COUNTERS = tuple(CudaCounters.__dataclass_fields__)


class _Functions(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in FUNCTIONS]

    @classmethod
    def of(cls, addresses: Mapping[str, int]) -> _Functions:
        """Of `tidegauge._native.functions()`. One that is missing or 0 is not called."""
        return cls(*(addresses.get(f"tidegauge_{name}") or None for name in FUNCTIONS))


class _Adopted(ctypes.Structure):
    _fields_ = [("address", ctypes.c_void_p), ("size_bytes", ctypes.c_uint64)]


class _Counters(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int64) for name in COUNTERS]


class AllocatorExtension:
    """Follows torch's allocators. There is one set of them in a process, so all objects of this class do the
    same.

    `functions` everywhere is a mapping of the names of C functions (`tidegauge_alloc`, `tidegauge_free`,
    `tidegauge_oom`, `tidegauge_event`) to their addresses, as `tidegauge._native.functions()` returns it.
    Addresses must stay valid until the process ends: blocks that outlive the recording call `tidegauge_free`
    when they die.

    Every method may be called from any thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._build: TorchBuild | None = None
        self._cpu: ctypes.PyDLL | None = None
        self._cuda: ctypes.CDLL | None = None
        self._cuda_error: ExtensionError | None = None

    @property
    def is_loaded(self) -> bool:
        """Whether `load` has succeeded."""
        return self._cpu is not None

    def load(self) -> None:
        """Imports torch, compiles the CPU's part if the cache does not have it (two seconds), and opens it.

        Raises ExtensionError: no compiler, none of the headers, a file that does not compile.
        """
        with self._lock:
            if self._cpu is None:
                self._build = TorchBuild.installed()
                library = CompiledLibrary(
                    self._build, FOLDER / "allocator_cpu.cpp", [FOLDER / "allocator_sink.h"]
                )
                # With the interpreter lock: setting an allocator is none of what torch means to happen at any
                # time.
                self._cpu = library.open()[1]

    def prepare_cpu(self, functions: Mapping[str, int]) -> None:
        """Readies everything but the last step of `install_cpu`: from here on blocks can be adopted.

        Raises ExtensionError.
        """
        status, message = self._call_cpu(
            "tidegauge_torch_prepare_cpu", ctypes.byref(_Functions.of(functions))
        )
        if status != Status.DONE:
            raise ExtensionError(message)

    def install_cpu(self, functions: Mapping[str, int]) -> None:
        """Has every CPU allocation from here on recorded, and its free whenever that comes.

        Nothing happens if that is so already. It can be repeated after `uninstall_cpu`. Raises
        ExtensionError.
        """
        status, message = self._call_cpu(
            "tidegauge_torch_install_cpu", ctypes.byref(_Functions.of(functions))
        )
        if status not in (Status.DONE, Status.ALREADY):
            raise ExtensionError(message)

    def uninstall_cpu(self) -> bool:
        """Ends recording of CPU allocations and gives torch its former allocator back.

        Returns whether that is so. It is not when somebody has set another allocator on top of ours: that one
        is left as it is, and ours goes on below it without recording. Blocks that are alive stay valid, and
        their frees are told to the recorder. Raises ExtensionError.
        """
        if self._cpu is None:
            return True
        status, message = self._call_cpu("tidegauge_torch_uninstall_cpu")
        if status == Status.FAILED:
            raise ExtensionError(message)
        return status != Status.COVERED

    def adopt_cpu(self, storage: torch.UntypedStorage) -> AdoptedBlock | None:
        """Has the free of a block recorded that was allocated earlier: a parameter, made before recording
        began.

        To be called after `prepare_cpu` and, so that nothing is told twice, before `install_cpu`. The caller
        then records the block itself, as a `baseline`. None if its free cannot be seen: it is empty, of
        another device, shared, mapped, of NumPy, or a lazy clone.
        """
        adopted = _Adopted()
        pointer = ctypes.c_void_p(storage._cdata)
        status, message = self._call_cpu("tidegauge_torch_adopt_cpu", pointer, ctypes.byref(adopted))
        if status not in (Status.DONE, Status.ALREADY):
            return None
        return AdoptedBlock(adopted.address or 0, adopted.size_bytes, status == Status.ALREADY)

    def why_no_cuda(self) -> str | None:
        """Why allocations of CUDA devices can never be followed with this torch; None where they can."""
        return (self._build or TorchBuild.installed()).why_no_cuda

    def attach_cuda(self, functions: Mapping[str, int]) -> bool:
        """Has everything recorded that the caching allocator does from here on, on all devices, after what it
        has now.

        Returns False, and does nothing, while the program has not used CUDA yet: it would have no effect, and
        CUDA is never initialized from here. Asking that again costs less than a microsecond. The first call
        that finds CUDA in use compiles (three seconds). Segments come as segment_alloc or segment_map, live
        blocks as baseline events.

        Raises ExtensionError: this torch cannot (`why_no_cuda`), or another backend than torch's own
        allocates.
        """
        import torch

        if not torch.cuda.is_initialized():
            return False
        library = self._load_cuda()
        status, message = self._call(
            library, "tidegauge_torch_attach_cuda", ctypes.byref(_Functions.of(functions))
        )
        if status == Status.NOT_INITIALIZED:
            return False
        if status not in (Status.DONE, Status.ALREADY):
            raise ExtensionError(message)
        return True

    def detach_cuda(self) -> None:
        """Ends recording of CUDA allocations. Torch has no way to take a callback back: it stays, and does nothing."""
        if self._cuda is not None:
            self._cuda.tidegauge_torch_detach_cuda()

    def cuda_counters(self, device: int) -> CudaCounters | None:
        """The allocator's counters of a device; None while CUDA is not in use, or where they cannot be read.

        Takes the device's lock for a moment, and gives the interpreter's away meanwhile.
        """
        import torch

        if not torch.cuda.is_initialized():
            return None
        counters = _Counters()
        try:
            library = self._load_cuda()
            status, _ = self._call(
                library, "tidegauge_torch_cuda_counters", ctypes.c_int32(device), ctypes.byref(counters)
            )
        except ExtensionError:
            return None
        if status != Status.DONE:
            return None
        return CudaCounters(*(int(getattr(counters, name)) for name in COUNTERS))

    def _load_cuda(self) -> ctypes.CDLL:
        with self._lock:
            if self._cuda is None:
                # A sampler asks ten times a second, and a compiler that has failed fails again.
                if self._cuda_error is not None:
                    raise self._cuda_error
                try:
                    self._cuda = self._open_cuda()
                except ExtensionError as error:
                    self._cuda_error = error
                    raise
            return self._cuda

    def _open_cuda(self) -> ctypes.CDLL:
        self._build = self._build or TorchBuild.installed()
        reason = self._build.why_no_cuda
        if reason is not None:
            raise ExtensionError(reason)
        stubs = FOLDER / "cuda_stubs"
        library = CompiledLibrary(
            self._build,
            FOLDER / "allocator_cuda.cpp",
            included=[FOLDER / "allocator_sink.h", *sorted(stubs.glob("*.h"))],
            uses=("c10_cuda", "c10"),
            includes=cuda_header_folders(stubs),
        )
        # Without the interpreter lock: another thread may hold a device's lock and wait for the
        # interpreter's.
        return library.open()[0]

    def _call_cpu(self, name: str, *arguments: Any) -> tuple[Status, str]:
        if self._cpu is None:
            self.load()
        assert self._cpu is not None
        return self._call(self._cpu, name, *arguments)

    @staticmethod
    def _call(library: ctypes.CDLL, name: str, *arguments: Any) -> tuple[Status, str]:
        message = ctypes.create_string_buffer(MESSAGE_BYTES)
        code = library[name](*arguments, message, ctypes.c_size_t(MESSAGE_BYTES))
        return Status(code), message.value.decode(errors="replace")
