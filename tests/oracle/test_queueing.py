"""Queueing theory: M/M/1, M/D/1 and Little's law."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from contracts.decision import RoleTarget
from contracts.engine import EngineLimits
from contracts.hardware import Evidence
from contracts.observation import ClusterSnapshot
from contracts.plan import DeploymentPlan
from contracts.ports import DecodeCost, PrefillChunk
from contracts.streams import RandomStreams
from contracts.workload import Workload
from simcore.engine import Engine, EventKind, Submission
from simcore.simulation import PeriodicControl, simulate
from simcore.workload import Lengths, PoissonArrivals, synthesize

TOKEN_NS = 1_000
MEAN_TOKENS = 1_000
SERVICE_NS = TOKEN_NS * MEAN_TOKENS
BATCHES = 30
REQUESTS = 30_000


class OneTokenAtATime:
    """Service time proportional to the prompt: a single server when one request runs."""

    evidence = Evidence.ESTIMATED

    def decode_cost(self, requests: int) -> DecodeCost:
        return DecodeCost(1, 0)

    def mixed_step_fs(
        self, requests: int, context_tokens: int, chunks: Sequence[PrefillChunk]
    ) -> int:
        return sum(chunk.new_tokens for chunk in chunks) * TOKEN_NS * 1_000_000


def waits_ns(utilisation: float, isl: np.ndarray, seed: int) -> np.ndarray:
    rng = RandomStreams(seed).stream("arrivals")
    gaps = rng.exponential(SERVICE_NS / utilisation, len(isl))
    arrivals = np.cumsum(gaps).astype(np.int64)
    limits = EngineLimits(
        max_num_seqs=1,
        max_num_batched_tokens=1 << 20,
        kv_blocks_total=1 << 20,
        max_model_len=1 << 20,
    )
    engine = Engine(limits, OneTokenAtATime())
    finish = np.zeros(len(isl), dtype=np.int64)

    def note(to_ns: int) -> None:
        for event in engine.advance(to_ns):
            if event.kind is EventKind.FINISHED:
                finish[event.request_id] = event.at_ns

    for request_id, (at_ns, tokens) in enumerate(zip(arrivals, isl, strict=True)):
        note(int(at_ns))
        engine.submit(int(at_ns), Submission(request_id=request_id, isl=int(tokens), osl=1))
    note(1 << 60)
    assert (finish > 0).all()
    return finish - arrivals - isl * TOKEN_NS


def within_confidence(samples: np.ndarray, expected: float) -> bool:
    """Batch means, 99.9 % two-sided (Student t with 29 degrees of freedom: 3.66)."""
    means = samples.reshape(BATCHES, -1).mean(axis=1)
    half = 3.66 * means.std(ddof=1) / np.sqrt(BATCHES)
    assert half < 0.35 * expected, "the interval is too wide to say anything"
    return abs(means.mean() - expected) <= half


@pytest.mark.parametrize("utilisation", [0.3, 0.6, 0.8])
def test_md1_mean_wait(utilisation: float) -> None:
    isl = np.full(REQUESTS, MEAN_TOKENS)
    expected = utilisation * SERVICE_NS / (2 * (1 - utilisation))
    assert within_confidence(waits_ns(utilisation, isl, seed=11), expected)


@pytest.mark.parametrize("utilisation", [0.3, 0.6, 0.8])
def test_mm1_mean_wait(utilisation: float) -> None:
    rng = RandomStreams(12).stream("service")
    isl = rng.geometric(1.0 / MEAN_TOKENS, REQUESTS)
    expected = utilisation * SERVICE_NS / (1 - utilisation)
    assert within_confidence(waits_ns(utilisation, isl, seed=12), expected)


@pytest.mark.parametrize("topology", ["agg", "disagg"])
def test_littles_law(
    topology: str,
    make_agg_plan: Callable[..., DeploymentPlan],
    make_disagg_plan: Callable[..., DeploymentPlan],
) -> None:
    """Sampled number in system equals arrival rate times mean time in system."""
    plan = make_agg_plan(2) if topology == "agg" else make_disagg_plan(2, 2)
    workload: Workload = synthesize(
        PoissonArrivals(rate_per_s=12.0),
        duration_s=400.0,
        isl=Lengths(mean=1500, cv=0.5),
        osl=Lengths(mean=150, cv=0.5),
        streams=RandomStreams(3),
    )
    held: list[int] = []

    def sample(snapshot: ClusterSnapshot) -> list[RoleTarget]:
        counters = snapshot.counters
        ended = counters.requests_completed + counters.requests_failed
        held.append(counters.requests_started - ended)
        return []

    record = simulate(plan, workload, control=PeriodicControl(interval_s=0.05, act=sample))
    assert record.table.completed.all()
    span_s = len(held) * 0.05
    rate = len(workload) / span_s
    assert np.mean(held) == pytest.approx(rate * record.table.e2e_ms.mean() / 1e3, rel=0.01)
