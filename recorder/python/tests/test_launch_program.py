"""`python -m tidegauge SCRIPT`: what the program sees and how it ends is as under python itself."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import query
from launches import processes, python, write

STATE = """
import json, sys
names = {name: type(value).__name__ if name in ("__loader__", "__builtins__") else str(value)
         for name, value in globals().items() if name not in ("json", "sys", "__spec__", "__builtins__")}
spec = __spec__ and [__spec__.name, __spec__.origin, __spec__.parent]
main = sys.modules["__main__"]
print(json.dumps([names, spec, sys.argv, sys.path, main.__dict__ is globals(), __builtins__ is sys.modules["builtins"]]))
"""


def same_as_python(
    tmp_path: Path, *arguments: str, flags: tuple[str, ...] = (), stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """Runs it plain and recorded, compares all that can be seen from outside, and returns the recorded one."""
    # A trace that is there already would have it say so.
    shutil.rmtree(tmp_path / "RUN", ignore_errors=True)
    plain = python(*flags, *arguments, cwd=tmp_path, check=False, stdin=stdin)
    recorded = python(
        *flags, "-m", "tidegauge", "-q", "-o", "RUN", *arguments, cwd=tmp_path, check=False, stdin=stdin
    )
    assert recorded.stdout == plain.stdout
    assert recorded.returncode == plain.returncode, recorded.stderr
    assert recorded.stderr == plain.stderr
    return recorded


@pytest.mark.parametrize(
    "line",
    [
        "train.py a -m -o b --config",
        "./train.py",
        "folder/link.py",
        "package",
        "./package x",
        "archive.zip",
        "-m train x",
        "-m package.inner -c",
        "-m package",
    ],
)
def test_a_program_finds_what_python_gives_it(tmp_path: Path, line: str) -> None:
    write(tmp_path / "train.py", STATE)
    write(tmp_path / "package" / "__init__.py", "")
    write(tmp_path / "package" / "__main__.py", STATE)
    write(tmp_path / "package" / "inner.py", STATE)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "link.py").symlink_to("../train.py")
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
        archive.writestr("__main__.py", STATE)
    assert same_as_python(tmp_path, *line.split()).returncode == 0
    assert [process["ended"] for process in processes(tmp_path / "RUN")] == ["clean"]
    if sys.version_info >= (3, 11):
        same_as_python(tmp_path, *line.split(), flags=("-P",))


def test_code_and_standard_input(tmp_path: Path) -> None:
    assert "-c" in same_as_python(tmp_path, "-c", STATE, "-m", "x").stdout
    same_as_python(tmp_path, "-", "x", stdin=STATE)
    write(tmp_path / "__main__.py", STATE)
    same_as_python(tmp_path, ".")


ENDS = {
    "zero": "sys.exit(0)",
    "number": "sys.exit(3)",
    "none": "raise SystemExit",
    "text": "sys.exit('that was all')",
    "negative": "sys.exit(-1)",
    "large": "sys.exit(258)",
    "object": "sys.exit([1, 2])",
    "exception": "def f():\n    raise KeyError('gone')\ntry:\n    f()\nexcept KeyError as e:\n    raise ValueError('then') from e",
    "interrupt": "os.kill(os.getpid(), signal.SIGINT)\nfor _ in range(10**9): pass",
    "interrupt raised": "raise KeyboardInterrupt",
    "terminated": "os.kill(os.getpid(), signal.SIGTERM)\nfor _ in range(10**9): pass",
    "aborted": "os.abort()",
    "gone at once": "os._exit(4)",
    "hook": "sys.excepthook = lambda kind, error, tb: print('hook', kind, error, tb.tb_lineno, tb.tb_next)\n1 / 0",
    "hook exits": "def hook(*_): sys.exit(7)\nsys.excepthook = hook\n1 / 0",
    "group": "raise BaseException('rare')",
    "thread": "threading.Thread(target=lambda: print('last')).start()",
    "thread fails": "t = threading.Thread(target=lambda: 1 / 0, name='t'); t.start(); t.join()",
    "daemon": "threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()",
    "at exit": "atexit.register(print, 'bye'); sys.exit(2)",
    "syntax": "x = = 1",
    "last": "atexit.register(lambda: print(sys.last_value, sys.last_traceback.tb_lineno))\nraise OSError('x')",
    "main": "print(__name__ == '__main__', sys.modules['__main__'].__file__)",
}


@pytest.mark.parametrize("end", ENDS)
def test_a_program_ends_as_under_python(tmp_path: Path, end: str) -> None:
    text = f"import atexit, os, signal, sys, threading, time\nprint('begins', flush=True)\n{ENDS[end]}\n"
    write(tmp_path / "train.py", text)
    done = same_as_python(tmp_path, "train.py")
    if end == "interrupt":
        assert done.returncode == -signal.SIGINT
    (process,) = processes(tmp_path / "RUN")
    if end not in ("terminated", "aborted", "gone at once"):
        assert process["ended"] == "clean"
        assert len(query(tmp_path / "RUN", "select seq from samples where metric = 'rss_bytes'")) > 0


def test_what_cannot_be_run_is_said_as_python_says_it(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    write(tmp_path / "package" / "__init__.py", "")
    lines = [
        "nowhere.py",
        "/nowhere/train.py",
        "empty",
        "-m nowhere",
        "-m package",
        "-m sys",
        "-m package.nowhere",
    ]
    for line in lines:
        assert same_as_python(tmp_path, *line.split()).returncode in (1, 2)
    # Of what could not be opened there is no trace.
    (tmp_path / "other").mkdir()
    python("-m", "tidegauge", "-o", tmp_path / "other" / "RUN", tmp_path / "nowhere.py", check=False)
    assert not (tmp_path / "other" / "RUN").exists()


def test_a_broken_hook_for_exceptions_is_said(tmp_path: Path) -> None:
    write(
        tmp_path / "train.py",
        "import sys\ndef hook(*_): raise ValueError('hook')\nsys.excepthook = hook\n1 / 0\n",
    )
    plain = python("train.py", cwd=tmp_path, check=False)
    recorded = python("-m", "tidegauge", "-q", "-o", "RUN", "train.py", cwd=tmp_path, check=False)
    assert recorded.returncode == plain.returncode == 1
    # Two frames are ours: whoever wrote the hook sees through whom it was called.
    own = re.compile(r'  File "[^"]*/tidegauge/[^\n]*\n    [^\n]*\n(?:    [ ~^]*\n)?')
    assert own.sub("", recorded.stderr) == plain.stderr


CLASSES = """
import multiprocessing, pickle, sys
class Sample:
    def __init__(self, value): self.value = value
