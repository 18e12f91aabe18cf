"""Who records by itself."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from tidegauge.launch import rule


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("python train.py -m x", ("", "train.py")),
        ("python -u -X dev -W ignore train.py", ("", "train.py")),
        ("python -Xdev -Wignore -OO train.py", ("", "train.py")),
        ("python --check-hash-based-pycs always train.py", ("", "train.py")),
        ("python -m pip install x", ("-m", "pip")),
        ("python -um pip", ("-m", "pip")),
        ("python -mpip", ("-m", "pip")),
        ("python -c pass -m x", ("-c", "pass")),
        ("python - x", ("", "-")),
        ("python", ("", "")),
        ("python -m", ("-m", "")),
    ],
)
def test_command_lines_are_read_as_python_reads_them(command: str, expected: tuple[str, str]) -> None:
    assert rule.what_runs(command.split()) == expected


@pytest.mark.parametrize(
    "command",
    [
        "python /opt/venv/bin/torchrun --nproc-per-node 2 train.py",
        "python -m torch.distributed.run train.py",
        "python -u -m torch.distributed.launch train.py",
        "python /opt/venv/bin/accelerate launch train.py",
        "python -m pip install x",
        "python /usr/bin/pip3.11 install x",
        "python -m pip.__main__ install x",
        "python /opt/conda/bin/conda run python train.py",
        "python /x/lib/python3.11/site-packages/torch/_inductor/compile_worker/__main__.py --workers=2",
        "python -m tidegauge train.py",
    ],
)
def test_tools_do_not_record(command: str) -> None:
    for more in ({}, {"TIDEGAUGE_CHILDREN": "1"}, {"RANK": "0"}):
        assert rule.reason_not_to_record({"TIDEGAUGE": "runs/a", **more}, command.split(), 5) is not None


@pytest.mark.parametrize(
    "command",
    [
        "python train.py",
        "python pip_train.py",
        "python -m package.train",
        "python -c pass",
        "python conda/train.py",
        "python",
    ],
)
def test_programs_record(command: str) -> None:
    assert rule.reason_not_to_record({"TIDEGAUGE": "runs/a"}, command.split(), 5) is None
    assert rule.reason_not_to_record({}, command.split(), 5) is not None
    assert rule.reason_not_to_record({"TIDEGAUGE": ""}, command.split(), 5) is not None


SPAWNED = [
    "python",
    "-c",
    "from multiprocessing.spawn import spawn_main; spawn_main(1, 2)",
    "--multiprocessing-fork",
]
TRACKER = ["python", "-c", "from multiprocessing.resource_tracker import main;main(5)"]
SCRIPT = ["python", "train.py"]


@pytest.mark.parametrize(
    ("command", "more", "records"),
    [
        (SCRIPT, {"TIDEGAUGE_OWNER": "4:-"}, False),
        (SCRIPT, {"TIDEGAUGE_OWNER": "4:0", "RANK": "0"}, False),
        (SCRIPT, {"TIDEGAUGE_OWNER": "4:-", "TIDEGAUGE_CHILDREN": "1"}, True),
        # It has executed another program.
        (SCRIPT, {"TIDEGAUGE_OWNER": "5:-"}, True),
        # Workers of a launcher that nobody knows for one.
        (SCRIPT, {"TIDEGAUGE_OWNER": "4:-", "RANK": "0"}, True),
        (SCRIPT, {"TIDEGAUGE_OWNER": "4:0", "RANK": "1"}, True),
        (SCRIPT, {"TIDEGAUGE_OWNER": "4:0", "OMPI_COMM_WORLD_RANK": "0"}, False),
        (SCRIPT, {"TIDEGAUGE_OWNER": "4:3", "SLURM_PROCID": "3"}, False),
        # A script that has set its rank itself.
        (SPAWNED, {"TIDEGAUGE_OWNER": "4:-", "RANK": "0"}, False),
        (SPAWNED, {"TIDEGAUGE_OWNER": "4:-", "TIDEGAUGE_CHILDREN": "1"}, True),
        (TRACKER, {"TIDEGAUGE_CHILDREN": "1"}, False),
        # What a launcher has emptied, and what somebody has set by mistake.
        (SCRIPT, {"TIDEGAUGE_OWNER": ""}, True),
        (SCRIPT, {"TIDEGAUGE_OWNER": "someone"}, True),
    ],
)
def test_children_leave_recording_to_their_parent(
    command: list[str], more: dict[str, str], records: bool
) -> None:
    owner, told = more.get("TIDEGAUGE_OWNER", ""), dict(more)
    if owner[:1] in ("4", "5"):
        # 4 is this process here, 5 the one that is asked about.
        pid = os.getpid() if owner[0] == "4" else os.getppid()
        told["TIDEGAUGE_OWNER"] = f"{pid}{owner[1:]}:{rule.start_of(pid)}"
    reason = rule.reason_not_to_record({"TIDEGAUGE": "runs/a", **told}, command, os.getppid())
    assert (reason is None) == records, reason


def test_an_owner_that_is_gone_owns_nothing() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    start = rule.start_of(gone.pid)
    gone.wait()
    assert start.isdecimal() and rule.start_of(gone.pid) == ""
    here = os.getpid()
    for owner in (f"{gone.pid}:-:{start}", f"{here}:-:1", f"{here}:-"):
        told = {"TIDEGAUGE": "runs/a", "TIDEGAUGE_OWNER": owner}
        assert rule.reason_not_to_record(told, SCRIPT, os.getppid()) is None, owner
