"""A frontend and its workers over real connections, in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from mocker_client import MODEL, chat, events

from contracts.errors import InputError, TransientError
from contracts.plan import Role, RouterPolicy
from dgdr.operator.api import ApiError, Listing
from mocker.api import build_app, exposition_of
from mocker.clock import WallClock
from mocker.engines.driver import EngineDriver
from mocker.engines.options import DriverOptions
from mocker.fleet import wire
from mocker.fleet.discovery import (
    EndpointSlices,
    StaticList,
    WorkerFile,
    follow,
    selector_of_services,
)
from mocker.fleet.fleet import Fleet
from mocker.fleet.run import exposition_of_fleet, worker_of
from mocker.fleet.worker import WorkerEnd
from mocker.fleet.worker_plan import worker_times
from mocker.serving.http_server import HttpServer

SPEED = 200.0
SELECTOR = selector_of_services(["a", "b"])


class Process:
    """What a worker process consists of."""

    def __init__(self, plan: Any, role: Role, name: str) -> None:
        options = DriverOptions(speed=SPEED, timer_for=worker_times)
        self.driver = EngineDriver(worker_of(plan, role), clock=WallClock(), options=options)
        self.end = WorkerEnd(self.driver, role, name)
        app = build_app(self.driver, exposition_of(self.driver))
        self.server = HttpServer(app, upgrades={wire.UPGRADE: self._connect})

    def _connect(self) -> tuple[wire.FrameProtocol, wire.Begun]:
        protocol = self.end.connect()
        return protocol, lambda: self.end.greet(protocol)

    async def start(self) -> str:
        return f"127.0.0.1:{await self.server.start('127.0.0.1', 0)}"

    @property
    def connections(self) -> int:
        return len(self.end._desks)

    async def die(self) -> None:
        self.end.close()
        await self.server.stop(0.0)
        self.driver.close()


def run_fleet(
    plan: Any,
    roles: list[Role],
    act: Callable[[httpx.AsyncClient, list[Process], Fleet], Awaitable[Any]],
    **options: Any,
) -> Any:
    async def body() -> Any:
        workers = [Process(plan, role, f"w{index}") for index, role in enumerate(roles)]
        fleet = Fleet(WallClock(), **options)
        fleet.set_addresses([await worker.start() for worker in workers])
        while fleet.ready_workers() < len(roles):
            await asyncio.sleep(0.001)
        server = HttpServer(build_app(fleet, exposition_of_fleet(fleet)))
        base = f"http://127.0.0.1:{await server.start('127.0.0.1', 0)}"
        try:
            async with httpx.AsyncClient(base_url=base, timeout=20) as client:
                return await asyncio.wait_for(act(client, workers, fleet), 20)
        finally:
            fleet.close()
            await server.stop(0.0)
            for worker in workers:
                await worker.die()

    return asyncio.run(body())


CHAT = "/v1/chat/completions"


def test_requests_are_spread_and_answered(make_agg_plan) -> None:
    async def act(client, workers, fleet):
        asked = (client.post(CHAT, json=chat(f"a {k}", max_tokens=20)) for k in range(6))
        answers = await asyncio.gather(*asked)
        stream = await client.post(CHAT, json=chat(max_tokens=7, stream=True))
        seen = [worker.driver.metrics.generation_tokens for worker in workers]
        health = (await client.get("/health")).json()
        metrics = (await client.get("/metrics")).text
        return answers, stream, seen, health, metrics

    answers, stream, seen, health, metrics = run_fleet(
        make_agg_plan(1), [Role.AGG, Role.AGG], act, policy=RouterPolicy.ROUND_ROBIN
    )
    assert {answer.json()["usage"]["completion_tokens"] for answer in answers} == {20}
    assert sorted(seen) == [60, 67]
    said = [c["choices"][0]["delta"].get("content") for c in events(stream.text)]
    assert len([text for text in said if text]) == 7
    assert health["ready_workers"] == 2
    assert f'dynamo_frontend_output_tokens_total{{model="{MODEL.lower()}"}} 127.0' in metrics


def test_a_disaggregated_fleet_computes_the_prompt_first(make_disagg_plan) -> None:
    async def act(client, workers, fleet):
        body = chat(max_tokens=9, mocker={"timestamps": True})
        answer = await client.post(CHAT, json=body)
        return answer.json(), [worker.driver.metrics.generation_tokens for worker in workers]

    answer, seen = run_fleet(make_disagg_plan(1, 1), [Role.PREFILL, Role.DECODE], act)
    assert answer["usage"]["completion_tokens"] == 9
    assert seen == [1, 9]
    due = answer["nvext"]["timing"]
    assert due["token_ns"] == sorted(due["token_ns"])
    assert (len(due["token_ns"]), due["token_ns"][0] > due["arrival_ns"] > 0) == (9, True)


@pytest.mark.parametrize("moves_max", [None, 1, 0])
def test_a_worker_that_dies(make_agg_plan, moves_max: int | None) -> None:
    async def act(client, workers, fleet):
        body = chat(max_tokens=4000, stream=True)
        asked = asyncio.create_task(client.post(CHAT, json=body))
        while not any(worker.driver.in_flight for worker in workers):
            await asyncio.sleep(0.001)
        victim = next(worker for worker in workers if worker.driver.in_flight)
        await asyncio.sleep(0.005)
        await victim.die()
        return events((await asked).text)

    found = run_fleet(make_agg_plan(1), [Role.AGG, Role.AGG], act, moves_max=moves_max)
    tokens = sum(bool(c["choices"][0]["delta"].get("content")) for c in found if "choices" in c)
    if moves_max != 0:
        assert tokens == 4000
        assert found[-1]["choices"][0]["finish_reason"] == "length"
    else:
        assert tokens < 4000
        assert found[-1]["error"]["code"] == "worker_lost"


def test_a_draining_worker_ends_what_it_has_and_gets_nothing_new(make_agg_plan) -> None:
    async def act(client, workers, fleet):
        first = asyncio.create_task(client.post(CHAT, json=chat(max_tokens=3000)))
        while not any(worker.driver.in_flight for worker in workers):
            await asyncio.sleep(0.001)
        drained = next(worker for worker in workers if worker.driver.in_flight)
        drained.end.drain()
        while fleet.ready_workers() != 1:
            await asyncio.sleep(0.001)
        for _ in range(3):
            await client.post(CHAT, json=chat(max_tokens=2))
        done = await first
        assert await drained.end.drained(5.0)
        return done.json(), drained.driver.metrics.generation_tokens

    answer, tokens = run_fleet(make_agg_plan(1), [Role.AGG, Role.AGG], act)
    assert answer["usage"]["completion_tokens"] == tokens == 3000


def test_a_worker_that_is_no_longer_listed_ends_what_it_has(make_agg_plan) -> None:
    async def act(client, workers, fleet):
        first = asyncio.create_task(client.post(CHAT, json=chat(max_tokens=3000)))
        while not any(worker.driver.in_flight for worker in workers):
            await asyncio.sleep(0.001)
        busy = next(worker for worker in workers if worker.driver.in_flight)
        fleet.set_addresses(each.address for each in list(fleet.workers.values()) if not each.held)
        before = busy.connections
        for _ in range(3):
            await client.post(CHAT, json=chat(max_tokens=2))
        done = await first
        while busy.connections:
            await asyncio.sleep(0.001)
        return done.json(), busy.driver.metrics.generation_tokens, before

    answer, tokens, before = run_fleet(make_agg_plan(1), [Role.AGG, Role.AGG], act)
    assert answer["usage"]["completion_tokens"] == tokens == 3000
    assert before == 1


def test_a_request_that_crosses_the_notice_of_the_end_is_answered(make_agg_plan) -> None:
    """What was sent before the notice arrived is waited for, and nobody joins after it."""

    async def act(client, workers, fleet):
        (worker,) = workers
        asked = asyncio.create_task(client.post(CHAT, json=chat(max_tokens=500)))
        while not fleet.in_flight:
            await asyncio.sleep(0)
        worker.end.drain()
        assert await worker.end.drained(5.0)
        late = Fleet(WallClock())
        late.set_addresses([*fleet.workers])
        while worker.connections < 2:
            await asyncio.sleep(0.001)
        answer = await asked
        seen = late.ready_workers()
        late.close()
        return answer.json(), seen

    answer, seen = run_fleet(make_agg_plan(1), [Role.AGG], act, moves_max=0)
    assert answer["usage"]["completion_tokens"] == 500
    assert seen == 0


def test_a_client_that_leaves_frees_the_worker(make_agg_plan) -> None:
    async def act(client, workers, fleet):
        async with client.stream("POST", CHAT, json=chat(max_tokens=90_000, stream=True)) as s:
            await anext(s.aiter_bytes())
        while fleet.in_flight or workers[0].driver.in_flight:
            await asyncio.sleep(0.001)
        return workers[0].driver.snapshot().loads[0].kv_usage_ratio

    assert run_fleet(make_agg_plan(1), [Role.AGG], act) == 0


def test_without_a_worker_requests_wait_and_then_fail(make_agg_plan) -> None:
    async def act(client, workers, fleet):
        await workers[0].die()
        while fleet.ready_workers():
            await asyncio.sleep(0.001)
        answer = await client.post(CHAT, json=chat(max_tokens=2))
        return answer.status_code, answer.json()["error"]["message"]

    status, message = run_fleet(make_agg_plan(1), [Role.AGG], act, patience_s=0.05)
    assert (status, message) == (503, "no agg worker in 0.05 s")


def test_a_computed_prompt_waits_for_a_decode_worker(make_disagg_plan) -> None:
    """It is not computed again, and every wait has its own patience."""

    async def act(client, workers, fleet):
        prefill, decode = workers
        await decode.die()
        while len(fleet.workers) != 2 or fleet.ready_workers():
            await asyncio.sleep(0.001)
        asked = asyncio.create_task(client.post(CHAT, json=chat(max_tokens=9)))
        while prefill.driver.metrics.generation_tokens != 1 or prefill.driver.in_flight:
            await asyncio.sleep(0.001)
        other = Process(make_disagg_plan(1, 1), Role.DECODE, "new")
        fleet.set_addresses([*fleet.workers, await other.start()])
        answer = await asked
        await other.die()
        return answer.json(), prefill.driver.metrics.generation_tokens

    answer, prompts = run_fleet(make_disagg_plan(1, 1), [Role.PREFILL, Role.DECODE], act)
    assert answer["usage"]["completion_tokens"] == 9
    assert prompts == 1


def test_the_kv_aware_router_follows_prompts(make_agg_plan) -> None:
    async def act(client, workers, fleet):
        words = [" ".join(f"{letter}{k}" for k in range(400)) for letter in "ab"]
        for _ in range(3):
            for text in words:
                answer = await client.post(CHAT, json=chat(text, max_tokens=2))
        return answer.json()["usage"], [w.driver.metrics.cache_hits for w in workers]

    counts, hits = run_fleet(
        make_agg_plan(1), [Role.AGG, Role.AGG], act, policy=RouterPolicy.KV_AWARE
    )
    assert counts["prompt_tokens_details"]["cached_tokens"] == 384
    assert hits == [768, 768] or sum(hits) == 4 * 384


def test_a_role_that_the_plan_lacks(make_agg_plan) -> None:
    with pytest.raises(InputError, match=r"--role.*decode.*allowed: agg"):
        worker_of(make_agg_plan(1), Role.DECODE)


def test_lists_and_files_of_workers(tmp_path) -> None:
    assert StaticList(("a:1", "b:2")).addresses() == {"a:1", "b:2"}
    for wrong in ((), ("a",), ("a:0",), (":1",), ("a:x",)):
        with pytest.raises(InputError):
            StaticList(wrong)
    path = tmp_path / "workers"
    with pytest.raises(InputError, match="cannot be read"):
        WorkerFile(path).addresses()
    path.write_text("a:1  # first\n\nb:2\n")
    assert WorkerFile(path).addresses() == {"a:1", "b:2"}
    path.write_text('["c:3"]')
    assert WorkerFile(path).addresses() == {"c:3"}
    for text in ("[3]", "[oops", "nothing"):
        path.write_text(text)
        with pytest.raises(InputError):
            WorkerFile(path).addresses()


def test_endpoint_slices() -> None:
    def endpoint(address: str, **conditions: bool) -> dict[str, Any]:
        return {"addresses": [address], "conditions": conditions}

    class Api:
        refuses = False

        def list(self, resource: Any, namespace: str | None = None, selector: str = "") -> Listing:
            assert (resource.plural, namespace, selector) == ("endpointslices", "ns", SELECTOR)
            if self.refuses:
                raise ApiError(403, "Forbidden", "not allowed to list")
            ends = [endpoint("10.0.0.1", ready=True), endpoint("10.0.0.2", ready=False),
                    endpoint("10.0.0.3")]  # fmt: skip
            items = ({"ports": [{"port": 9090}], "endpoints": ends}, {"ports": None})
            return Listing(items=items, resource_version="1")

    found = EndpointSlices(Api(), "ns", SELECTOR)
    assert found.addresses() == {"10.0.0.1:9090", "10.0.0.3:9090"}
    Api.refuses = True
    with pytest.raises(TransientError, match="not allowed to list"):
        found.addresses()


def test_following_a_file_that_changes(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("mocker.fleet.discovery.POLL_S", 0.001)
    path = tmp_path / "workers"
    path.write_text("a:1")
    told: list[set[str]] = []
    problems: list[str] = []

    async def run() -> None:
        following = asyncio.create_task(follow(WorkerFile(path), told.append, problems.append))

        async def until(check: Callable[[], bool]) -> None:
            async with asyncio.timeout(5):
                while not check():
                    await asyncio.sleep(0.001)

        await until(lambda: told == [{"a:1"}])
        path.write_text("oops")
        await until(lambda: len(problems) == 1)
        path.write_text("b:2")
        await until(lambda: told[-1] == {"b:2"})
        following.cancel()

    asyncio.run(run())
    assert len(problems) <= 2