def double(sample): return Sample(2 * sample.value)
print("imported as", __name__)
if __name__ == "__main__":
    assert pickle.loads(pickle.dumps(Sample(3))).value == 3
    for method in ("spawn", "forkserver", "fork"):
        with multiprocessing.get_context(method).Pool(1) as pool:
            print(method, [sample.value for sample in pool.map(double, [Sample(1), Sample(2)])], flush=True)
"""


@pytest.mark.parametrize("line", ["train.py", "-m train"])
def test_classes_of_the_script_travel_to_workers(tmp_path: Path, line: str) -> None:
    write(tmp_path / "train.py", CLASSES)
    same_as_python(tmp_path, *line.split())
    assert len(processes(tmp_path / "RUN")) == 1, "workers do not record"


def test_the_trace_is_closed_after_what_the_script_does_at_its_end(tmp_path: Path) -> None:
    text = """
import atexit, tidegauge as tg
atexit.register(tg.checkpoint, "at exit")
tg.checkpoint("begins")
raise SystemExit(5)
"""
    write(tmp_path / "train.py", text)
    done = python("-m", "tidegauge", "-o", "RUN", "train.py", cwd=tmp_path, check=False)
    assert done.returncode == 5
    assert done.stderr == "tidegauge: trace RUN   (tidegauge summary RUN)\n"
    rows = query(tmp_path / "RUN", "select name from checkpoints where kind = 'mark' order by seq")
    assert [row["name"] for row in rows] == ["begins", "at exit"]
    (process,) = processes(tmp_path / "RUN")
    assert process["ended"] == "clean"
    assert process["command"][-1] == "train.py"


def test_a_start_in_the_script_goes_on_with_what_is_recorded(tmp_path: Path) -> None:
    text = """
import tidegauge as tg
assert tg.is_on()
print(tg.start("elsewhere", config={"batch_size": 4}))
tg.checkpoint("here")
"""
    write(tmp_path / "train.py", text)
    done = python("-m", "tidegauge", "-q", "--config", "lr=0.5", "-o", "RUN", "train.py", cwd=tmp_path)
    assert done.stdout == f"{tmp_path / 'RUN'}\n" and not (tmp_path / "elsewhere").exists()
    assert len(query(tmp_path / "RUN", "select seq from checkpoints where name = 'here'")) == 1


def test_a_kill_costs_nothing_that_was_recorded(tmp_path: Path) -> None:
    text = """
import os, signal, tidegauge as tg
for number in range(50_000):
    tg.alloc(-1, 4096 + 16 * number, 10)
