"""From targets to writes: budget, floors, order; and the division of one budget."""

from __future__ import annotations

from typing import Any

from contracts.decision import RoleTarget
from contracts.plan import Role
from planner.adapters.kubernetes.scaling import Reservation, Writes, plan_writes
from planner.budget import Claim, divide


def pool(role: Role, desired: int, **changes: Any) -> Reservation:
    values: dict[str, Any] = {
        "role": role,
        "name": role.value,
        "gpus_per_replica": 1,
        "min_replicas": 1,
        "desired": desired,
        "live": desired,
        "terminating": 0,
    }
    return Reservation(**(values | changes))


def plan(pools: list[Reservation], wanted: list[int], budget: int | None = 8) -> Writes:
    targets = [
        RoleTarget(role=each.role, replicas=count)
        for each, count in zip(pools, wanted, strict=True)
    ]
    return plan_writes(pools, targets, gpu_budget=budget, no_reduction=None)


def text(writes: Writes) -> list[str]:
    return [str(write) for write in writes.now]


def test_reductions_come_first_and_their_gpus_are_not_free_yet():
    pools = [pool(Role.PREFILL, 2), pool(Role.DECODE, 6)]
    first = plan(pools, [4, 4])
    assert text(first) == ["decode 6 -> 4"]
    assert first.later == ("prefill 2 -> 4: the GPUs of the budget are not free",)
    leaving = [pool(Role.PREFILL, 2), pool(Role.DECODE, 4, terminating=1)]
    second = plan(leaving, [4, 4])
    assert text(second) == ["prefill 2 -> 3"]
    assert text(plan([pool(Role.PREFILL, 3), pool(Role.DECODE, 4)], [4, 4])) == ["prefill 3 -> 4"]


def test_surplus_pods_hold_their_gpus():
    pools = [pool(Role.PREFILL, 1), pool(Role.DECODE, 2, live=7)]
    assert text(plan(pools, [2, 2])) == []
    # Raising what is about to go costs nothing.
    assert text(plan(pools, [1, 7])) == ["decode 2 -> 7"]


def test_floors_and_no_budget():
    pools = [pool(Role.PREFILL, 3, min_replicas=2), pool(Role.DECODE, 1)]
    assert text(plan(pools, [0, 40], None)) == ["prefill 3 -> 2", "decode 1 -> 40"]


def test_above_the_budget_nothing_is_raised():
    pools = [pool(Role.PREFILL, 6), pool(Role.DECODE, 6)]
    writes = plan(pools, [7, 6])
    assert writes.now == ()
    assert len(writes.later) == 1


def claim(position: int, wanted: int | None, need: float, **changes: Any) -> Claim:
    values: dict[str, Any] = {
        "gpus_per_replica": 1,
        "min_replicas": 1,
        "position": position,
        "wanted": wanted,
        "need_replicas": need,
    }
    return Claim(**(values | changes))


def test_enough_for_all_gives_all_what_they_want():
    assert divide([claim(1, 3, 2.5), claim(2, 1, 0.1)], 8) == (3, 1)


def test_scarcity_is_shared_by_covered_need():
    assert divide([claim(1, 8, 8.0), claim(1, 4, 4.0)], 6) == (4, 2)
    assert divide([claim(1, 8, 8.0), claim(1, 4, 4.0, weight=10.0)], 6) == (2, 4)


def test_a_blind_deployment_keeps_what_it_has():
    assert divide([claim(3, None, 0.0), claim(1, 9, 9.0)], 6) == (3, 3)
    assert divide([claim(7, None, 0.0), claim(2, 9, 9.0), claim(3, 2, 1.0)], 6) == (7, 2, 2)


def test_larger_replicas_do_not_block_smaller_ones():
    assert divide([claim(1, 3, 3.0, gpus_per_replica=4), claim(1, 3, 3.0)], 7) == (1, 3)
