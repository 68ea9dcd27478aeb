"""Two run folders: what was run differently, what came out differently, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from contracts.decision import Decision
from harness.compare.attribution import Cause, attribute
from harness.compare.baseline import Figures, baseline_of
from harness.compare.events import Divergence, first_divergence
from harness.store import LoadedRun, RungRun

_INPUTS = ("scenario.yaml", "dgdr.yaml")


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureDiff:
    """One figure of one rung, mean over the seeds that both runs have."""

    name: str
    left: float
    right: float

    @property
    def ratio(self) -> float | None:
        """(right - left) / left."""
        return (self.right - self.left) / self.left if self.left else None


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionDiff:
    """The planners' decisions side by side.

    Attributes:
        ticks: ticks that both took, paired in order.
        different: how many of them wanted different numbers of workers.
        first: the first such pair in words; empty when there is none.
    """

    ticks: int
    different: int
    first: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RungDiff:
    """One rung of both runs.

    Attributes:
        causes: of the first common seed; empty when the requests differ.
        divergence: the first event that differs, of the first common seed.
    """

    rung: str
    seeds: tuple[int, ...]
    figures: tuple[FigureDiff, ...]
    causes: tuple[Cause, ...]
    decisions: DecisionDiff | None
    divergence: Divergence | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDiff:
    """Everything that differs.

    Attributes:
        inputs: dotted path to both values, of scenario, DGDR, plan and versions.
        verdicts: of both runs.
        only: rungs that one run alone has, in words.
    """

    inputs: dict[str, tuple[Any, Any]]
    verdicts: tuple[str, str]
    rungs: tuple[RungDiff, ...]
    only: tuple[str, ...]

    @property
    def same(self) -> bool:
        """Nothing differs, apart from what was written where and when."""
        return not self.only and all(rung.divergence is None for rung in self.rungs)


def diff_runs(left: LoadedRun, right: LoadedRun) -> RunDiff:
    """Compare two runs; the seeds that both have are pairs."""
    rungs = [rung for rung in left.rungs() if rung in right.rungs()]
    only = [f"{rung} only in the first" for rung in left.rungs() if rung not in rungs]
    only += [f"{rung} only in the second" for rung in right.rungs() if rung not in rungs]
    return RunDiff(
        inputs=_inputs(left, right),
        verdicts=(_verdict(left), _verdict(right)),
        rungs=tuple(each for rung in rungs for each in _rung(left, right, rung)),
        only=tuple(only),
    )


def diff_lines(diff: RunDiff) -> Iterator[str]:
    """The differences for people."""
    yield f"verdict    {diff.verdicts[0]} | {diff.verdicts[1]}"
    for path, (one, other) in diff.inputs.items():
        yield f"input      {path}: {one} | {other}"
    yield from (f"rung       {text}" for text in diff.only)
    for rung in diff.rungs:
        yield f"rung       {rung.rung}, seeds {', '.join(map(str, rung.seeds))}"
        if rung.divergence is None:
            yield "           every recorded event is the same"
            continue
        for figure in rung.figures:
            if figure.left != figure.right:
                ratio = "" if figure.ratio is None else f" ({figure.ratio:+.1%})"
                yield f"           {figure.name:<18} {figure.left:.5g} | {figure.right:.5g}{ratio}"
        for cause in rung.causes:
            yield (
                f"           cause: {cause.metric} {cause.mean_ms:+.3f} ms on average by "
                f"{cause.requests} requests with {cause.name}"
            )
        if rung.decisions is not None:
            yield (
                f"           planner: {rung.decisions.different} of {rung.decisions.ticks} "
                f"decisions differ{rung.decisions.first and '; first: ' + rung.decisions.first}"
            )
        yield f"           first difference: {rung.divergence}"


def _verdict(run: LoadedRun) -> str:
    return run.verdict.outcome.value if run.verdict else "none"


def _inputs(left: LoadedRun, right: LoadedRun) -> dict[str, tuple[Any, Any]]:
    sides = []
    for run in (left, right):
        flat: dict[str, Any] = {}
        for name in _INPUTS:
            _flatten(_document(run.path / "inputs" / name), name.removesuffix(".yaml"), flat)
        if run.setup is not None:
            for pool in run.setup.plan.topology.pools:
                flat[f"plan.{pool.role.value}"] = f"{pool.replicas} x {pool.engine.gpus} GPUs"
        flat |= {f"versions.{name}": value for name, value in run.manifest.versions.items()}
        sides.append(flat)
    one, other = sides
    names = sorted({*one, *other})
    return {
        name: (one.get(name), other.get(name)) for name in names if one.get(name) != other.get(name)
    }


def _document(path: Path) -> object:
    return yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else {}


def _flatten(value: object, path: str, into: dict[str, Any]) -> None:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            _flatten(inner, f"{path}.{key}", into)
    elif isinstance(value, list) and any(isinstance(each, Mapping | list) for each in value):
        for index, inner in enumerate(value):
            _flatten(inner, f"{path}[{index}]", into)
    else:
        into[path] = value


def _rung(left: LoadedRun, right: LoadedRun, rung: str) -> Iterator[RungDiff]:
    ones = {run.seed: run for run in left.of_rung(rung)}
    others = {run.seed: run for run in right.of_rung(rung)}
    seeds = tuple(seed for seed in ones if seed in others)
    if not seeds:
        return
    one, other = ones[seeds[0]], others[seeds[0]]
    divergence = None
    for seed in seeds:
        divergence = divergence or first_divergence(ones[seed], others[seed])
    yield RungDiff(
        rung=rung,
        seeds=seeds,
        figures=tuple(_figures(left, right, rung, seeds)),
        causes=attribute(one, other),
        decisions=_decisions(one, other),
        divergence=divergence,
    )


def _figures(
    left: LoadedRun, right: LoadedRun, rung: str, seeds: tuple[int, ...]
) -> Iterator[FigureDiff]:
    sides = [
        [each for each in baseline_of(run).figures if each.rung == rung and each.seed in seeds]
        for run in (left, right)
    ]
    for name in dict.fromkeys(name for side in sides for each in side for name in each.values):
        means = [_mean(name, side) for side in sides]
        if means[0] is not None and means[1] is not None:
            yield FigureDiff(name=name, left=means[0], right=means[1])


def _mean(name: str, side: list[Figures]) -> float | None:
    values = [each.values[name] for each in side if name in each.values]
    return sum(values) / len(values) if values else None


def _decisions(left: RungRun, right: RungRun) -> DecisionDiff | None:
    pairs = list(zip(left.decisions, right.decisions, strict=False))
    if not pairs:
        return None
    different = [(one, other) for one, other in pairs if one.targets != other.targets]
    first = " | ".join(_words(each) for each in different[0]) if different else ""
    return DecisionDiff(ticks=len(pairs), different=len(different), first=first)


def _words(decision: Decision) -> str:
    targets = ", ".join(f"{t.role.value} {t.replicas}" for t in decision.targets) or "no targets"
    return f"at {decision.now_s:.1f} s {targets}: {decision.reason}"
