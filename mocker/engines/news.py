"""What happened to requests since their sinks were last told.

Most steps of a worker give one token to each of the same requests as the step before. Such a step
is one addition for all of them; only when one joins or leaves is the engine asked for each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from contracts.units import NS_PER_S
from mocker.engines.live import Cohort, LiveAnswer
from mocker.metrics.server import ServerMetrics
from simcore.cluster.worker import Worker


class News:
    """Hears of tokens and tells whom they belong to.

    Args:
        live: the requests in flight, by number.
        metrics: of the server.
        note_lag: called with the instant of new tokens and their number.
    """

    def __init__(
        self,
        live: dict[int, LiveAnswer],
        metrics: ServerMetrics,
        note_lag: Callable[[int, int], None],
    ) -> None:
        self._live = live
        self._metrics = metrics
        self._note_lag = note_lag
        self._waiting: list[LiveAnswer | Cohort] = []
        self._cohorts: dict[str, Cohort] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def tell(self) -> None:
        """Tell every sink with news; what sinks do may make more of it."""
        while self._waiting:
            waiting, self._waiting = self._waiting, []
            for each in waiting:
                each.tell()

    def hold(self, live: LiveAnswer) -> None:
        """Tell somebody."""
        if not live.waiting:
            live.waiting = True
            self._waiting.append(live)

    def settle(self, live: LiveAnswer) -> None:
        """Bring its numbers up to date before they are read or changed."""
        if live.cohort is not None:
            self._dissolve(live.cohort)

    def forget_cohorts(self) -> None:
        """Nobody looks at single steps any more."""
        for cohort in tuple(self._cohorts.values()):
            self._dissolve(cohort)

    def _dissolve(self, cohort: Cohort) -> None:
        del self._cohorts[cohort.worker_id]
        cohort.dissolve()
        if cohort.told < cohort.tokens:
            for live in cohort.lives:
                self.hold(live)

    def on_tokens(self, live: LiveAnswer, generated: int, at_ns: int) -> None:
        """Tokens that are not one step after the one before."""
        self.settle(live)
        metrics, new_tokens = self._metrics, generated - live.generated
        metrics.generation_tokens += new_tokens
        if live.first_ns < 0:
            live.first_ns = at_ns
            metrics.ttft_s.observe((at_ns - live.arrival_ns) / NS_PER_S)
            self._note_lag(at_ns, 1)
        else:
            metrics.itl_s.observe((at_ns - live.last_ns) / new_tokens / NS_PER_S, new_tokens)
        live.generated, live.last_ns = generated, at_ns
        if live.token_ns is not None:
            live.token_ns.extend([at_ns] * new_tokens)
        self.hold(live)

    def on_step(self, worker: Worker, at_ns: int) -> None:
        """A step of a worker has ended."""
        mark = worker.engine.decode_mark()
        cohort = self._cohorts.get(worker.worker_id)
        if cohort is not None:
            if mark == (cohort.changes, cohort.step + 1):
                self._one_each(cohort, at_ns)
                return
            self._dissolve(cohort)
        lives = self._some_each(worker.engine.progress(), at_ns)
        if mark is not None and lives is not None:
            self._cohorts[worker.worker_id] = Cohort(worker.worker_id, mark, at_ns, lives)

    def _one_each(self, cohort: Cohort, at_ns: int) -> None:
        if not cohort.waiting:
            cohort.waiting = True
            self._waiting.append(cohort)
        self._count(at_ns - cohort.at_ns, len(cohort.lives))
        self._note_lag(at_ns, len(cohort.lives))
        cohort.tokens += 1
        cohort.step += 1
        cohort.at_ns = at_ns

    def _some_each(
        self, progress: Iterable[tuple[int, int]], at_ns: int
    ) -> list[LiveAnswer] | None:
        """Returns all of them, or ``None`` when the next step may be another matter."""
        found: list[LiveAnswer] = []
        alike: dict[int, int] = {}
        regular, new_tokens = True, 0
        for request_id, generated in progress:
            live = self._live.get(request_id)
            if live is None:
                regular = False
                continue
            self.settle(live)
            found.append(live)
            if generated > live.generated:
                if live.first_ns < 0 or generated != live.generated + 1:
                    self.on_tokens(live, generated, at_ns)
                else:
                    gap_ns = at_ns - live.last_ns
                    alike[gap_ns] = alike.get(gap_ns, 0) + 1
                    new_tokens += 1
                    live.generated, live.last_ns = generated, at_ns
                    if live.token_ns is not None:
                        live.token_ns.append(at_ns)
                    self.hold(live)
            if live.last_ns != at_ns or live.token_ns is not None:
                regular = False
        for gap_ns, tokens in alike.items():
            self._count(gap_ns, tokens)
        if new_tokens:
            self._note_lag(at_ns, new_tokens)
        return found if regular and found else None

    def _count(self, gap_ns: int, tokens: int) -> None:
        self._metrics.itl_s.observe(gap_ns / NS_PER_S, tokens)
        self._metrics.generation_tokens += tokens
