"""Starting, stopping, steps and configuration, seen through the analyzer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import clean_environment, query, run_python, summary


def test_a_loop_is_recorded_as_it_was(run: Path) -> None:
    run_python(
        """
import sys, tidegauge as tg
assert tg.start(sys.argv[1], config={"batch_size": 16, "model": {"depth": 3}}, rank=2) == sys.argv[1]
span = tg.span("forward")
with tg.epoch(4):
    for number in range(10, 13):
        with tg.step(number, batch_size=8) as step:
            with span, span:
                tg.alloc(-1, 4096 * number, 1000)
            step.loss = number / 4
tg.checkpoint("after")
tg.counter("queue_bytes", 7)
tg.loss_evaluation(3, 0.25)
assert tg.is_on() and tg.stop() == sys.argv[1] and not tg.is_on() and tg.stop() is None
""",
        str(run),
    )
    steps = query(
        run,
        "select step, epoch, value, batch_size, rank from checkpoints where kind = 'step_end' order by seq",
    )
    assert [(row["step"], row["epoch"], row["value"], row["batch_size"], row["rank"]) for row in steps] == [
        (number, 4, number / 4, 8, 2) for number in range(10, 13)
    ]
    kinds = query(run, "select kind, name, step, value from checkpoints order by seq")
    spans = [row["kind"] for row in kinds if row["name"] == "forward"]
    assert spans == ["span_begin", "span_begin", "span_end", "span_end"] * 3
    assert [row["value"] for row in kinds if row["kind"] == "loss_evaluation"] == [0.25]
    assert [row["name"] for row in kinds if row["kind"] == "mark"] == ["after"]
    assert summary(run)["devices"][0]["peak_allocated_bytes"] == 3000
    assert json.loads((run / "run.json").read_text())["config"] == {"batch_size": 16, "model.depth": 3}


def test_the_program_may_go_elsewhere(tmp_path: Path) -> None:
    run_python(
        """
import os, sys, tidegauge as tg
os.chdir(sys.argv[1])
os.mkdir("elsewhere")
run = tg.start("runs/a")
os.chdir("elsewhere")
for number in range(200_000):
    tg.counter("numbers", number)
assert tg.run_path() == run == os.path.join(sys.argv[1], "runs", "a") == tg.stop()
""",
        str(tmp_path.resolve()),
    )
    assert summary(tmp_path / "runs" / "a")["ended"] == "clean"
    assert query(tmp_path / "runs" / "a", "select count(*) as n from samples where metric = 'numbers'") == [
        {"n": 200_000}
    ]


def test_counters_are_fresh_or_sampled(tmp_path: Path) -> None:
    for counters, expected in [("fresh", 5), ("sampled", 0)]:
        run = tmp_path / counters
        run_python(
            """
import sys, tidegauge as tg
tg.start(sys.argv[1], counters=sys.argv[2])
for _ in range(5):
    tg.checkpoint("here")
tg.stop()
""",
            str(run),
            counters,
        )
        rows = query(
            run,
            "select c.seq from checkpoints c join samples s on s.seq = c.seq where s.metric = 'rss_bytes'",
        )
        assert len(rows) == expected, counters


def test_nothing_raises_or_records_when_off(run: Path) -> None:
    run_python(
        """
import tidegauge as tg
with tg.epoch(), tg.step() as step, tg.span("a"), tg.site("b"):
    tg.checkpoint("c"); tg.counter("d", 1); tg.alloc(-1, 1, 2); tg.free(-1, 1); tg.oom(0, 5); tg.dump()
    step.loss = "no number"
