"""Waiting for torch: the call comes once it is imported, whoever imports it and how; and real jobs of it."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import program, query
from launches import LIBRARY, command, pids, processes, python, write

#: Each begins with a package `late` that can be imported, and `called` that says how often it was waited for it.
BEGIN = """
import importlib, importlib.util, pickle, sys
from importlib.machinery import ModuleSpec, SourceFileLoader
from tidegauge.launch.post_import import when_imported
calls = []
def called():
    calls.append("late" in sys.modules and getattr(sys.modules["late"], "COMPLETE", None))
before = list(sys.meta_path)
def check(times=1):
    assert calls == [True] * times, calls
    import late
    assert sys.meta_path == before, sys.meta_path
    assert type(late.__spec__) is ModuleSpec and type(late.__loader__) is SourceFileLoader
    assert late.__spec__.loader is late.__loader__ and "exec_module" not in vars(late.__loader__)
    assert not getattr(late.__spec__, "_initializing", False)
"""

CASES = {
    "import": "when_imported('late', called)\nassert not calls\nimport late\ncheck()",
    "submodule first": "when_imported('late', called)\nimport late.part\ncheck()",
    "already there": "import late\nwhen_imported('late', called)\ncheck()",
    "asked where it is": "when_imported('late', called)\nassert importlib.util.find_spec('late').origin.endswith('.py')\n"
    "assert isinstance(importlib.util.find_spec('late').loader, SourceFileLoader)\nassert not calls\nimport late\ncheck()",
    "twice": "when_imported('late', called)\nwhen_imported('late', called)\nimport late\ncheck(2)",
    "reload": "when_imported('late', called)\nimport late\nimportlib.reload(late)\ncheck()",
    "by importlib": "when_imported('late', called)\nimportlib.import_module('late')\ncheck()",
    "circular": "when_imported('late', called)\nimport circle\ncheck()",
    "others": "when_imported('late', called)\nimport json.tool, xml.dom\nassert not calls\nimport late\ncheck()",
    "missing": "when_imported('nowhere', called)\n"
    "try:\n    import nowhere\nexcept ModuleNotFoundError as error:\n    assert error.name == 'nowhere'\nassert not calls",
    "fails once": "when_imported('late', called)\nimport builtins\nbuiltins.FAILS = True\n"
    "try:\n    import late\nexcept ValueError as error:\n    assert error.__traceback__\nassert not calls and 'late' not in sys.modules\n"
    "builtins.FAILS = False\nimport late\ncheck()",
    "while it is imported": "import builtins\n"
    "builtins.WITHIN = lambda: when_imported('late', called)\nimport late\ncheck()",
    "fails while it is imported": "import builtins\nbuiltins.FAILS = True\n"
    "builtins.WITHIN = lambda: when_imported('late', called)\n"
    "try:\n    import late\nexcept ValueError:\n    pass\nassert calls == [] and sys.meta_path == before",
    "lazy": "when_imported('late', called)\nspec = importlib.util.find_spec('late')\n"
    "lazy = importlib.util.LazyLoader(spec.loader)\nspec.loader = lazy\nmodule = importlib.util.module_from_spec(spec)\n"
    "sys.modules['late'] = module\nlazy.exec_module(module)\nassert not calls\nassert module.COMPLETE and calls == [True]\n"
    "assert sys.meta_path == before",
    "threads": "import threading\nwhen_imported('late', called)\n"
    "both = [threading.Thread(target=importlib.import_module, args=('late',)) for _ in range(8)]\n"
    "[t.start() for t in both]\n[t.join() for t in both]\ncheck()",
    "another finder": "class Other:\n    def find_spec(self, name, path=None, target=None):\n"
    "        if name == 'late' and not busy:\n            busy.append(1)\n"
    "            try:\n                return importlib.util.find_spec(name)\n            finally:\n                busy.clear()\n"
    "busy = []\nwhen_imported('late', called)\nsys.meta_path.insert(0, Other())\nbefore.insert(0, sys.meta_path[0])\n"
    "import late\ncheck()",
}


@pytest.mark.parametrize("case", CASES)
def test_the_call_comes_once_it_is_imported_and_leaves_nothing(tmp_path: Path, case: str) -> None:
    late = """
import builtins
getattr(builtins, "WITHIN", lambda: None)()
if getattr(builtins, "FAILS", False):
    raise ValueError("not now")
import circle
COMPLETE = True
"""
    write(tmp_path / "late" / "__init__.py", late)
    write(tmp_path / "late" / "part.py", "")
    write(tmp_path / "circle.py", "import late")
    write(tmp_path / "case.py", BEGIN + CASES[case])
    python("case.py", cwd=tmp_path)


#: Stands where the hooks are, and says when they would have been put in.
ATTACHED = """
import sys, types
hooks = types.ModuleType("tidegauge.pytorch")
def attach_when_imported():
    import tidegauge, torch
    assert tidegauge.is_on()
    tidegauge.checkpoint("attached to " + torch.NAME)
    {more}
