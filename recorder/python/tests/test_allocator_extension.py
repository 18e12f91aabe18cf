"""Compiling against torch, and the cache: who compiles when, and what happens where nobody can."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from allocator_program import PACKAGE, environment

sys.path.insert(0, str(PACKAGE))

from tidegauge.pytorch.compiled_library import (  # noqa: E402
    CompiledLibrary,
    ExtensionError,
    TorchBuild,
    cuda_header_folders,
    is_intact,
)

FOLDER = PACKAGE / "tidegauge" / "pytorch"

LOAD = """
import sys, time
from tidegauge.pytorch.extension import AllocatorExtension, ExtensionError
assert "torch" not in sys.modules, "importing must not import torch"
extension = AllocatorExtension()
started = time.monotonic()
try:
    extension.load()
except ExtensionError as error:
    print("ExtensionError:", error)
    sys.exit()
import torch
extension.install_cpu({})
torch.ones(10).sum()
print("loaded", extension.uninstall_cpu())
"""


def load(cache: Path | None, **more: str) -> subprocess.CompletedProcess[str]:
    variables = environment({"TIDEGAUGE_CACHE": str(cache), **more} if cache else more)
    return subprocess.run(
        [sys.executable, "-c", LOAD], env=variables, capture_output=True, text=True, timeout=300
    )


def compiler_that_counts(folder: Path) -> tuple[str, Path]:
    """A compiler that writes a line for each call, and the file that it writes to."""
    log = folder / "compiled.log"
    script = folder / "counting-c++"
    script.write_text(f'#!/bin/sh\necho $$ >> {log}\nexec g++ "$@"\n')
    script.chmod(0o755)
    return str(script), log


def test_it_is_compiled_once_by_however_many_ranks(tmp_path: Path) -> None:
    compiler, log = compiler_that_counts(tmp_path)
    variables = environment({"TIDEGAUGE_CACHE": str(tmp_path / "cache"), "CXX": compiler})
    ranks = [
        subprocess.Popen([sys.executable, "-c", LOAD], env=variables, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    assert [rank.communicate(timeout=300)[0] for rank in ranks] == ["loaded True\n"] * 4
    assert len(log.read_text().splitlines()) == 1
    libraries = [file for file in (tmp_path / "cache").iterdir() if file.suffix == ".so"]
    assert len(libraries) == 1 and is_intact(libraries[0])
    assert [file.name for file in (tmp_path / "cache").iterdir() if file.name.startswith(".")] == []


@pytest.mark.parametrize("damage", ["empty", "truncated", "flipped", "text", "a folder's link to nowhere"])
def test_a_damaged_library_is_made_anew(tmp_path: Path, damage: str) -> None:
    compiler, log = compiler_that_counts(tmp_path)
    assert load(tmp_path / "cache", CXX=compiler).stdout == "loaded True\n"
    (library,) = (tmp_path / "cache").glob("*.so")
    content = library.read_bytes()
    if damage == "empty":
        library.write_bytes(b"")
    elif damage == "truncated":
        library.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        library.write_bytes(content[:5000] + bytes([content[5000] ^ 1]) + content[5001:])
    elif damage == "text":
        library.write_text("not a library")
    else:
        library.unlink()
        library.symlink_to(tmp_path / "nowhere")
    done = load(tmp_path / "cache", CXX=compiler)
    assert (done.returncode, done.stdout) == (0, "loaded True\n")
    assert len(log.read_text().splitlines()) == 2
    assert is_intact(library)


def test_without_a_compiler_it_says_so(tmp_path: Path) -> None:
    done = load(tmp_path / "cache", PATH=str(tmp_path), CXX="")
    assert done.returncode == 0
    assert done.stdout == "ExtensionError: no C++ compiler: none of $CXX, c++, g++ and clang++ is there\n"
    assert done.stderr == ""


def test_a_compiler_that_fails_is_quoted_in_one_line(tmp_path: Path) -> None:
    broken = tmp_path / "broken-c++"
    broken.write_text(
        "#!/bin/sh\necho 'In file included from x.h' >&2\necho 'x.h:1: error: no such thing' >&2\nexit 1\n"
    )
    broken.chmod(0o755)
    done = load(tmp_path / "cache", CXX=f"{broken} -some-flag")
    assert done.stdout.startswith("ExtensionError: allocator_cpu.cpp does not compile against torch ")
    assert done.stdout.endswith(": x.h:1: error: no such thing\n")
    assert done.stdout.count("\n") == 1 and done.stderr == ""
    assert list((tmp_path / "cache").glob("*.so")) == []


def test_a_compiler_that_is_not_there_is_passed_over(tmp_path: Path) -> None:
    assert load(tmp_path / "cache", CXX="/nowhere/c++").stdout == "loaded True\n"


def test_a_cache_that_cannot_be_written_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "tmp").mkdir()
    done = load(tmp_path / "file" / "cache", TMPDIR=str(tmp_path / "tmp"))
    assert done.stdout == "loaded True\n"
    (private,) = (tmp_path / "tmp").glob("tidegauge-*")
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    assert len(list(private.glob("*.so"))) == 1


def test_without_a_home_a_folder_of_ones_own_is_taken(tmp_path: Path) -> None:
    variables = environment({"TMPDIR": str(tmp_path)})
    for name in ("HOME", "XDG_CACHE_HOME", "TIDEGAUGE_CACHE"):
        variables.pop(name, None)
    shared = tmp_path / f"tidegauge-{os.geteuid()}"
    # A folder that others can write to could hold a library of theirs.
    shared.mkdir()
    shared.chmod(0o777)
    done = subprocess.run(
        [sys.executable, "-c", LOAD], env=variables, capture_output=True, text=True, timeout=300
    )
    assert done.stdout == "loaded True\n"
    assert list(shared.iterdir()) == []


def test_caches_are_where_they_belong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def first() -> Path:
        return next(CompiledLibrary._folders())

    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("TIDEGAUGE_CACHE", raising=False)
    assert first() == Path("/home/someone/.cache/tidegauge/torch")
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert first() == Path("/cache/tidegauge/torch")
    monkeypatch.setenv("TIDEGAUGE_CACHE", "/ours")
    assert first() == Path("/ours")


def test_a_lock_that_is_held_is_waited_for(tmp_path: Path) -> None:
    import fcntl

    library = CompiledLibrary(
        TorchBuild.installed(), FOLDER / "allocator_cpu.cpp", [FOLDER / "allocator_sink.h"]
    )
    cache = tmp_path / "cache"
    cache.mkdir()
    compiler, log = compiler_that_counts(tmp_path)
    with (cache / f"{library.file_name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done: list[subprocess.CompletedProcess[str]] = []
        waiting = threading.Thread(target=lambda: done.append(load(cache, CXX=compiler)))
        waiting.start()
        # Another process has it by the time that it lets go.
        assert load(tmp_path / "other").stdout == "loaded True\n"
        (made,) = (tmp_path / "other").glob("*.so")
        assert made.name == library.file_name
        (cache / made.name).write_bytes(made.read_bytes())
    deadline = time.monotonic() + 120
    waiting.join(deadline - time.monotonic())
    assert [process.stdout for process in done] == ["loaded True\n"]
    assert not log.exists()


def test_a_file_name_tells_builds_apart() -> None:
    build = TorchBuild("2.6.0+cu124", "abc", True, "12.4", None, Path("/torch"))
    others = [
        TorchBuild("2.6.0", "abc", True, None, None, Path("/torch")),
        TorchBuild("2.6.0+cu124", "abc", False, "12.4", None, Path("/torch")),
        TorchBuild("2.6.0+cu124", "def", True, "12.4", None, Path("/torch")),
        TorchBuild("2.7.0+cu124", "abc", True, "12.4", None, Path("/torch")),
    ]
    names = {CompiledLibrary(each, FOLDER / "allocator_cpu.cpp").file_name for each in [build, *others]}
    assert len(names) == 5
    elsewhere = TorchBuild("2.6.0+cu124", "abc", True, "12.4", None, Path("/elsewhere"))
    assert CompiledLibrary(elsewhere, FOLDER / "allocator_cpu.cpp").file_name in names


def test_why_cuda_cannot_be_followed(tmp_path: Path) -> None:
    with_cuda = tmp_path / "lib"
    with_cuda.mkdir()
    build = TorchBuild("2.6.0+cu124", "", True, "12.4", None, tmp_path)
    assert "libc10_cuda.so" in (build.why_no_cuda or "")
    (with_cuda / "libc10_cuda.so").write_text("")
    assert build.why_no_cuda is None
    assert "2.2 and later" in (TorchBuild("2.1.2", "", True, "12.1", None, tmp_path).why_no_cuda or "")
    assert "without CUDA" in (TorchBuild("2.6.0", "", True, None, None, tmp_path).why_no_cuda or "")
    assert "ROCm" in (TorchBuild("2.6.0", "", True, None, "6.2", tmp_path).why_no_cuda or "")


needs_cuda_build = pytest.mark.skipif(
    TorchBuild.installed().why_no_cuda is not None, reason=f"{TorchBuild.installed().why_no_cuda}"
)


@needs_cuda_build
def test_cuda_is_neither_attached_nor_initialized_before_the_program_uses_it(tmp_path: Path) -> None:
    program = """
