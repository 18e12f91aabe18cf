"""`tidegauge-record --torch`: our `sitecustomize`, the one that it hides, and who lacks the package."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import venv
from pathlib import Path

import pytest
from conftest import clean_environment, program, query
from launches import LIBRARY, command, pids, processes, python, write
from tidegauge.launch import rule

BOOTSTRAP = LIBRARY / "tidegauge" / "bootstrap"


def recorded(
    *words: str | Path, cwd: Path, check: bool = True, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs a command under the launcher, into `RUN`."""
    launcher = [program("tidegauge-record"), "-q", "-o", "RUN", "--torch", "--"]
    return command(*launcher, *map(str, words), cwd=cwd, check=check, **environment)


STATE = """
import json, os, sys
site = sys.modules.get("sitecustomize")
hidden = site and [site.__file__, site.__name__, site.__spec__.origin, getattr(site, "VALUE", None)]
own = ("TIDEGAUGE", "PYTHONPATH")
variables = {name: value for name, value in os.environ.items() if not name.startswith(own)}
print(json.dumps([hidden, sys.path, sys.argv, variables, sorted(sys.path_importer_cache)]))
"""


def test_a_script_is_recorded_from_within_and_sees_nothing_of_it(tmp_path: Path) -> None:
    write(tmp_path / "train.py", STATE)
    plain = json.loads(python("train.py", "x", cwd=tmp_path).stdout)
    done = recorded(sys.executable, "train.py", "x", cwd=tmp_path)
    assert done.stderr == ""
    found = json.loads(done.stdout)
    assert found[:4] == plain[:4]
    assert not any("bootstrap" in path for path in found[4])
    (pid,) = pids(tmp_path / "RUN")
    launcher, process = processes(tmp_path / "RUN")
    assert launcher["watched"]["pid"] == pid and process["ended"] == "clean"
    assert process["command"][-2:] == ["train.py", "x"]
    assert not list(tmp_path.rglob("sitecustomize.py"))


@pytest.fixture(scope="module")
def environment_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a virtual environment with nothing in it."""
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, with_pip=False, symlinks=True)
    return folder / "bin" / "python"


def of_the_environment(interpreter: Path) -> Path:
    """Where that environment has its own `sitecustomize`."""
    (packages,) = interpreter.parent.parent.glob("lib/python*/site-packages")
    return packages / "sitecustomize.py"


HIDDEN = {
    "none": None,
    "module": "import sys\nVALUE = [__name__, sys.modules[__name__].__file__]",
    "error": "raise ValueError('of the site')",
    "missing": "import nowhere_to_be_found",
    "exit": "raise SystemExit(9)",
    "replaced": "import sys, types\nsys.modules[__name__] = m = types.ModuleType('x')\n"
    "m.__file__ = 'y'; m.__spec__ = __spec__; m.VALUE = 5",
}


@pytest.mark.parametrize("place", ["PYTHONPATH", "environment"])
@pytest.mark.parametrize("hidden", HIDDEN)
def test_the_one_that_it_hides_is_what_it_would_be(
    tmp_path: Path, environment_of_its_own: Path, place: str, hidden: str
) -> None:
    site = tmp_path / "site" / "sitecustomize.py"
    if place == "environment":
        site = of_the_environment(environment_of_its_own)
    text = HIDDEN[hidden]
    site.unlink(missing_ok=True)
    if text is not None:
        write(site, text)
    write(tmp_path / "train.py", STATE)
    paths = {"PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), str(LIBRARY)])}
    interpreter = str(environment_of_its_own)
    plain = command(interpreter, "train.py", cwd=tmp_path, check=False, **paths)
    done = recorded(interpreter, "train.py", cwd=tmp_path, check=False, **paths)
    site.unlink(missing_ok=True)
    assert done.returncode == plain.returncode
    if hidden == "exit":
        # Python takes that for an error of its own, and shows the frames of it.
        assert done.returncode != 0 and done.stderr.splitlines()[-1] == plain.stderr.splitlines()[-1]
        return
    assert done.stderr == plain.stderr
    found, expected = json.loads(done.stdout), json.loads(plain.stdout)
    assert found[:4] == expected[:4]
    assert (found[0] is not None) == (hidden in ("module", "replaced"))
    assert len(pids(tmp_path / "RUN")) == 1


def test_an_interpreter_without_the_package_is_named_once(
    tmp_path: Path, environment_of_its_own: Path
) -> None:
    interpreter = str(environment_of_its_own)
    script = f"{interpreter} -c 'print(1)'; {interpreter} -c 'print(2)'; {sys.executable} -S -c 'print(3)'"
    # A folder of that name is no package.
    (tmp_path / "lib" / "tidegauge").mkdir(parents=True)
    done = recorded("sh", "-c", script, cwd=tmp_path, PYTHONPATH=str(tmp_path / "lib"))
    assert done.stdout == "1\n2\n3\n"
    assert done.stderr.count("\n") == 1 and done.stderr.startswith(
        f"tidegauge: NOT RECORDING inside of {interpreter}: "
    )
    assert "-m pip install" in done.stderr
    assert pids(tmp_path / "RUN") == []


def test_a_package_that_cannot_be_imported_is_said(tmp_path: Path) -> None:
    shutil.copytree(LIBRARY / "tidegauge" / "launch", tmp_path / "lib" / "tidegauge" / "launch")
    write(tmp_path / "lib" / "tidegauge" / "__init__.py", "raise ImportError('half of it is missing')")
    done = recorded(sys.executable, "-c", "print(1)", cwd=tmp_path, PYTHONPATH=str(tmp_path / "lib"))
    assert done.stdout == "1\n"
    assert done.stderr == "tidegauge: NOT RECORDING: ImportError: half of it is missing\n"


@pytest.mark.parametrize("flag", ["-S", "-I", "-E"])
def test_interpreters_that_look_at_nothing_are_left_alone(tmp_path: Path, flag: str) -> None:
    done = recorded(sys.executable, flag, "-c", "import sys; print('tidegauge' in sys.modules)", cwd=tmp_path)
    assert done.stdout == "False\n" and done.stderr == "" and pids(tmp_path / "RUN") == []


def test_tools_and_children_do_not_even_load_it(tmp_path: Path) -> None:
    text = """
