"""Any `minimize(f, x)`: each evaluation is recorded and the result is the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch_program import record

PRELUDE = """
import json, sys
import numpy as np
import tidegauge as tg
from tidegauge.minimize import minimize, recorded
RUN = sys.argv[1]
def say(**facts):
    print("SAID " + json.dumps(facts), flush=True)
"""


def test_scipy_with_a_gradient(tmp_path: Path) -> None:
    outcome = record(
        tmp_path,
        """
from scipy.optimize import minimize as scipy_minimize, rosen, rosen_der
seen = []
def loss(x, scale):
    value = scale * rosen(x)
    seen.append(float(value))
    return value, scale * rosen_der(x)
start = np.zeros(4)
plain = scipy_minimize(loss, start, args=(2.0,), method="L-BFGS-B", jac=True)
expected = list(seen)
seen.clear()
tg.start(RUN)
result = minimize(scipy_minimize, loss, start, args=(2.0,), method="L-BFGS-B", jac=True, progress=10)
tg.stop()
assert seen == expected and (result.x == plain.x).all() and result.nfev == plain.nfev
off = recorded(lambda x: (x ** 2).sum(), first=5)
assert off(np.ones(3)) == 3.0 and off.evaluations.count == 1
say(losses=expected)
""",
        prelude=PRELUDE,
    )
    losses = outcome.said[0]["losses"]
    rows = [row for row in outcome.checkpoints if row["kind"] == "loss_evaluation"]
    assert [row["value"] for row in rows] == losses
    assert outcome.spans() == ["+minimize", *["+evaluation", "-evaluation"] * len(losses), "-minimize"]
    lines = [line for line in outcome.err.splitlines() if line.startswith("tidegauge: ")]
    assert lines[0].startswith("tidegauge: evaluation 0: loss=")
    assert len(lines) == 1 + len(losses) // 10 + 1
    assert lines[-1].startswith(
        f"tidegauge: {len(losses)} evaluations, loss {losses[0]:.6g} → {losses[-1]:.6g}"
    )
    assert "growth" in lines[-1]


def test_exceptions_pass_and_leave_nothing_open(tmp_path: Path) -> None:
    outcome = record(
        tmp_path,
        """
def loss(x):
    raise ArithmeticError("no")
tg.start(RUN)
try:
    minimize(lambda f, x: f(x), loss, 1.0)
except ArithmeticError as error:
    say(error=str(error))
assert recorded(lambda: "no number")() == "no number"
tg.stop()
""",
        prelude=PRELUDE,
    )
    assert outcome.said == [{"error": "no"}]
    assert outcome.spans()[:4] == ["+minimize", "+evaluation", "-evaluation", "-minimize"]
    assert not [row for row in outcome.checkpoints if row["kind"] == "loss_evaluation"]


def test_phiflow(tmp_path: Path) -> None:
    outcome = record(
        tmp_path,
        """
from phi.torch.flow import *
def loss(x):
    values.append(math.l2_loss(x - 3))
    return values[-1], x + 1
def solve():
    return Solve("L-BFGS-B", 0, 1e-6, x0=math.zeros(spatial(x=4)))
values = []
plain = math.minimize(loss, solve())
count = len(values)
values.clear()
tg.start(RUN)
result = tg.minimize.minimize(math.minimize, loss, solve())
tg.stop()
math.assert_close(plain, result)
say(close=bool(math.close(result, 3, rel_tolerance=1e-3)), plain=count, recorded=len(values))
""",
        prelude=PRELUDE,
    )
    (said,) = outcome.said
    assert said["close"] and said["plain"] == said["recorded"]
    rows = [row for row in outcome.checkpoints if row["kind"] == "loss_evaluation"]
    assert 1 < len(rows) <= said["recorded"]
    assert rows[0]["value"] == pytest.approx(18.0)
    assert rows[-1]["value"] < 1e-3
