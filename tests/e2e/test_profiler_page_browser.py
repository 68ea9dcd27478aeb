"""The page to choose from, in a real browser: sliders, points, keyboard, export."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml
from browser_kit import NEEDS_BROWSER, running_browser
from kubernetes_kit import NEEDS_KUBECTL, Kubectl, running_cluster
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from profiler.page import load_selection, write_page, write_selection
from tests.unit.profiler.selections import selection

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, NEEDS_BROWSER]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with running_browser(tmp_path_factory.mktemp("browser")) as driver:
        yield driver


@pytest.fixture
def page(browser: webdriver.Chrome, tmp_path: Path) -> webdriver.Chrome:
    path = write_page(tmp_path, selection())
    browser.get_log("browser")  # what was before does not count
    browser.get(path.as_uri())
    return browser


def rows(page: webdriver.Chrome) -> list[str]:
    found = page.find_elements(By.CSS_SELECTOR, "#rows tbody tr td:first-child")
    return [cell.text for cell in found]


def points(page: webdriver.Chrome) -> list[WebElement]:
    return page.find_elements(By.CSS_SELECTOR, "#chart .point")


def type_target(page: webdriver.Chrome, label: str, value: str) -> None:
    box = page.find_element(By.CSS_SELECTOR, f'input[type=number][aria-label^="{label} at most"]')
    box.clear()
    box.send_keys(value, Keys.TAB)


def text_of(page: webdriver.Chrome, selector: str) -> str:
    return page.find_element(By.CSS_SELECTOR, selector).text


def test_only_what_is_within_the_targets_is_shown(page: webdriver.Chrome) -> None:
    assert rows(page) == ["vllm-agg-two", "vllm-agg-four"]
    assert len(points(page)) == 2
    assert text_of(page, "#status").startswith("2 of 3 within the targets; best of them: vllm-agg")
    type_target(page, "TTFT", "700")
    type_target(page, "ITL", "70")
    assert rows(page) == ["vllm-agg-one", "vllm-agg-two", "vllm-agg-four"]
    type_target(page, "GPUs", "4")
    assert rows(page) == ["vllm-agg-one", "vllm-agg-two"]
    page.find_element(By.ID, "reset").click()
    assert rows(page) == ["vllm-agg-two", "vllm-agg-four"]


def test_a_slider_is_moved_by_keys(page: webdriver.Chrome) -> None:
    slider = page.find_element(By.CSS_SELECTOR, 'input[type=range][aria-label^="TTFT"]')
    slider.send_keys(Keys.END)
    page.find_element(By.CSS_SELECTOR, 'input[type=range][aria-label^="ITL"]').send_keys(Keys.END)
    assert len(rows(page)) == 3


def test_nothing_fits(page: webdriver.Chrome) -> None:
    type_target(page, "ITL", "6")
    assert rows(page) == []
    assert text_of(page, "#status") == (
        "No candidate is within the targets. Closest: vllm-agg-four, ITL 13.5 ms, 125 % too much."
    )


def test_a_point_shows_its_plan_limit_and_difference(page: webdriver.Chrome) -> None:
    assert "vllm-agg-two (picked)" in text_of(page, "#panel")
    other = next(p for p in points(page) if p.get_attribute("data-id") == "four")
    other.click()
    panel = text_of(page, "#panel")
    assert panel.startswith("vllm-agg-four\n")
    assert "4 x tp2, 2 GPUs each" in panel
    assert "GPUs: 8 of 8" in panel
    assert "150 ms (135 to 165)" in panel
    assert "+    replicas: 4" in panel
    link = page.find_element(By.ID, "export")
    assert link.get_attribute("download") == "four.yaml"
    assert not page.find_elements(By.ID, "apply")


def test_rows_are_chosen_by_keys(page: webdriver.Chrome) -> None:
    first = page.find_element(By.CSS_SELECTOR, "#rows tbody tr")
    first.send_keys(Keys.ARROW_DOWN)
    page.switch_to.active_element.send_keys(Keys.ENTER)
    assert text_of(page, "#panel h3") == "vllm-agg-four"
    assert page.switch_to.active_element.get_attribute("data-id") == "four"


def test_filters_and_axes(page: webdriver.Chrome) -> None:
    for axis in ("ttft", "itl", "cost", "user"):
        page.find_element(By.CSS_SELECTOR, f"#axis option[value={axis}]").click()
        assert len(points(page)) == 2
    page.find_element(By.CSS_SELECTOR, "#percentile option[value=p50]").click()
    assert len(rows(page)) == 2
    page.find_element(By.CSS_SELECTOR, "#mode option[value=disagg]").click()
    assert text_of(page, "#status") == "No candidate passes the filters."


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """The page's server with a cluster where nobody answers."""
    write_selection(tmp_path, selection())
    with serving(tmp_path, kubeconfig(tmp_path)) as address:
        yield address


