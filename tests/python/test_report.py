"""`report.html` in a real browser: nothing is asked for, everything works, and its figures are those of the commands."""

from __future__ import annotations

import base64
import itertools
import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import axe_core_python
import pytest
from browser import browser, complaints, needed, requests, view
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

ROOT = pathlib.Path(__file__).parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target") / "debug"
SAMPLE = ROOT / "schemas" / "samples" / "v1"
#: Drawn by plotly when the chart is there.
DRAG_LAYER = "#chart .nsewdrag"

#: A name that does harm wherever it is put in without care.
HOSTILE = "</script><img src=x onerror=window.pwned=1>'\"`${window.pwned=2}&lt;b&gt;<!--\u2028]]>"

TRAINING = """
import sys, tidegauge as tg
from tidegauge import _native
hostile = sys.argv[2]
tg.start(sys.argv[1], config={"model": hostile, hostile: hostile, "batch_size": 4})
for number in range(20):
    _native.baseline(0, 1 + number, 10_007 * (20 - number), "parameter", f"{hostile}.layer{number}")
for number in range(12):
    with tg.step(number) as step:
        for phase, kept in (("forward", 3), (hostile, 2), ("backward", 0)):
            with tg.span(phase):
                for block in range(6):
                    tg.alloc(0, 4096 * (1 + block), (1 + block) * 1_000_003)
                for block in range(kept, 6):
                    tg.free(0, 4096 * (1 + block))
                for block in range(kept):
                    tg.free(0, 4096 * (1 + block))
        step.loss = 1 / (number + 1)
tg.stop()
"""


