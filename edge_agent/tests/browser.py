"""A real headless Chromium for the tests of pages, the edge's and the office's."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
WIDE, NARROW = 1440, 390


def skip_by_word(what: str) -> None:
    """Leaves a module out only by the user's word; a machine that merely lacks a browser fails."""
    if os.environ.get("GATEPOST_NO_BROWSER") == "1":
        told = f"GATEPOST_NO_BROWSER=1: {what} was NOT looked at in a browser"
        warnings.warn(told, stacklevel=2)
        pytest.skip(told, allow_module_level=True)  # the user said so; a missing browser fails in chromium()


@contextmanager
def chromium(profile: Path) -> Iterator[webdriver.Chrome]:
    """One browser with an empty profile; fails, and says how to get one, where there is none."""
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not binary or not driver:
        pytest.fail(
            "no chromium and chromedriver: apt-get install chromium chromium-driver, or GATEPOST_NO_BROWSER=1"
        )
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    made = webdriver.Chrome(options=options, service=Service(driver))
    made.set_page_load_timeout(30)
    try:
        yield made
    finally:
        made.quit()


def complaints(browser: webdriver.Chrome) -> list[dict[str, object]]:
    """What the browser's console holds beyond advice."""
    return [line for line in browser.get_log("browser") if line["source"] != "recommendation"]


def resize(browser: webdriver.Chrome, width: int) -> None:
    """The window's width in CSS pixels."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width == NARROW}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
