"""What a user may choose among: ``selection.json`` of a profile."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import TypeAdapter, ValidationError

from contracts.errors import InputError
from contracts.hardware import Evidence
from contracts.sla import SlaTarget
from profiler.dgdr.files import write_text

SELECTION_FILE = "selection.json"
_STRICT = {"extra": "forbid"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Percentiles:
    """Over the requests that the candidate served, in ms; all are the mean when measured."""

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT

    p50: float
    p90: float
    p99: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleShape:
    """Workers of one role.

    Attributes:
        gpus: of one replica.
        engine: parallelism in words, such as ``tp4-dp2``.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT

    role: str
    replicas: int
    gpus: int
    engine: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectionCandidate:
    """A deployment with its figures.

    Attributes:
        id: unique, fit for a file name.
        attainment_ratio: share of requests within the targets of the request (0-1).
        tokens_per_s_per_gpu: output tokens.
        cost_per_million_tokens: of output tokens, in the currency of the prices; ``None``
            without them.
        error_ratio: expected relative error of step times (0-1), two thirds of steps.
        dgd_yaml: the documents to apply, ConfigMaps first.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT

    id: str
    label: str
    mode: Literal["agg", "disagg"]
    backend: str
    gpus: int
    roles: tuple[RoleShape, ...]
    ttft_ms: Percentiles
    itl_ms: Percentiles
    e2e_ms: Percentiles
    attainment_ratio: float | None
    tokens_per_s_per_gpu: float
    cost_per_million_tokens: float | None
    error_ratio: float
    evidence: Evidence
    pareto: bool
    reason: str
    dgd_yaml: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RuledOut:
    """A candidate without figures, and why."""

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT

    label: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Everything that the page shows.

    Attributes:
        name: of the request.
        picked: id of the picked candidate.
        met: the pick keeps the targets of the request.
        shortfall: what the pick misses, or what it reaches, in words.
        objective: what the pick was made for.
        load: the declared load in words; ``None`` when the highest throughput is wanted.
        measured: figures come from running engines, not from the simulator.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT

    name: str
    model: str
    gpu: str
    gpu_budget: int
    isl: int
    osl: int
    sla: SlaTarget
    load: str | None
    objective: str
    picked: str
    met: bool
    shortfall: str
    measured: bool
    candidates: tuple[SelectionCandidate, ...]
    ruled_out: tuple[RuledOut, ...]
    version: Literal[1] = 1

    def candidate(self, candidate_id: str) -> SelectionCandidate:
        """The candidate with this id.

        Raises:
            InputError: there is none.
        """
        for entry in self.candidates:
            if entry.id == candidate_id:
                return entry
        raise InputError(
            "is no candidate of this profile",
            path="id",
            value=candidate_id,
            allowed=", ".join(entry.id for entry in self.candidates),
        )


_SELECTION = TypeAdapter(Selection)


def write_selection(folder: Path, selection: Selection) -> Path:
    """Write ``selection.json``."""
    text = _SELECTION.dump_json(selection, indent=2).decode() + "\n"
    return write_text(folder / SELECTION_FILE, text)


def load_selection(folder: Path) -> Selection:
    """Read ``selection.json`` of a folder of the profiler.

    Raises:
        InputError: it is missing or damaged.
    """
    path = folder / SELECTION_FILE
    try:
        text = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"cannot be read: {error.strerror}; is this a folder that the profiler wrote?",
            source=str(path),
        ) from error
    try:
        return _SELECTION.validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(first["msg"], source=str(path), path=where) from error
