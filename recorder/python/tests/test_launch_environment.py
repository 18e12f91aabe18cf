"""`TIDEGAUGE` in the environment: who starts by itself, and who leaves it to its parent."""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

import pytest
from conftest import query
from launches import command, pids, processes, python, write

WORKERS = """
import multiprocessing, os, subprocess, sys
import tidegauge as tg

def work(number):
    assert multiprocessing.parent_process() is not None
    tg.checkpoint("worker")
    return tg.is_on(), os.getpid()

if __name__ == "__main__":
    assert tg.is_on()
    helper = "import tidegauge as tg, os; tg.checkpoint('helper'); print(tg.is_on(), os.getpid())"
    out = subprocess.run([sys.executable, "-c", helper], capture_output=True, text=True, check=True).stdout.split()
    found = [(out[0] == "True", int(out[1]))]
    for method in sys.argv[1:]:
        with multiprocessing.get_context(method).Pool(1) as pool:
            found += pool.map(work, [1])
            pool.close()
            pool.join()
    print(os.getpid(), *(f"{pid}:{is_on}" for is_on, pid in found))
"""


def test_children_leave_it_to_the_first(tmp_path: Path) -> None:
    write(tmp_path / "train.py", WORKERS)
    out = python("train.py", "spawn", "forkserver", "fork", cwd=tmp_path, TIDEGAUGE="RUN").stdout.split()
    assert [word.partition(":")[2] for word in out[1:]] == ["False"] * 4
    assert pids(tmp_path / "RUN") == [int(out[0])] and not (tmp_path / "RUN-2").exists()
    assert query(tmp_path / "RUN", "select name from checkpoints") == []


@pytest.mark.parametrize("way", ["environment", "start", "program"])
def test_children_record_where_they_are_asked_to(tmp_path: Path, way: str) -> None:
    if way == "start":
        write(
            tmp_path / "train.py",
            WORKERS.replace("    assert tg.is_on()", "    tg.start('RUN', children=True)"),
        )
    else:
        write(tmp_path / "train.py", WORKERS)
    methods = ["spawn", "forkserver", "fork"]
    if way == "program":
        done = python(
            "-m",
            "tidegauge",
            "-q",
            "--children",
            "--no-torch",
            "-o",
            "RUN",
            "train.py",
            *methods,
            cwd=tmp_path,
        )
    elif way == "environment":
        done = python("train.py", *methods, cwd=tmp_path, TIDEGAUGE="RUN", TIDEGAUGE_CHILDREN="1")
    else:
        done = python("train.py", *methods, cwd=tmp_path)
    parent, *children = done.stdout.split()
    assert [word.partition(":")[2] for word in children] == ["True"] * 4
    expected = {int(parent), *(int(word.partition(":")[0]) for word in children)}
    assert set(pids(tmp_path / "RUN")) == expected and len(pids(tmp_path / "RUN")) == 5
    assert not (tmp_path / "RUN-2").exists()
    assert {process["ended"] for process in processes(tmp_path / "RUN")} == {"clean"}
    rows = query(tmp_path / "RUN", "select name, count(*) as n from checkpoints group by name order by name")
    assert rows == [{"name": "helper", "n": 1}, {"name": "worker", "n": 3}]


def test_children_do_not_record_once_it_has_stopped(tmp_path: Path) -> None:
    text = """
import os, subprocess, sys, tidegauge as tg
before = dict(os.environ)
tg.start("RUN", children=True)
assert os.environ["TIDEGAUGE"] == os.path.abspath("RUN")
tg.stop()
assert dict(os.environ) == before
subprocess.run([sys.executable, "-c", "import tidegauge as tg; assert not tg.is_on()"], check=True)
pid = os.fork()
if pid == 0:
    os._exit(tg.is_on())
assert os.waitpid(pid, 0)[1] == 0
"""
    write(tmp_path / "train.py", text)
    python("train.py", cwd=tmp_path)
    assert len(processes(tmp_path / "RUN")) == 1


def test_a_process_that_is_about_to_execute_another_program_does_not_record(tmp_path: Path) -> None:
    text = """
import subprocess, tidegauge as tg
subprocess.run(["true"], preexec_fn=lambda: None, check=True)
"""
    write(tmp_path / "train.py", text)
    python("train.py", cwd=tmp_path, TIDEGAUGE="RUN", TIDEGAUGE_CHILDREN="1")
    assert len(processes(tmp_path / "RUN")) == 1


