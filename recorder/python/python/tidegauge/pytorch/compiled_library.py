"""Compiles one of the package's C++ files against the installed torch, and keeps the result in a cache.

Why not `torch.utils.cpp_extension`: it needs setuptools and ninja, includes pybind11 and takes half a minute.
This takes two seconds, once for each version of torch, and the next process opens what is there.

A library ends in a checksum of itself, behind what the loader looks at. A file that was cut off or damaged is
so made anew and never opened: a page that is missing behind its end would kill the process when it is
touched.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import platform
import re
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import util
from pathlib import Path
from typing import ClassVar

MAGIC = b"tidegauge library "
COMPILE_SECONDS = 300
LOCK_SECONDS = 120


class ExtensionError(RuntimeError):
    """The allocators of torch cannot be followed; the message is one line that says why."""


@dataclass(frozen=True)
class TorchBuild:
    """What of an installed torch matters to a library that is compiled against it."""

    version: str
    git_version: str
    has_cxx11_abi: bool
    cuda_version: str | None
    hip_version: str | None
    folder: Path
    """The package's folder, with `include` and `lib`."""

    @classmethod
    def installed(cls) -> TorchBuild:
        """The torch of this process, which gets imported if it is not yet."""
        import torch

        with_abi = getattr(torch, "compiled_with_cxx11_abi", None)
        return cls(
            version=str(torch.__version__),
            git_version=str(getattr(torch.version, "git_version", "")),
            has_cxx11_abi=True if with_abi is None else bool(with_abi()),
            cuda_version=torch.version.cuda,
            hip_version=getattr(torch.version, "hip", None),
            folder=Path(torch.__file__).resolve().parent,
        )

    @property
    def number(self) -> int:
        """major * 1000 + minor; 0 if the version does not begin with numbers."""
        match = re.match(r"(\d+)\.(\d+)", self.version)
        return int(match[1]) * 1000 + int(match[2]) if match else 0

    @property
    def why_no_cuda(self) -> str | None:
        """Why allocations of CUDA devices cannot be followed with this torch; None where they can."""
        if self.hip_version is not None:
            return f"this torch is built for ROCm {self.hip_version}, whose allocator is not followed"
        if self.cuda_version is None:
            return "this torch is built without CUDA"
        if not (self.folder / "lib" / "libc10_cuda.so").exists():
            return f"this torch has no {self.folder / 'lib' / 'libc10_cuda.so'}"
        if self.number < 2002:
            return f"torch {self.version} does not tell of its CUDA allocations; 2.2 and later do"
        return None


