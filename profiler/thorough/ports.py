"""What the measured search asks of its surroundings: deploying, measuring, time."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from contracts.errors import PermanentError
from contracts.plan import EngineSpec, Role


class CandidateError(PermanentError):
    """One engine cannot be deployed or measured; the search goes on without it."""


class PointError(PermanentError):
    """One load cannot be measured; the sweep of the engine goes on without it."""


class CappedError(PermanentError):
    """The time or the GPU time of the search is used up."""


class OutputError(PermanentError):
    """Results cannot be written, for example because the disk is full; nothing can go on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An engine to be deployed alone, one replica of it.

    Attributes:
        label: of the candidate.
        role: what will be measured: PREFILL without prefix cache; DECODE with prompts that
            cost nothing, because the prefix cache is warm; AGG as it serves.
        folder: where the configuration and the logs go.
    """

    label: str
    engine: EngineSpec
    role: Role
    folder: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """An engine that answers.

    Attributes:
        url: base URL; empty for an engine that is simulated.
        kv_tokens: KV tokens of the whole replica.
        kv_source: where that number comes from: ``log``, ``metrics`` or ``planned``.
        speed: seconds of the engine in a second of wall time.
    """

    order: Order
    url: str
    kv_tokens: int
    kv_source: str
    speed: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Burst:
    """Equal requests of which a fixed number is in flight.

    Attributes:
        name: of the artefact folder, also a part of the journal's key.
        requests: sent in all; more than ``concurrency`` is a closed loop.
        warmup: sent before and not measured.
        seed: chooses the prompts; equal seeds give equal prompts.
        steady: latency counts with the batch full only.
        repeats: measured so often; the medians count.
    """

    name: str
    isl: int
    osl: int
    concurrency: int
    requests: int
    warmup: int
    seed: int
    steady: bool = False
    repeats: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What one burst shows; milliseconds and seconds of the engine's time.

    Attributes:
        ttft_ms: mean.
        ttft_ms_max: of the slowest request.
        itl_ms: mean over requests.
        tokens_per_s: output tokens.
        batch_full: for a steady burst, whether all requests were decoding at once for a
            while; if not, prompts of others are in the figures.
    """

    ttft_ms: float
    ttft_ms_max: float
    itl_ms: float
    tokens_per_s: float
    batch_full: bool = True


class Deployer(Protocol):
    """Brings engines up and down."""

    def running(self, order: Order) -> AbstractContextManager[Served]:
        """The engine answers while the block is active and is gone after it.

        Raises:
            CandidateError: it does not come up; says why.
        """
        ...


class Measurer(Protocol):
    """Puts load on an engine."""

    def measure(self, served: Served, burst: Burst) -> Measurement:
        """Run one burst.

        Raises:
            PointError: requests failed, or the tool did.
        """
        ...


class Clock(Protocol):
    """Time that deployments cost: virtual for simulated ones."""

    def now_s(self) -> float:
        """Seconds since an arbitrary instant."""
        ...