def test_programs_of_a_shell_record_one_after_the_other(tmp_path: Path) -> None:
    write(tmp_path / "prepare.py", "import tidegauge as tg; tg.checkpoint('prepared')")
    write(tmp_path / "train.py", "import tidegauge as tg; tg.checkpoint('trained')")
    script = f"{sys.executable} prepare.py; {sys.executable} train.py"
    command("bash", "-c", script, cwd=tmp_path, TIDEGAUGE="one", TIDEGAUGE_RUN_ID="job")
    assert [
        row["name"] for row in query(tmp_path / "one", "select name from checkpoints order by process")
    ] == [
        "prepared",
        "trained",
    ]
    # Without a job that they are of, they are two runs.
    command("bash", "-c", script, cwd=tmp_path, TIDEGAUGE="two")
    assert [row["name"] for row in query(tmp_path / "two", "select name from checkpoints")] == ["prepared"]
    assert [row["name"] for row in query(tmp_path / "two-2", "select name from checkpoints")] == ["trained"]


def test_workers_of_a_launcher_are_ranks(tmp_path: Path) -> None:
    launcher = """
import os, subprocess, sys
import tidegauge as tg
started = [
    subprocess.Popen([sys.executable, "train.py"], env={**os.environ, "RANK": str(rank), "WORLD_SIZE": "2"})
    for rank in range(2)
]
assert [process.wait() for process in started] == [0, 0]
"""
    write(tmp_path / "train.py", WORKERS)
    # A launcher that nobody knows for one records too, as the rank that it would be, and takes nobody's place.
    write(tmp_path / "launch.py", launcher)
    write(tmp_path / "bin" / "torchrun", launcher)
    for path, own in [("launch.py", 1), ("bin/torchrun", 0)]:
        run = tmp_path / f"RUN{own}"
        out = python(path, cwd=tmp_path, TIDEGAUGE=str(run), TIDEGAUGE_RUN_ID="job").stdout
        ranks = sorted(process["rank"] for process in processes(run))
        assert ranks == [0] * own + [0, 1], out
        assert out.count(":False") == 2, "helpers of ranks do not record"


def test_the_folder_is_found_wherever_the_program_goes(tmp_path: Path) -> None:
    text = """
import os, sys, tidegauge as tg
os.chdir("/")
assert os.environ["TIDEGAUGE"] == sys.argv[1]
if len(sys.argv) == 2:
    os.execv(sys.executable, [sys.executable, __file__, *sys.argv[1:], "again"])
"""
    train = write(tmp_path / "train.py", text)
    python(train, tmp_path / "RUN", cwd=tmp_path, TIDEGAUGE="RUN")
    assert [process["process"] for process in processes(tmp_path / "RUN")] == [0, 1]


def test_a_folder_that_cannot_be_used_costs_the_trace_only(tmp_path: Path) -> None:
    script = "import tidegauge as tg; assert not tg.is_on(); raise SystemExit(3)"
    done = python("-c", script, check=False, TIDEGAUGE="/proc/nowhere/RUN")
    assert done.returncode == 3 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("tidegauge: NOT RECORDING: ") and "/proc/nowhere" in done.stderr
    closed = "import os; os.close(2); import tidegauge"
    python("-c", closed, TIDEGAUGE="/proc/nowhere/RUN")
    python("-c", "import sys; sys.stderr = None; import tidegauge", TIDEGAUGE="/proc/nowhere/RUN")


def test_a_configuration_of_the_environment_is_the_runs(tmp_path: Path) -> None:
    python("-c", "import tidegauge", cwd=tmp_path, TIDEGAUGE="RUN", TIDEGAUGE_CONFIG='{"batch_size": 7}')
    assert '"batch_size": 7' in (tmp_path / "RUN" / "run.json").read_text()
    done = python("-c", "import tidegauge", cwd=tmp_path, TIDEGAUGE="RUN", TIDEGAUGE_CONFIG="{")
    assert "NOT RECORDING" in done.stderr


def test_nothing_of_this_is_loaded_where_nobody_asks(tmp_path: Path) -> None:
    compiled = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(tmp_path)}
    # CPU time, since the machine may have others to serve; of several, the middle.
    script = """
import sys, time
before = set(sys.modules)
began = time.process_time()
import tidegauge
took = time.process_time() - began
new = set(sys.modules) - before
assert not [name for name in new if name.startswith("tidegauge.launch")], new
assert not new & {"torch", "numpy", "argparse", "subprocess", "multiprocessing", "asyncio", "logging"}, new
print(took)
"""
    python("-c", script, **compiled)
    took = [float(python("-c", script, **compiled).stdout) for _ in range(7)]
    print(f"import tidegauge takes {1e3 * statistics.median(took):.1f} ms of CPU")
    assert statistics.median(took) < 0.030, took
