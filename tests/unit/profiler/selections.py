"""A small made-up selection for tests of the page."""

from __future__ import annotations

from contracts.hardware import Evidence
from contracts.sla import SlaTarget
from profiler.page import Percentiles, RoleShape, RuledOut, Selection, SelectionCandidate

GRAPH = """\
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: planner-config-{name}
data: {{}}
---
apiVersion: nvidia.com/v1beta1
kind: DynamoGraphDeployment
metadata:
  name: graph-{name}
spec:
  components:
  - name: worker
    replicas: {replicas}
"""


def candidate(name: str, *, replicas: int, ttft_ms: float, itl_ms: float) -> SelectionCandidate:
    """A candidate of TP 2; p90 is 1.5 times the given medians."""
    return SelectionCandidate(
        id=name,
        label=f"vllm-agg-{name}",
        mode="agg",
        backend="vllm",
        gpus=2 * replicas,
        roles=(RoleShape(role="agg", replicas=replicas, gpus=2, engine="tp2"),),
        ttft_ms=_percentiles(ttft_ms),
        itl_ms=_percentiles(itl_ms),
        e2e_ms=_percentiles(ttft_ms + 100 * itl_ms),
        attainment_ratio=0.95,
        tokens_per_s_per_gpu=3000.0 / replicas,
        cost_per_million_tokens=0.2 * replicas,
        error_ratio=0.1,
        evidence=Evidence.CALIBRATED,
        pareto=True,
        reason="made up",
        dgd_yaml=GRAPH.format(name=name, replicas=replicas),
    )


def selection(*, met: bool = True, name: str = "made-up") -> Selection:
    """Three candidates: the smaller, the slower; ``two`` is picked."""
    return Selection(
        name=name,
        model="org/model",
        gpu="h200_sxm",
        gpu_budget=8,
        isl=1000,
        osl=100,
        sla=SlaTarget(ttft_ms=300.0, itl_ms=30.0),
        load="5 requests/s",
        objective="serve the declared load",
        picked="two",
        met=met,
        shortfall="95 % of requests within the targets",
        measured=False,
        candidates=(
            candidate("one", replicas=1, ttft_ms=400.0, itl_ms=40.0),
            candidate("two", replicas=2, ttft_ms=180.0, itl_ms=18.0),
            candidate("four", replicas=4, ttft_ms=100.0, itl_ms=9.0),
        ),
        ruled_out=(RuledOut(label="tp1", reason="the model does not fit"),),
    )


def _percentiles(p50: float) -> Percentiles:
    return Percentiles(p50=p50, p90=1.5 * p50, p99=2.0 * p50)