@contextlib.contextmanager
def serving(folder: Path, config: Path) -> Iterator[str]:
    """``python -m profiler ui``; yields its address."""
    words = ["-m", "profiler", "ui", str(folder), "--kubeconfig", str(config)]
    process = subprocess.Popen(
        [sys.executable, *words], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().split()[0]
    finally:
        process.terminate()
        assert process.wait(20) == 0
        assert process.stdout is not None
        process.stdout.close()


def kubeconfig(folder: Path) -> Path:
    """A cluster where nobody answers."""
    path = folder / "kubeconfig"
    cluster = {"name": "c", "cluster": {"server": "http://127.0.0.1:9"}}
    context = {"name": "c", "context": {"cluster": "c", "user": "u"}}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [cluster],
        "users": [{"name": "u", "user": {}}],
        "contexts": [context],
        "current-context": "c",
    }
    path.write_text(json.dumps(content))
    return path


def test_applying_says_what_came_of_it(browser: webdriver.Chrome, served: str) -> None:
    browser.get(served)
    browser.find_element(By.ID, "apply").click()
    wait = WebDriverWait(browser, 20.0)
    wait.until(lambda page: text_of(page, "#applied").startswith("Not applied: "))
    assert "127.0.0.1:9" in text_of(browser, "#applied")
    document = httpx.get(f"{served}deployments/four.yaml", trust_env=False).text
    assert "name: graph-four" in document


@NEEDS_KUBECTL
def test_a_choice_is_applied_to_a_cluster(browser: webdriver.Chrome, tmp_path: Path) -> None:
    request, profile = ROOT / "scenarios/dgdr/qwen3-8b.yaml", tmp_path / "profile"
    words = ["-m", "profiler", "--config", str(request), "--output-dir", str(profile)]
    subprocess.run([sys.executable, *words], cwd=ROOT, check=True, capture_output=True)
    with running_cluster(tmp_path / "cluster") as config:
        kubectl = Kubectl(kubeconfig=config, home=str(tmp_path), namespace="default")
        kubectl("apply", "--kustomize", "deploy/crds")
        kubectl.wait("crd/dynamographdeployments.nvidia.com", "condition=Established")
        with serving(profile, Path(config)) as address:
            browser.get(address)
            browser.find_elements(By.CSS_SELECTOR, "#rows tbody tr")[-1].click()
            label = text_of(browser, "#panel h3").removesuffix(" (picked)")
            browser.find_element(By.ID, "apply").click()
            wait = WebDriverWait(browser, 20.0)
            wait.until(lambda page: text_of(page, "#applied").startswith("Created "))
        (graph,) = kubectl.read("dgd")["items"]
    candidate = next(c for c in load_selection(profile).candidates if c.label == label)
    wanted = list(yaml.safe_load_all(candidate.dgd_yaml))[-1]
    assert graph["metadata"]["name"] == wanted["metadata"]["name"]
    names = [part["name"] for part in wanted["spec"]["components"]]
    assert [part["name"] for part in graph["spec"]["components"]] == names


def test_the_page_logs_no_error(page: webdriver.Chrome) -> None:
    log = page.get_log("browser")
    assert [entry for entry in log if entry["level"] == "SEVERE"] == []
