"""A browser without a window, for end-to-end tests of pages."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium import webdriver

DRIVER, BROWSER = shutil.which("chromedriver"), shutil.which("chromium")
NEEDS_BROWSER = pytest.mark.skipif(
    DRIVER is None or BROWSER is None, reason="no chromium and chromedriver on PATH"
)
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--window-size=1200,1600",
)  # fmt: skip


@contextmanager
def running_browser(folder: Path) -> Iterator[webdriver.Chrome]:
    """A browser that keeps its data in a folder, and what its console says."""
    options = webdriver.ChromeOptions()
    options.binary_location = str(BROWSER)
    for flag in (*FLAGS, f"--user-data-dir={folder}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(executable_path=str(DRIVER)))
    try:
        yield driver
    finally:
        driver.quit()
