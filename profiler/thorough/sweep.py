"""The sweeps over prefill, decode and aggregated engines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from contracts.plan import Role
from contracts.ports import TimerFactory
from profiler.thorough.bench import Bench, Rig
from profiler.thorough.candidates import EngineCandidate
from profiler.thorough.journal import Outcome
from profiler.thorough.points import doubled_counts, request_counts
from profiler.thorough.ports import CandidateError, CappedError, PointError
from profiler.thorough.prune import dominated, hopeless, ttft_good
from profiler.thorough.rows import AggRow, DecodeRow, PrefillRow
from profiler.thorough.wish import Wish

WORDS = {Role.PREFILL: "prefill", Role.DECODE: "decode", Role.AGG: "aggregated"}
Report = Callable[[Role, int, int, EngineCandidate], None]
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of one engine in one role.

    Attributes:
        outcome: ``None`` for one that the caps did not let in.
    """

    role: Role
    label: str
    gpus: int
    outcome: Outcome | None
    reason: str


@dataclass(slots=True, kw_only=True)
class Swept:
    """All rows, and what became of every engine.

    Attributes:
        capped: which cap ended the sweeps early, empty if none.
    """

    prefill: list[PrefillRow] = field(default_factory=list)
    decode: list[DecodeRow] = field(default_factory=list)
    agg: list[AggRow] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    capped: str = ""