tg.add_config(a=1)
assert not tg.is_on() and tg.run_path() is None and tg.dropped_records() == 0
"""
    )
    assert not run.exists()


@pytest.mark.parametrize(
    ("call", "part"),
    [
        ("tg.start('x', counters='often')", "counters must be"),
        ("tg.start('x', ring=5, windows=(1, 2))", "exclude each other"),
        ("tg.start('x', ring=0)", "above 0"),
        ("tg.start('x', windows=(0, 0))", "no step at all"),
        ("tg.start('x', interval=-1)", "interval must be"),
        ("tg.start('x', interval=float('nan'))", "interval must be"),
        ("tg.start('x', alerts=['rss >> 5'])", "rss >> 5"),
        ("tg.start('/proc/nowhere')", "/proc/nowhere"),
        ("(tg.start('x'), tg.start('y'))", "already on"),
        ("tg._native.annotate(0, 1, 'weights')", "there are parameter"),
        ("tg.start_from_config({'tidegauge': {'intervall': 1}})", "no such setting: intervall"),
    ],
)
def test_wrong_arguments_are_named(tmp_path: Path, call: str, part: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"import tidegauge as tg\n{call}"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=clean_environment(),
    )
    assert done.returncode == 1 and part in done.stderr, done.stderr


@pytest.mark.parametrize(
    "end",
    ["raise SystemExit(3)", "raise KeyError('gone')", "os._exit(4)", "os.kill(os.getpid(), signal.SIGKILL)"],
)
def test_however_it_ends_everything_is_there(run: Path, end: str) -> None:
    done = run_python(
        f"""
import os, signal, sys, tidegauge as tg
tg.start(sys.argv[1])
for number in range(50_000):
    tg.alloc(-1, 4096 + number * 16, 10)
{end}
""",
        str(run),
        check=False,
    )
    assert done.returncode in (3, 1, 4, -signal.SIGKILL)
    assert query(run, "select count(*) as n from events")[0]["n"] == 50_000
    assert summary(run)["ended"] == ("killed" if "os." in end else "clean")


def test_a_forked_child_forgets_the_recorder(run: Path) -> None:
    run_python(
        """
import os, sys, tidegauge as tg
tg.start(sys.argv[1])
child = os.fork()
if child == 0:
    tg.checkpoint("child")
    os._exit(tg.is_on())
assert os.waitpid(child, 0)[1] == 0
tg.checkpoint("parent")
""",
        str(run),
    )
    assert [row["name"] for row in query(run, "select name from checkpoints where kind = 'mark'")] == [
        "parent"
    ]


def test_a_configuration_starts_it(tmp_path: Path) -> None:
    run_python(
        """
import os, sys, tidegauge as tg
os.chdir(sys.argv[1])
off = [{}, {"trainer_params": {"enable_memory_monitoring": False}}, {"tidegauge": {"enabled": False, "run": "x"}},
       {"tidegauge": False}]
assert all(tg.start_from_config(config) is None for config in off) and not tg.is_on()
trainer = {"trainer_params": {"enable_memory_monitoring": True, "memory_monitor_batches": 5, "batch_size": 4}}
def runs(config, *run):
    path = tg.start_from_config(config, *run)
    assert tg.stop() == path
    return os.path.relpath(path)
assert runs(trainer) == os.path.join("runs", "tidegauge")
assert runs({"enable_memory_monitoring": True}, "given") == "given"
assert runs({"tidegauge": "short"}) == "short"
own = {"tidegauge": {"run": "own", "ring": 1000, "interval": 0.5, "alerts": ["rss > 1TiB"]}, "lr": 0.1}
assert runs(own) == "own"
""",
        str(tmp_path),
    )
    config = json.loads((tmp_path / "runs" / "tidegauge" / "run.json").read_text())["config"]
    assert config["trainer_params.batch_size"] == 4
    assert json.loads((tmp_path / "own" / "run.json").read_text())["config"] == {"lr": 0.1}
    process = json.loads((tmp_path / "own/_process/rank=0/process=0/process.json").read_text())
    assert process["retention"]["ring"]["records"] == 1000
    assert process["versions"]["python"] == sys.version.split()[0]


def test_configurations_of_every_kind(tmp_path: Path) -> None:
    run_python(
        """
import argparse, dataclasses, os, sys, types, numpy as np, tidegauge as tg
os.chdir(sys.argv[1])
class Node:
    def __init__(self, **held): self.held = held
    def keys(self): return self.held.keys()
    def __getitem__(self, key): return self.held[key]
@dataclasses.dataclass
class Model:
    depth: int = 3
itself = {"a": 1}
itself["itself"] = itself
config = {"batch": np.int64(16), "lr": np.float32(0.5), "amp": np.bool_(True), "nan": float("nan"), "kind": dict,
          "path": os.fsdecode(b"/d/\\xff"), "model": Model(), 5: "five", "huge": 10**30, "itself": itself}
