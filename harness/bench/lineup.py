"""Who takes part, and the one knob over which each is drawn as a curve."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from harness.bench.fleet import CONTEXT_TOKENS, GPU_BUDGET
from harness.bench.oracle import at_once_schedule, lead_time_schedule, split
from harness.bench.workloads import BenchWorkload
from planner.core import (
    LoadPredictor,
    PlannerConfig,
    PolicyName,
    SchedulePoint,
    Thresholds,
)

FAST_S = 10.0
_UPSTREAM_FAST_S = 5.0
_UPSTREAM_SLOW_S = 180.0
_HOLD_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrant:
    """One policy.

    Attributes:
        knob: what its values mean.
        values: of the knob; the first one is the default.
        configure: its configuration for a workload, a start-up time and a knob.
        upstream: one of the targets of Dynamo's planner.
        startup_matters: false for those that never order anything.
        reference: it runs only when it is asked for.
    """

    name: str
    knob: str
    values: tuple[float, ...]
    configure: Callable[[BenchWorkload, float, float], PlannerConfig]
    upstream: bool = False
    startup_matters: bool = True
    reference: bool = False


def base_config(bench: BenchWorkload, startup_s: float) -> PlannerConfig:
    """What all policies share."""
    lead_s = startup_s + FAST_S
    return PlannerConfig(
        fleet=bench.fleet.pools,
        sla=bench.sla,
        interval_s=FAST_S,
        startup_s=startup_s,
        gpu_budget=GPU_BUDGET,
        scale_down_hold_s=_HOLD_S,
        stale_after_s=3 * FAST_S,
        backlog_drain_s=max(60.0, lead_s),
        load_predictor=LoadPredictor.CONSTANT,
        trend_history_s=900.0,
        isl_expected=float(bench.workload.isl[:100].mean()),
        osl_expected=float(bench.workload.osl[:100].mean()),
    )


def _static(bench: BenchWorkload, startup_s: float, knob: float) -> PlannerConfig:
    points = (SchedulePoint(at_s=0.0, replicas=split(bench, round(knob))),)
    config = base_config(bench, startup_s)
    return replace(config, policy=PolicyName.SCHEDULE, schedule=points)


def _at_once(bench: BenchWorkload, startup_s: float, knob: float) -> PlannerConfig:
    points = at_once_schedule(bench, round(knob))
    config = base_config(bench, startup_s)
    return replace(
        config, policy=PolicyName.SCHEDULE, schedule=points, step_replicas_max=GPU_BUDGET
    )


def _oracle(bench: BenchWorkload, startup_s: float, knob: float) -> PlannerConfig:
    points = lead_time_schedule(bench, knob, startup_s)
    config = base_config(bench, startup_s)
    return replace(
        config, policy=PolicyName.SCHEDULE, schedule=points, step_replicas_max=GPU_BUDGET
    )


def _headroom(bench: BenchWorkload, startup_s: float, knob: float) -> PlannerConfig:
    return replace(
        base_config(bench, startup_s),
        policy=PolicyName.HEADROOM,
        utilisation_target_ratio=1.0 - knob,
        use_load=False,
    )


def _reactive(
    up: float, down: float, queue: tuple[float, float] = (1.0, 0.1)
) -> Callable[[BenchWorkload, float, float], PlannerConfig]:
    def configure(bench: BenchWorkload, startup_s: float, knob: float) -> PlannerConfig:
        limits = Thresholds(
            prefill_up=queue[0] * knob * CONTEXT_TOKENS,
            prefill_down=queue[1] * knob * CONTEXT_TOKENS,
            decode_up=up * knob,
            decode_down=down * knob,
        )
        return replace(
            base_config(bench, startup_s),
            policy=PolicyName.REACTIVE,
            interval_s=_UPSTREAM_FAST_S,
            stale_after_s=3 * _UPSTREAM_FAST_S,
            thresholds=limits,
        )

    return configure


def _upstream_slow(bench: BenchWorkload, startup_s: float, knob: float) -> PlannerConfig:
    return replace(
        base_config(bench, startup_s),
        policy=PolicyName.THROUGHPUT,
        interval_s=_UPSTREAM_SLOW_S,
        stale_after_s=3 * _UPSTREAM_SLOW_S,
        utilisation_target_ratio=knob,
        load_predictor=LoadPredictor.ARIMA,
        trend_history_s=7200.0,
        use_load=False,
    )


def _upstream_sla(bench: BenchWorkload, startup_s: float, knob: float) -> PlannerConfig:
    return replace(
        base_config(bench, startup_s),
        policy=PolicyName.THROUGHPUT,
        interval_s=_UPSTREAM_FAST_S,
        stale_after_s=3 * _UPSTREAM_FAST_S,
        slow_interval_s=_UPSTREAM_SLOW_S,
        utilisation_target_ratio=knob,
        load_predictor=LoadPredictor.ARIMA,
        trend_history_s=7200.0,
    )


def sla_config(bench: BenchWorkload, startup_s: float, knob: float) -> PlannerConfig:
    """Our policy with its defaults, which were chosen on the training workloads.

    The attainment that is asked for is a setting of its user, like the latency targets. The
    knob is what a miss costs; 0 leaves that to the attainment that is asked for.
    """
    return replace(
        base_config(bench, startup_s),
        policy=PolicyName.SLA,
        load_predictor=LoadPredictor.BLEND,
        growth_ratio_max=3.0,
        attainment_target=bench.attainment_target,
        miss_price=knob or None,
    )


STATIC = Entrant(
    name="static",
    knob="GPUs",
    values=tuple(float(n) for n in range(2, 13)),
    configure=_static,
    startup_matters=False,
)
ORACLE = Entrant(
    name="oracle",
    knob="utilisation",
    values=(0.9, 1.0, 0.95, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6),
    configure=_oracle,
)
SLA = Entrant(
    name="sla",
    knob="miss price, 0 by the attainment that is asked for",
    values=(0.0, 4.0, 12.0, 40.0, 100.0, 300.0, 600.0, 1200.0, 2500.0, 5000.0, 1e4, 2e4),
    configure=sla_config,
)
ENTRANTS = {
    each.name: each
    for each in (
        STATIC,
        Entrant(
            name="last-value", knob="headroom", values=(0.2, 0.0, 0.1, 0.35), configure=_headroom
        ),
        Entrant(
            name="reactive",
            knob="threshold factor",
            values=(1.0, 0.8, 1.2),
            configure=_reactive(0.55, 0.4),
        ),
        Entrant(
            name="upstream-throughput",
            knob="threshold factor",
            values=(1.0,),
            configure=_reactive(1.0, 0.6),
            upstream=True,
        ),
        Entrant(
            name="upstream-latency",
            knob="threshold factor",
            values=(1.0,),
            configure=_reactive(0.4, 0.1, (0.1, 0.0)),
            upstream=True,
        ),
        Entrant(
            name="upstream-slow-loop",
            knob="utilisation",
            values=(1.0, 0.8),
            configure=_upstream_slow,
            upstream=True,
        ),
        Entrant(
            name="upstream-sla",
            knob="utilisation",
            values=(1.0, 0.8),
            configure=_upstream_sla,
            upstream=True,
        ),
        SLA,
        ORACLE,
        Entrant(
            name="at-once",
            knob="replicas before the jump",
            values=tuple(float(n) for n in range(3, 13)),
            configure=_at_once,
            reference=True,
        ),
    )
}
