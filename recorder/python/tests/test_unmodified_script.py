"""A training script that knows nothing of Tidegauge, recorded as it is, with real torch and in each way."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import program, query
from launches import command, write

SCRIPT = """
import torch
from torch import nn

class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
    def forward(self, x):
        return x + self.narrow(torch.relu(self.wide(x)))

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(32, 64), Block(64), nn.Linear(64, 8))
optimizer = torch.optim.Adam(model.parameters())
data = torch.utils.data.TensorDataset(torch.randn(256, 32), torch.randint(0, 8, (256,)))
for epoch in range(2):
    for inputs, targets in torch.utils.data.DataLoader(data, batch_size=64):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(inputs), targets)
        loss.backward()
        optimizer.step()
        print(loss.item())
    with torch.no_grad():
        model(data.tensors[0])
"""
STEPS = 8


@pytest.mark.parametrize("way", ["launcher", "program", "environment"])
def test_steps_phases_modules_and_blocks_are_told(tmp_path: Path, way: str) -> None:
    write(tmp_path / "train.py", SCRIPT)
    words = [sys.executable, "train.py"]
    environment = {}
    if way == "launcher":
        words = [program("tidegauge-record"), "-q", "-o", "RUN", "--torch", "--", *words]
    elif way == "program":
        words = [sys.executable, "-m", "tidegauge", "-q", "-o", "RUN", "train.py"]
    else:
        words = [sys.executable, "-c", f"import tidegauge\n{SCRIPT}"]
        environment = {"TIDEGAUGE": "RUN", "TIDEGAUGE_TORCH": "1"}
    losses = [float(line) for line in command(*words, cwd=tmp_path, **environment).stdout.split()]
    run = tmp_path / "RUN"

    # Where a launcher has recorded from outside, the program's own process is meant.
    shown = subprocess.run(
        [program("tidegauge"), "steps", str(run), "--json"], capture_output=True, text=True, check=True
    )
    steps = json.loads(shown.stdout)
    assert [step["loss"] for step in steps] == losses and len(losses) == STEPS
    assert {step["batch_size"] for step in steps} == {64}

    spans = query(
        run,
        "select name, count(*) as n from checkpoints where kind = 'span_begin' group by name order by name",
    )
    counts = {row["name"]: row["n"] for row in spans}
    assert counts.pop("data") >= STEPS
    assert counts == {"forward": STEPS, "backward": STEPS, "optimizer": STEPS, "zero_grad": STEPS, "eval": 2}

    modules = {
        row["module"]: row for row in query(run, "select distinct module, type, parameter_bytes from modules")
    }
    sizes = {"0": 32 * 64 + 64, "1.wide": 64 * 256 + 256, "1.narrow": 256 * 64 + 64, "2": 64 * 8 + 8}
    assert {f"Sequential.{path}" for path in sizes} < set(modules) and modules["Sequential.1"][
        "type"
    ] == "Block"
    for path, elements in sizes.items():
        assert modules[f"Sequential.{path}"]["parameter_bytes"] == 4 * elements

    bytes_of = dict.fromkeys(("parameter", "optimizer_state", "gradient"), 0)
    alive: dict[int, tuple[int, set[str]]] = {}
    for row in query(
        run, "select kind, address, size_bytes, category from events where device = -1 order by seq"
    ):
        if row["kind"] in ("alloc", "baseline"):
            assert row["address"] not in alive
            alive[row["address"]] = (row["size_bytes"], set())
        elif row["kind"] == "free":
            alive.pop(row["address"], None)
        elif row["kind"] == "annotate" and row["category"]:
            alive[row["address"]][1].add(row["category"])
    for size, categories in alive.values():
        for category in categories & set(bytes_of):
            bytes_of[category] += size
    parameters = 4 * sum(sizes.values())
    # Adam keeps two averages of each element, and the number of its steps for each of eight tensors.
    assert bytes_of == {
        "parameter": parameters,
        "gradient": parameters,
        "optimizer_state": 2 * parameters + 8 * 4,
    }
    sites = {row["name"] for row in query(run, "select name from sites")}
    assert {"Sequential.1.wide", "Sequential.2", "Adam"} <= sites