def tidegauge(*arguments: object) -> str:
    command = [str(TARGET / "tidegauge"), *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    needed()
    with browser(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The demo, recorded anew and short, and its page."""
    folder = tmp_path_factory.mktemp("demo")
    subprocess.run([TARGET / "burgers", "--run", folder / "trace", "--epochs", "1"], check=True, capture_output=True)
    tidegauge("report", folder / "trace", "-o", folder / "report.html")
    return folder


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A run in which everything that has a name has a hostile one, compared with itself."""
    folder = tmp_path_factory.mktemp("hostile")
    run = folder / HOSTILE.replace("/", "\u2215")
    program = [sys.executable, "-c", TRAINING, str(run), HOSTILE]
    subprocess.run(program, check=True, env={**os.environ, "PYTHONPATH": str(ROOT / "recorder/python/python")})
    tidegauge("report", run, run, "-o", folder / "report.html")
    return folder


def opened(driver: webdriver.Chrome, folder: pathlib.Path, width: int = 1280, scheme: str = "light") -> None:
    view(driver, width=width, scheme=scheme)
    requests(driver), complaints(driver)
    driver.get((folder / "report.html").as_uri())
    WebDriverWait(driver, 60).until(lambda driver: driver.find_elements(By.CSS_SELECTOR, DRAG_LAYER))


def chart(driver: webdriver.Chrome) -> WebElement:
    layer = driver.find_element(By.CSS_SELECTOR, DRAG_LAYER)
    driver.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", layer)
    return layer


def pointer(driver: webdriver.Chrome, share: float) -> ActionChains:
    """The pointer at that share of the chart's width."""
    layer = chart(driver)
    offset = round((share - 0.5) * layer.rect["width"])
    return ActionChains(driver).move_to_element_with_offset(layer, offset, 0)


def x_range(driver: webdriver.Chrome) -> list[float]:
    found: list[float] = driver.execute_script("return [...document.getElementById('chart')._fullLayout.xaxis.range]")
    return found


def shown(driver: webdriver.Chrome) -> tuple[int, list[tuple[str, int, str]], list[tuple[str, int, str]]]:
    """The moment that is shown, nanoseconds, and its tables: name, bytes, blocks."""
    nanos = int(driver.find_element(By.ID, "alive").get_attribute("data-nanos") or -1)
    script = """return [...document.querySelectorAll(arguments[0] + ' tbody tr')].map(
        row => [row.cells[0].textContent, Number(row.cells[1].dataset.v), row.cells[3].textContent])"""
    tables = [driver.execute_script(script, f"#alive-{of}") for of in ("categories", "sites")]
    return nanos, *([tuple(row) for row in table] for table in tables)


def peaks(run: pathlib.Path, nanos: int, by: str) -> dict[str | None, tuple[int, int]]:
    answer = json.loads(tidegauge("peaks", run, "--at", f"{nanos}ns", "--by", by, "--json"))
    return {row[by]: (row["bytes"], row["blocks"]) for row in answer}


def check_moment(driver: webdriver.Chrome, run: pathlib.Path) -> int:
    """The tables are what `tidegauge peaks` says of that moment; the moment."""
    nanos, categories, sites = shown(driver)
    told = {name: (size, int(blocks)) for name, size, blocks in categories}
    assert told == peaks(run, nanos, "category")
    expected = peaks(run, nanos, "site")
    named = {name: (size, int(blocks)) for name, size, blocks in sites if not name.endswith(" more)")}
    assert named and all(expected[None if name == "(no site)" else name] == of for name, of in named.items())
    assert sum(size for _, size, _ in sites) == sum(size for size, _ in expected.values())
    title = driver.find_element(By.ID, "alive-title").text
    assert f"({sum(size for _, size, _ in sites):,} bytes)" in title
    return nanos


def test_nothing_is_asked_for_and_nothing_goes_wrong(driver: webdriver.Chrome, demo: pathlib.Path) -> None:
    opened(driver, demo)
    pointer(driver, 0.5).click().perform()
    assert requests(driver) == [(demo / "report.html").as_uri()]
    assert complaints(driver) == []


def test_hovering_tells_exact_values(driver: webdriver.Chrome, demo: pathlib.Path) -> None:
    opened(driver, demo)
    shares = itertools.cycle((0.6, 0.61))

    def label(driver: webdriver.Chrome) -> WebElement:
        # A chart that is not ready yet has no answer to the first move.
        pointer(driver, next(shares)).perform()
        return driver.find_element(By.CSS_SELECTOR, ".hoverlayer .legend")

    hover = WebDriverWait(driver, 30).until(label)
    assert "allocated : highest" in hover.text and " B)" in hover.text, hover.text
    exact = int(hover.text.split("allocated : highest")[1].split("(")[1].split(" B)")[0].replace(",", ""))
    timeline = json.loads(tidegauge("timeline", demo / "trace", "--json"))
    highest = max(row["max_bytes"] for row in timeline if row["curve"] == "allocated")
    assert 0 < exact <= highest
    assert "phase" in driver.find_element(By.ID, "readout").text


def test_it_zooms_and_comes_back(driver: webdriver.Chrome, demo: pathlib.Path) -> None:
    opened(driver, demo)
    begin, end = x_range(driver)
    layer = chart(driver)
    width = layer.rect["width"]
    drag = ActionChains(driver).move_to_element_with_offset(layer, -round(width / 4), 0).click_and_hold()
    drag.move_by_offset(round(width / 4), 1).move_by_offset(round(width / 8), 0).release().perform()
    WebDriverWait(driver, 30).until(lambda driver: x_range(driver) != [begin, end])
    zoomed = x_range(driver)
    assert begin < zoomed[0] < zoomed[1] < end
    assert (zoomed[1] - zoomed[0]) / (end - begin) == pytest.approx(3 / 8, abs=0.02)
    driver.find_element(By.ID, "whole").click()
    WebDriverWait(driver, 30).until(lambda driver: x_range(driver) == [begin, end])


def test_a_click_shows_what_was_alive(driver: webdriver.Chrome, demo: pathlib.Path) -> None:
    opened(driver, demo)
    # It begins with the peak.
    peak = json.loads(tidegauge("peaks", demo / "trace", "--by", "category", "--json"))
    _, categories, _ = shown(driver)
    assert sum(size for _, size, _ in categories) == sum(row["bytes"] for row in peak)
    seen = set()
    for share in (0.2, 0.5, 0.83):
        pointer(driver, share).click().perform()
        # A second click at the same place would be one that zooms out.
        ActionChains(driver).pause(0.5).perform()
        assert "the nearest moment to" in driver.find_element(By.ID, "alive-title").text
        seen.add(check_moment(driver, demo / "trace"))
    assert len(seen) == 3


def test_there_are_many_moments_and_every_peak(driver: webdriver.Chrome, demo: pathlib.Path) -> None:
    opened(driver, demo)
    data = driver.execute_script("return JSON.parse(document.getElementById('data').textContent).moments")
    moments = data["devices"][0]["moments"]
    assert len(moments) >= 500
    steps = json.loads(tidegauge("steps", demo / "trace", "--json"))
    at_peaks = {moment["step"]: moment["bytes"] for moment in moments if "peak of step" in moment["why"]}
    assert {row["step"]: row["peak_bytes"] for row in steps} == at_peaks


def test_the_keyboard_moves_the_moment(driver: webdriver.Chrome, demo: pathlib.Path) -> None:
    opened(driver, demo)
    slider = driver.find_element(By.ID, "moment")
    before = shown(driver)[0]
    slider.send_keys(Keys.ARROW_RIGHT)
    after = check_moment(driver, demo / "trace")
    assert after > before
    assert (slider.get_attribute("aria-valuetext") or "").startswith("Alive at")
    driver.find_element(By.ID, "previous").send_keys(Keys.ENTER)
    assert shown(driver)[0] <= before and "peak" in driver.find_element(By.ID, "alive-title").text


def column(table: WebElement, number: int) -> list[str]:
    script = "return [...arguments[0].tBodies[0].rows].filter(r => !r.hidden).map(r => r.cells[arguments[1]].textContent)"
    found: list[str] = table.parent.execute_script(script, table, number)
    return found


def test_tables_are_sorted_and_filtered(driver: webdriver.Chrome, demo: pathlib.Path) -> None:
    opened(driver, demo)
    table = driver.find_element(By.CSS_SELECTOR, "#steps table.data")
    headings = [heading.text for heading in table.find_elements(By.TAG_NAME, "th")]
    losses = headings.index("Loss")
    before = [float(text) for text in column(table, losses)]
    button = table.find_elements(By.CSS_SELECTOR, "th button")[losses]
    driver.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", button)
    for wanted in ("descending", "ascending"):
        button.send_keys(Keys.ENTER)
        heading = table.find_elements(By.TAG_NAME, "th")[losses]
        assert heading.get_attribute("aria-sort") == wanted
        assert [float(text) for text in column(table, losses)] == sorted(before, reverse=wanted == "descending")
    table = driver.find_element(By.CSS_SELECTOR, "#blocks table.data")
    names = column(table, 0)
    driver.find_element(By.CSS_SELECTOR, "#blocks input.filter").send_keys("up2")
    assert column(table, 0) == [name for name in names if "up2" in name] != names


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("page", ["demo", "hostile"])
def test_it_fits_screens(
    driver: webdriver.Chrome, request: pytest.FixtureRequest, tmp_path: pathlib.Path, page: str, width: int, scheme: str
) -> None:
    folder: pathlib.Path = request.getfixturevalue(page)
    opened(driver, folder, width, scheme)
    script = "return [document.documentElement.scrollWidth, getComputedStyle(document.body).backgroundColor]"
    wide, ground = driver.execute_script(script)
    assert wide <= width
    assert (ground == "rgb(255, 255, 255)") == (scheme == "light")
    # What is as wide as the page does not stick out of it either.
    script = """return [...document.querySelectorAll('body *')].filter(e => !e.closest('.scroll, svg, nav, .skip')
        && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80))"""
    assert driver.execute_script(script) == []
    shot = base64.b64decode(driver.get_screenshot_as_base64())
    assert shot.startswith(b"\x89PNG") and len(shot) > 20_000


def test_names_are_text_and_nothing_else(driver: webdriver.Chrome, hostile: pathlib.Path) -> None:
    opened(driver, hostile)
    pointer(driver, 0.4).click().perform()
    assert driver.execute_script("return window.pwned") is None
    assert driver.find_elements(By.CSS_SELECTOR, "img, iframe, object, embed, link, main script, a[href^=http]") == []
    assert requests(driver) == [(hostile / "report.html").as_uri()]
    assert complaints(driver) == []
    text = driver.find_element(By.TAG_NAME, "body").text
    assert "onerror=window.pwned=1" in text, "the name is shown"
    _, _, sites = shown(driver)
    assert any(name.startswith("</script><img src=x") for name, _, _ in sites)
    assert driver.find_elements(By.CSS_SELECTOR, "#comparison table"), "two runs are compared"


def test_it_is_of_use_without_scripts(driver: webdriver.Chrome, demo: pathlib.Path) -> None:
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        driver.get((demo / "report.html").as_uri())
        plots = driver.find_elements(By.CSS_SELECTOR, ".plot svg")
        assert len(plots) >= 6 and all(plot.is_displayed() and plot.rect["height"] > 200 for plot in plots)
        assert not driver.find_element(By.ID, "interactive").is_displayed()
        assert "Memory peaked at" in driver.find_element(By.CSS_SELECTOR, ".verdict").text
        assert len(driver.find_elements(By.CSS_SELECTOR, "table.data")) >= 5
    finally:
        driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_others_find_nothing_that_keeps_people_out(
    driver: webdriver.Chrome, demo: pathlib.Path, scheme: str
) -> None:
    """axe-core, the checker of accessibility, within the page."""
    opened(driver, demo, scheme=scheme)
    script = next(pathlib.Path(axe_core_python.__file__).parent.glob("axe.min.js")).read_text()
    # Not as an element of the page, whose policy refuses it.
    driver.execute_cdp_cmd("Runtime.evaluate", {"expression": script})
    # What plotly draws stands beside a slider and tables that say the same; the element in which it measures texts is of no
    # region.
    run = """const [done] = [...arguments].slice(-1);
        axe.run({exclude: [['#chart'], ['#js-plotly-tester']]}, {rules: {region: {enabled: false}}}).then(
            found => done(found.violations.map(of => [of.id, of.help, of.nodes.map(node => node.html.slice(0, 150))])),
            error => done([['failed', String(error)]]));"""
    assert driver.execute_async_script(run) == []
    passed = driver.execute_async_script(run.replace("violations.map(of => [of.id, of.help, of.nodes.map(node => node.html.slice(0, 150))])", "passes.length"))
    assert passed > 20


def test_it_prints(driver: webdriver.Chrome, demo: pathlib.Path, tmp_path: pathlib.Path) -> None:
    opened(driver, demo, scheme="dark")
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert not driver.find_element(By.ID, "interactive").is_displayed()
        assert driver.find_element(By.CSS_SELECTOR, "#timeline .static svg").is_displayed()
        ground = "return getComputedStyle(document.body).backgroundColor"
        assert driver.execute_script(ground) == "rgb(255, 255, 255)", "no dark paper"
    finally:
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    pdf = base64.b64decode(driver.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})["data"])
    assert pdf.startswith(b"%PDF") and 3 <= pdf.count(b"/Type /Page\n") + pdf.count(b"/Type /Page/") + pdf.count(b"/Type /Page ") <= 40