import multiprocessing, os, subprocess, sys
show = "import sys; print(sorted(name for name in sys.modules if name.startswith('tidegauge')))"
def loaded(_):
    return sorted(name for name in sys.modules if name.startswith("tidegauge"))
if __name__ == "__main__":
    print(os.getpid(), flush=True)
    subprocess.run([sys.executable, "-c", show], check=True)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.map(loaded, [0])[0])
"""
    write(tmp_path / "train.py", text)
    write(tmp_path / "pip", "import sys; print('tidegauge' in sys.modules)")
    script = f"{sys.executable} pip; {sys.executable} train.py"
    pip, pid, *rest = recorded("sh", "-c", script, cwd=tmp_path).stdout.splitlines()
    assert pip == "False" and rest == ["[]", "[]"]
    assert pids(tmp_path / "RUN") == [int(pid)]


def test_the_module_with_options_of_its_own_decides_itself(tmp_path: Path) -> None:
    write(tmp_path / "train.py", "import tidegauge as tg; tg.checkpoint('here')")
    done = recorded(
        sys.executable, "-m", "tidegauge", "--config", "lr=0.5", "--rank", "2", "train.py", cwd=tmp_path
    )
    assert done.stderr.count("tidegauge: trace ") == 1
    assert query(tmp_path / "RUN", "select name, rank from checkpoints") == [{"name": "here", "rank": 2}]


def test_a_launcher_within_a_recorded_program_starts_anew(tmp_path: Path) -> None:
    inner = [program("tidegauge-record"), "-q", "-o", "INNER", "--torch", "--", sys.executable, "-c", "pass"]
    write(tmp_path / "train.py", f"import subprocess; subprocess.run({inner!r}, check=True)")
    done = recorded(sys.executable, "train.py", cwd=tmp_path)
    assert done.stderr == ""
    # It is of the same job.
    assert len(pids(tmp_path / "RUN")) == 1 and len(pids(tmp_path / "INNER")) == 1


def test_what_a_killed_launcher_left_goes_with_its_recovery(tmp_path: Path) -> None:
    write(tmp_path / "train.py", "import sys\nprint('ready', flush=True)\nsys.stdin.read()\n")
    words = [program("tidegauge-record"), "-q", "-o", "RUN", "--torch", "--", sys.executable, "train.py"]
    launcher = subprocess.Popen(
        words, cwd=tmp_path, env=clean_environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert launcher.stdin is not None and launcher.stdout is not None
    assert launcher.stdout.readline() == "ready\n"
    assert len(list(tmp_path.rglob("sitecustomize.py"))) == 1
    launcher.kill()
    assert launcher.wait() == -signal.SIGKILL
    # The program did not notice, and ends as ever.
    launcher.stdin.close()
    deadline = time.monotonic() + 60
    while [process["ended"] for process in processes(tmp_path / "RUN") if process["watched"] is None] != [
        "clean"
    ]:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    launcher.stdout.close()
    command(program("tidegauge-record"), "recover", "RUN", cwd=tmp_path)
    assert not list(tmp_path.rglob("sitecustomize.py")) and not list(tmp_path.rglob("journal"))


def test_an_interpreter_that_does_not_record_does_not_load_the_package(tmp_path: Path) -> None:
    paths = os.pathsep.join([str(BOOTSTRAP), str(LIBRARY)])
    pid = os.getpid()
    owner = f"{pid}:-:{rule.start_of(pid)}"
    child = {"TIDEGAUGE": str(tmp_path / "RUN"), "TIDEGAUGE_OWNER": owner, "PYTHONPATH": paths}
    done = python("-c", "import sys; print([name for name in sys.modules if 'tidegauge' in name])", **child)
    assert done.stdout == "[]\n" and not (tmp_path / "RUN").exists()