tg.start("all", config=config)
tg.add_config(more=np.int32(2), wrong=os.fsdecode(b"\\xff"))
tg.stop()
off = [{"trainer_params": None}, Node(), argparse.Namespace(), None, {"tidegauge": {"enabled": "false", "run": "x"}}]
assert all(tg.start_from_config(config) is None for config in off)
on = [Node(enable_memory_monitoring="yes"), argparse.Namespace(enable_memory_monitoring=True),
      types.SimpleNamespace(trainer_params=Node(enable_memory_monitoring=1)),
      {"tidegauge": Node(interval="50ms", alerts="rss > 1TiB", children=False, journal_cap_bytes=1 << 28)}]
for config in on:
    assert tg.start_from_config(config, "on") == tg.stop()
for config in [{"enable_memory_monitoring": "often"}, {"tidegauge": {"interval": "soon"}}]:
    try:
        tg.start_from_config(config)
    except ValueError:
        continue
    raise AssertionError(config)
""",
        str(tmp_path),
    )
    config = json.loads((tmp_path / "all" / "run.json").read_text())["config"]
    assert (
        config["batch"] == 16 and config["lr"] == 0.5 and config["amp"] is True and config["model.depth"] == 3
    )
    assert (
        config["itself.a"] == 1
        and config["5"] == "five"
        and config["huge"] == str(10**30)
        and config["more"] == 2
    )
    assert config["kind"] == "<class 'dict'>" and config["nan"] == "nan"
    assert [name for name in config if "itself" in name] == ["itself.a"]


def test_nothing_raises_into_a_loop(run: Path) -> None:
    run_python(
        """
import os, sys, tidegauge as tg
odd = os.fsdecode(b"odd-\\xff")
for is_on in (False, True):
    if is_on:
        tg.start(sys.argv[1])
    tg.checkpoint(odd); tg.counter(odd, 1.0)
    with tg.span(odd), tg.site(odd), tg.epoch(-1):
        pass
    for size in (4.5, -1, "many", 2**70):
        with tg.step(1) as step:
            step.batch_size = size
            step.loss = object()
    try:
        with tg.step(1) as step:
            step.batch_size = 4.5
            raise MemoryError
    except MemoryError:
        pass
os.rename(sys.argv[1], sys.argv[1] + "-moved")
tg.add_config(lr=0.1)
os.rename(sys.argv[1] + "-moved", sys.argv[1])
""",
        str(run),
    )
    marks = query(run, "select name from checkpoints where kind = 'mark'")
    assert len(marks) == 1 and marks[0]["name"].startswith("odd-")
    assert {
        row["batch_size"] for row in query(run, "select batch_size from checkpoints where kind = 'step_end'")
    } == {None}


def test_a_callback_of_an_alert_cannot_stop(run: Path) -> None:
    done = run_python(
        """
import sys, threading, tidegauge as tg
tried, errors = threading.Event(), []
def on_alert(alert):
    try:
        tg.stop()
    except tg.Error as error:
        errors.append(str(error))
    tried.set()
tg.start(sys.argv[1], alerts=["rss > 1MiB"], on_alert=on_alert)
assert tried.wait(60) and tg.is_on()
assert "from on_alert" in errors[0], errors
assert tg.stop() == sys.argv[1]
""",
        str(run),
    )
    assert "panicked" not in done.stderr and summary(run)["ended"] == "clean"


def test_a_forked_worker_closes_its_own_recording(run: Path) -> None:
    run_python(
        """
import multiprocessing, sys, tidegauge as tg
def work():
    tg.start(sys.argv[1])
    with tg.step():
        pass
if __name__ == "__main__":
    worker = multiprocessing.get_context("fork").Process(target=work)
    worker.start()
    worker.join()
    assert worker.exitcode == 0
""",
        str(run),
    )
    assert summary(run)["ended"] == "clean"


def test_each_recording_counts_steps_from_zero(tmp_path: Path) -> None:
    run_python(
        """
