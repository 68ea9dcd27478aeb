"""The frontend of a deployment: its options, and what it answers before and after a worker."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from mocker_client import MODEL, chat

from contracts.errors import InputError, UnsupportedError
from contracts.plan import Role, RouterPolicy, RouterSettings
from mocker.api import build_app
from mocker.clock import WallClock
from mocker.dynamo.frontend import frontend_settings, worker_services
from mocker.dynamo.routing import mode_of
from mocker.engines.driver import EngineDriver
from mocker.engines.options import DriverOptions
from mocker.fleet import wire
from mocker.fleet.entrance import Entrance
from mocker.fleet.fleet import Fleet
from mocker.fleet.run import exposition_of_fleet, worker_of
from mocker.fleet.worker import WorkerEnd
from mocker.fleet.worker_plan import worker_times
from mocker.serving.http_server import HttpServer

VARIABLES = {
    "DGDR_WORKERS": "prefill=a-dgd-prefill,decode=a-dgd-decode",
    "POD_NAMESPACE": "ns",
    "POD_IP": "10.0.0.7",
}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, Path | None]]:
    """Discoveries that were asked for."""
    found: list[tuple[str, str, Path | None]] = []
    monkeypatch.setattr(
        "mocker.dynamo.frontend.kubernetes_slices", lambda *words: found.append(words)
    )
    return found


def nothing_said(text: str) -> None:
    raise AssertionError(text)


def test_without_options_it_does_what_dynamos_does(asked: list[Any]) -> None:
    found = frontend_settings([], VARIABLES, nothing_said)
    assert (found.policy, found.moves_max) == (RouterPolicy.ROUND_ROBIN, 0)
    assert (found.host, found.port) == ("10.0.0.7", 8000)
    assert found.routing == RouterSettings()
    assert found.first_worker_s is None
    services = "kubernetes.io/service-name in (a-dgd-prefill,a-dgd-decode)"
    assert asked == [("ns", services, None)]


def test_options_count_before_variables(asked: list[Any]) -> None:
    variables = {
        **VARIABLES, "DYN_ROUTER_MODE": "kv", "DYN_MIGRATION_LIMIT": "3", "DYN_HTTP_PORT": "8001",
        "DYN_ROUTER_TEMPERATURE": "0.5",
    }  # fmt: skip
    found = frontend_settings([], variables, nothing_said)
    assert (found.policy, found.moves_max, found.port) == (RouterPolicy.KV_AWARE, 3, 8001)
    assert found.routing == RouterSettings(temperature=0.5)
    args = [
        "--router-mode=least-loaded", "--migration-limit", "0", "--http-port", "8002",
        "--model-name", MODEL, "--router-kv-overlap-score-credit", "0",
    ]  # fmt: skip
    found = frontend_settings(args, variables, nothing_said)
    assert (found.policy, found.moves_max, found.port) == (RouterPolicy.LEAST_LOADED, 0, 8002)
    assert found.routing == RouterSettings(temperature=0.5, overlap_credit=0.0)


def test_options_without_effect_are_named(asked: list[Any]) -> None:
    said: list[str] = []
    frontend_settings(["--router-mode", "kv", "--dyn-chat-processor=vllm"], VARIABLES, said.append)
    assert said == ["frontend: without effect here: --dyn-chat-processor=vllm\n"]


@pytest.mark.parametrize(
    ("args", "error", "words"),
    [
        (["--router-mode", "direct"], UnsupportedError, "direct is not modelled"),
        (["--router-mode", "best"], InputError, "least-loaded"),
        (["--migration-limit", "-1"], InputError, "DYN_MIGRATION_LIMIT"),
        (["--router-temperature", "warm"], InputError, "DYN_ROUTER_TEMPERATURE"),
        (["--router-temperature", "-1"], InputError, "temperature"),
        (["--http-port", "0"], InputError, "is no port"),
    ],
)
def test_wrong_options_are_refused(
    asked: list[Any], args: list[str], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        frontend_settings(args, VARIABLES, nothing_said)


def test_workers_are_services() -> None:
    assert worker_services({"DGDR_WORKERS": "worker=a"}) == ("a",)
    for wrong in ("", "prefill=a"):
        with pytest.raises(InputError, match="DGDR_WORKERS"):
            worker_services({"DGDR_WORKERS": wrong})


def test_policies_have_dynamos_names() -> None:
    names = [mode_of(p) for p in RouterPolicy if p is not RouterPolicy.SESSION_AFFINITY]
    assert names == ["round-robin", "least-loaded", "power-of-two", "kv"]
    with pytest.raises(UnsupportedError, match="session_affinity"):
        mode_of(RouterPolicy.SESSION_AFFINITY)


def test_it_is_alive_at_once_and_ready_with_a_worker(make_agg_plan: Any) -> None:
    async def run() -> tuple[list[int], list[int], str]:
        options = DriverOptions(speed=200.0, timer_for=worker_times)
        plan = worker_of(make_agg_plan(1), Role.AGG)
        driver = EngineDriver(plan, clock=WallClock(), options=options)
        end = WorkerEnd(driver, Role.AGG, "w")

        def connect() -> tuple[wire.FrameProtocol, wire.Begun]:
            protocol = end.connect()
            return protocol, lambda: end.greet(protocol)

        fleet = Fleet(WallClock(), moves_max=0)
        entrance = Entrance(fleet.metrics)
        worker, server = HttpServer(nobody, upgrades={wire.UPGRADE: connect}), HttpServer(entrance)
        base = f"http://127.0.0.1:{await server.start('127.0.0.1', 0)}"
        try:
            async with httpx.AsyncClient(base_url=base, trust_env=False) as client:
                before = [
                    (await client.get(path)).status_code for path in ("/live", "/health", "/x")
                ]
                before.append((await client.post(CHAT, json=chat())).status_code)
                fleet.set_addresses([f"127.0.0.1:{await worker.start('127.0.0.1', 0)}"])
                await fleet.first_worker()
                entrance.open(build_app(fleet, exposition_of_fleet(fleet)))
                paths = ("/live", "/health", "/v1/models")
                after = [(await client.get(path)).status_code for path in paths]
                bodies = (chat(max_tokens=2), {**chat(), "model": "other"})
                after += [(await client.post(CHAT, json=body)).status_code for body in bodies]
                return before, after, (await client.get("/metrics")).text
        finally:
            fleet.close()
            end.close()
            for each in (server, worker):
                await each.stop(0.0)
            driver.close()

    before, after, page = asyncio.run(run())
    assert before == [200, 503, 503, 503]
    assert after == [200, 200, 200, 200, 404]
    labels = json.dumps(MODEL.lower())
    for name, value in (("requests_started_total", 2), ("model_migration_limit", 0)):
        assert f"dynamo_frontend_{name}{{model={labels}}} {value}.0" in page
    done = re.search(r"dynamo_frontend_requests_total\{(.*)\} 1.0", page)
    assert done
    assert 'request_type="unary"' in done[1]


CHAT = "/v1/chat/completions"


async def nobody(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError(scope["path"])
