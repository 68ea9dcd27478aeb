"""Event-skipping must equal the token loop to the nanosecond."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.engine import EngineLimits
from contracts.hardware import Evidence
from contracts.ports import DecodeCost, PrefillChunk
from simcore.engine import Engine, EngineEvent, EventKind, Submission, TokenLoopEngine


class LinearTimer:
    """Small odd integer costs, so that steps end at and between whole nanoseconds."""

    def __init__(self, base_fs: int, request_fs: int, slope_fs: int, token_fs: int) -> None:
        self._base, self._request = base_fs, request_fs
        self._slope, self._token = slope_fs, token_fs

    evidence = Evidence.ESTIMATED

    def decode_cost(self, requests: int) -> DecodeCost:
        return DecodeCost(self._base + self._request * requests, self._slope)

    def mixed_step_fs(
        self, requests: int, context_tokens: int, chunks: Sequence[PrefillChunk]
    ) -> int:
        prefill = sum(c.new_tokens * self._token + c.past_tokens * 3 for c in chunks)
        return self._base + self._request * requests + self._slope * context_tokens + prefill


@st.composite
def cases(draw: st.DrawFn) -> tuple[EngineLimits, LinearTimer, list[tuple[int, str, object]]]:
    block = draw(st.sampled_from([1, 2, 4, 16]))
    seqs = draw(st.integers(1, 8))
    chunked = draw(st.booleans())
    longest = draw(st.integers(4, 60))
    budget = draw(st.integers(seqs, seqs + 40)) if chunked else longest + seqs
    limits = EngineLimits(
        max_num_seqs=seqs,
        max_num_batched_tokens=budget,
        block_size_tokens=block,
        kv_blocks_total=draw(st.integers(max(1, longest // block // 2), 3 * longest // block + 4)),
        max_model_len=longest,
        chunked_prefill=chunked,
    )
    unit = draw(st.sampled_from([1_000_000, 700_001, 13]))
    timer = LinearTimer(
        unit * draw(st.integers(1, 50)),
        unit * draw(st.integers(0, 3)),
        unit * draw(st.integers(0, 2)),
        unit * draw(st.integers(0, 4)),
    )
    actions: list[tuple[int, str, object]] = []
    now = 0
    for request_id in range(draw(st.integers(1, 14))):
        now += draw(st.sampled_from([0, 0, 1, 7, 50, 400]))
        isl = draw(st.integers(1, longest - 1))
        osl = draw(st.integers(1, max(1, longest - isl)))
        kind = draw(st.sampled_from(["plain", "plain", "plain", "transferred", "retried"]))
        generated = draw(st.integers(0, osl - 1)) if kind == "retried" else 0
        computed = isl - 1 if kind == "transferred" and isl > 1 else 0
        submission = Submission(
            request_id=request_id, isl=isl, osl=osl, generated=generated, computed=computed
        )
        actions.append((now, "submit", submission))
        if draw(st.integers(0, 9)) == 0:
            later = now + draw(st.integers(0, 300))
            actions.append((later, "cancel", draw(st.integers(0, request_id))))
    if draw(st.integers(0, 7)) == 0:
        actions.append((now + draw(st.integers(0, 500)), "fail", None))
    actions.sort(key=lambda action: action[0])
    return limits, timer, actions


def replay(
    engine: Engine | TokenLoopEngine, actions: list[tuple[int, str, object]]
) -> tuple[list[EngineEvent], list[object]]:
    events: list[EngineEvent] = []
    answers: list[object] = []
    for at_ns, kind, argument in actions:
        events += engine.advance(at_ns)
        if kind == "submit":
            answers.append(engine.submit(at_ns, argument))  # type: ignore[arg-type]
        elif kind == "cancel":
            engine.cancel(at_ns, argument)  # type: ignore[arg-type]
        else:
            answers.append(sorted(engine.fail(at_ns)))
    events += engine.advance(10**12)
    return events, answers


def test_event_skipping_equals_token_loop() -> None:
    """2,500 random cases; a good part of them must preempt, chunk, cancel and crash."""
    seen = Counter[str]()

    @given(cases())
    @settings(
        max_examples=2500,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
        derandomize=True,
        database=None,
    )
    def equal(case: tuple[EngineLimits, LinearTimer, list[tuple[int, str, object]]]) -> None:
        limits, timer, actions = case
        fast, slow = Engine(limits, timer), TokenLoopEngine(limits, timer)
        fast_events, fast_answers = replay(fast, actions)
        slow_events, slow_answers = replay(slow, actions)
        assert fast_answers == slow_answers
        assert fast_events == slow_events
        fast.assert_conserved()
        assert fast.load(10**12).kv_blocks_used == slow.kv_blocks_used == 0
        assert fast.requests_held == 0
        seen["cases"] += 1
        seen["preempted"] += any(event.preemptions for event in fast_events)
        seen["finished"] += any(event.kind is EventKind.FINISHED for event in fast_events)
        seen["chunked"] += any(
            kind == "submit" and argument.isl > limits.max_num_batched_tokens  # type: ignore[attr-defined]
            for _, kind, argument in actions
        )
        for kind in ("cancel", "fail"):
            seen[kind] += any(action[1] == kind for action in actions)

    equal()
    assert seen["cases"] >= 2000
    assert seen["finished"] >= 1900
    assert min(seen[kind] for kind in ("preempted", "chunked", "cancel", "fail")) >= 150, seen