class Sweeper:
    """Measures all engines of one search.

    Args:
        wish: what is searched for.
        rig: deployer, measurer, journal and caps.
        folder: output folder.
        timer_for: estimates that rule out hopeless engines.
        report: told before each engine is deployed.
    """

    def __init__(
        self, wish: Wish, rig: Rig, folder: Path, timer_for: TimerFactory, report: Report
    ) -> None:
        self._wish = wish
        self._rig = rig
        self._folder = folder
        self._timer_for = timer_for
        self._report = report
        self._cut = ""
        self.swept = Swept()

    def sweep(self, role: Role, candidates: Sequence[EngineCandidate]) -> None:
        """Measure every engine in one role; smallest first.

        Raises:
            OutputError: results cannot be written.
        """
        out = hopeless(candidates, self._wish, role, self._timer_for)
        measured: list[tuple[EngineCandidate, float, bool]] = []
        for number, candidate in enumerate(candidates, start=1):
            self._report(role, number, len(candidates), candidate)
            key = f"{role.value}/{candidate.label}"
            ended = self._rig.journal.ended(key)
            if ended is None:
                reason = out.get(candidate.label) or dominated(candidate, measured, self._wish)
                if reason is not None:
                    self._end(role, candidate, Outcome.PRUNED, reason)
                    continue
                if self._capped(role, candidate):
                    continue
            elif ended.outcome is not Outcome.DONE:
                self._verdict(role, candidate, ended.outcome, ended.reason)
                continue
            bench = self._bench(role, candidate, key)
            measured.append((candidate, *self._one(role, candidate, bench, fresh=ended is None)))

    def _one(
        self, role: Role, candidate: EngineCandidate, bench: Bench, *, fresh: bool
    ) -> tuple[float, bool]:
        """Measure one engine; its best throughput for each GPU, and if the target held."""
        work = {Role.PREFILL: self._prefill, Role.DECODE: self._decode, Role.AGG: self._agg}[role]
        if not fresh:
            # Everything is in the journal, nothing is deployed.
            found = work(candidate, bench)
            self._verdict(role, candidate, Outcome.DONE, "measured before")
            return found
        self._cut = ""
        try:
            with bench.up():
                found = work(candidate, bench)
        except CappedError as error:
            self.swept.capped = str(error)
            self._verdict(role, candidate, None, f"not measured: {error}")
            return 0.0, False
        except CandidateError as error:
            self._rig.log.warning("%s: failed: %s", bench.key, error)
            self._end(role, candidate, Outcome.FAILED, str(error))
            return 0.0, False
        if self._cut:
            # Not through: a run with a higher cap goes on with it.
            self.swept.capped = self._cut
            self._verdict(role, candidate, Outcome.DONE, f"measured in part: {self._cut}")
        else:
            self._end(role, candidate, Outcome.DONE, "measured")
        return found

    def _prefill(self, candidate: EngineCandidate, bench: Bench) -> tuple[float, bool]:
        wish = self._wish
        try:
            ttft_ms = bench.ttft_ms(wish.isl)
        except PointError as error:
            raise CandidateError(str(error)) from error
        row = PrefillRow(
            label=candidate.label,
            gpus=candidate.shape.gpus,
            dp=candidate.engine.dp,
            isl=wish.isl,
            ttft_ms=ttft_ms,
        )
        self.swept.prefill.append(row)
        return row.tokens_per_s_per_gpu, ttft_good(ttft_ms, wish.sla)

    def _decode(self, candidate: EngineCandidate, bench: Bench) -> tuple[float, bool]:
        wish, best, good = self._wish, 0.0, False
        rows, reasons = 0, []
        engine = candidate.engine
        for requests in request_counts(engine.dp, self._most(candidate, bench)):
            try:
                found = bench.decode(wish.isl, wish.osl, requests)
            except PointError as error:
                reasons.append(str(error))
                continue
            except CappedError as error:
                if rows == 0:
                    raise
                self._cut = str(error)
                break
            rows += 1
            row = DecodeRow(
                label=candidate.label,
                gpus=candidate.shape.gpus,
                osl=wish.osl,
                concurrency=requests,
                itl_ms=found.itl_ms,
                tokens_per_s_per_gpu=found.tokens_per_s / candidate.shape.gpus,
            )
            self.swept.decode.append(row)
            if found.itl_ms > self._itl_limit_ms:
                break  # larger batches are slower still
            best, good = max(best, row.tokens_per_s_per_gpu), True
        _check_rows(rows, reasons)
        return best, good

    def _agg(self, candidate: EngineCandidate, bench: Bench) -> tuple[float, bool]:
        """Double the load until the targets are missed, then look once in between."""
        best, good, rows, below, halved = 0.0, False, 0, 0, False
        reasons: list[str] = []
        counts = list(doubled_counts(candidate.engine.dp, self._most(candidate, bench)))
        while counts:
            requests = counts.pop(0)
            try:
                row = self._agg_row(candidate, bench, requests)
            except PointError as error:
                reasons.append(str(error))
                continue
            except CappedError as error:
                if rows == 0:
                    raise
                self._cut = str(error)
                break
            rows += 1
            self.swept.agg.append(row)
            if self._late(row):
                # One look in between; a second miss leaves nothing to look at.
                counts = [] if halved else self._between(candidate, below, requests)
                halved = True
                continue
            best, good, below = max(best, row.tokens_per_s_per_gpu), True, requests
        _check_rows(rows, reasons)
        return best, good

    def _agg_row(self, candidate: EngineCandidate, bench: Bench, requests: int) -> AggRow:
        wish = self._wish
        found = bench.loop(wish.isl, wish.osl, requests)
        return AggRow(
            label=candidate.label,
            gpus=candidate.shape.gpus,
            osl=wish.osl,
            concurrency=requests,
            ttft_ms=found.ttft_ms,
            itl_ms=found.itl_ms,
            tokens_per_s_per_gpu=found.tokens_per_s / candidate.shape.gpus,
        )

    def _late(self, row: AggRow) -> bool:
        sla = self._wish.sla
        if sla.e2e_ms is not None:
            return row.ttft_ms + row.itl_ms * (row.osl - 1) > sla.e2e_ms
        return row.ttft_ms > sla.ttft_ms or row.itl_ms > sla.itl_ms

    @staticmethod
    def _between(candidate: EngineCandidate, low: int, high: int) -> list[int]:
        """The load half way between one that is good and one that is not."""
        dp = candidate.engine.dp
        half = (low + high) // 2 // dp * dp
        return [half] if 0 < low < half < high else []

    @property
    def _itl_limit_ms(self) -> float:
        """ITL above which no larger batch is of interest."""
        sla = self._wish.sla
        if sla.e2e_ms is None:
            return sla.itl_ms
        return sla.e2e_ms / max(1, self._wish.osl - 1)

    def _most(self, candidate: EngineCandidate, bench: Bench) -> int:
        """Requests that fit into the KV cache and into the engine's batch."""
        engine, wish = candidate.engine, self._wish
        room = bench.kv_tokens // (wish.isl + wish.osl)
        if room < engine.dp:
            raise CandidateError(
                f"the KV cache holds {bench.kv_tokens} tokens, too few for "
                f"{engine.dp} requests of {wish.isl + wish.osl}"
            )
        return min(room, engine.limits.max_num_seqs * engine.dp)

    def _bench(self, role: Role, candidate: EngineCandidate, key: str) -> Bench:
        name = f"{role.value}_{candidate.shape.gpus}gpus_{candidate.label}"
        return Bench(self._rig, candidate, role, self._folder / name, key)

    def _capped(self, role: Role, candidate: EngineCandidate) -> bool:
        reason = self._rig.meter.exhausted
        if reason is None:
            return False
        self.swept.capped = reason
        self._verdict(role, candidate, None, f"not measured: {reason}")
        return True

    def _end(self, role: Role, candidate: EngineCandidate, outcome: Outcome, reason: str) -> None:
        self._rig.journal.record_end(f"{role.value}/{candidate.label}", outcome, reason)
        self._verdict(role, candidate, outcome, reason)

    def _verdict(
        self, role: Role, candidate: EngineCandidate, outcome: Outcome | None, reason: str
    ) -> None:
        self.swept.verdicts.append(
            Verdict(
                role=role,
                label=candidate.label,
                gpus=candidate.shape.gpus,
                outcome=outcome,
                reason=reason,
            )
        )


def _check_rows(rows: int, reasons: Sequence[str]) -> None:
    if rows == 0:
        raise CandidateError("no load could be measured: " + "; ".join(dict.fromkeys(reasons)))