class CompiledLibrary:
    """A shared library made of `source` and of the files that it includes.

    `uses` are libraries of torch that it links with. `includes` are folders for headers besides torch's,
    alternatives that are tried in turn until one compiles.
    """

    _opened: ClassVar[dict[str, tuple[ctypes.CDLL, ctypes.PyDLL]]] = {}
    """By file name: a library opened from two folders would be there twice, each with state of its own."""

    def __init__(
        self,
        build: TorchBuild,
        source: Path,
        included: Sequence[Path] = (),
        uses: Sequence[str] = ("c10",),
        includes: Sequence[Sequence[Path]] = ((),),
    ) -> None:
        self._build = build
        self._source = source
        self._uses = tuple(uses)
        self._includes = [tuple(folders) for folders in includes]
        digest = hashlib.sha256()
        for file in (source, *included):
            digest.update(file.read_bytes() + b"\0")
        digest.update(repr((self._options("c++20"), build.git_version, self._uses)).encode())
        kind = "cpu" if build.cuda_version is None else f"cu{build.cuda_version}"
        abi = "abi1" if build.has_cxx11_abi else "abi0"
        parts = (source.stem, f"torch{build.version}", kind, abi, platform.machine(), digest.hexdigest()[:16])
        name = "-".join(parts) + ".so"
        self.file_name = re.sub(r"[^\w.+-]", "_", name)

    def open(self) -> tuple[ctypes.CDLL, ctypes.PyDLL]:
        """The library, compiled if the cache does not have it: to be called without and with the interpreter
        lock.

        Raises ExtensionError. It is never closed, since blocks keep pointers to its functions.
        """
        opened = self._opened.get(self.file_name)
        if opened is not None:
            return opened
        if sys.platform != "linux":
            raise ExtensionError(f"allocations of torch are followed on Linux only, not on {sys.platform}")
        complaints: list[str] = []
        for folder in self._folders():
            try:
                path = self._made_in(folder)
                opened = ctypes.CDLL(str(path)), ctypes.PyDLL(str(path))
            except OSError as error:
                # A folder that cannot be written to, or from which nothing may be executed.
                complaints.append(_one_line(error))
                continue
            return self._opened.setdefault(self.file_name, opened)
        raise ExtensionError(f"a compiled library can be kept or opened nowhere: {'; '.join(complaints)}")

    def _made_in(self, folder: Path) -> Path:
        path = folder / self.file_name
        if is_intact(path):
            return path
        folder.mkdir(parents=True, exist_ok=True)
        with _lock(folder / f"{self.file_name}.lock"):
            # Whoever held the lock has made it.
            if not is_intact(path):
                self._make(path)
        return path

    def _make(self, path: Path) -> None:
        work = Path(tempfile.mkdtemp(prefix=f".{self._source.stem}-", dir=path.parent))
        try:
            made = work / path.name
            self._compile(made)
            content = made.read_bytes()
            # The loader looks at what the file's headers name, not behind it.
            made.write_bytes(content + MAGIC + hashlib.sha256(content).digest())
            made.chmod(0o755)
            os.replace(made, path)
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _compile(self, output: Path) -> None:
        compiler = _compiler()
        folder = self._build.folder
        if not (folder / "include" / "c10" / "core" / "Allocator.h").exists():
            raise ExtensionError(f"this torch has no headers in {folder / 'include'}")
        first: str | None = None
        # Torch asks for C++20 since about 2.12; before that for 17, which older compilers know alone.
        for includes in self._includes:
            for standard in ("c++20", "c++17"):
                command = [*compiler, *self._options(standard)]
                for include in (folder / "include", *includes):
                    command += ["-isystem", str(include)]
                command += [str(self._source), f"-L{folder / 'lib'}", *(f"-l{name}" for name in self._uses)]
                complaint = _run([*command, "-o", str(output)])
                if complaint is None:
                    return
                first = first or complaint
        raise ExtensionError(
            f"{self._source.name} does not compile against torch {self._build.version}: {first}"
        )

    def _options(self, standard: str) -> list[str]:
        return [
            f"-std={standard}",
            "-O2",
            "-fPIC",
            "-shared",
            "-fvisibility=hidden",
            f"-D_GLIBCXX_USE_CXX11_ABI={int(self._build.has_cxx11_abi)}",
            f"-DTIDEGAUGE_TORCH={self._build.number}",
        ]

    @staticmethod
    def _folders() -> Iterator[Path]:
        """Where the library may be, best first."""
        chosen = os.environ.get("TIDEGAUGE_CACHE")
        cache = os.environ.get("XDG_CACHE_HOME")
        home = os.environ.get("HOME")
        if chosen:
            yield Path(chosen)
        elif cache:
            yield Path(cache) / "tidegauge" / "torch"
        elif home:
            yield Path(home) / ".cache" / "tidegauge" / "torch"
        shared = Path(tempfile.gettempdir()) / f"tidegauge-{os.geteuid()}"
        with contextlib.suppress(OSError):
            shared.mkdir(mode=0o700, exist_ok=True)
        if _is_private(shared):
            yield shared
        with contextlib.suppress(OSError):
            yield Path(tempfile.mkdtemp(prefix="tidegauge-"))


def is_intact(path: Path) -> bool:
    """Whether the file is a library as it was written, to the last byte."""
    try:
        content = path.read_bytes()
    except OSError:
        return False
    library = content[: -len(MAGIC) - hashlib.sha256().digest_size]
    return bool(library) and content[len(library) :] == MAGIC + hashlib.sha256(library).digest()


def cuda_header_folders(stubs: Path) -> list[list[Path]]:
    """Alternatives for CUDA's headers: our declarations, then those of installations that have all."""
    found: list[list[Path]] = [[stubs]]
    homes = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda"]
    candidates = [Path(home) / "include" for home in homes if home]
    with contextlib.suppress(ImportError, ValueError):
        triton = util.find_spec("triton")
        if triton is not None and triton.origin is not None:
            candidates.append(Path(triton.origin).parent / "backends" / "nvidia" / "include")
    found += [[folder] for folder in candidates if (folder / "crt" / "host_defines.h").exists()]
    return found


def _compiler() -> list[str]:
    candidates = [shlex.split(os.environ.get("CXX", "")), ["c++"], ["g++"], ["clang++"]]
    for candidate in candidates:
        if candidate and shutil.which(candidate[0]):
            return candidate
    raise ExtensionError("no C++ compiler: none of $CXX, c++, g++ and clang++ is there")


def _run(command: list[str]) -> str | None:
    """What was wrong, in one line; None if nothing was."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=COMPILE_SECONDS,
            env={**os.environ, "LC_ALL": "C"},
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"{command[0]} took more than {COMPILE_SECONDS} s"
    except OSError as error:
        return _one_line(error)
    if done.returncode == 0:
        return None
    lines = [line.strip() for line in done.stderr.decode(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if re.search(r"\berror\b", line)]
    return (errors or lines or [f"{command[0]} ended with {done.returncode} and said nothing"])[0]


def _is_private(folder: Path) -> bool:
    """Whether it is a folder of ours that nobody else can put libraries into."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Has one process of a node compile while the others wait; past the deadline, or where files know no
    locks, none waits.

    Nothing breaks then, since a library appears whole and under its name at once: it is only compiled twice.
    """
    import fcntl

    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        deadline = time.monotonic() + LOCK_SECONDS
        while time.monotonic() < deadline:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.05)
            except OSError:
                break
        yield
    finally:
        os.close(descriptor)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