import torch
from tidegauge.pytorch.extension import AllocatorExtension
import tidegauge.pytorch.extension as module
import ctypes
extension = AllocatorExtension()
print(extension.why_no_cuda(), extension.attach_cuda({"tidegauge_event": 1}), extension.cuda_counters(0))
# Past Python's own check, the library refuses as well.
library = extension._load_cuda()
functions = module._Functions.of({"tidegauge_event": 1})
print(extension._call(library, "tidegauge_torch_attach_cuda", ctypes.byref(functions))[0].name)
print(extension._call(library, "tidegauge_torch_cuda_counters", 0, ctypes.byref(module._Counters()))[0].name)
extension.detach_cuda()
print(torch.cuda.is_initialized())
"""
    variables = environment({"TIDEGAUGE_CACHE": str(tmp_path)})
    done = subprocess.run(
        [sys.executable, "-c", program], env=variables, capture_output=True, text=True, timeout=300
    )
    assert done.stdout.splitlines() == ["None False None", "NOT_INITIALIZED", "NOT_INITIALIZED", "False"], (
        done.stderr
    )


@needs_cuda_build
def test_where_the_declarations_do_not_do_real_headers_are_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = cuda_header_folders(tmp_path / "empty")
    assert found[0] == [tmp_path / "empty"]
    if len(found) == 1:
        pytest.skip("no complete CUDA headers here")
    monkeypatch.setenv("TIDEGAUGE_CACHE", str(tmp_path / "cache"))
    library = CompiledLibrary(
        TorchBuild.installed(),
        FOLDER / "allocator_cuda.cpp",
        included=[FOLDER / "allocator_sink.h"],
        uses=("c10_cuda", "c10"),
        includes=found,
    )
    library._made_in(tmp_path / "cache")
    assert is_intact(tmp_path / "cache" / library.file_name)


def test_a_torch_without_headers_is_told(tmp_path: Path) -> None:
    build = TorchBuild("2.6.0", "", True, None, None, tmp_path)
    with pytest.raises(ExtensionError, match="no headers in"):
        CompiledLibrary(build, FOLDER / "allocator_cpu.cpp")._made_in(tmp_path)
