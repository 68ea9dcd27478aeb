"""From scores to curves, paired differences, regret and the targets of the policy ``sla``."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from harness.bench.lineup import ENTRANTS
from harness.bench.workloads import SHAPES

_PLACE = ["workload", "fault", "startup_s"]
_OURS = "sla"
_ORACLE = "oracle"
_STATIC = "static"
_EQUAL = 0.001
_STARTUP_S_MAX = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetResult:
    """One acceptance target and what was measured; ``met`` is ``None`` without data."""

    name: str
    bound: str
    measured: str
    met: bool | None


def attainment_target(workload: str) -> float:
    """Share of requests that have to be in target: 99 % on gradual load, else 95 %."""
    shape = SHAPES.get(workload)
    return 0.99 if shape is not None and shape.gradual else 0.95


def curves(frame: pd.DataFrame) -> pd.DataFrame:
    """Means over the seeds: one row for each place, entrant and knob."""
    keys = [*_PLACE, "entrant", "knob", "default"]
    return frame.groupby(keys, as_index=False).mean(numeric_only=True).drop(columns="seed")


def cheapest(points: pd.DataFrame, attainment: float) -> float | None:
    """GPU-hours of the cheapest knob that attains so much, ``None`` if none does."""
    good = points.loc[points["attainment"] >= attainment, "gpu_hours"]
    return None if good.empty else float(good.min())


def paired(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    """Ours minus each other policy, over seeds, with 95 % intervals.

    All at their default knobs; the static deployment and the oracle, which have none, at
    the cheapest knob that attains the target (the best attaining one if none does).
    Student's t on the differences of equal seeds; an interval needs two of them.
    """
    default = _chosen(frame)
    keys = [*_PLACE, "seed"]
    ours = default[default["entrant"] == _OURS].set_index(keys)[column]
    rows = []
    for (workload, fault, startup_s, name), group in default.groupby([*_PLACE, "entrant"]):
        if name == _OURS:
            continue
        theirs = group.set_index(keys)[column]
        gaps = (ours - theirs).dropna().to_numpy()
        if len(gaps) == 0:
            continue
        half = math.nan
        if len(gaps) > 1:
            spread = float(np.std(gaps, ddof=1)) / math.sqrt(len(gaps))
            half = float(stats.t.ppf(0.975, len(gaps) - 1)) * spread
        rows.append(
            {
                "workload": workload,
                "fault": fault,
                "startup_s": startup_s,
                "against": name,
                "difference": float(gaps.mean()),
                "half_width": half,
                "seeds": len(gaps),
            }
        )
    return pd.DataFrame(rows)


def _chosen(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows of one knob for each policy and place."""
    best = []
    points = curves(frame)
    fitted = points[points["entrant"].isin((_STATIC, _ORACLE))]
    for _, group in fitted.groupby([*_PLACE, "entrant"]):
        wanted = attainment_target(str(group["workload"].iloc[0]))
        good = group[group["attainment"] >= wanted].sort_values("gpu_hours")
        rest = group.sort_values("attainment", ascending=False)
        best.append((good if len(good) else rest).iloc[[0]])
    others = frame[frame["default"] & ~frame["entrant"].isin((_STATIC, _ORACLE))]
    if not best:
        return others
    keys = [*_PLACE, "entrant", "knob"]
    return pd.concat([others, frame.merge(pd.concat(best)[keys], on=keys)])


def best_foreseen(there: pd.DataFrame, attainment: float) -> float | None:
    """GPU-hours of the cheapest schedule of one who knows the trace.

    A static deployment is such a schedule too, and the better one where the need is flat.
    """
    return cheapest(there[there["entrant"].isin((_ORACLE, _STATIC))], attainment)


