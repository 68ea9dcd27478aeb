"""Rows of the report's tables: plain texts, ready for the template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from contracts.decision import Decision
from contracts.plan import DeploymentPlan, PoolPlan, Role
from harness.compare import attribute
from harness.report.numbers import (
    difference,
    instant,
    quantity,
    setting,
    share,
)
from harness.store import (
    LoadedRun,
    Manifest,
    Quantiles,
    RungRun,
    RungSummary,
    compare,
    gpu_seconds,
    summarise_runs,
)
from harness.store.in_words import NO_DATA

_METRICS = {"ttft_ms": "TTFT", "itl_ms": "ITL", "e2e_ms": "E2E"}
_QUANTILES = {"p50": "median", "p95": "p95"}


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionRow:
    """One planner tick."""

    now: str
    targets: str
    reason: str
    figures: str
    changed: bool


def setup_rows(run: LoadedRun) -> list[tuple[str, str]]:
    """What ran: the facts of the run, then the plan."""
    if run.setup is None:
        return []
    of_runs = [
        (f"{label}, rung {each.rung}, seed {each.seed}", text)
        for each in run.runs
        for label, text in each.facts.items()
    ]
    return [*run.setup.facts.items(), *_plan_rows(run.setup.plan), *of_runs]


def _plan_rows(plan: DeploymentPlan) -> list[tuple[str, str]]:
    sla = plan.sla
    targets = f"TTFT {setting(sla.ttft_ms, 'ms')}, ITL {setting(sla.itl_ms, 'ms')}"
    if sla.e2e_ms is not None:
        targets = f"E2E {setting(sla.e2e_ms, 'ms')}"
    return [
        ("Model", plan.model_id),
        ("SLA", targets),
        *((f"Pool {pool.role.value}", _pool(pool)) for pool in plan.topology.pools),
        ("GPUs", f"{plan.gpus} at the start, {plan.gpu_budget} at most"),
        ("Router", plan.router.value.replace("_", " ")),
        ("Start-up of a worker", setting(plan.startup_s, "s")),
    ]


def _pool(pool: PoolPlan) -> str:
    engine = pool.engine
    count = f"{pool.replicas} replica{'' if pool.replicas == 1 else 's'}"
    return (
        f"{count} x {engine.gpus} {engine.gpu.sku} (TP {engine.tp}), weights "
        f"{engine.weight_dtype.value}, KV {engine.kv_dtype.value}, "
        f"{engine.limits.kv_blocks_total:,} KV blocks of {engine.limits.block_size_tokens} tokens"
    )


def summary_rows(run: LoadedRun) -> list[tuple[str, list[str]]]:
    """Figures by rung: a label and one cell for each rung."""
    if run.setup is None:
        return []
    plan = run.setup.plan
    groups = [run.of_rung(rung) for rung in run.rungs()]
    summaries = [
        summarise_runs([each.record.table for each in group], plan.sla) for group in groups
    ]
    rows = [("Requests offered", [f"{s.offered:,}" for s in summaries])]
    rows += [
        (label, [f"{getattr(s, name):,}" for s in summaries])
        for label, name in (
            ("completed", "completed"),
            ("failed", "failed"),
            ("rejected", "rejected"),
            ("unfinished", "unfinished"),
        )
    ]
    rows.append(("Within the SLA, of all offered", [share(s.attainment_ratio) for s in summaries]))
    rows += [
        (f"{label} p50 / p95 / p99", [_three(getattr(s, metric)) for s in summaries])
        for metric, label in _METRICS.items()
    ]
    rows.append(("Goodput", [quantity(s.goodput_rps, "requests/s") for s in summaries]))
    rows.append(
        ("Output", [quantity(s.output_tokens_per_s, "tokens/s") for s in summaries]),
    )
    rows.append(("GPU time", [_gpu_time(group, plan) for group in groups]))
    rows.append(("Load generator", [_load(group) for group in groups]))
    return rows


def _three(values: Quantiles | None) -> str:
    if values is None:
        return NO_DATA
    return f"{quantity(values.p50)} / {quantity(values.p95)} / {quantity(values.p99, 'ms')}"


def _gpu_time(group: Sequence[RungRun], plan: DeploymentPlan) -> str:
    spent = [gpu_seconds(each.record, plan) for each in group]
    known = [value for value in spent if value is not None]
    return quantity(sum(known) / 3600, "GPU-hours") if known else NO_DATA


def _load(group: Sequence[RungRun]) -> str:
    loads = [each.load for each in group if each.load is not None]
    if not loads:
        return "not used"
    delays_ms = [load.dispatch_delay_ms_p99 for load in loads]
    worst_ms = max((delay for delay in delays_ms if delay is not None), default=None)
    state = "saturated, " if any(load.saturated for load in loads) else ""
    failures: dict[str, int] = {}
    for load in loads:
        for reason, count in load.failures.items():
            failures[reason] = failures.get(reason, 0) + count
    reasons = "".join(f"; {reason}: {count:,}" for reason, count in sorted(failures.items()))
    limit = quantity(min(load.limit_ms for load in loads), "ms")
    return f"{state}{quantity(worst_ms, 'ms')} late at p99 (limit {limit}){reasons}"


def difference_rows(run: LoadedRun) -> list[dict[str, str]]:
    """Each rung against the one before it; empty with fewer than two rungs."""
    if run.setup is None:
        return []
    summaries: list[tuple[str, RungSummary]] = [
        (rung, summarise_runs([r.record.table for r in run.of_rung(rung)], run.setup.plan.sla))
        for rung in run.rungs()
    ]
    rows = []
    for (reference_name, reference), (name, other) in pairwise(summaries):
        for row in compare(
            reference,
            other,
            ttft_ratio_tolerance=run.setup.ttft_ratio_tolerance,
            itl_ratio_tolerance=run.setup.itl_ratio_tolerance,
        ):
            tolerance = row.tolerance_ratio
            rows.append(
                {
                    "figure": f"{_METRICS[row.metric]} {_QUANTILES[row.quantile]}",
                    "rungs": f"{reference_name} -> {name}",
                    "reference": quantity(row.reference, "ms"),
                    "other": quantity(row.other, "ms"),
                    "difference": difference(row.ratio),
                    "tolerance": "not judged" if tolerance is None else f"± {share(tolerance)}",
                    "outcome": _outcome(row.ok, judged=tolerance is not None),
                }
            )
    return rows


def cause_rows(run: LoadedRun) -> list[dict[str, str]]:
    """Why each rung differs from the one before it, over the first seed that both have."""
    rows = []
    for reference, other in pairwise(run.rungs()):
        right = {each.seed: each for each in run.of_rung(other)}
        pairs = [(each, right[each.seed]) for each in run.of_rung(reference) if each.seed in right]
        rows += [
            {
                "rungs": f"{reference} -> {other}",
                "figure": f"{_METRICS[cause.metric]} mean",
                "cause": cause.name,
                "requests": f"{cause.requests:,}",
                "share": f"{cause.mean_ms:+.3g} ms",
            }
            for cause in (attribute(*pairs[0]) if pairs else ())
        ]
    return rows


def _outcome(ok: bool | None, *, judged: bool) -> str:
    if not judged:
        return ""
    return "inconclusive" if ok is None else "pass" if ok else "fail"


def fault_rows(run: LoadedRun) -> list[dict[str, str]]:
    """Every injected fault with what it did."""
    return [
        {
            "number": f"F{number}",
            "rung": each.rung if len(run.manifest.seeds) == 1 else f"{each.rung}, seed {each.seed}",
            "kind": fault.kind.replace("_", " "),
            "target": fault.target,
            "at": f"{fault.at_s:.1f} s",
            "hit": f"{fault.requests_hit:,}",
            "retried": f"{fault.requests_retried:,}",
            "failed": f"{fault.requests_failed:,}",
            "recovery": "not recovered"
            if fault.recovered_at_s is None
            else f"{fault.recovered_at_s - fault.at_s:.1f} s",
        }
        for each in run.runs
        for number, fault in enumerate(each.record.faults, start=1)
    ]


def decision_rows(run: RungRun) -> list[DecisionRow]:
    """Every tick; ``changed`` when it wants another number of workers than before."""
    wanted = _replicas_at_start(run)
    rows = []
    for decision in run.decisions:
        changes = {t.role: t.replicas for t in decision.targets}
        changed = any(wanted.get(role) != replicas for role, replicas in changes.items())
        rows.append(_decision_row(decision, wanted, changed=changed))
        wanted |= changes
    return rows


def _replicas_at_start(run: RungRun) -> dict[Role, int]:
    workers = {e.worker_id: e.role for e in run.record.worker_events if e.since_s <= 0}
    roles = list(workers.values())
    return {role: roles.count(role) for role in set(roles)}


def _decision_row(decision: Decision, before: dict[Role, int], *, changed: bool) -> DecisionRow:
    targets = [
        f"{t.role.value} {before[t.role]} -> {t.replicas}"
        if t.role in before and before[t.role] != t.replicas
        else f"{t.role.value} {t.replicas}"
        for t in decision.targets
    ]
    figures = [f"{name} {value:.4g}" for name, value in decision.figures.items()]
    return DecisionRow(
        now=f"{decision.now_s:.1f} s",
        targets="held" if decision.held else ", ".join(targets) or "no change",
        reason=decision.reason,
        figures=", ".join(figures),
        changed=changed,
    )


def manifest_rows(manifest: Manifest, runs: Sequence[RungRun]) -> list[tuple[str, str]]:
    """How this run came about."""
    versions = ", ".join(f"{name} {version}" for name, version in manifest.versions.items())
    system = ", ".join(f"{name} {value}" for name, value in manifest.platform.items())
    rows = [
        ("Status", f"{manifest.status.value}{': ' if manifest.reason else ''}{manifest.reason}"),
        ("Started", instant(manifest.started)),
        ("Finished", instant(manifest.finished) if manifest.finished else NO_DATA),
        ("Rungs", ", ".join(manifest.rungs)),
        ("Seeds", ", ".join(str(seed) for seed in manifest.seeds)),
        ("Command line", " ".join(manifest.command_line)),
        ("Versions", versions),
        ("Platform", system),
    ]
    rows += [
        (f"Digest {run.key}", run.record.digest) for run in runs if run.record.digest is not None
    ]
    rows += [(f"SHA-256 of {name}", digest) for name, digest in manifest.inputs.items()]
    return rows
