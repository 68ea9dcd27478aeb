"""Deploys one engine, runs bursts on it, and remembers what they showed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from contracts.plan import Role
from profiler.thorough.budget import Meter
from profiler.thorough.candidates import EngineCandidate
from profiler.thorough.isolate import role_engine
from profiler.thorough.journal import Journal, Outcome
from profiler.thorough.log import ProfileLog
from profiler.thorough.points import BURST_RATIO, PREFILL_OSL
from profiler.thorough.ports import (
    Burst,
    CandidateError,
    CappedError,
    Deployer,
    Measurement,
    Measurer,
    Order,
    PointError,
    Served,
)

PREFILL_SEED = 100
_WARMUP = 3
# A closed loop sends so many requests for each place: the middle third counts.
_LOOP_ROUNDS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Rig:
    """Everything that a search measures with.

    Attributes:
        repeats: each burst is measured so often.
        seed: chooses the prompts of decode bursts.
    """

    deployer: Deployer
    measurer: Measurer
    meter: Meter
    journal: Journal
    log: ProfileLog
    seed: int = 0
    repeats: int = 1


class Bench:
    """One engine in one role, deployed when the first burst needs it."""

    def __init__(
        self, rig: Rig, candidate: EngineCandidate, role: Role, folder: Path, key: str
    ) -> None:
        self._rig = rig
        self._candidate = candidate
        self._role = role
        self._folder = folder
        self.key = key
        self._served: Served | None = None

    @contextmanager
    def up(self) -> Iterator[None]:
        """Deploy for the length of the block.

        Raises:
            CandidateError: it does not come up.
        """
        order = Order(
            label=self._candidate.label,
            engine=role_engine(self._candidate.engine, self._role),
            role=self._role,
            folder=self._folder,
        )
        rig = self._rig
        with rig.meter.counting(self._candidate.shape.gpus), rig.deployer.running(order) as served:
            self._served = served
            if rig.journal.kv(self.key) is None:
                rig.journal.record_kv(self.key, served.kv_tokens, served.kv_source)
            yield
        self._served = None

    @contextmanager
    def up_once(self) -> Iterator[None]:
        """Deploy, unless an earlier run went through this block to its end.

        Raises:
            CandidateError: it does not come up.
        """
        journal = self._rig.journal
        if journal.ended(self.key) is not None:
            yield
            return
        with self.up():
            yield
        journal.record_end(self.key, Outcome.DONE)

    @property
    def kv_tokens(self) -> int:
        """KV tokens of the engine.

        Raises:
            CandidateError: it was never deployed.
        """
        found = self._rig.journal.kv(self.key)
        if found is None:
            raise CandidateError(f"{self.key}: the KV capacity is not known")
        return found[0]

    def ttft_ms(self, isl: int) -> float:
        """TTFT of a prompt; with attention ranks that of a burst, see the reference.

        Raises:
            PointError: it could not be measured.
        """
        dp = self._candidate.engine.dp
        burst = prefill_burst(dp, isl, self._rig.repeats)
        found = self.measure(burst)
        return found.ttft_ms if dp == 1 else found.ttft_ms_max / BURST_RATIO

    def decode(self, isl: int, osl: int, requests: int) -> Measurement:
        """A full batch that decodes.

        Raises:
            PointError: it could not be measured.
        """
        rig = self._rig
        return self.measure(
            decode_burst(self._candidate, isl, osl, requests, rig.seed, rig.repeats)
        )

    def loop(self, isl: int, osl: int, concurrency: int) -> Measurement:
        """Prompts and answers mixed, a fixed number in flight.

        Raises:
            PointError: it could not be measured.
        """
        count = concurrency * _LOOP_ROUNDS
        burst = Burst(
            name=f"aiperf_concurrency{concurrency}_isl{isl}_osl{osl}_n{count}",
            isl=isl,
            osl=osl,
            concurrency=concurrency,
            requests=count,
            warmup=_WARMUP * self._candidate.engine.dp,
            seed=self._rig.seed + 1,
            repeats=self._rig.repeats,
        )
        return self.measure(burst)

    def measure(self, burst: Burst) -> Measurement:
        """Run a burst, or say what it showed before.

        Raises:
            PointError: it could not be measured.
            CappedError: it was not measured before and no time is left for it.
            CandidateError: it was not measured before and the engine is not deployed.
        """
        journal, key = self._rig.journal, f"{self.key}/{burst.name}"
        known, failed = journal.point(key), journal.failed_point(key)
        if known is not None:
            return known
        if failed is not None:
            raise PointError(failed)
        if self._served is None:
            raise CandidateError(f"{self.key}: not deployed")
        exhausted = self._rig.meter.exhausted
        if exhausted is not None:
            raise CappedError(exhausted)
        try:
            found = self._rig.measurer.measure(self._served, burst)
        except PointError as error:
            self._rig.log.warning("%s: skipped: %s", key, error)
            journal.record_failed_point(key, str(error))
            raise
        self._rig.log.info(
            "%s: TTFT %.1f ms, ITL %.2f ms, %.0f tokens/s%s",
            key, found.ttft_ms, found.itl_ms, found.tokens_per_s,
            "" if found.batch_full else " (the batch was never full)",
        )  # fmt: skip
        journal.record_point(key, found)
        return found


def prefill_burst(dp: int, isl: int, repeats: int) -> Burst:
    """One prompt, or four for each attention rank at once."""
    count = 1 if dp == 1 else BURST_RATIO * dp
    return Burst(
        name=f"aiperf_isl{isl}",
        isl=isl,
        osl=PREFILL_OSL,
        concurrency=count,
        requests=count,
        warmup=_WARMUP * dp,
        seed=PREFILL_SEED,
        repeats=repeats,
    )


def decode_burst(  # what a batch depends on
    candidate: EngineCandidate, isl: int, osl: int, requests: int, seed: int, repeats: int
) -> Burst:
    """A batch of equal requests that start together."""
    return Burst(
        name=f"aiperf_request{requests}_isl{isl}_osl{osl}_n{requests}",
        isl=isl,
        osl=osl,
        concurrency=requests,
        requests=requests,
        warmup=_WARMUP * candidate.engine.dp,
        seed=seed,
        steady=True,
        repeats=repeats,
    )
