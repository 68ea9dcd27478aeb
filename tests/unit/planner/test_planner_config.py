"""Limits and digest of the frozen configuration."""

from __future__ import annotations

import pytest
from planner_samples import AGG, DISAGG, config

from contracts.errors import InputError, UnsupportedError
from contracts.plan import Role
from contracts.sla import SlaTarget
from planner.core import AggFleet, DisaggFleet, PoolConfig


def test_digest_is_stable_and_sees_every_change():
    assert config().digest == config().digest
    assert len(config().digest) == 64
    changed = [
        config(interval_s=6.0),
        config(gpu_budget=None),
        config(fleet=AGG),
        config(sla=SlaTarget(ttft_ms=1.0, itl_ms=40.0)),
        config(osl_expected=100.0),
    ]
    assert len({config().digest, *(c.digest for c in changed)}) == 6


def test_lead_is_startup_plus_interval():
    assert config(startup_s=20.0, interval_s=5.0).lead_s == 25.0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("interval_s", 0.0),
        ("startup_s", -1.0),
        ("startup_s", float("nan")),
        ("scale_down_hold_s", float("inf")),
        ("utilisation_target_ratio", 4.1),
        ("utilisation_target_ratio", 0.0),
        ("growth_ratio_max", 0.9),
        ("step_replicas_max", 0),
        ("isl_expected", 0.0),
    ],
)
def test_out_of_range_is_refused_by_name(name, value):
    with pytest.raises(InputError, match=name):
        config(**{name: value})


def test_end_to_end_target_is_unsupported():
    with pytest.raises(UnsupportedError, match="e2e"):
        config(sla=SlaTarget(ttft_ms=1.0, itl_ms=1.0, e2e_ms=5.0))


def test_floors_must_fit_into_the_budget():
    assert config(gpu_budget=2).gpu_budget == 2
    with pytest.raises(InputError, match="at least 2"):
        config(gpu_budget=1)


def test_roles_must_fit_the_fleet():
    decode = PoolConfig(role=Role.DECODE, gpus_per_replica=1)
    with pytest.raises(InputError, match="agg"):
        config(fleet=AggFleet(pool=decode))
    with pytest.raises(InputError, match="prefill, decode"):
        config(fleet=DisaggFleet(prefill=decode, decode=DISAGG.prefill))


def test_pools_need_gpus_and_a_floor():
    with pytest.raises(InputError, match=r"agg\.gpus_per_replica"):
        config(fleet=AggFleet(pool=PoolConfig(role=Role.AGG, gpus_per_replica=0)))
    with pytest.raises(InputError, match=r"agg\.min_replicas"):
        config(fleet=AggFleet(pool=PoolConfig(role=Role.AGG, gpus_per_replica=1, min_replicas=-1)))