import sys, tidegauge as tg
for name in "ab":
    tg.start(sys.argv[1] + "/" + name)
    for _ in range(2):
        with tg.step():
            pass
    tg.stop()
""",
        str(tmp_path),
    )
    for name in "ab":
        steps = query(tmp_path / name, "select step from checkpoints where kind = 'step_end' order by seq")
        assert [row["step"] for row in steps] == [0, 1]


def test_configuration_can_be_added_while_recording(run: Path) -> None:
    run_python(
        "import sys, tidegauge as tg\ntg.start(sys.argv[1], config={'a': 1})\ntg.add_config(a=2, b='x')\n",
        str(run),
    )
    assert json.loads((run / "run.json").read_text())["config"] == {"a": 2, "b": "x"}
    rows = query(run, "select name, value from checkpoints where kind = 'config'")
    assert [(row["name"], row["value"]) for row in rows] == [("a", 2.0)]


def test_on_step_is_told_and_survives_failures(run: Path) -> None:
    done = run_python(
        """
import sys, tidegauge as tg
told = []
def wrong(row):
    raise ValueError("mine")
tg.on_step(wrong)
remove = tg.on_step(told.append)
tg.start(sys.argv[1])
with tg.epoch(7):
    for number in range(3):
        with tg.step(number, batch_size=2) as step:
            step.loss = 1.5
remove()
with tg.step(9):
    pass
columns = ("step", "epoch", "loss", "batch_size")
assert [tuple(row[name] for name in columns) for row in told] == [(number, 7, 1.5, 2) for number in range(3)]
assert all(row["rss_bytes"] > 1 << 20 and row["seconds"] >= 0 and row["gpu_allocated_bytes"] is None for row in told)
""",
        str(run),
    )
    assert done.stderr.count("ValueError: mine") == 1


def test_alerts_reach_python(run: Path) -> None:
    run_python(
        """
import sys, threading, tidegauge as tg
told, there = [], threading.Event()
def on_alert(alert):
    told.append(alert)
    there.set()
tg.start(sys.argv[1], alerts=["counter(queue_bytes) > 5"], on_alert=on_alert)
tg.counter("queue_bytes", 9)
assert there.wait(20)
assert told[0]["rule"] == "counter(queue_bytes) > 5" and told[0]["value"] == 9
tg.stop()
""",
        str(run),
    )


def test_a_ring_keeps_the_newest_and_modules_are_a_table(run: Path) -> None:
    run_python(
        """
import sys, json, tidegauge as tg
tg.start(sys.argv[1], ring=1000)
tg._native.module(json.dumps({"module": "net.0", "type": "Linear", "parameters": 6, "shapes": {"weight": [2, 3]}}))
for number in range(200_000):
    tg.alloc(-1, 4096 + number * 16, 10)
    tg.free(-1, 4096 + number * 16)
""",
        str(run),
    )
    kept = query(run, "select count(*) as n from events")[0]["n"]
    assert 1000 <= kept < 200_000
    modules = query(run, "select module, type, parameters, parameter_bytes, shapes from modules")
    assert modules == [
        {
            "module": "net.0",
            "type": "Linear",
            "parameters": 6,
            "parameter_bytes": None,
            "shapes": '{"weight":[2,3]}',
        }
    ]


def test_the_import_is_light() -> None:
    script = "import sys; before = set(sys.modules); import tidegauge; print(*(set(sys.modules) - before))"
    loaded = run_python(script).stdout.split()
    heavy = {"torch", "numpy", "psutil", "polars", "asyncio", "pathlib", "subprocess", "importlib.metadata"}
    assert not heavy & {name.split(".")[0] for name in loaded} and "tidegauge._native" in loaded, loaded


def test_two_at_once_take_two_folders(run: Path) -> None:
    script = "import sys, tidegauge as tg\nprint(tg.start(sys.argv[1]))\nsys.stdin.read()\n"
    both = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(run)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=clean_environment(),
        )
        for _ in range(2)
    ]
    folders = {process.communicate("", timeout=60)[0].strip() for process in both}
    assert folders == {str(run), f"{run}-2"}
    assert all(process.returncode == 0 for process in both)
    assert os.path.isdir(f"{run}-2/samples")
