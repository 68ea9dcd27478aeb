"""Conditions such as ``pool.decode.ready == 3 and requests.failed > 0``.

A condition is one or more comparisons joined by ``and``; the left side is a figure, the
right side a number. The same words serve as triggers of faults, where they are asked of
the live cluster, and as coverage expectations, where they are asked of the record.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from contracts.errors import InputError
from contracts.plan import Role

FloatArray = npt.NDArray[np.float64]
_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_TERM = re.compile(r"([a-z_.]+)\s*(==|!=|>=|<=|>|<)\s*(-?\d+(?:\.\d+)?)")
_POOL_LIVE = ("ready", "starting", "draining", "running", "waiting", "kv_usage_ratio")
_POOL_PAST = ("ready", "starting", "draining")


def _pools(figures: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"pool.{role.value}.{figure}" for role in Role for figure in figures)


TRIGGER_FIGURES = (
    "time_s",
    *_pools(_POOL_LIVE),
    *(f"requests.{name}" for name in ("started", "completed", "failed", "open")),
)
COVERAGE_FIGURES = (
    "time_s",
    *_pools(_POOL_PAST),
    *(
        f"requests.{name}"
        for name in ("started", "completed", "failed", "rejected", "timed_out", "open")
    ),
    "requests.retried",
    "requests.preempted",
    *(f"planner.{name}" for name in ("ticks", "held", "scaled_up", "scaled_down")),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One figure against one number."""

    figure: str
    sign: str
    number: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """Comparisons that must hold together.

    Attributes:
        text: as the file has it.
    """

    text: str
    terms: tuple[Comparison, ...]

    def mask(self, figures: Mapping[str, FloatArray]) -> npt.NDArray[np.bool_]:
        """Where it is true, given each figure at the same n instants; shape (n,)."""
        held = [_COMPARE[term.sign](figures[term.figure], term.number) for term in self.terms]
        return np.asarray(np.logical_and.reduce(held))

    def holds(self, figures: Mapping[str, float]) -> bool:
        """Whether it is true of these figures; a figure that is missing is not."""
        return all(
            term.figure in figures and _COMPARE[term.sign](figures[term.figure], term.number)
            for term in self.terms
        )


def parse_condition(text: str, *, path: str, known: tuple[str, ...]) -> Condition:
    """Read a condition.

    Args:
        text: as the file has it.
        path: where it stands, for error messages.
        known: figures that may be asked.

    Raises:
        InputError: the grammar or a figure is wrong.
    """
    terms = []
    for part in re.split(r"\s+and\s+", text.strip()):
        match = _TERM.fullmatch(part)
        if match is None:
            raise InputError(
                "is not a condition",
                path=path,
                value=repr(text),
                allowed="FIGURE SIGN NUMBER, joined by 'and', for example pool.agg.ready == 3",
            )
        figure, sign, number = match.groups()
        if figure not in known:
            raise InputError(
                f"unknown figure {figure!r}", path=path, value=repr(text), allowed=_short(known)
            )
        terms.append(Comparison(figure=figure, sign=sign, number=float(number)))
    return Condition(text=text.strip(), terms=tuple(terms))


def _short(known: tuple[str, ...]) -> str:
    """The figures with the roles of the pools folded into one word."""
    folded = [re.sub(r"^pool\.[a-z]+\.", "pool.ROLE.", name) for name in known]
    return ", ".join(dict.fromkeys(folded))
