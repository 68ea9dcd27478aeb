"""PromQL answers to traffic and load; a small stand-in for the server's API."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from kubernetes_world import engine_page, frontend_page, pod

from contracts.errors import TransientError
from contracts.plan import Role
from planner.adapters.traffic import PrometheusSource, Reading, Target
from planner.adapters.traffic.exposition import samples

WINDOW_S = 15.0


def target(name: str, host: str = "10.0.0.1") -> Target:
    return Target(identity=name, name=name, url=f"http://{host}:8000/metrics")


@dataclass(slots=True)
class Prometheus:
    """Knows the newest page of each pod: (labels, time, text); ``ended`` ones are stale."""

    pages: dict[str, tuple[dict[str, str], float, str]] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    now_s: float = 0.0
    answer: httpx.Response | None = None
    queries: list[str] = field(default_factory=list)

    def scraped(self, name: str, text: str, **labels: str) -> None:
        self.pages[name] = (labels or {"pod": name, "instance": "x"}, self.now_s, text)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/api/v1/query"
        query = request.url.params["query"]
        self.queries.append(query)
        if self.answer is not None:
            return self.answer
        ranged = re.search(r"\[(\d+)ms\]$", query)
        result: list[dict[str, Any]] = []
        for name, (labels, at_s, text) in self.pages.items():
            if ranged and at_s < self.now_s - int(ranged[1]) / 1000:
                continue
            if not ranged and name in self.ended:
                continue
            if not self._selects(query, labels):
                continue
            wanted = "dynamo_frontend_" if "dynamo_frontend_" in query else "vllm:"
            for sample in samples(text, (wanted,), "here"):
                metric = {"__name__": sample.name, **sample.labels, **labels}
                row = [at_s, str(sample.value)]
                old = [at_s - 5.0, "0"]
                result.append(
                    {"metric": metric} | ({"values": [old, row]} if ranged else {"value": row})
                )
        return httpx.Response(200, json={"status": "success", "data": {"result": result}})

    @staticmethod
    def _selects(query: str, labels: dict[str, str]) -> bool:
        for name, how, value in re.findall(r'(pod|instance)(=~?)"([^"]*)"', query):
            found = labels.get(name, "")
            if not (re.fullmatch(value, found) if how == "=~" else value == found):
                return False
        return True

    def source(self) -> PrometheusSource:
        client = httpx.AsyncClient(transport=httpx.MockTransport(self))
        return PrometheusSource(client, "http://prometheus:9090/", window_s=WINDOW_S, model="m")


def read(source: PrometheusSource, *targets: Target, now_s: float = 0.0) -> Reading:
    return asyncio.run(source.traffic(targets, now_s))


def test_increases_between_the_times_of_samples():
    server = Prometheus(now_s=100.0)
    source = server.source()
    server.scraped("f-0", frontend_page(10, 10))
    server.scraped("f-1", frontend_page(5, 5))
    first = read(source, target("f-0"), target("f-1"))
    assert (first.at_s, first.counters.requests_started) == (100.0, 0)
    server.now_s = 107.0
    server.scraped("f-0", frontend_page(30, 20))
    server.now_s = 108.0
    server.scraped("f-1", frontend_page(6, 6))
    second = read(source, target("f-0"), target("f-1"))
    # The older one of the newest samples is as of when both are known.
    assert (second.at_s, second.counters.requests_started) == (107.0, 21)
    assert second.counters.ttft_ms_sum / second.counters.ttft_count == 250.0


def test_instances_without_a_pod_label_are_found_by_address():
    server = Prometheus(now_s=100.0)
    server.scraped("x", frontend_page(1, 1), instance="10.0.0.1:8000")
    server.scraped("y", frontend_page(9, 9), instance="10.0.001:8000")
    assert read(server.source(), target("f-0")).at_s == 100.0
    assert any("10[.]0[.]0[.]1:8000" in query for query in server.queries)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda s: None, "no newer samples"),
        (lambda s: s.pages.pop("f-0"), "no fresh series of f-0"),
        (lambda s: s.ended.add("f-0"), "no fresh series of f-0"),
        (lambda s: setattr(s, "now_s", 130.0), "no fresh series of f-0"),
        (lambda s: setattr(s, "answer", httpx.Response(503, text="no")), "HTTP 503"),
        (
            lambda s: setattr(s, "answer", httpx.Response(200, json={"status": "error"})),
            "HTTP 200",
        ),
        (lambda s: setattr(s, "answer", httpx.Response(200, json=[])), "malformed"),
        (
            lambda s: setattr(
                s,
                "answer",
                httpx.Response(200, json={"status": "success", "data": {"result": [1]}}),
            ),
            "malformed",
        ),
    ],
)
def test_what_is_stale_or_missing_is_no_reading_and_the_next_one_covers_it(spoil, words):
    server = Prometheus(now_s=100.0)
    source = server.source()
    server.scraped("f-0", frontend_page(10, 10))
    read(source, target("f-0"))
    spoil(server)
    with pytest.raises(TransientError, match=words):
        read(source, target("f-0"))
    server.answer, server.now_s = None, 140.0
    server.ended.clear()
    server.scraped("f-0", frontend_page(40, 40))
    assert read(source, target("f-0")).counters.requests_started == 30


def test_an_unreachable_server_is_no_reading():
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("connection refused", request=request)

    client = httpx.AsyncClient(transport=httpx.MockTransport(refuse))
    source = PrometheusSource(client, "http://prometheus:9090", window_s=WINDOW_S)
    with pytest.raises(TransientError, match="connection refused"):
        read(source, target("f-0"))
    assert asyncio.run(source.loads({Role.AGG: (target("w-0"),)})) == ()
    with pytest.raises(TransientError, match="no frontend"):
        read(source)


def test_load_of_pools_whose_workers_are_all_known():
    server = Prometheus(now_s=100.0)
    for name, waiting in (("d-0", 1), ("d-1", 2), ("p-0", 4)):
        server.scraped(name, engine_page(pod("decode", 0, 0.0, running=3, waiting=waiting)))
    workers = {
        Role.DECODE: (target("d-0"), target("d-1")),
        Role.PREFILL: (target("p-0"), target("p-1")),
    }
    (found,) = asyncio.run(server.source().loads(workers))
    assert (found.role, found.running_requests, found.waiting_requests) == (Role.DECODE, 6, 3)
    assert asyncio.run(server.source().loads({Role.DECODE: ()})) == ()
