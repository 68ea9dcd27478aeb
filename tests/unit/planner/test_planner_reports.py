"""What a planner says of itself: metrics, Events, and what its pod is told."""

from __future__ import annotations

from typing import Any

import pytest
from planner_samples import AGG, config
from prometheus_client import CollectorRegistry

from contracts.decision import Decision, RoleTarget
from contracts.errors import InputError
from contracts.plan import Role
from dgdr.reconcile.actions import Emit
from planner.adapters.connected import Applied, TickReport
from planner.adapters.kubernetes.events import DecisionEvents
from planner.adapters.kubernetes.settings import pod_settings
from planner.adapters.metrics import PlannerMetrics

GRAPH = {"apiVersion": "v", "kind": "K", "metadata": {"name": "demo"}}


def report(
    now_s: float = 0.0,
    *,
    prefill: tuple[int, int] = (1, 1),
    decode: tuple[int, int] = (1, 1),
    held: bool = False,
    applied: Applied = Applied.ACCEPTED,
    **changes: Any,
) -> TickReport:
    """Pairs are position and target."""
    pairs = {Role.PREFILL: prefill, Role.DECODE: decode}
    figures = {f"{role.value}_position_replicas": float(pair[0]) for role, pair in pairs.items()}
    figures |= {"rate_per_s": 8.0, "ttft_ms_mean": 250.0, "decode_ready_replicas": 1.0}
    targets = tuple(RoleTarget(role=role, replicas=pair[1]) for role, pair in pairs.items())
    decision = Decision(
        now_s=now_s,
        targets=() if held else targets,
        reason="because",
        held=held,
        figures={"unknown_age_s": 7.0} if held else figures,
    )
    return TickReport(decision=decision, applied=applied, **changes)


def test_the_last_decision_is_shown_under_the_names_of_dynamos_planner():
    registry = CollectorRegistry()
    show = PlannerMetrics(config(), registry)

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"dynamo_planner_{name}", labels)

    def state() -> str:
        name = "dynamo_planner_throughput_scaling_decision"
        found = [
            s.labels[name]
            for m in registry.collect()
            for s in m.samples
            if s.name == name and s.value
        ]
        return ",".join(found)

    assert state() == "unset"
    show(report(decode=(1, 3)))
    assert (value("observed_requests_per_second"), value("observed_ttft_ms")) == (8.0, 250.0)
    assert value("num_decode_replicas") == 1.0
    assert (value("sla_target_ttft_ms"), value("sla_target_itl_ms")) == (10_000.0, 40.0)
    assert value("config_info", digest=config().digest) == 1.0
    assert state() == "scale_up"
    show(report(1800.0, decode=(3, 1)))
    assert state() == "scale_down"
    assert value("gpu_hours") == 1.0
    show(report(3600.0, prefill=(1, 2), decode=(2, 1)))
    assert state() == "rebalance"
    assert value("gpu_hours") == 3.0
    show(report(3600.0, held=True, applied=Applied.NOTHING_TO_DO))
    assert (state(), value("telemetry_age_seconds")) == ("hold", 7.0)
    show(report(3600.0))
    assert (state(), value("telemetry_age_seconds")) == ("no_change", 0.0)
    assert value("ticks_total", applied="accepted") == 4.0


def test_an_aggregated_pool_is_shown_as_decode():
    registry = CollectorRegistry()
    show = PlannerMetrics(config(fleet=AGG), registry)
    decision = Decision(now_s=0.0, targets=(), reason="", figures={"agg_ready_replicas": 4.0})
    show(TickReport(decision=decision, applied=Applied.NOTHING_TO_DO))
    assert registry.get_sample_value("dynamo_planner_num_decode_replicas") == 4.0


class Recorder:
    def __init__(self) -> None:
        self.events: list[tuple[str, str, bool]] = []

    def record(self, event: Emit) -> None:
        assert event.regarding == GRAPH
        self.events.append((event.reason, event.message, event.warning))


def test_events_say_what_changed_what_failed_and_that_nothing_is_seen():
    recorder = Recorder()
    graphs: list[Any] = [None, GRAPH]
    events = DecisionEvents(recorder, lambda: graphs[0])  # type: ignore[arg-type]
    # Nobody knows the deployment yet.
    events(report(changes=("decode 1 -> 3",)))
    assert recorder.events == []
    graphs.pop(0)
    events(report(changes=("decode 1 -> 3",)))
    for _ in range(2):
        events(report(applied=Applied.UNKNOWN, problem="conflict"))
    graphs[0] = None
    for _ in range(5):
        events(report(held=True, applied=Applied.NOTHING_TO_DO, problem="lost"))
    events(report(applied=Applied.DEFERRED, problem="pods are terminating"))
    assert recorder.events == [
        ("PlannerScaled", "decode 1 -> 3: because", False),
        ("PlannerFailed", "conflict", True),
        ("PlannerHolds", "because", True),
    ]


def test_the_environment_of_a_pod():
    found = pod_settings(
        {
            "DYN_PARENT_DGD_K8S_NAME": "demo",
            "DYN_PARENT_DGD_K8S_NAMESPACE": "ns",
            "POD_NAME": "demo-planner-0",
            "POD_IP": "10.0.0.1",
            "DYN_SYSTEM_PORT": "9090",
            "PROMETHEUS_ENDPOINT": "http://prometheus:9090",
        }
    )
    assert (found.graph, found.namespace, found.identity) == ("demo", "ns", "demo-planner-0")
    assert (found.host, found.metrics_port) == ("10.0.0.1", 9090)
    assert found.prometheus == "http://prometheus:9090"


@pytest.mark.parametrize(
    ("variables", "port"),
    [
        ({}, None),
        ({"DYN_SYSTEM_PORT": "9090"}, None),
        ({"PLANNER_PROMETHEUS_PORT": "9085"}, 9085),
        (
            {
                "PLANNER_PROMETHEUS_PORT": "0",
                "DYN_PARENT_DGD_K8S_NAME": "d",
                "DYN_SYSTEM_PORT": "1",
            },
            None,
        ),
    ],
)
def test_metrics_of_its_own_only_where_asked_for(variables, port):
    assert pod_settings(variables).metrics_port == port


def test_a_port_must_be_one():
    with pytest.raises(InputError, match=r"\$PLANNER_PROMETHEUS_PORT"):
        pod_settings({"PLANNER_PROMETHEUS_PORT": "70000"})
