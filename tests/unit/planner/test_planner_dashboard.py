"""The live page of a planner."""

from __future__ import annotations

import httpx
import pytest
from planner_samples import AGG, config, load, model, seen, workers

from contracts.errors import PermanentError
from contracts.plan import Role
from planner.adapters.connected import Applied, TickReport
from planner.adapters.dashboard import Dashboard, listening, served
from planner.core import PlannerState, PolicyName, tick

SETTINGS = config(fleet=AGG, policy=PolicyName.SLA)


def told(ticks: int) -> Dashboard:
    """A dashboard that has seen a load rise."""
    dashboard, state = Dashboard(SETTINGS, "demo <1>"), PlannerState()
    for i in range(ticks):
        view = seen(5.0 * i, 2.0 + i, workers=tuple(workers(Role.AGG, 2)), loads=(load(Role.AGG),))
        state, decision = tick(SETTINGS, model(), state, view)
        dashboard(TickReport(decision=decision, applied=Applied.ACCEPTED, problem="too <late>"))
    return dashboard


def test_the_page_shows_load_forecast_replicas_and_why():
    page = told(10).page()
    for words in ("arrivals", "forecast", "wanted", "ready", "<polygon", "accepted"):
        assert words in page
    assert SETTINGS.digest[:12] in page
    # Two GPUs for 45 s.
    assert "0.03 GPU-hours" in page
    assert page.count("<tr>") == 11


def test_what_others_wrote_is_escaped():
    page = told(1).page()
    assert "demo &lt;1&gt;" in page
    assert "too &lt;late&gt;" in page
    assert "<late>" not in page


def test_without_a_decision_it_says_so():
    assert "No decision yet." in Dashboard(SETTINGS, "demo").page()


def test_the_page_is_served_and_nothing_else():
    with listening(told(2), "127.0.0.1", 0) as port, httpx.Client(trust_env=False) as client:
        found = client.get(f"http://127.0.0.1:{port}/?again")
        assert found.status_code == 200
        assert "Planner of" in found.text
        assert client.get(f"http://127.0.0.1:{port}/other").status_code == 404
        with (
            pytest.raises(PermanentError, match="live page"),
            served(SETTINGS, "demo", "127.0.0.1", port),
        ):
            pytest.fail("the port is taken")


def test_port_zero_serves_nothing():
    with served(SETTINGS, "demo", "127.0.0.1", 0) as dashboard:
        assert dashboard is None
