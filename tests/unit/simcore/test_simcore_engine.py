import pytest

from contracts.engine import EngineLimits, Scheduling, VllmScheduling
from contracts.errors import InputError, InvariantError
from contracts.hardware import Evidence
from contracts.ports import DecodeCost
from simcore.engine import Engine, EventKind, Submission

NS = 1_000_000


class Unit:
    """A step lasts 10 ns plus 1 ns for each prompt token."""

    evidence = Evidence.ESTIMATED

    def decode_cost(self, requests):
        return DecodeCost(10 * NS, 0)

    def mixed_step_fs(self, requests, context_tokens, chunks):
        return (10 + sum(chunk.new_tokens for chunk in chunks)) * NS


def engine(scheduling: Scheduling | None = None, **limits) -> Engine:
    defaults = {"max_num_seqs": 4, "max_num_batched_tokens": 100, "block_size_tokens": 4,
                "kv_blocks_total": 100, "max_model_len": 200}  # fmt: skip
    return Engine(EngineLimits(**{**defaults, **limits}), Unit(), scheduling)


def times(events, kind):
    return {e.request_id: e.at_ns for e in events if e.kind is kind}


def test_one_request_to_the_nanosecond() -> None:
    one = engine()
    assert one.submit(5, Submission(request_id=1, isl=20, osl=4)) is None
    assert one.next_event_ns() == 5 + 30
    events = one.advance(1000)
    assert times(events, EventKind.FIRST_TOKEN) == {1: 35}
    assert times(events, EventKind.FINISHED) == {1: 35 + 3 * 10}
    assert one.next_event_ns() is None


def test_prompt_longer_than_the_budget_is_chunked() -> None:
    one = engine(max_num_batched_tokens=10)
    one.submit(0, Submission(request_id=1, isl=25, osl=1))
    assert times(one.advance(1000), EventKind.FIRST_TOKEN) == {1: 20 + 20 + 15}


def test_without_chunking_the_second_prompt_waits_for_a_whole_budget() -> None:
    one = engine(max_num_batched_tokens=60, chunked_prefill=False)
    one.submit(0, Submission(request_id=1, isl=40, osl=1))
    one.submit(0, Submission(request_id=2, isl=40, osl=1))
    assert times(one.advance(1000), EventKind.FIRST_TOKEN) == {1: 50, 2: 100}


def test_arrival_during_a_jump_joins_at_the_next_step_boundary() -> None:
    one = engine(VllmScheduling(async_scheduling=False))
    one.submit(0, Submission(request_id=1, isl=10, osl=100))
    assert one.advance(20)[0].at_ns == 20
    assert one.next_event_ns() == 20 + 99 * 10
    one.advance(55)
    one.submit(55, Submission(request_id=2, isl=10, osl=1))
    assert one.next_event_ns() == 60, "the jump is cut at the step in flight"
    events = one.advance(80)
    assert times(events, EventKind.FIRST_TOKEN) == {2: 80}


def test_with_a_hidden_host_the_next_step_was_planned_without_the_arrival() -> None:
    one = engine(VllmScheduling(async_scheduling=True))
    one.submit(0, Submission(request_id=1, isl=10, osl=100))
    assert one.advance(55)[0].at_ns == 20
    one.submit(55, Submission(request_id=2, isl=10, osl=1))
    assert one.next_event_ns() == 70, "the jump is cut one step later"
    assert one.load(65).waiting_requests == 1
    assert times(one.advance(90), EventKind.FIRST_TOKEN) == {2: 90}


def test_an_arrival_does_not_wait_for_a_step_that_would_be_empty() -> None:
    one = engine(VllmScheduling(async_scheduling=True))
    one.submit(0, Submission(request_id=1, isl=10, osl=1))
    one.submit(5, Submission(request_id=2, isl=10, osl=1))
    assert times(one.advance(90), EventKind.FIRST_TOKEN) == {1: 20, 2: 40}


