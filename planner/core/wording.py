"""The reason and the figures of a decision."""

from __future__ import annotations

from collections.abc import Sequence

from planner.core.policies import PoolProposal, Proposal, View
from planner.core.targets import PoolTarget

Outcomes = Sequence[tuple[PoolProposal, PoolTarget]]


def decision_reason(view: View, proposal: Proposal, outcomes: Outcomes) -> str:
    """One sentence for people."""
    parts = []
    if view.traffic is not None:
        parts.append(f"{view.traffic.rate_per_s:.3g} requests/s now")
    if proposal.forecast is not None:
        parts.append(f"{proposal.forecast.rate_per_s:.3g} expected in {view.lead_s:g} s")
    head = [", ".join(parts)] if parts else []
    return "; ".join(head + [_pool_reason(asked, target) for asked, target in outcomes]) + "."


def _pool_reason(asked: PoolProposal, target: PoolTarget) -> str:
    position = asked.stock.position
    text = f"{asked.pool.role.value}: "
    if asked.capacity is not None:
        text += f"{asked.capacity.requests_per_s:.3g} requests/s per replica, "
    if asked.backlog_requests > 0:
        text += f"{asked.backlog_requests:.0f} requests too many in the queue, "
    text += f"{target.wanted} wanted, {position} in place, "
    text += "stay" if target.replicas == position else f"go to {target.replicas}"
    notes = (*target.notes, *(asked.capacity.notes if asked.capacity is not None else ()))
    return f"{text} ({', '.join(notes)})" if notes else text


def decision_figures(view: View, proposal: Proposal, outcomes: Outcomes) -> dict[str, float]:
    """The numbers behind a decision, by name with unit."""
    traffic, lengths, forecast = view.traffic, view.lengths, proposal.forecast
    figures: dict[str, float | None] = {
        "rate_per_s": None if traffic is None else traffic.rate_per_s,
        "forecast_rate_per_s": None if forecast is None else forecast.rate_per_s,
        "forecast_slope_per_s2": None if forecast is None else forecast.slope_per_s2,
        "lead_s": view.lead_s,
        "isl_mean_tokens": None if lengths is None else lengths.isl,
        "osl_mean_tokens": None if lengths is None else lengths.osl,
        "ttft_ms_mean": None if traffic is None else traffic.ttft_ms_mean,
        "itl_ms_mean": None if traffic is None else traffic.itl_ms_mean,
        **proposal.figures,
    }
    found = {name: value for name, value in figures.items() if value is not None}
    for asked, target in outcomes:
        found |= _pool_figures(asked, target)
    return found


def _pool_figures(asked: PoolProposal, target: PoolTarget) -> dict[str, float]:
    role = asked.pool.role.value
    figures = {
        f"{role}_ready_replicas": float(asked.stock.ready),
        f"{role}_position_replicas": float(asked.stock.position),
        f"{role}_need_replicas": asked.need,
        f"{role}_wanted_replicas": float(target.wanted),
        f"{role}_target_replicas": float(target.replicas),
        f"{role}_backlog_requests": asked.backlog_requests,
    }
    if asked.stock.stuck:
        figures[f"{role}_stuck_replicas"] = float(asked.stock.stuck)
    if asked.capacity is not None:
        figures[f"{role}_capacity_requests_per_s"] = asked.capacity.requests_per_s
        figures[f"{role}_utilisation_ratio"] = asked.capacity.utilisation_ratio
    return figures
