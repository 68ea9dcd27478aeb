"""Mirrors of what informers saw, and how much a pass may trust them."""

from __future__ import annotations

from collections import Counter

import pytest
from dgdr_fake_api import FakeApi, VirtualClock
from dgdr_operator_world import NAMESPACE, World

from contracts.errors import InvariantError
from dgdr.operator.api import ApiError
from dgdr.operator.apply import Applier
from dgdr.operator.cache import Cache, has_labels
from dgdr.operator.events import EventRecorder
from dgdr.operator.informer import Informer
from dgdr.operator.passes import Passes
from dgdr.operator.resources import CONFIG_MAPS, GRAPHS, JOBS
from dgdr.reconcile.actions import Create, Emit, Outcome, Patch, Ref


@pytest.fixture
def api():
    return FakeApi(VirtualClock())


def _map(name: str, data: str = "1", **labels: str):
    metadata = {"name": name, "namespace": NAMESPACE, "labels": labels}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"a": data}}


def _followed(api: FakeApi, selector: str = "") -> tuple[Cache, Informer]:
    informer = Informer(api, CONFIG_MAPS, lambda _: None, selector=selector)
    cache = Cache(api)
    cache.add(informer.mirror)
    return cache, informer


def _calls(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts what an API is asked from now on."""
    counted: Counter[str] = Counter()
    for verb in ("get", "list", "create", "replace", "patch", "delete"):
        asked = getattr(api, verb)

        def count(*args, verb=verb, asked=asked, **kwargs):
            counted[verb] += 1
            return asked(*args, **kwargs)

        monkeypatch.setattr(api, verb, count)
    return counted


class TestCache:
    def test_what_was_seen_is_not_asked_for(self, api, monkeypatch):
        made = api.create(_map("one", owner="x"))
        cache, informer = _followed(api)
        assert cache.get(Ref.of(made)) == made, "not followed yet: read from the API"
        informer.run_once()
        counted = _calls(api, monkeypatch)
        assert cache.get(Ref.of(made)) == made
        assert cache.get(CONFIG_MAPS.ref(NAMESPACE, "other")) is None
        for selector, found in (("", 1), ("owner", 1), ("owner=x", 1), ("owner=y", 0)):
            assert len(cache.list(CONFIG_MAPS, NAMESPACE, selector).items) == found
            assert cache.list(CONFIG_MAPS, "elsewhere", selector).items == ()
        assert not counted
        cache.get(JOBS.ref(NAMESPACE, "one"))
        assert counted == {"get": 1}

    def test_a_selector_answers_only_what_it_covers(self, api, monkeypatch):
        api.create(_map("one", owner="x"))
        api.create(_map("two"))
        cache, informer = _followed(api, "owner")
        informer.run_once()
        counted = _calls(api, monkeypatch)
        assert len(cache.list(CONFIG_MAPS, NAMESPACE, "owner=x").items) == 1
        assert not counted
        assert len(cache.list(CONFIG_MAPS, NAMESPACE).items) == 2
        assert counted == {"list": 1}

    def test_own_writes_are_seen_at_once(self, api):
        cache, informer = _followed(api)
        informer.run_once()
        made = cache.create(_map("one"))
        ref = Ref.of(made)
        assert cache.get(ref) == made
        cache.patch(ref, {"data": {"a": "2"}})
        assert cache.get(ref)["data"] == {"a": "2"}
        cache.replace(cache.get(ref) | {"data": {"a": "3"}})
        assert cache.get(ref)["data"] == {"a": "3"}
        informer._note("MODIFIED", made)
        assert cache.get(ref)["data"] == {"a": "3"}, "an older event changes nothing"
        cache.delete(ref, made["metadata"]["uid"])
        assert cache.get(ref) is None
        informer.run_once()
        assert cache.get(ref) is None

    def test_a_name_that_is_taken_again(self, api):
        cache, informer = _followed(api)
        informer.run_once()
        made = cache.create(_map("one"))
        cache.delete(Ref.of(made), made["metadata"]["uid"])
        again = cache.create(_map("one", "new"))
        informer.run_once()
        assert cache.get(Ref.of(made)) == again

    def test_a_listing_replaces_what_was_known(self, api):
        cache, informer = _followed(api)
        made = api.create(_map("one"))
        informer.run_once()
        api.delete(Ref.of(made), made["metadata"]["uid"])
        kept = api.create(_map("two"))
        api.compact()
        informer.run_once()
        informer.run_once()
        assert cache.list(CONFIG_MAPS).items == (kept,)

    def test_answers_may_be_changed(self, api):
        made = api.create(_map("one"))
        cache, informer = _followed(api)
        informer.run_once()
        cache.get(Ref.of(made))["data"]["a"] = "spoilt"
        assert cache.get(Ref.of(made)) == made

    def test_other_namespaces_are_not_known(self, api):
        informer = Informer(api, CONFIG_MAPS, lambda _: None, namespace="elsewhere")
        cache = Cache(api)
        cache.add(informer.mirror)
        informer.run_once()
        made = api.create(_map("one"))
        assert cache.get(Ref.of(made)) == made
        assert len(cache.list(CONFIG_MAPS).items) == 1


class TestTwoMirrorsOfAKind:
    """Two watches of one kind hear of a deletion one after the other."""

    @pytest.fixture
    def pair(self, api):
        cache = Cache(api)
        informers = [
            Informer(api, CONFIG_MAPS, lambda _: None, selector=selector)
            for selector in ("", "owner")
        ]
        for informer in informers:
            cache.add(informer.mirror)
        made = api.create(_map("one", owner="x"))
        for informer in informers:
            informer.run_once()
        return cache, informers, Ref.of(made)

    @pytest.mark.parametrize("first", [0, 1])
    def test_what_one_knows_to_be_gone_is_gone(self, api, pair, first):
        cache, informers, ref = pair
        api.delete(ref, cache.get(ref)["metadata"]["uid"])
        informers[first].run_once()
        assert cache.get(ref) is None
        assert cache.list(CONFIG_MAPS, NAMESPACE, "owner").items == ()
        again = api.create(_map("one", data="2", owner="x"))
        assert cache.get(ref) is None, "nobody has heard of it yet"
        informers[1 - first].run_once()
        assert cache.get(ref) == again

    def test_an_object_that_lost_its_label_is_still_there(self, api, pair):
        cache, informers, ref = pair
        changed = api.patch(ref, {"metadata": {"labels": {"owner": None}}})
        for informer in informers:
            informer.run_once()
        assert cache.get(ref) == changed


def test_a_deployment_that_vanishes_is_noticed_whoever_hears_of_it_first():
    world = World()
    late = Informer(world.api, GRAPHS, lambda _: None)
    world.operator.cache.add(late.mirror)
    world.submit("demo")
    world.play()
    late.run_once()
    assert world.phase("demo") == "Deployed"
    graph = world.find(GRAPHS, "demo-dgd")
    world.api.delete(Ref.of(graph), graph["metadata"]["uid"])
    world.settle()
    assert (world.phase("demo"), world.status("demo")["dgdName"]) == ("Failed", "")


def test_selectors_that_are_not_understood_are_refused():
    assert has_labels(_map("x", a="1", b="2"), "a=1,b")
    for text in ("a!=1", "a in (1,2)", "!a"):
        with pytest.raises(InvariantError):
            has_labels(_map("x", a="1"), text)


class TestPasses:
    @pytest.fixture
    def about(self, api):
        """The API's map says 2, the cache still 1."""
        made = api.create(_map("one"))
        cache, informer = _followed(api)
        informer.run_once()
        changed = api.patch(Ref.of(made), {"data": {"a": "2"}})
        applier = Applier(cache, EventRecorder(api, api.clock, "op"))
        return changed, Passes(api, cache, applier)

    @pytest.mark.parametrize(
        ("change", "views"),
        [
            ({"status": {"profilingPhase": "x"}}, "1"),
            ({"status": {"phase": "x"}}, "12"),
            ({"status": {"state": "x"}}, "12"),
            ({"metadata": {"labels": {"a": "b"}}}, "12"),
            (None, "12"),
        ],
    )
    def test_decisions_with_effects_are_made_on_the_api(self, api, about, change, views):
        found, passes = about
        seen = []

        def decide(reader):
            seen.append(reader.get(Ref.of(found))["data"]["a"])
            if change is None:
                return Outcome(actions=(Create(data=_map("two")),), requeue_after_s=3.0)
            version = found["metadata"]["resourceVersion"]
            status = "status" in change
            patch = Patch(ref=Ref.of(found), change=change, resource_version=version, status=status)
            event = Emit(regarding=found, reason="R", message="m")
            return Outcome(actions=(patch, event), requeue_after_s=3.0)

        assert passes.run("k", decide) == 3.0
        assert "".join(seen) == views

    def test_after_a_failure_the_cache_is_not_asked(self, about):
        found, passes = about
        seen = []

        def decide(reader):
            data = reader.get(Ref.of(found))
            seen.append(data["data"]["a"])
            version = data["metadata"]["resourceVersion"]
            change = {"status": {"profilingPhase": "x"}}
            patch = Patch(ref=Ref.of(found), change=change, resource_version=version, status=True)
            return Outcome(actions=(patch,))

        with pytest.raises(ApiError):
            passes.run("k", decide)
        assert passes.run("k", decide) is None
        assert seen == ["1", "2"]
        assert passes.run("k", lambda reader: None) is None

    def test_a_decision_that_breaks_off_is_a_failure_too(self, about):
        found, passes = about
        seen = []

        def decide(reader):
            seen.append(reader.get(Ref.of(found))["data"]["a"])
            raise KeyError("malformed")

        for _ in range(2):
            with pytest.raises(KeyError):
                passes.run("k", decide)
        assert seen == ["1", "2"]


def test_calls_of_one_request(monkeypatch):
    """From Pending to Deployed; it was 91, 67 of them reads, when every pass read the API."""
    world = World()
    world.submit("demo")
    counted = Counter[str]()
    for _ in range(20):
        for _ in range(30):
            world.pump()
            with monkeypatch.context() as patched:
                asked = _calls(world.api, patched)
                moved = world.work()
            counted += asked
            if not moved and (world.operator.queue.next_due_s() or 1e12) > world.clock.now_s + 5:
                break
            world.clock.now_s += 0.0 if moved else 1.0
        if not (world.run_jobs() | world.run_deployments()):
            break
    assert world.phase("demo") == "Deployed"
    reads = counted["get"] + counted["list"]
    assert reads <= 22
    assert counted.total() <= 46
