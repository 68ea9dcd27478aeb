"""Event-skipping must equal the token loop to the nanosecond."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.engine import (
    CapacityPolicy,
    EngineLimits,
    PreemptionOrder,
    QueuePolicy,
    Scheduling,
    SglangScheduling,
    TrtllmScheduling,
    VllmScheduling,
)
from contracts.hardware import Evidence
from contracts.ports import DecodeCost, PrefillChunk
from contracts.workload import PromptText
from simcore.engine import Engine, EngineEvent, EventKind, Submission, TokenLoopEngine

# CI checks some; a nightly run sets a larger number.
EXAMPLES = int(os.environ.get("ORACLE_CASES", "2500"))


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


Action = tuple[int, str, object]


@st.composite
def schedulings(draw: st.DrawFn) -> Scheduling:
    kind = draw(st.sampled_from(["vllm", "vllm", "sglang", "sglang", "trtllm"]))
    if kind == "vllm":
        return VllmScheduling(
            queue=draw(st.sampled_from([QueuePolicy.FCFS, QueuePolicy.FCFS, QueuePolicy.PRIORITY])),
            preemption=draw(st.sampled_from(list(PreemptionOrder))),
            async_scheduling=draw(st.booleans()),
        )
    if kind == "trtllm":
        return TrtllmScheduling(
            capacity=draw(st.sampled_from(list(CapacityPolicy))), overlap=draw(st.booleans())
        )
    chunk = draw(st.integers(4, 40))
    return SglangScheduling(
        queue=draw(st.sampled_from(list(QueuePolicy))),
        chunked_prefill_tokens=chunk,
        max_prefill_tokens=draw(st.integers(chunk, chunk + 30)),
        conservativeness=draw(st.sampled_from([0.1, 0.3, 1.0])),
        clip_max_new_tokens=draw(st.sampled_from([5, 4096])),
        mixed_chunk=draw(st.booleans()),
        overlap=draw(st.booleans()),
    )


@st.composite
def all_limits(draw: st.DrawFn, longest: int) -> EngineLimits:
    block = draw(st.sampled_from([1, 2, 4, 16]))
    seqs = draw(st.integers(1, 8))
    chunked = draw(st.booleans())
    budget = draw(st.integers(seqs, seqs + 40)) if chunked else longest + seqs
    return EngineLimits(
        max_num_seqs=seqs,
        max_num_batched_tokens=budget,
        block_size_tokens=block,
        kv_blocks_total=draw(st.integers(max(1, longest // block // 2), 3 * longest // block + 4)),
        max_model_len=longest,
        chunked_prefill=chunked,
        prefix_caching=draw(st.booleans()),
        max_adapters=draw(st.integers(1, 2)),
    )


@st.composite
def texts(draw: st.DrawFn, isl: int, request_id: int) -> PromptText | None:
    """Prompts from a small tree: the first segments are common, the last one may be."""
    if draw(st.booleans()):
        return None
    ends, ids, at, path = [], [], 0, 0
    while at < isl:
        at = min(isl, at + draw(st.sampled_from([3, 4, 8, 16])))
        path = path * 100 + draw(st.sampled_from([1, 1, 1, 2])) * 20 + (at - (ends or [0])[-1])
        ends.append(at)
        ids.append(path)
    output = draw(st.sampled_from([-1, path * 100 + 99, 10**15 + request_id]))
    return PromptText(tuple(ids), tuple(ends), output)


@st.composite
def submissions(draw: st.DrawFn, request_id: int, longest: int) -> Submission:
    isl = draw(st.integers(1, longest - 1))
    osl = draw(st.integers(1, max(1, longest - isl)))
    kind = draw(st.sampled_from(["plain", "plain", "plain", "transferred", "retried"]))
    return Submission(
        request_id=request_id,
        isl=isl,
        osl=osl,
        generated=draw(st.integers(0, osl - 1)) if kind == "retried" else 0,
        computed=isl - 1 if kind == "transferred" and isl > 1 else 0,
        text=draw(texts(isl, request_id)),
        priority=draw(st.integers(0, 2)),
        adapter=draw(st.sampled_from(["", "", "", "a", "b", "c"])),
        hold=draw(st.integers(0, 5)) == 0,
    )


@st.composite
def disturbances(draw: st.DrawFn, now: int, blocks: int) -> Action | None:
    kind = draw(st.sampled_from([None] * 6 + ["fail", "shrink", "speed", "ask"]))
    at = now + draw(st.integers(0, 500))
    if kind == "speed":
        return (at, kind, draw(st.sampled_from([0.5, 1.0, 1.7, 3.0])))
    if kind == "shrink":
        return (at, kind, draw(st.integers(0, max(0, blocks // 2))))
    if kind == "ask":
        return (at, kind, PromptText((23, 2324), (3, 7)))
    return None if kind is None else (at, kind, None)


@st.composite
def cases(draw: st.DrawFn) -> tuple[EngineLimits, LinearTimer, Scheduling, int, list[Action]]:
    longest = draw(st.integers(4, 60))
    limits = draw(all_limits(longest))
    unit = draw(st.sampled_from([1_000_000, 700_001, 13]))
    timer = LinearTimer(
        unit * draw(st.integers(1, 50)),
        unit * draw(st.integers(0, 3)),
        unit * draw(st.integers(0, 2)),
        unit * draw(st.integers(0, 4)),
    )
    actions: list[Action] = []
    now = 0
    for request_id in range(draw(st.integers(1, 14))):
        now += draw(st.sampled_from([0, 0, 1, 7, 50, 400]))
        submission = draw(submissions(request_id, longest))
        actions.append((now, "submit", submission))
        if draw(st.integers(0, 9)) == 0:
            later = now + draw(st.integers(0, 300))
            actions.append((later, "cancel", draw(st.integers(0, request_id))))
        if submission.hold and draw(st.integers(0, 3)):
            actions.append((now + draw(st.integers(0, 3000)), "release", request_id))
    disturbance = draw(disturbances(now, limits.kv_blocks_total))
    if disturbance is not None:
        actions.append(disturbance)
    actions.sort(key=lambda action: action[0])
    dp = draw(st.sampled_from([1, 1, 1, 2, 3]))
    return limits, timer, draw(schedulings()), dp, actions


def replay(
    engine: Engine | TokenLoopEngine, actions: list[Action]
) -> tuple[list[EngineEvent], list[object]]:
    events: list[EngineEvent] = []
    answers: list[object] = []
    commands = {
        "submit": engine.submit,
        "cancel": engine.cancel,
        "release": engine.release,
        "speed": engine.set_speed,
        "shrink": engine.shrink,
    }
    for at_ns, kind, argument in actions:
        events += engine.advance(at_ns)
        if kind == "fail":
            answers.append(sorted(engine.fail(at_ns)))
        elif kind == "ask":
            answers.append(engine.cached_prefix_tokens(at_ns, argument))  # type: ignore[arg-type]
        else:
            answers.append(commands[kind](at_ns, argument))  # type: ignore[operator]
    # Whoever still keeps its blocks lets go, which may let others in, who keep theirs.
    for at_ns in range(10**11, 10**11 + 15 * 10**9, 10**9):
        events += engine.advance(at_ns)
        for request_id in range(14):
            engine.release(at_ns, request_id)
    events += engine.advance(10**12)
    return events, answers


def gaps_of(engine: Engine | TokenLoopEngine) -> tuple[object, ...]:
    gaps = engine.token_gaps()
    return gaps.count, gaps.sum_fs, gaps.min_fs, gaps.max_fs, gaps.buckets()


def check_case(
    case: tuple[EngineLimits, LinearTimer, Scheduling, int, list[Action]], seen: Counter[str]
) -> None:
    """Both engines must say the same; counts what the case exercised."""
    limits, timer, scheduling, dp, actions = case
    fast = Engine(limits, timer, scheduling, dp)
    slow = TokenLoopEngine(limits, timer, scheduling, dp)
    fast_events, fast_answers = replay(fast, actions)
    slow_events, slow_answers = replay(slow, actions)
    assert fast_answers == slow_answers
    assert fast_events == slow_events, vars(timer)
    assert gaps_of(fast) == gaps_of(slow)
    fast.assert_conserved()
    used = fast.load(10**12).kv_blocks_used, slow.kv_blocks_used
    assert used == (0, 0), used
    assert fast.requests_held == 0
    submitted = [argument for _, kind, argument in actions if kind == "submit"]
    kinds = {kind for _, kind, _ in actions}
    seen["cases"] += 1
    seen[scheduling.kind.value] += 1
    seen["overlap"] += scheduling.overlaps_host
    seen["no overlap"] += not scheduling.overlaps_host
    seen["several ranks"] += dp > 1
    seen["preempted"] += any(event.preemptions for event in fast_events)
    seen["finished"] += any(event.kind is EventKind.FINISHED for event in fast_events)
    seen["gaps"] += fast.token_gaps().count > 10
    seen["chunked"] += any(s.isl > limits.max_num_batched_tokens for s in submitted)  # type: ignore[attr-defined]
    shared = Counter(s.text.ids[0] for s in submitted if s.text is not None)  # type: ignore[attr-defined]
    seen["shared prefix"] += limits.prefix_caching and max(shared.values(), default=0) > 1
    seen.update(kinds - {"submit"})


NEEDED = ("gaps", "overlap", "no overlap", "preempted", "chunked", "cancel", "release",
          "shared prefix", "several ranks",
          "vllm", "sglang", "trtllm")  # fmt: skip


def run_cases(examples: int) -> Counter[str]:
    seen = Counter[str]()

    @given(cases())
    @settings(
        max_examples=examples,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        derandomize=True,
        database=None,
    )
    def equal(case: tuple[EngineLimits, LinearTimer, Scheduling, int, list[Action]]) -> None:
        check_case(case, seen)

    equal()
    return seen


def test_event_skipping_equals_token_loop() -> None:
    """Random cases of every scheduler; a good part must preempt, chunk, share and crash."""
    seen = run_cases(EXAMPLES)
    assert seen["cases"] >= 0.8 * EXAMPLES
    assert seen["finished"] >= 0.7 * EXAMPLES
    assert min(seen[kind] for kind in NEEDED) >= 0.05 * EXAMPLES, seen
    assert min(seen[kind] for kind in ("fail", "shrink", "speed", "ask")) >= 0.02 * EXAMPLES, seen