os.kill(os.getpid(), signal.SIGKILL)
"""
    write(tmp_path / "train.py", text)
    done = python("-m", "tidegauge", "-o", "RUN", "train.py", cwd=tmp_path, check=False)
    assert done.returncode == -signal.SIGKILL and done.stderr == ""
    assert query(tmp_path / "RUN", "select count(*) as n from events where kind = 'alloc'") == [{"n": 50_000}]


def test_a_forked_child_closes_nothing(tmp_path: Path) -> None:
    text = """
import os, sys, tidegauge as tg
pid = os.fork()
if pid == 0:
    assert not tg.is_on()
    tg.checkpoint("child")
    sys.exit(0)
assert os.waitpid(pid, 0)[1] == 0
tg.checkpoint("parent")
"""
    write(tmp_path / "train.py", text)
    done = python("-m", "tidegauge", "-o", "RUN", "train.py", cwd=tmp_path)
    assert done.stderr.count("tidegauge: ") == 1
    assert [row["name"] for row in query(tmp_path / "RUN", "select name from checkpoints")] == ["parent"]


@pytest.mark.parametrize("children", [False, True])
def test_what_a_program_executes_in_its_place(tmp_path: Path, children: bool) -> None:
    text = """
import os, sys, tidegauge as tg
tg.checkpoint("second" if "again" in sys.argv else "first")
if "again" not in sys.argv:
    os.execv(sys.executable, [sys.executable, __file__, "again"])
"""
    write(tmp_path / "train.py", text)
    options = ["--children"] if children else []
    python("-m", "tidegauge", *options, "-o", "RUN", "train.py", cwd=tmp_path)
    rows = query(tmp_path / "RUN", "select name from checkpoints order by process")
    assert [row["name"] for row in rows] == (["first", "second"] if children else ["first"])
    assert not (tmp_path / "RUN-2").exists()


def test_options_reach_the_recorder(tmp_path: Path) -> None:
    write(
        tmp_path / "train.py",
        "import tidegauge as tg\nwhile tg.is_on() and not tg._native.rss_bytes(): pass\n",
    )
    options = (
        "--config batch_size=16 --config lr=1e-3 --config model=unet --config amp=true --rank 3 --ring 1000"
    )
    python("-m", "tidegauge", *options.split(), "--interval=20ms", "-oRUN", "train.py", cwd=tmp_path)
    (process,) = processes(tmp_path / "RUN")
    assert process["rank"] == 3 and "1000" in str(process["retention"])
    run = (tmp_path / "RUN" / "run.json").read_text()
    for part in ('"batch_size": 16', '"lr": 0.001', '"model": "unet"', '"amp": true'):
        assert part in run


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ("", "no program"),
        ("--interval 5 train.py", "1ms or more"),
        ("--interval 10us train.py", "1ms or more"),
        ("--windows 5 train.py", "two numbers"),
        ("--ring 0 train.py", "above 0"),
        ("--config x train.py", "KEY=VALUE"),
        ("--no-such-option train.py", "--no-such-option"),
        ("--ring 5 --windows 1/2 train.py", "exclude each other"),
        ("--alert rss>>5 train.py", "rss>>5"),
        ("-m", "no program"),
    ],
)
def test_a_wrong_option_is_named_and_nothing_runs(tmp_path: Path, options: str, part: str) -> None:
    write(tmp_path / "train.py", "print('runs')")
    done = python("-m", "tidegauge", *options.split(), cwd=tmp_path, check=False)
    assert done.returncode == 125 and part in done.stderr and done.stdout == "", done.stderr


def test_a_program_that_cannot_be_recorded_runs(tmp_path: Path) -> None:
    write(tmp_path / "train.py", "raise SystemExit(3)")
    # Not even the superuser makes folders there.
    done = python("-m", "tidegauge", "-o", "/proc/nowhere/RUN", "train.py", cwd=tmp_path, check=False)
    assert done.returncode == 3
    assert done.stderr.startswith("tidegauge: NOT RECORDING: ") and done.stderr.count("\n") == 1


def test_without_a_name_a_run_is_named_after_the_program(tmp_path: Path) -> None:
    write(tmp_path / "train.py", "")
    for arguments in (["train.py"], ["-m", "train"], ["-c", "pass"]):
        python("-m", "tidegauge", *arguments, cwd=tmp_path)
    names = sorted(path.name for path in (tmp_path / "tidegauge-runs").iterdir())
    assert [re.sub(r"20\d{6}-\d{6}(-2)?$", "WHEN", name) for name in names] == [
        "python-WHEN",
        "train-WHEN",
        "train-WHEN",
    ]
    python("-m", "tidegauge", "train.py", cwd=tmp_path, TIDEGAUGE="named")
    assert len(processes(tmp_path / "named")) == 1
    assert os.listdir(tmp_path / "tidegauge-runs") and len(list((tmp_path / "tidegauge-runs").iterdir())) == 3