def with_regret(points: pd.DataFrame) -> pd.DataFrame:
    """Default knobs with ``regret_gpu_hours``: more than the oracle at equal attainment.

    Where no knob of the oracle attains as much, the best attaining one is compared.
    """
    rows = points[points["default"]].copy()
    regret = []
    for _, row in rows.iterrows():
        oracle = _there(points, row)
        oracle = oracle[oracle["entrant"].isin((_ORACLE, _STATIC))]
        if oracle.empty:
            regret.append(math.nan)
            continue
        wanted = min(float(row["attainment"]), float(oracle["attainment"].max()))
        found = best_foreseen(oracle, wanted)
        regret.append(math.nan if found is None else float(row["gpu_hours"]) - found)
    rows["regret_gpu_hours"] = regret
    return rows


def targets(frame: pd.DataFrame) -> list[TargetResult]:
    """The acceptance targets, judged on the rows that are there."""
    points = curves(frame)
    calm = points[points["fault"] == "none"]
    ours = calm[(calm["entrant"] == _OURS) & calm["default"]]
    return [
        _against_oracle(calm, ours[ours["startup_s"] <= _STARTUP_S_MAX]),
        _against_static(calm, ours),
        _against_upstream(calm, ours),
        _direction_changes(frame),
        _blind(frame),
        _never_ready(points),
    ]


def against_oracle(points: pd.DataFrame, ours: pd.DataFrame) -> pd.DataFrame:
    """Attainment and cost of ours beside the oracle that just attains the target."""
    rows = []
    for _, row in ours.iterrows():
        wanted = attainment_target(str(row["workload"]))
        found = best_foreseen(_there(points, row), wanted)
        rows.append(
            {
                "workload": row["workload"],
                "startup_s": row["startup_s"],
                "attainment": row["attainment"],
                "wanted": wanted,
                "gpu_hours": row["gpu_hours"],
                "oracle_gpu_hours": math.nan if found is None else found,
                "ratio": math.nan if found is None else row["gpu_hours"] / found,
            }
        )
    return pd.DataFrame(rows)


def _against_oracle(points: pd.DataFrame, ours: pd.DataFrame) -> TargetResult:
    name = "cost against the lead-time-feasible oracle, attainment kept, start-up 0-300 s"
    bound = "<= 1.25 at >= 99 % (gradual) or >= 95 % (others), everywhere"
    table = against_oracle(points, ours)
    if table.empty:
        return TargetResult(name=name, bound=bound, measured="no data", met=None)
    attains = table["attainment"] >= table["wanted"]
    cheap = table["ratio"] <= 1.25
    both = int((attains & cheap).sum())
    text = (
        f"{both} of {len(table)} places; attained in {int(attains.sum())}, cost kept in "
        f"{int(cheap.sum())}; ratio mean {table['ratio'].mean():.2f}, worst "
        f"{table['ratio'].max():.2f}"
    )
    return TargetResult(name=name, bound=bound, measured=text, met=both == len(table))


def _against_static(points: pd.DataFrame, ours: pd.DataFrame) -> TargetResult:
    name = "cost against the best static deployment at equal attainment"
    bound = "<= 1.10 everywhere"
    ratios = []
    for _, row in ours.iterrows():
        static = _at(points, row, _STATIC)
        if static.empty:
            continue
        found = cheapest(static, float(row["attainment"]) - _EQUAL)
        if found is not None:
            ratios.append((float(row["gpu_hours"]) / found, row["workload"], row["startup_s"]))
    if not ratios:
        return TargetResult(name=name, bound=bound, measured="no data", met=None)
    worst = max(ratios)
    kept = sum(ratio <= 1.1 for ratio, _, _ in ratios)
    text = f"{kept} of {len(ratios)} places; worst {worst[0]:.2f} ({worst[1]}, {worst[2]:g} s)"
    return TargetResult(name=name, bound=bound, measured=text, met=kept == len(ratios))


