"""Every plot of every recording at hand, measured by a browser: no text lies on another or leaves its plot.

The demo, the torch examples, the corpus, and the edges: one event, a day, names as long as they come.
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import xml.etree.ElementTree
from collections.abc import Iterator
from typing import Any

import pytest
from browser import browser, needed
from selenium import webdriver

ROOT = pathlib.Path(__file__).parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target") / "debug"
CORPUS = pathlib.Path(os.environ.get("TIDEGAUGE_CORPUS") or ROOT / "../shared/corpus")
EXAMPLES = ROOT / "examples" / "python"
SVG = "{http://www.w3.org/2000/svg}"
#: Of one run; `compare` and `plan` take several, `ranks` a run of several.
KINDS = ("timeline", "breakdown", "phases", "steps", "blocks", "fragmentation", "activations", "ranks", "leaks")
#: Bytes that a plot may have.
MOST_BYTES = 300 << 10
LONG = "a name that nobody would give, 名前 שם " + "and on it goes " * 40

#: Boxes of texts that overlap by more than what fonts keep free around letters, or that stick out.
MEASURE = """
const faults = [];
for (const holder of document.querySelectorAll('[data-plot]')) {
  const svg = holder.querySelector('svg'), frame = svg.getBoundingClientRect();
  const boxes = [...svg.querySelectorAll('text')].map(text => [text.textContent.trim(), text.getBoundingClientRect()])
    .filter(([text]) => text);
  for (const [text, box] of boxes) {
    if (box.left < frame.left - 0.5 || box.right > frame.right + 0.5 || box.top < frame.top - 0.5
        || box.bottom > frame.bottom + 0.5) faults.push([holder.dataset.plot, 'leaves the plot', text]);
  }
  boxes.forEach(([one, a], number) => boxes.slice(number + 1).forEach(([other, b]) => {
    const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
    const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
    if (across > 1 && down > 3) faults.push([holder.dataset.plot, one, other]);
  }));
}
return [document.querySelectorAll('[data-plot] text').length, faults];
"""


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    needed()
    with browser(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


def draw(kind: str, runs: list[pathlib.Path], *options: str) -> str | None:
    """The plot; nothing where the run has nothing of the kind, which it must say in a line."""
    command = [str(TARGET / "tidegauge"), "plot", kind, *map(str, runs), "-q", *options]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode == 0:
        return done.stdout
    assert done.returncode == 2 and done.stderr.startswith("tidegauge: ") and done.stderr.count("\n") == 1, done.stderr
    assert any(words in done.stderr for words in ("has no ", "there is none of ")), f"{kind}: {done.stderr}"
    return None


def check(name: str, svg: str) -> None:
    root = xml.etree.ElementTree.fromstring(svg)
    title, description = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
    assert root.get("role") == "img" and title is not None and title.text, name
    assert description is not None and description.text and len(description.text) > 20, name
    assert len(svg.encode()) <= MOST_BYTES, f"{name}: {len(svg.encode())} bytes"
    assert not list(root.iter(f"{SVG}script")) and "href" not in svg, name
    unknown = {colour for colour in colours(root) if colour not in ("none", None)} - page_colours()
    assert not unknown, f"{name}: colours without a partner in the dark: {unknown}"


def colours(root: xml.etree.ElementTree.Element) -> set[str | None]:
    return {element.get(key) for element in root.iter() for key in ("fill", "stroke")}


def page_colours() -> set[str]:
    """The light colours, as the source has them."""
    source = (ROOT / "analyzer/src/plot/theme.rs").read_text()
    table = source[source.index("colours! {\n") : source.index("/// Colours of things that have no colour")]
    return {"#" + line.split("= 0x")[1][:6] for line in table.splitlines() if "= 0x" in line}


def measure(driver: webdriver.Chrome, folder: pathlib.Path, plots: dict[str, str]) -> None:
    """Fails if texts of the plots overlap or leave them."""
    assert plots
    holders = "".join(
        f'<div data-plot="{number}" style="font-size:16px">{svg}</div>' for number, svg in enumerate(plots.values())
    )
    page = folder / "plots.html"
    page.write_text(f"<!doctype html><meta charset=utf-8><body>{holders}")
    driver.get(page.as_uri())
    texts, faults = driver.execute_script(MEASURE)
    assert texts >= 5 * len(plots)
    names = list(plots)
    assert not faults, "\n".join(f"{names[int(number)]}: {one} | {other}" for number, one, other in faults)


def plots_of(name: str, run: pathlib.Path, *options: str) -> dict[str, str]:
    found = {f"{name}: {kind}": draw(kind, [run], *options) for kind in KINDS}
    plots = {of: svg for of, svg in found.items() if svg is not None}
    for of, svg in plots.items():
        check(of, svg)
    return plots


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    run = tmp_path_factory.mktemp("demo") / "trace"
    subprocess.run([TARGET / "burgers", "--run", run, "--epochs", "1"], check=True, capture_output=True)
    return run


@pytest.mark.parametrize(
    "options",
    [(), ("--theme", "dark", "--width", "400", "--height", "300"), ("--width", "2000", "--height", "1200")],
    ids=["default", "small", "large"],
)
def test_the_demo(driver: webdriver.Chrome, demo: pathlib.Path, tmp_path: pathlib.Path, options: tuple[str, ...]) -> None:
    found = {f"demo: {kind}": draw(kind, [demo], *options) for kind in KINDS}
    assert {of for of, svg in found.items() if svg is None} == {"demo: fragmentation", "demo: ranks"}
    plots = {of: svg for of, svg in found.items() if svg is not None}
    for kind in ("timeline", "breakdown", "blocks"):
        zoomed = draw(kind, [demo], "--step", "7", *options)
        assert zoomed is not None
        plots[f"demo, step 7: {kind}"] = zoomed
    if "--theme" not in options:
        for of, svg in plots.items():
            check(of, svg)
    measure(driver, tmp_path, plots)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> list[pathlib.Path]:
    """The transformer, at two batch sizes and with checkpointing."""
    folder = tmp_path_factory.mktemp("trained")
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "recorder/python/python"), "OMP_NUM_THREADS": "1"}
    runs = []
    for name, options in [("four", ("4",)), ("eight", ("8",)), ("checkpointed", ("4", "--checkpointing"))]:
        run = folder / name
        program = [sys.executable, EXAMPLES / "transformer.py", "--quick", "--run", run, "--batch-size", *options]
        subprocess.run(program, check=True, capture_output=True, env=environment)
        runs.append(run)
    return runs


def test_torch_examples(driver: webdriver.Chrome, trained: list[pathlib.Path], tmp_path: pathlib.Path) -> None:
    plots = {of: svg for run in trained for of, svg in plots_of(run.name, run).items()}
    assert {of.split(": ")[1] for of in plots} >= {"breakdown", "phases", "steps", "blocks", "activations"}
    for name, svg in [
        ("compare", draw("compare", trained)),
        ("plan", draw("plan", trained[:2], "--budget", "200MiB")),
        ("blocks by site", draw("blocks", trained[:1], "--by", "site")),
    ]:
        assert svg is not None, name
        check(name, svg)
        plots[name] = svg
    measure(driver, tmp_path, plots)


def corpus() -> list[pathlib.Path]:
    reference = CORPUS / "reference.json"
    if not reference.exists():
        return []
    found = [path for path in sorted(CORPUS.rglob("*")) if path.is_file() and path.parent != CORPUS]
    return [path for path in found if path.suffix not in (".md", ".py", ".txt")]


@pytest.mark.parametrize("file", corpus() or [None], ids=lambda file: file.name if file else "none")
def test_the_corpus(driver: webdriver.Chrome, tmp_path: pathlib.Path, file: pathlib.Path | None) -> None:
    if file is None:
        pytest.skip(f"no corpus at {CORPUS}: set TIDEGAUGE_CORPUS")
    measure(driver, tmp_path, plots_of(file.name, file))


def profiled(path: pathlib.Path, events: list[tuple[float, int, int]], name: str = "aten::mm") -> pathlib.Path:
    """A trace as torch's profiler writes it: microseconds, address, bytes (negative: freed)."""
    total = 0
    rows: list[dict[str, Any]] = []
    for at, address, size in events:
        total += size
        arguments = {"Addr": address, "Bytes": size, "Device Type": 1, "Device Id": 0, "Total Allocated": total}
        rows.append({"ph": "i", "cat": "cpu_instant_event", "name": "[memory]", "ts": at, "args": arguments})
        rows[-1] |= {"pid": 1, "tid": 1, "s": "t"}
        operator = {"ph": "X", "cat": "cpu_op", "name": name, "ts": at - 1, "dur": 2, "pid": 1, "tid": 1, "args": {}}
        rows.append(operator)
    path.write_text(json.dumps({"schemaVersion": 1, "traceEvents": rows}))
    return path


DAY = 24 * 3600 * 1_000_000


@pytest.mark.parametrize("size", [("960", "480"), ("400", "300")], ids="x".join)
def test_the_edges(driver: webdriver.Chrome, tmp_path: pathlib.Path, size: tuple[str, str]) -> None:
    one = profiled(tmp_path / "one.json", [(1_000_000.0, 4096, 7_000_000_000)])
    day: list[tuple[float, int, int]] = []
    for number in range(24 * 60):
        at, block = number * DAY / (24 * 60), 512 * (1 + number % 97)
        day += [(at, 1 + number, block << 20), (at + DAY / (24 * 70), 1 + number, -(block << 20))]
    long = profiled(tmp_path / "day.json", day, LONG)
    options = ("--width", size[0], "--height", size[1])
    plots = plots_of("one event", one, *options) | plots_of("a day", long, *options)
    assert {"one event: timeline", "one event: blocks", "a day: timeline", "a day: blocks"} <= set(plots)
    measure(driver, tmp_path, plots)
