"""The pages of the service in a real browser: hand in, live progress, compare, keyboard."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from browser_kit import NEEDS_BROWSER, running_browser
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

pytestmark = [pytest.mark.slow, NEEDS_BROWSER]
ROOT = Path(__file__).parents[2]
LIMIT_S = 120.0


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    data, bench = (tmp_path_factory.mktemp(name) for name in ("data", "bench"))
    (bench / "summary.md").write_text(
        "# Planner benchmark\n\n| entrant | hours |\n|---|---|\n| sla | 2 |\n"
    )
    words = ["-m", "harness", "serve", "--port", "0", "--workers", "1"]
    process = subprocess.Popen(
        [sys.executable, *words, "--data", str(data), "--planner-bench", str(bench)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert process.stdout is not None
    yield process.stdout.readline().split()[-1]
    process.send_signal(signal.SIGTERM)
    process.wait(30)
    process.stdout.close()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with running_browser(tmp_path_factory.mktemp("browser")) as driver:
        yield driver


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        try:
            if condition():
                return
        except StaleElementReferenceException:
            continue  # the page was loaded anew between finding and reading
        time.sleep(0.1)
    raise AssertionError("the page did not come to it in time")


def text_of(browser: webdriver.Chrome, selector: str) -> str:
    return " ".join(each.text for each in browser.find_elements(By.CSS_SELECTOR, selector))


def tab_to(browser: webdriver.Chrome, text: str) -> None:
    """Go from element to element with the tab key until one with this text has the focus."""
    for _ in range(60):
        active = browser.switch_to.active_element
        if active.text == text:
            return
        active.send_keys(Keys.TAB)
    raise AssertionError(f"no way to {text!r} by keyboard")


def hand_in(browser: webdriver.Chrome, address: str) -> None:
    """With the keyboard alone; the form holds a scenario that works."""
    browser.get(address)
    tab_to(browser, "Run it")
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    until(lambda: "/runs/" in browser.current_url)


def test_from_the_form_to_a_comparison_by_keyboard(browser: webdriver.Chrome, address: str) -> None:
    for _ in range(2):
        hand_in(browser, address)
        # The page follows the run on its own and shows the verdict at its end.
        until(lambda: text_of(browser, "#verdict strong") in ("pass", "fail"))
        assert "TTFT p50 / p99" in text_of(browser, "th")
    browser.get(address)
    assert len(browser.find_elements(By.CSS_SELECTOR, "#comparison tbody tr")) == 2
    for side, run in (("a", "1"), ("b", "2")):
        choice = browser.find_element(By.CSS_SELECTOR, f"input[name={side}][value='{run}']")
        choice.send_keys(Keys.SPACE)
    tab_to(browser, "Compare A with B")
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    until(lambda: "/compare" in browser.current_url)
    assert "every event is the same" in text_of(browser, ".hint")
    assert "TTFT p99" in text_of(browser, "td")


def test_the_first_tab_skips_to_the_content(browser: webdriver.Chrome, address: str) -> None:
    browser.get(address)
    browser.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
    assert browser.switch_to.active_element.text == "Skip to the content"


def test_the_report_and_the_planner_benchmark(browser: webdriver.Chrome, address: str) -> None:
    browser.get(f"{address}/runs/1")
    browser.find_element(By.LINK_TEXT, "Full report").click()
    until(lambda: len(browser.find_elements(By.CSS_SELECTOR, "svg")) > 0)
    browser.get(address)
    browser.find_element(By.LINK_TEXT, "Planner benchmark").click()
    assert text_of(browser, "tbody th") == "sla"


def test_every_field_has_a_name_and_nothing_is_logged(
    browser: webdriver.Chrome, address: str
) -> None:
    browser.get(address)
    for field in browser.find_elements(By.CSS_SELECTOR, "input, textarea, button, progress"):
        assert field.accessible_name, field.get_attribute("outerHTML")
    severe = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert severe == []