def test_arrival_at_a_step_end_takes_part_in_the_step_that_begins_there() -> None:
    one = engine()
    one.submit(0, Submission(request_id=1, isl=10, osl=100))
    one.advance(60)
    one.submit(60, Submission(request_id=2, isl=10, osl=1))
    assert times(one.advance(80), EventKind.FIRST_TOKEN) == {2: 80}


def test_preemption_takes_the_newest_and_recomputes_it() -> None:
    one = engine(kv_blocks_total=6, max_num_seqs=2)
    one.submit(0, Submission(request_id=1, isl=8, osl=13))
    one.submit(0, Submission(request_id=2, isl=8, osl=13))
    events = one.advance(100_000)
    preempted = {e.request_id: e.preemptions for e in events if e.kind is EventKind.FINISHED}
    assert preempted == {1: 0, 2: 1}
    one.assert_conserved()
    assert one.tokens_generated == 26


def test_load_is_exact_in_the_middle_of_a_jump() -> None:
    one = engine()
    one.submit(0, Submission(request_id=1, isl=8, osl=50))
    one.advance(18 + 45)
    load = one.load(18 + 45)
    assert (load.running_requests, load.waiting_requests) == (1, 0)
    assert load.kv_blocks_used == 3, "8 prompt tokens and 4 computed since"
    one.catch_up(63)
    assert one.progress() == [(1, 5)]
    assert times(one.advance(10**6), EventKind.FINISHED) == {1: 18 + 49 * 10}


def test_transferred_cache_needs_one_decode_step_and_no_prefill() -> None:
    one = engine()
    one.submit(0, Submission(request_id=1, isl=50, osl=3, computed=49))
    events = one.advance(1000)
    assert times(events, EventKind.FIRST_TOKEN) == {1: 10}
    assert times(events, EventKind.FINISHED) == {1: 30}


def test_cancel_frees_blocks_at_the_end_of_the_step() -> None:
    one = engine()
    one.submit(0, Submission(request_id=1, isl=8, osl=100))
    one.advance(33)
    one.cancel(33, 1)
    assert one.next_event_ns() == 38
    assert one.advance(100) == []
    assert one.load(100).kv_blocks_used == 0
    one.assert_conserved()


def test_fail_returns_what_was_delivered() -> None:
    one = engine(max_num_seqs=1)
    one.submit(0, Submission(request_id=1, isl=8, osl=100))
    one.submit(0, Submission(request_id=2, isl=8, osl=100))
    one.advance(48)
    assert sorted(one.fail(48)) == [(1, 4), (2, 0)]
    assert one.next_event_ns() is None
    one.assert_conserved()


@pytest.mark.parametrize(
    ("limits", "submission", "reason"),
    [
        ({}, {"isl": 150, "osl": 51}, "201 tokens exceed the context length of 200"),
        ({"kv_blocks_total": 5}, {"isl": 20, "osl": 2}, "21 tokens exceed the KV cache of 20"),
        ({"chunked_prefill": False}, {"isl": 101, "osl": 1}, "chunked prefill is off"),
    ],
)
def test_what_can_never_finish_is_refused(limits, submission, reason) -> None:
    answer = engine(**limits).submit(0, Submission(request_id=1, **submission))
    assert answer is not None
    assert reason in answer


def test_the_largest_request_that_fits_finishes() -> None:
    one = engine(kv_blocks_total=5)
    assert one.submit(0, Submission(request_id=1, isl=20, osl=1)) is None
    assert len(one.advance(1000)) == 2


def test_limits_and_misuse_are_refused() -> None:
    with pytest.raises(InputError, match="max_num_seqs"):
        engine(max_num_seqs=101)
    one = engine()
    one.submit(0, Submission(request_id=1, isl=8, osl=2))
    with pytest.raises(InvariantError, match="advanced first"):
        one.submit(500, Submission(request_id=2, isl=8, osl=2))