def upstream_reductions(points: pd.DataFrame, ours: pd.DataFrame) -> pd.DataFrame:
    """Misses of ours against upstream's best target at equal or fewer GPU-hours.

    Upstream's best is the one that attains most. Ours is the best knob that costs no more;
    where none is that cheap the reduction is counted as zero, as it is where upstream misses
    nobody. A ratio to nearly nobody says little, so ``corrected`` adds half a request to both.
    """
    rows = []
    upstream = [name for name, entrant in ENTRANTS.items() if entrant.upstream]
    for _, row in ours.iterrows():
        there = _there(points, row)
        theirs = there[there["entrant"].isin(upstream) & there["default"]]
        if theirs.empty:
            continue
        best = theirs.sort_values("attainment", ascending=False).iloc[0]
        mine = there[(there["entrant"] == _OURS) & (there["gpu_hours"] <= best["gpu_hours"])]
        missed = 1.0 - float(best["attainment"])
        reduction = corrected = 0.0
        if not mine.empty:
            ours_missed, half = 1.0 - float(mine["attainment"].max()), 0.5 / float(best["offered"])
            reduction = 1.0 - ours_missed / missed if missed > 0.0 else 0.0
            corrected = 1.0 - (ours_missed + half) / (missed + half)
        rows.append(
            {
                "workload": row["workload"],
                "startup_s": row["startup_s"],
                "upstream": best["entrant"],
                "upstream_missed": missed,
                "missed": math.nan if mine.empty else 1.0 - float(mine["attainment"].max()),
                "reduction": reduction,
                "corrected": corrected,
            }
        )
    return pd.DataFrame(rows)


def _against_upstream(points: pd.DataFrame, ours: pd.DataFrame) -> TargetResult:
    name = "fewer misses than upstream's best target at equal or fewer GPU-hours"
    bound = ">= 60 % on average"
    table = upstream_reductions(points, ours)
    if table.empty:
        return TargetResult(name=name, bound=bound, measured="no data", met=None)
    mean = float(table["reduction"].mean())
    none = int(table["missed"].isna().sum())
    missed = table["missed"].fillna(table["upstream_missed"])
    pooled = 1.0 - float(missed.sum()) / max(float(table["upstream_missed"].sum()), 1e-12)
    nobody = int((table["upstream_missed"] <= 0.0).sum())
    text = (
        f"{mean:.0%} on average over {len(table)} places, worst {table['reduction'].min():.0%}; "
        f"{table['corrected'].mean():.0%} with half a request added to both; "
        f"{pooled:.0%} of all misses together; "
        f"in {nobody} upstream missed nobody and in {none} no knob of ours was as cheap "
        "(counted as 0)"
    )
    return TargetResult(name=name, bound=bound, measured=text, met=mean >= 0.6)


def _direction_changes(frame: pd.DataFrame) -> TargetResult:
    ours = frame[frame["entrant"] == _OURS]["direction_changes_per_h"]
    most = float(ours.max()) if len(ours) else math.nan
    return TargetResult(
        name="direction changes",
        bound="<= 6 an hour in every run",
        measured=f"at most {most:.1f}" if len(ours) else "no data",
        met=most <= 6.0 if len(ours) else None,
    )


def _blind(frame: pd.DataFrame) -> TargetResult:
    ours = frame[(frame["entrant"] == _OURS) & (frame["fault"] == "stale-metrics")]
    count = int(ours["blind_removals"].sum())
    return TargetResult(
        name="workers let go while telemetry is missing",
        bound="none",
        measured=f"{count} in {len(ours)} runs" if len(ours) else "no data",
        met=count == 0 if len(ours) else None,
    )


def _never_ready(points: pd.DataFrame) -> TargetResult:
    name = "recovery from workers that never become ready (attainment of the last third)"
    ours = points[(points["entrant"] == _OURS) & (points["fault"] == "never-ready")]
    if ours.empty:
        return TargetResult(name=name, bound=">= 95 %", measured="no data", met=None)
    least = float(ours["late_attainment"].min())
    return TargetResult(
        name=name,
        bound=">= 95 % everywhere",
        measured=f"{least:.1%} at least, over {len(ours)} places",
        met=least >= 0.95,
    )


def _there(points: pd.DataFrame, row: pd.Series) -> pd.DataFrame:
    for key in _PLACE:
        points = points[points[key] == row[key]]
    return points


def _at(points: pd.DataFrame, row: pd.Series, entrant: str) -> pd.DataFrame:
    there = _there(points, row)
    return there[there["entrant"] == entrant]
