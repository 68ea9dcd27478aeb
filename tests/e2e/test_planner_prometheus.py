"""A real Prometheus server scrapes a real mocker; the planner reads what it knows."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from kubernetes_kit import start_prometheus
from pydantic import TypeAdapter

from contracts.engine import EngineLimits
from contracts.errors import TransientError
from contracts.plan import DeploymentPlan, EngineSpec, Role
from planner.adapters.traffic import PrometheusSource, Reading, ScrapeSource, Target

MODEL = "Qwen/Qwen3-0.6B"
ROOT = Path(__file__).parents[2]
LIMIT_S = 30.0
BODY = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "one two three four five"}],
    "max_tokens": 8,
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("prometheus") is None, reason="no prometheus (apt-get install prometheus)"
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rig:
    mocker: subprocess.Popen[str]
    base_url: str
    prometheus: subprocess.Popen[bytes]
    endpoint: str

    @property
    def target(self) -> Target:
        return Target(identity="m", name="mocker", url=f"{self.base_url}/metrics")


@pytest.fixture(scope="module")
def rig(
    tmp_path_factory: pytest.TempPathFactory,
    make_agg_plan: Callable[..., DeploymentPlan],
    make_engine_spec: Callable[..., EngineSpec],
) -> Iterator[Rig]:
    folder = tmp_path_factory.mktemp("prometheus")
    engine = make_engine_spec(MODEL, "l40s", limits=EngineLimits(max_model_len=4096))
    plan = folder / "plan.json"
    plan.write_bytes(TypeAdapter(DeploymentPlan).dump_json(make_agg_plan(1, engine=engine)))
    mocker = subprocess.Popen(
        [sys.executable, "-m", "mocker", "serve", "--plan", str(plan), "--port", "0"],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert mocker.stdout is not None
    base_url = mocker.stdout.readline().removeprefix("mocker ready ").strip()
    prometheus, endpoint = start_prometheus(folder, [base_url.removeprefix("http://")])
    yield Rig(mocker=mocker, base_url=base_url, prometheus=prometheus, endpoint=endpoint)
    for process in (mocker, prometheus):
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.wait(timeout=20)
    mocker.stdout.close()


def test_traffic_and_load_are_those_of_the_server(rig: Rig) -> None:
    async def story() -> None:
        async with httpx.AsyncClient(timeout=10.0, trust_env=False) as client:
            source = PrometheusSource(client, rig.endpoint, window_s=5.0, model=MODEL)
            direct = ScrapeSource(client, model=MODEL)
            first = await until(source, rig.target, lambda reading: True)
            await direct.traffic((rig.target,), 0.0)
            place = f"{rig.base_url}/v1/chat/completions"
            answers = [client.post(place, json=BODY) for _ in range(12)]
            for answer in await asyncio.gather(*answers):
                assert answer.status_code == 200
            second = await until(
                source, rig.target, lambda reading: reading.counters.requests_completed >= 12
            )
            assert second.at_s > first.at_s
            assert second.counters == (await direct.traffic((rig.target,), 1.0)).counters
            assert (second.counters.requests_started, second.counters.requests_failed) == (12, 0)
            assert second.counters.isl_tokens_started == 5 * 12
            assert second.counters.osl_tokens_completed == 8 * 12
            (load,) = await source.loads({Role.AGG: (rig.target,)})
            assert (load.running_requests, load.waiting_requests) == (0, 0)
            other = Target(identity="o", name="other", url="http://127.0.0.1:1/metrics")
            with pytest.raises(TransientError, match="no fresh series of other"):
                await source.traffic((rig.target, other), 0.0)

    asyncio.run(story())


def test_a_frontend_that_is_gone_and_a_server_that_is_gone_are_no_readings(rig: Rig) -> None:
    async def story() -> None:
        async with httpx.AsyncClient(timeout=10.0, trust_env=False) as client:
            source = PrometheusSource(client, rig.endpoint, window_s=60.0, model=MODEL)
            await until(source, rig.target, lambda reading: True)
            rig.mocker.send_signal(signal.SIGINT)
            await blind(source, rig.target, "no fresh series of mocker")
            assert await source.loads({Role.AGG: (rig.target,)}) == ()
            rig.prometheus.send_signal(signal.SIGINT)
            await blind(source, rig.target, "/api/v1/query: ")

    asyncio.run(story())


async def until(
    source: PrometheusSource, target: Target, wanted: Callable[[Reading], bool]
) -> Reading:
    end_s = time.monotonic() + LIMIT_S
    while time.monotonic() < end_s:
        try:
            found = await source.traffic((target,), 0.0)
        except TransientError:
            pass
        else:
            if wanted(found):
                return found
        await asyncio.sleep(0.1)
    raise AssertionError("it did not happen in time")


async def blind(source: PrometheusSource, target: Target, words: str) -> None:
    end_s = time.monotonic() + LIMIT_S
    while time.monotonic() < end_s:
        try:
            await source.traffic((target,), 0.0)
        except TransientError as error:
            if words in str(error):
                return
        await asyncio.sleep(0.1)
    raise AssertionError("it did not happen in time")
