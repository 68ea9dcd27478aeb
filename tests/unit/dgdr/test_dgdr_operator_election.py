"""Who of several operators leads."""

from __future__ import annotations

import threading

import pytest
from dgdr_fake_api import FakeApi, VirtualClock

from dgdr.operator.api import ApiError
from dgdr.operator.election import LeaderElector, LeaseSettings


@pytest.fixture
def clock():
    return VirtualClock()


@pytest.fixture
def api(clock):
    return FakeApi(clock)


class TestElection:
    def _elector(self, api, clock, name):
        return LeaderElector(api, clock, name, LeaseSettings(namespace="n"))

    def test_one_leads_until_it_stops_renewing(self, api, clock):
        first, second = self._elector(api, clock, "a"), self._elector(api, clock, "b")
        assert first.step()
        for _ in range(20):
            clock.now_s += 5.0
            assert first.step()
            assert not second.step()
        clock.now_s += 14.0
        assert not first.leads
        assert not second.step()
        clock.now_s += 1.0
        assert second.step()
        assert not first.step()
        spec = api.objects[("Lease", "n", "dgdr-operator")]["spec"]
        assert (spec["holderIdentity"], spec["leaseTransitions"]) == ("b", 1)

    def test_never_two_leaders(self, api, clock):
        electors = [self._elector(api, clock, name) for name in "abc"]
        for step in range(300):
            clock.now_s += 1.5
            electors[step % 3].step() if step % 40 < 25 else None
            assert sum(elector.leads for elector in electors) <= 1

    def test_a_released_lease_is_free_soon(self, api, clock):
        first, second = self._elector(api, clock, "a"), self._elector(api, clock, "b")
        first.step()
        second.step()
        first.release()
        assert not first.leads
        assert second.step()
        first.release()
        assert second.step()

    def test_an_api_in_trouble(self, api, clock):
        elector = self._elector(api, clock, "a")
        elector.step()

        def fail(verb, ref):
            raise ApiError(500, "InternalError", "x")

        api.before_write = fail
        clock.now_s += 5.0
        assert elector.step(), "the last renewal still counts"
        clock.now_s += 5.0
        assert not elector.step()

    def test_run_returns_when_the_lead_is_lost(self, api, clock):
        elector = self._elector(api, clock, "a")
        stop, started = threading.Event(), threading.Event()
        steps = []

        def before(verb, ref):
            steps.append(verb)
            if len(steps) > 3:
                raise ApiError(500, "InternalError", "x")

        api.before_write = before
        elector.run(stop, started)
        assert started.is_set()
        assert not stop.is_set()
