"""Traffic and load from the metrics of pods."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import httpx
import pytest
from kubernetes_world import PREFIX, World, engine_page, frontend_page, pod

from contracts.errors import TransientError
from contracts.observation import ClusterSnapshot, Counters, Traffic, observe
from contracts.plan import Role
from planner.adapters.traffic import ScrapeSource, Target
from planner.adapters.traffic.engines import read_engine
from planner.adapters.traffic.exposition import samples

PLAIN = {"content-type": "text/plain; version=0.0.4"}


def target(name: str, *, started_s: float | None = None, identity: str = "") -> Target:
    return Target(
        identity=identity or name, name=name, url=f"http://{name}:8000/metrics", started_s=started_s
    )


class Pages:
    """Pages by host; a number is an HTTP status, None does not answer."""

    def __init__(self, **pages: str | int | None) -> None:
        self.pages = dict(pages)
        self.source = ScrapeSource(
            httpx.AsyncClient(transport=httpx.MockTransport(self._answer)), model="M"
        )

    def _answer(self, request: httpx.Request) -> httpx.Response:
        page = self.pages[request.url.host]
        if page is None:
            raise httpx.ReadTimeout("", request=request)
        if isinstance(page, int):
            return httpx.Response(page, text="no", headers=PLAIN)
        kind = {"content-type": "text/html"} if page.startswith("<") else PLAIN
        return httpx.Response(200, text=page, headers=kind)

    def read(self, now_s: float, *targets: Target) -> Counters:
        found = targets or tuple(map(target, self.pages))
        return asyncio.run(self.source.traffic(found, now_s)).counters


def test_several_frontends_are_summed_from_the_first_look_on():
    pages = Pages(a=frontend_page(100, 90), b=frontend_page(7, 7))
    assert pages.read(0.0) == Counters(isl_count=0)
    pages.pages = {"a": frontend_page(110, 100), "b": frontend_page(12, 9)}
    found = pages.read(5.0)
    assert (found.requests_started, found.requests_completed) == (15, 12)
    assert found.osl_tokens_completed == 200 * 12


def test_a_restart_counts_from_zero():
    pages = Pages(a=frontend_page(100, 90))
    pages.read(0.0)
    pages.pages["a"] = frontend_page(4, 3)
    assert pages.read(5.0).requests_started == 4
    pages.pages["a"] = frontend_page(6, 6)
    assert pages.read(10.0).requests_started == 6


def test_a_restarted_container_counts_from_zero_even_if_it_has_counted_more():
    pages = Pages(a=frontend_page(10, 10))
    pages.read(0.0, target("a", identity="a/0", started_s=-50.0))
    pages.pages["a"] = frontend_page(30, 30)
    assert pages.read(5.0, target("a", identity="a/1", started_s=2.0)).requests_started == 30


def test_a_new_frontend_counts_whole_and_an_old_one_only_from_now_on():
    pages = Pages(a=frontend_page(10, 10))
    pages.read(0.0)
    pages.pages |= {"new": frontend_page(3, 3), "old": frontend_page(1000, 1000)}
    everybody = (
        target("a"),
        target("new", started_s=3.0),
        target("old", started_s=-100.0),
    )
    assert pages.read(5.0, *everybody).requests_started == 3
    del pages.pages["a"]
    assert pages.read(10.0, *everybody[1:]).requests_started == 3


@pytest.mark.parametrize(
    ("page", "words"),
    [
        (None, "ReadTimeout"),
        (503, "HTTP 503"),
        ("<html></html>", "text/html"),
        (f"{PREFIX}requests_total{{ 3", "malformed"),
        (f"{PREFIX}requests_total NaN", "not finite"),
        (frontend_page(1, 1, model="x") + frontend_page(1, 1, model="y"), "serves x, y, not M"),
    ],
)
def test_one_unreadable_frontend_is_no_reading_and_nothing_is_lost(page, words):
    pages = Pages(a=frontend_page(0, 0), b=frontend_page(0, 0))
    pages.read(0.0)
    good = pages.pages | {"a": frontend_page(5, 5)}
    pages.pages = good | {"b": page}
    with pytest.raises(TransientError, match=words):
        pages.read(5.0)
    pages.pages = good
    assert pages.read(10.0).requests_started == 5


def test_no_frontend_is_no_reading():
    with pytest.raises(TransientError, match="no frontend"):
        asyncio.run(Pages().source.traffic((), 0.0))


def test_a_frontend_that_has_never_served_has_measured_zero():
    pages = Pages(a="# no requests yet\n")
    assert pages.read(0.0) == pages.read(5.0) == Counters(isl_count=0)


def test_one_of_several_models_counts():
    pages = Pages(a=frontend_page(0, 0, model="m") + frontend_page(0, 0, model="other"))
    pages.read(0.0)
    pages.pages["a"] = frontend_page(3, 2, model="m") + frontend_page(50, 50, model="other")
    assert pages.read(5.0).requests_started == 3


def test_without_a_count_of_started_requests_those_in_flight_count_too():
    """Old frontends count what is done: demand would be hidden while nothing completes."""

    def page(done: int, in_flight: int) -> str:
        return f"{PREFIX}requests_total {done}\n{PREFIX}inflight_requests {in_flight}\n"

    pages = Pages(a=page(10, 0))
    pages.read(0.0)
    pages.pages["a"] = page(10, 40)
    assert pages.read(5.0).requests_started == 40
    # Two metrics of one page may disagree by a request; that is no restart and no demand.
    pages.pages["a"] = page(10, 39)
    assert pages.read(10.0).requests_started == 40
    pages.pages["a"] = page(50, 0)
    assert pages.read(15.0).requests_started == 40


def test_the_mean_length_is_of_those_whose_length_is_known():
    before = ClusterSnapshot(now_s=0.0, counters=Counters(isl_count=0), workers=(), loads=())
    counters = Counters(requests_started=10, isl_tokens_started=4000, isl_count=4)
    after = ClusterSnapshot(now_s=5.0, counters=counters, workers=(), loads=())
    traffic = observe(before, after).traffic
    assert isinstance(traffic, Traffic)
    assert (traffic.rate_per_s, traffic.isl_mean, traffic.osl_mean) == (2.0, 1000.0, None)


@pytest.mark.parametrize(
    "page",
    [
        'sglang:num_running_reqs{tp_rank="0"} 3\nsglang:num_queue_reqs 2\nsglang:token_usage 0.5\n',
        "trtllm_num_requests_running 3\ntrtllm_num_requests_waiting 2\n"
        "trtllm_kv_cache_utilization 0.5\n",
        'vllm:num_requests_running{engine="0"} 1\nvllm:num_requests_running{engine="1"} 2\n'
        'vllm:num_requests_waiting 2\nvllm:gpu_cache_usage_perc{engine="0"} 0.25\n'
        'vllm:gpu_cache_usage_perc{engine="1"} 0.75\n',
    ],
)
def test_load_under_the_names_of_every_engine(page):
    found = read_engine(samples(page, ("vllm:", "sglang:", "trtllm_"), "here"))
    assert found is not None
    assert (found.running, found.waiting, found.kv_usage_ratio) == (3, 2, 0.5)


def test_half_a_load_is_no_load():
    assert read_engine(samples("vllm:num_requests_running 1\n", ("vllm:",), "here")) is None


def test_a_pool_is_the_sum_of_its_workers():
    states = [pod("decode", index, 0.0, running=index + 1, waiting=2) for index in range(2)]
    pages = Pages(x=engine_page(states[0]), y=engine_page(states[1]), z=503)
    load: Callable[..., object] = lambda **roles: asyncio.run(  # noqa: E731
        pages.source.loads({Role(role): tuple(map(target, hosts)) for role, hosts in roles.items()})
    )
    (found,) = load(decode="xy", prefill="xz")
    assert (found.running_requests, found.waiting_requests) == (3, 4)
    assert found.kv_usage_ratio == 0.25
    assert load(decode="") == ()


def test_the_world_of_the_other_tests_answers_like_a_frontend():
    world = World(started=3, completed=2)
    answer = world.metrics(httpx.Request("GET", f"http://{world.of('Frontend')[0].address}/m"))
    assert f'{PREFIX}requests_started_total{{model="m"}} 3' in answer.text
