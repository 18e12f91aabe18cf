"""Headless Chromium, driven over its own driver: what readers of pages and plots see, measured by what they use.

Debian's packages `chromium` and `chromium-driver` have both. Where they are missing tests skip and say so, unless
`TIDEGAUGE_REQUIRE_BROWSER` is set: then they fail.
"""

from __future__ import annotations

import json
import os
import pathlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

MISSING = "chromium and chromedriver are missing; on Debian: apt-get install chromium chromium-driver"
#: Chromium asks its maker's servers for this and that unless it is told not to.
OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)


def is_there() -> bool:
    return all(shutil.which(program) for program in ("chromium", "chromedriver"))


def needed() -> None:
    """Skips the test where there is no browser."""
    if is_there():
        return
    if os.environ.get("TIDEGAUGE_REQUIRE_BROWSER"):
        pytest.fail(MISSING)
    pytest.skip(MISSING)


@contextmanager
def browser(folder: pathlib.Path) -> Iterator[webdriver.Chrome]:
    """A browser with a profile of its own in `folder`."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for option in (*OPTIONS, f"--user-data-dir={folder}"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    driver.set_page_load_timeout(120)
    driver.set_script_timeout(60)
    try:
        yield driver
    finally:
        driver.quit()


def view(driver: webdriver.Chrome, *, width: int, height: int = 900, scheme: str = "light") -> None:
    """The page as on a screen of that size, for a reader who prefers that colour scheme, and no motion: what scrolls slowly is
    not where a pointer goes to."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": scheme}, {"name": "prefers-reduced-motion", "value": "reduce"}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def requests(driver: webdriver.Chrome) -> list[str]:
    """Addresses that were asked for since the last call; what a page holds in itself (`data:`, `blob:`) is none."""
    found = []
    for entry in driver.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] in ("Network.requestWillBeSent", "Network.webSocketCreated"):
            parameters: dict[str, Any] = message["params"]
            found.append(parameters["request"]["url"] if "request" in parameters else parameters["url"])
    return [url for url in found if not url.startswith(("data:", "blob:"))]


def complaints(driver: webdriver.Chrome) -> list[str]:
    """What the console has said since the last call."""
    return [entry["message"] for entry in driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]
