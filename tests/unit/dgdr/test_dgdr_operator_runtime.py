"""Queue, informer, events and the carrying out of actions."""

from __future__ import annotations

import itertools
import threading

import pytest
from dgdr_fake_api import FakeApi, VirtualClock
from hypothesis import given
from hypothesis import strategies as st

from dgdr.operator.api import ApiError, Listing
from dgdr.operator.apply import Applier
from dgdr.operator.backoff import backoff_s
from dgdr.operator.clock import SystemClock
from dgdr.operator.events import EventRecorder
from dgdr.operator.informer import Informer
from dgdr.operator.queue import WorkQueue
from dgdr.operator.resources import CONFIG_MAPS
from dgdr.operator.worker import Worker
from dgdr.reconcile.actions import Create, Delete, Emit, Patch, Ref, merge_change
from dgdr.reconcile.times import to_text, to_unix_s


@pytest.fixture
def clock():
    return VirtualClock()


@pytest.fixture
def api(clock):
    return FakeApi(clock)


@pytest.fixture
def queue(clock):
    return WorkQueue(clock)


@pytest.fixture
def applier(api, clock):
    return Applier(api, EventRecorder(api, clock, "op"))


def _map(name: str = "one", **data: str):
    metadata = {"name": name, "namespace": "n"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


class TestQueue:
    def test_a_key_waits_once(self, queue):
        for _ in range(3):
            queue.add("a")
        assert queue.take_due() == "a"
        queue.done("a")
        assert queue.take_due() is None

    def test_a_key_has_one_worker_and_is_not_forgotten(self, queue):
        queue.add("a")
        assert queue.take_due() == "a"
        queue.add("a")
        assert queue.take_due() is None
        assert queue.next_due_s() is None
        queue.done("a")
        assert queue.take_due() == "a"

    def test_the_earlier_wish_counts(self, queue, clock):
        queue.add("a", 60.0)
        queue.add("a", 10.0)
        queue.add("a", 90.0)
        assert queue.next_due_s() == clock.now_s + 10.0
        assert queue.take_due() is None
        clock.now_s += 10.0
        assert queue.take_due() == "a"
        assert len(queue) == 0

    def test_failures_wait_longer_each_time(self, queue, clock):
        pauses = []
        for _ in range(15):
            queue.retry("a")
            pauses.append(queue.next_due_s() - clock.now_s)
            clock.now_s = queue.next_due_s()
            assert queue.take_due() == "a"
            queue.done("a")
        assert pauses[0] <= 0.05
        assert 30.0 < pauses[-1] <= 60.0
        assert all(b > a for a, b in itertools.pairwise(pauses[:10]))
        queue.forget("a")
        queue.retry("a")
        assert queue.next_due_s() - clock.now_s <= 0.05

    def test_workers_wait_and_go_home(self):
        queue = WorkQueue(SystemClock())
        taken = []

        def work():
            while (key := queue.take()) is not None:
                taken.append(key)
                queue.done(key)

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for number in range(20):
            queue.add(f"k{number}", 0.001 * number)
        while len(taken) < 20:
            threads[0].join(0.005)
        queue.close()
        for thread in threads:
            thread.join(5)
        assert sorted(taken) == sorted(f"k{number}" for number in range(20))


@given(name=st.text(), failures=st.integers(1, 10_000))
def test_pauses_stay_in_bounds(name, failures):
    pause_s = backoff_s(name, failures, base_s=0.5, cap_s=30.0)
    assert 0.4 <= pause_s <= 30.0


class TestInformer:
    def _informer(self, api, seen):
        return Informer(api, CONFIG_MAPS, lambda d: seen.append(d["metadata"]["name"]))

    def test_list_then_watch(self, api):
        seen = []
        informer = self._informer(api, seen)
        api.create(_map("a"))
        informer.run_once()
        assert informer.synced.is_set()
        made = api.create(_map("b"))
        api.delete(Ref.of(made), made["metadata"]["uid"])
        informer.run_once()
        informer.run_once()
        assert seen == ["a", "b", "b"]

    def test_what_went_in_a_gap_is_reported(self, api):
        seen = []
        informer = self._informer(api, seen)
        made = api.create(_map("a"))
        informer.run_once()
        api.delete(Ref.of(made), made["metadata"]["uid"])
        api.create(_map("b"))
        api.compact()
        informer.run_once()
        assert seen == ["a"]
        informer.run_once()
        assert seen == ["a", "a", "b"]

    def test_trouble_leads_to_growing_pauses(self, api, clock, monkeypatch):
        pauses, stop = [], threading.Event()

        def wait(event, seconds):
            pauses.append(seconds)
            if len(pauses) == 8:
                stop.set()
            return stop.is_set()

        def fail(*_):
            raise ApiError(500, "InternalError", "x")

        monkeypatch.setattr(clock, "wait", wait)
        monkeypatch.setattr(api, "list", fail)
        self._informer(api, []).run(stop, clock)
        assert pauses[0] <= 0.5
        assert pauses[-1] > 20.0
        assert pauses == sorted(pauses)

    def test_watches_that_end_at_once_do_not_spin(self, clock, monkeypatch):
        waits, stop = [], threading.Event()

        class Ending:
            def list(self, *_):
                return Listing(items=(), resource_version="1")

            def watch(self, *_):
                return iter(())

        def wait(event, seconds):
            waits.append(seconds)
            stop.set()
            return True

        monkeypatch.setattr(clock, "wait", wait)
        self._informer(Ending(), []).run(stop, clock)
        assert waits == [1.0]


class TestActions:
    def test_versions_are_carried_on(self, api, applier):
        made = api.create(_map())
        version = made["metadata"]["resourceVersion"]
        patches = [
            Patch(ref=Ref.of(made), change={"data": {key: "1"}}, resource_version=version)
            for key in "abc"
        ]
        applier.apply(patches)
        assert api.get(Ref.of(made))["data"] == dict.fromkeys("abc", "1")
        with pytest.raises(ApiError) as caught:
            applier.apply(patches[:1])
        assert caught.value.conflict

    def test_taken_names_are_left_alone(self, api, applier):
        api.create(_map(a="old"))
        applier.apply([Create(data=_map(a="new")), Create(data=_map("two"))])
        assert api.get(Ref.of(_map()))["data"] == {"a": "old"}
        assert api.get(Ref.of(_map("two"))) is not None

    @pytest.mark.parametrize(("status", "final"), [(400, True), (422, True), (429, False)])
    def test_refusals_end_the_pass(self, api, applier, status, final):
        def refuse(verb, ref):
            if ref.name == "bad":
                raise ApiError(status, "", "no")

        api.before_write = refuse
        instead = Create(data=_map("instead"))
        create = Create(data=_map("bad"), rejected=lambda why: (instead,))
        steps = [create, Create(data=_map("later"))]
        if final:
            applier.apply(steps)
        else:
            with pytest.raises(ApiError):
                applier.apply(steps)
        assert (api.get(Ref.of(_map("instead"))) is not None) is final
        assert api.get(Ref.of(_map("later"))) is None

    def test_gone_is_as_good_as_deleted(self, api, applier):
        made = api.create(_map())
        step = Delete(ref=Ref.of(made), uid=made["metadata"]["uid"])
        applier.apply([step, step])
        assert api.get(Ref.of(made)) is None
        other = api.create(_map())
        with pytest.raises(ApiError):
            applier.apply([step])
        assert api.get(Ref.of(other)) is not None

    def test_equal_events_are_counted(self, api, clock, applier):
        regarding = api.create(_map())
        for _ in range(3):
            clock.now_s += 10
            applier.apply([Emit(regarding=regarding, reason="R", message="m", warning=True)])
        applier.apply([Emit(regarding=regarding, reason="R", message="other")])
        events = [v for (kind, *_), v in api.objects.items() if kind == "Event"]
        counted, other = sorted(events, key=lambda e: -e["count"])
        assert (counted["count"], counted["type"]) == (3, "Warning")
        assert counted["lastTimestamp"] > counted["firstTimestamp"]
        assert counted["involvedObject"]["uid"] == regarding["metadata"]["uid"]
        assert (other["count"], other["type"]) == (1, "Normal")

    def test_events_are_no_reason_to_fail(self, api, applier):
        regarding = api.create(_map())

        refused = []

        def refuse(verb, ref):
            refused.append(verb)
            raise ApiError(403, "Forbidden", "no")

        api.before_write = refuse
        applier.apply([Emit(regarding=regarding, reason="R", message="m")])
        assert refused, "the event was tried"


class TestWorker:
    def test_a_process_that_does_not_lead_does_nothing(self, queue, clock):
        passes, leads = [], [False]

        class Counting:
            def process(self, key):
                passes.append(key)

        worker = Worker("w", queue, Counting(), lambda: leads[0])
        queue.add("a")
        assert worker.step()
        assert passes == []
        leads[0] = True
        clock.now_s += 1.0
        assert worker.step()
        assert passes == ["a"]

    def test_failures_come_back(self, queue, clock, caplog):
        passes = []

        class Failing:
            def process(self, key):
                passes.append(key)
                if len(passes) == 1:
                    raise ApiError(500, "", "x")
                if len(passes) == 2:
                    raise KeyError("malformed")
                return 30.0 if len(passes) == 3 else None

        worker = Worker("w", queue, Failing())
        queue.add("a")
        while queue.next_due_s() is not None:
            clock.now_s = max(clock.now_s, queue.next_due_s())
            assert worker.step()
        assert passes == ["a"] * 4
        assert not worker.step()
        assert "this pass failed" in caplog.text


JSON = st.recursive(
    st.booleans() | st.integers(-3, 3) | st.text(max_size=3),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3) | st.lists(inner),
    max_leaves=10,
)


@given(
    old=st.dictionaries(st.sampled_from("abcd"), JSON),
    new=st.dictionaries(st.sampled_from("abcd"), JSON),
)
@pytest.mark.slow
def test_a_merge_patch_leads_from_old_to_new(api_of_patches, old, new):
    assert api_of_patches(old, merge_change(old, new)) == new


@pytest.fixture(scope="module")
def api_of_patches():
    def apply(old, change):
        if not isinstance(change, dict):
            return change
        result = dict(old) if isinstance(old, dict) else {}
        for key, value in change.items():
            if value is None:
                result.pop(key, None)
            else:
                result[key] = apply(result.get(key), value)
        return result

    return apply


def test_times():
    assert to_text(0) == "1970-01-01T00:00:00Z"
    assert to_unix_s("1970-01-01T00:01:00Z") == 60.0
    assert to_unix_s(None) is None