hooks.attach_when_imported = attach_when_imported
sys.modules[hooks.__name__] = hooks
"""


@pytest.mark.parametrize("way", ["launcher", "program", "environment", "no torch"])
@pytest.mark.parametrize("more", ["", "raise ValueError('of another version')"])
def test_torch_is_attached_to_when_it_is_imported(tmp_path: Path, way: str, more: str) -> None:
    write(tmp_path / "lib" / "torch" / "__init__.py", "NAME = 'this torch'")
    write(tmp_path / "lib" / "sitecustomize.py", ATTACHED.format(more=more))
    text = """
import tidegauge as tg
tg.checkpoint("before")
import torch
tg.checkpoint("after")
"""
    write(tmp_path / "train.py", text)
    environment = {"PYTHONPATH": os.pathsep.join([str(tmp_path / "lib"), str(LIBRARY)])}
    words = [sys.executable, "train.py"]
    if way == "launcher":
        words = [program("tidegauge-record"), "-q", "-o", "RUN", "--torch", "--", *words]
    elif way == "environment":
        environment |= {"TIDEGAUGE": "RUN", "TIDEGAUGE_TORCH": "1"}
    else:
        options = ["--no-torch"] if way == "no torch" else []
        words = [sys.executable, "-m", "tidegauge", "-q", *options, "-o", "RUN", "train.py"]
    done = command(*words, cwd=tmp_path, **environment)
    rows = query(tmp_path / "RUN", "select name from checkpoints where kind = 'mark' order by seq")
    attached = [] if way == "no torch" else ["attached to this torch"]
    assert [row["name"] for row in rows] == ["before", *attached, "after"]
    failed = bool(more) and way != "no torch"
    assert done.stderr == ("tidegauge: torch is not recorded: of another version\n" if failed else "")
    notes = [
        note
        for process in processes(tmp_path / "RUN")
        if not process.get("watched")
        for note in process["notes"]
    ]
    assert ("torch is not recorded: of another version" in notes) == failed


needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")

JOB = """
import os, sys, torch, torch.distributed as dist
from torch.utils.data import DataLoader, TensorDataset
def main():
    dist.init_process_group("gloo")
    data = TensorDataset(torch.zeros(4, 2))
    for method in ("spawn", "fork"):
        for _ in DataLoader(data, batch_size=2, num_workers=1, multiprocessing_context=method):
            pass
    x = torch.ones(1)
    dist.all_reduce(x)
    os.write(1, f"{os.getpid()} {x.item()}\\n".encode())  # At once: the workers share it.
    dist.destroy_process_group()
if __name__ == "__main__":
    main()
"""


@needs_torch
@pytest.mark.parametrize("way", ["launcher", "program"])
def test_workers_of_torchrun_record_and_nobody_else(tmp_path: Path, way: str) -> None:
    write(tmp_path / "train.py", JOB)
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "train.py"]
    if way == "launcher":
        words = [program("tidegauge-record"), "-q", "-o", "RUN", "--torch", "--", sys.executable]
    else:
        words = [sys.executable, "-m", "tidegauge", "-o", "RUN", "--config", "batch_size=2"]
    done = command(*words, *torchrun, cwd=tmp_path, OMP_NUM_THREADS="1")
    workers = {int(line.split()[0]) for line in done.stdout.splitlines()}
    assert len(workers) == 2 and done.stdout.count(" 2.0\n") == 2, done.stdout
    assert set(pids(tmp_path / "RUN")) == workers
    own = [process for process in processes(tmp_path / "RUN") if process["pid"] in workers]
    assert [(process["rank"], process["world_size"], process["ended"]) for process in own] == [
        (0, 2, "clean"),
        (1, 2, "clean"),
    ]
    if way == "program":
        assert '"batch_size": 2' in (tmp_path / "RUN" / "run.json").read_text()
        assert done.stderr.count(f"tidegauge: trace {tmp_path / 'RUN'} ") == 1
    assert not (tmp_path / "RUN-2").exists()


COMPILED = """
import os, torch
from torch._inductor.async_compile import AsyncCompile
if __name__ == "__main__":
    pool = AsyncCompile.process_pool()
    print(os.getpid(), pool.submit(os.getpid).result(), flush=True)
    AsyncCompile.wait_pool_ready() if hasattr(AsyncCompile, "wait_pool_ready") else None
"""


@needs_torch
def test_workers_that_compile_do_not_record(tmp_path: Path) -> None:
    write(tmp_path / "train.py", COMPILED)
    words = [program("tidegauge-record"), "-q", "-o", "RUN", "--torch", "--", sys.executable, "train.py"]
    done: subprocess.CompletedProcess[str] = command(*words, cwd=tmp_path, TORCHINDUCTOR_COMPILE_THREADS="2")
    own, worker = map(int, done.stdout.split())
    assert own != worker and pids(tmp_path / "RUN") == [own]
