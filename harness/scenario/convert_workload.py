"""``workload`` from the file format to frozen values, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from contracts.errors import InputError
from harness.scenario import workload_sections as sections
from harness.scenario.model import (
    ClosedLoopWorkload,
    ScenarioWorkload,
    SessionsWorkload,
    SyntheticWorkload,
    TraceFormat,
    TraceWorkload,
)
from simcore.workload import (
    AdapterMix,
    Arrivals,
    BurstArrivals,
    ConstantArrivals,
    Conversation,
    GammaArrivals,
    Lengths,
    PoissonArrivals,
    SharedPrefixes,
    SteppedArrivals,
    Thinking,
    ThinkTime,
    TrafficMix,
    diurnal,
)

# Stands in where the DGDR knows the length; replaced before anything is drawn.
_UNSET = Lengths(mean=1.0)


def workload_problems(workload: sections.WorkloadSection) -> Iterator[InputError]:
    """What the schema alone cannot see."""
    given = workload.given
    if len(given) != 1:
        value = {0: "neither", 2: "both"}.get(len(given), ", ".join(given))
        names = ", ".join(name for name in type(workload).model_fields)
        yield InputError(
            "needs exactly one kind of traffic",
            path="workload",
            value=value,
            allowed=" or ".join(names.rsplit(", ", 1)),
        )
    for name, section in (("synthetic", workload.synthetic), ("sessions", workload.sessions)):
        if section is not None:
            path = f"workload.{name}.arrivals"
            yield from _arrival_problems(path, section.arrivals, section.duration_s)
    for name in given:
        section = getattr(workload, name)
        for key in ("isl", "osl", "turns", "first_isl", "next_isl"):
            lengths = getattr(section, key, None)
            if lengths is not None:
                yield from _length_problems(f"workload.{name}.{key}", lengths)


def _arrival_problems(
    path: str, arrivals: sections.ArrivalsSection, duration_s: float
) -> Iterator[InputError]:
    if isinstance(arrivals, sections.BurstSection):
        end_s = arrivals.start_s + arrivals.length_s
        if end_s > duration_s:
            yield InputError(
                "the burst outlasts the workload",
                path=path,
                value=f"{end_s:g} s",
                allowed=f"start_s + length_s at most {duration_s:g} s",
            )
    if isinstance(arrivals, sections.DiurnalSection):
        mean, peak = arrivals.mean_rate_per_s, arrivals.peak_rate_per_s
        if not mean <= peak <= 2 * mean:
            yield InputError(
                "is out of range",
                path=f"{path}.peak_rate_per_s",
                value=f"{peak:g}",
                allowed=f"{mean:g} to {2 * mean:g}, twice the mean",
            )
    if isinstance(arrivals, sections.StepsSection):
        starts = [step.from_s for step in arrivals.steps]
        increasing = all(a < b for a, b in pairwise(starts))
        if starts[0] != 0 or not increasing or starts[-1] >= duration_s:
            yield InputError(
                "steps must begin at 0 s, increase and lie within the workload",
                path=f"{path}.steps",
                value=", ".join(f"{start:g}" for start in starts),
            )


def _length_problems(path: str, lengths: sections.LengthsSection) -> Iterator[InputError]:
    low = 1 if lengths.min is None else lengths.min
    high = lengths.mean if lengths.max is None else lengths.max
    if not low <= lengths.mean <= high:
        yield InputError(
            "the mean lies outside min and max",
            path=f"{path}.mean",
            value=f"{lengths.mean:g}",
            allowed=f"{low} to {high:g}",
        )


def to_workload(section: sections.WorkloadSection, folder: Path) -> ScenarioWorkload:
    """The one kind of traffic that the section has; ``folder`` is where paths start."""
    if section.trace is not None:
        trace = section.trace
        return TraceWorkload(
            path=(folder / trace.path).resolve(),
            format=TraceFormat(trace.format),
            limit=trace.limit,
            speed=float(trace.speed),
        )
    if section.sessions is not None:
        return _sessions(section.sessions)
    if section.closed_loop is not None:
        loop = section.closed_loop
        return ClosedLoopWorkload(
            concurrency=loop.concurrency,
            duration_s=float(loop.duration_s),
            isl=_lengths(loop.isl),
            osl=_lengths(loop.osl),
            different_requests=loop.different_requests,
        )
    synthetic = section.synthetic
    assert synthetic is not None  # workload_problems refused it otherwise
    return SyntheticWorkload(
        duration_s=float(synthetic.duration_s),
        arrivals=_arrivals(synthetic.arrivals, float(synthetic.duration_s)),
        isl=_lengths(synthetic.isl),
        osl=_lengths(synthetic.osl),
        mix=_mix(synthetic.mix),
    )


def _sessions(section: sections.SessionsSection) -> SessionsWorkload:
    turns, following = _lengths(section.turns), _lengths(section.next_isl)
    return SessionsWorkload(
        duration_s=float(section.duration_s),
        arrivals=_arrivals(section.arrivals, float(section.duration_s)),
        conversation=Conversation(
            turns=turns or _UNSET,
            think=ThinkTime(mean_s=float(section.think.mean_s), cv=float(section.think.cv)),
            first_isl=_lengths(section.first_isl) or _UNSET,
            next_isl=following or _UNSET,
            osl=_lengths(section.osl) or _UNSET,
        ),
        isl_from_dgdr=section.first_isl is None,
        osl_from_dgdr=section.osl is None,
        mix=_mix(section.mix),
    )


def _arrivals(section: sections.ArrivalsSection, duration_s: float) -> Arrivals:
    match section:
        case sections.PoissonSection():
            return PoissonArrivals(rate_per_s=float(section.rate_per_s))
        case sections.GammaSection():
            return GammaArrivals(rate_per_s=float(section.rate_per_s), gap_cv=float(section.cv))
        case sections.ConstantSection():
            return ConstantArrivals(rate_per_s=float(section.rate_per_s))
        case sections.DiurnalSection():
            return diurnal(
                mean_per_s=float(section.mean_rate_per_s),
                peak_per_s=float(section.peak_rate_per_s),
                period_s=float(section.period_s),
                duration_s=duration_s,
            )
        case sections.StepsSection():
            return SteppedArrivals(
                start_s=tuple(float(step.from_s) for step in section.steps),
                rate_per_s=tuple(float(step.rate_per_s) for step in section.steps),
            )
        case sections.BurstSection():
            return BurstArrivals(
                base_rate_per_s=float(section.base_rate_per_s),
                peak_rate_per_s=float(section.peak_rate_per_s),
                start_s=float(section.start_s),
                length_s=float(section.length_s),
            )


def _lengths(section: sections.LengthsSection | None) -> Lengths | None:
    if section is None:
        return None
    return Lengths(
        mean=float(section.mean),
        cv=float(section.cv),
        min_tokens=1 if section.min is None else section.min,
        max_tokens=section.max,
    )


def _mix(section: sections.MixSection) -> TrafficMix:
    prefixes, thinking, adapters = section.prefixes, section.thinking, section.adapters
    return TrafficMix(
        prefixes=None
        if prefixes is None
        else SharedPrefixes(
            groups=prefixes.groups,
            shared_ratio=prefixes.shared_ratio,
            zipf_exponent=float(prefixes.zipf_exponent),
        ),
        thinking=None
        if thinking is None
        else Thinking(
            request_ratio=float(thinking.request_ratio),
            tokens=_lengths(thinking.tokens) or _UNSET,
        ),
        adapters=None
        if adapters is None
        else AdapterMix(
            names=tuple(adapters.names),
            zipf_exponent=float(adapters.zipf_exponent),
            base_ratio=float(adapters.base_ratio),
        ),
        priority_ratios=tuple(float(share) for share in section.priority_ratios),
        timeout_s=float(section.timeout_s),
    )
