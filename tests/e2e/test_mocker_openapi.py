"""Requests drawn from the OpenAPI document of a running server: none makes it fail."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from pydantic import TypeAdapter

from contracts.engine import EngineLimits
from contracts.plan import DeploymentPlan, EngineSpec

ROOT = Path(__file__).parents[2]
MODEL = "Qwen/Qwen3-0.6B"
EXAMPLES = 25
# The first never ends, the second orders errors of its own choice.
LEFT_OUT = {"/forward_pass_metrics", "/admin/http_faults"}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def base_url(
    tmp_path_factory: pytest.TempPathFactory,
    make_agg_plan: Callable[..., DeploymentPlan],
    make_engine_spec: Callable[..., EngineSpec],
) -> Iterator[str]:
    engine = make_engine_spec(MODEL, "l40s", limits=EngineLimits(max_model_len=512))
    plan = tmp_path_factory.mktemp("plan") / "plan.json"
    plan.write_bytes(TypeAdapter(DeploymentPlan).dump_json(make_agg_plan(2, engine=engine)))
    process = subprocess.Popen(
        [sys.executable, "-m", "mocker", "serve", "--plan", str(plan), "--port", "0",
         "--speed", "inf"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    yield process.stdout.readline().removeprefix("mocker ready ").strip()
    process.terminate()
    _, errors = process.communicate(timeout=10)
    assert "Traceback" not in errors, errors[-3000:]


def test_no_drawn_request_is_answered_with_500(base_url: str) -> None:
    schema = schemathesis.openapi.from_url(f"{base_url}/openapi.json")
    failed: list[str] = []
    seen = set[str]()
    with requests.Session() as session:
        operations = [found.ok() for found in schema.get_all_operations()]
        # Draining is for good, so it comes last.
        for operation in sorted(operations, key=lambda each: each.path == "/admin/drain"):
            if operation.path in LEFT_OUT:
                continue
            seen.add(operation.path)

            @settings(
                max_examples=EXAMPLES, deadline=None, derandomize=True, database=None,
                suppress_health_check=list(HealthCheck),
            )  # fmt: skip
            @given(case=operation.as_strategy())
            def send(case: schemathesis.Case) -> None:
                if isinstance(case.body, dict) and "model" in case.body:
                    case.body["model"] = MODEL  # an unknown one would be all it ever says
                answer = case.call(base_url=base_url, session=session, timeout=10.0)
                if answer.status_code == 500:
                    failed.append(f"{case.as_curl_command()}: {answer.text[:300]}")

            send()
            # What was drawn may have put it to sleep or slowed it down.
            session.post(f"{base_url}/wake_up", timeout=10.0)
            session.post(f"{base_url}/admin/clock", json={"speed": 1e6}, timeout=10.0)
    assert {"/v1/chat/completions", "/v1/completions", "/v1/responses", "/metrics"} <= seen
    assert not failed, failed[:3]
