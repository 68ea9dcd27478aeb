import asyncio
import gc
import socket

import numpy as np
import pytest
from harness_sse_server import DONE, FINISH, HEAD, ROLE, answer, chunk, serving, token

from contracts.errors import InputError
from contracts.records import RequestStatus
from contracts.units import NS_PER_MS
from contracts.workload import Workload
from harness.load import LoadTarget, WallClock, run_load
from profiler.load.result import DISPATCH_LIMIT_NS_MIN, LoadRecorder


def workload(*arrival_ms, isl=3, osl=4):
    count = len(arrival_ms)
    return Workload(
        arrival_ns=np.asarray(arrival_ms, dtype=np.int64) * NS_PER_MS,
        isl=np.full(count, isl, dtype=np.int64),
        osl=np.full(count, osl, dtype=np.int64),
        source="test",
    )


def load(load_of, script=answer, *, speed=1.0, timeout_s=10.0, progress=None):
    async def run():
        async with serving(script) as log:
            target = LoadTarget(base_url=log.base_url, model="m")
            result = await run_load(
                target,
                load_of,
                speed=speed,
                clock=WallClock(),
                timeout_s=timeout_s,
                progress=progress,
            )
            await asyncio.sleep(0.01)
            return result, log, log.open

    return asyncio.run(run())


def test_every_request_arrives_once_with_its_lengths_and_completes():
    asked = Workload(
        arrival_ns=np.array([0, 5, 10, 15], dtype=np.int64) * NS_PER_MS,
        isl=np.array([1, 2, 30, 4], dtype=np.int64),
        osl=np.array([1, 7, 3, 50], dtype=np.int64),
        source="test",
    )
    result, log, still_open = load(asked)
    assert sorted(r.index for r in log.requests) == [0, 1, 2, 3]
    for request in log.requests:
        words = request.body["messages"][0]["content"].split()
        assert len(words) == asked.isl[request.index]
        assert request.body["max_tokens"] == asked.osl[request.index]
    assert result.table.completed.all()
    assert result.tokens.tolist() == [1, 7, 3, 50]
    assert (result.tokens_received, result.tokens_wanted) == (61, 61)
    assert result.failures == {}
    assert (result.table.first_token_ns > asked.arrival_ns).all()
    assert (result.table.finish_ns >= result.table.first_token_ns).all()
    assert result.table.arrival_ns.tolist() == asked.arrival_ns.tolist()
    assert result.table.retries.tolist() == [-1] * 4
    assert still_open == 0


def test_connections_are_reused():
    result, log, _ = load(workload(0, 40, 80, 120))
    assert result.table.completed.all()
    assert log.connections == 1


def test_requests_do_not_wait_for_each_other():
    both = asyncio.Event()
    held = []

    async def wait_for_both(request, writer):
        held.append(request.index)
        if len(held) == 2:
            both.set()
        await both.wait()
        await answer(request, writer)

    result, log, _ = load(workload(0, 1), wait_for_both)
    assert result.table.completed.all()
    assert log.connections == 2


def test_latency_counts_from_the_schedule_and_is_undilated():
    async def slow(request, writer):
        writer.write(HEAD + chunk(ROLE))
        await asyncio.sleep(0.05)
        writer.write(chunk(token()))
        await asyncio.sleep(0.05)
        writer.write(chunk(token()) + chunk(FINISH) + chunk(DONE) + b"0\r\n\r\n")

    result, _, _ = load(workload(0, 1000, osl=2), slow, speed=10.0)
    ttft_ms, itl_ms = result.table.ttft_ms, result.table.itl_ms
    assert ((ttft_ms >= 500) & (ttft_ms < 900)).all()
    assert ((itl_ms >= 450) & (itl_ms < 900)).all()


def test_frames_cut_anywhere_and_frames_glued_together():
    whole = ROLE + token() * 4 + FINISH + DONE

    async def cut(request, writer):
        raw = HEAD + b"".join(chunk(whole[i : i + 7]) for i in range(0, len(whole), 7))
        raw += b"0\r\n\r\n"
        size = 11 if request.index == 0 else len(raw)
        for start in range(0, len(raw), size):
            writer.write(raw[start : start + size])
            await writer.drain()
            await asyncio.sleep(0)

    result, _, _ = load(workload(0, 1), cut)
    assert result.tokens.tolist() == [4, 4]
    assert result.table.completed.all()


async def status_503(request, writer):
    body = b'{"error":{"message":"busy"}}'
    writer.write(b"HTTP/1.1 503 X\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


async def status_400(request, writer):
    writer.write(b"HTTP/1.1 400 X\r\nContent-Length: 3\r\n\r\nbad")


async def error_in_stream(request, writer):
    error = b'data: {"error":{"message":"worker lost"}}\n\n'
    writer.write(HEAD + chunk(token()) + chunk(error))
    await writer.drain()
    writer.close()


async def drop_after_token(request, writer):
    writer.write(HEAD + chunk(token()))
    await writer.drain()
    writer.transport.abort()


async def drop_at_once(request, writer):
    writer.transport.abort()


async def too_few(request, writer):
    writer.write(HEAD + chunk(token() * 3 + FINISH + DONE) + b"0\r\n\r\n")


async def too_many(request, writer):
    writer.write(HEAD + chunk(token() * 5 + FINISH + DONE) + b"0\r\n\r\n")


async def no_done(request, writer):
    writer.write(HEAD + chunk(token() * 4 + FINISH) + b"0\r\n\r\n")


async def nonsense(request, writer):
    writer.write(b"SSH-2.0-nonsense\r\n\r\n")
    await writer.drain()


@pytest.mark.parametrize(
    ("script", "status", "reason", "example", "tokens"),
    [
        (status_503, "failed", "http 503", "busy", 0),
        (status_400, "rejected", "http 400", "http 400: bad", 0),
        (error_in_stream, "failed", "error in stream", "error in stream: worker lost", 1),
        (drop_after_token, "failed", "disconnected", "disconnected", 1),
        (drop_at_once, "failed", "disconnected", "disconnected", 0),
        (too_few, "failed", "too few tokens", "too few tokens: 3 instead of 4", 3),
        (too_many, "failed", "too many tokens", "too many tokens: 5 instead of 4", 5),
        (no_done, "failed", "stream without [DONE]", "stream without [DONE]", 4),
        (nonsense, "failed", "bad response", "bad response: ", 0),
    ],
)
def test_failures_by_reason(script, status, reason, example, tokens):
    async def first_fails(request, writer):
        await (script if request.index == 0 else answer)(request, writer)

    result, _, still_open = load(workload(0, 30), first_fails)
    assert result.table.status.tolist() == [status, "completed"]
    assert result.failures == {reason: 1}
    assert example in result.examples[reason]
    assert result.tokens.tolist() == [tokens, 4]
    assert result.table.finish_ns[0] == -1
    assert (result.table.first_token_ns[0] >= 0) == (tokens > 0)
    assert np.isnan(result.table.e2e_ms[0])
    assert still_open == 0


def test_an_error_answer_keeps_the_connection():
    async def alternate(request, writer):
        await (status_503 if request.index % 2 else answer)(request, writer)

    result, log, _ = load(workload(0, 30, 60), alternate)
    assert result.table.status.tolist() == ["completed", "failed", "completed"]
    assert log.connections == 1


def test_a_stream_without_length_that_ends_by_closing_is_complete():
    async def close_delimited(request, writer):
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + token() * 4 + DONE)
        await writer.drain()
        writer.close()

    result, log, _ = load(workload(0, 30), close_delimited)
    assert result.table.completed.all()
    assert log.connections == 2


def test_nobody_listens():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    target = LoadTarget(base_url=f"http://127.0.0.1:{port}", model="m")
    result = asyncio.run(
        run_load(target, workload(0, 1), speed=1.0, clock=WallClock(), timeout_s=5.0)
    )
    assert result.table.status.tolist() == ["failed", "failed"]
    assert result.failures == {"connection refused": 2}
    assert result.tokens_received == 0


def test_timeouts_leave_a_request_unfinished_and_close_its_socket():
    async def hang(request, writer):
        writer.write(HEAD + chunk(token()))
        await writer.drain()
        await asyncio.sleep(3600 if request.index == 0 else 0)
        writer.write(chunk(token() * 3 + DONE) + b"0\r\n\r\n")

    async def run():
        async with serving(hang) as log:
            target = LoadTarget(base_url=log.base_url, model="m")
            result = await run_load(
                target, workload(0, 1), speed=10.0, clock=WallClock(), timeout_s=2.0
            )
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
            return result

    result = asyncio.run(run())
    assert result.table.status.tolist() == ["unfinished", "completed"]
    assert result.failures == {"timeout": 1}
    assert result.tokens.tolist() == [1, 4]


def test_cancelling_closes_every_socket_and_thaws_the_collector():
    async def run():
        started = asyncio.Event()

        async def hang(request, writer):
            if request.index == 2:
                started.set()
            await writer.wait_closed()

        async with serving(hang) as log:
            target = LoadTarget(base_url=log.base_url, model="m")
            task = asyncio.create_task(
                run_load(
                    target,
                    workload(0, 1, 2, 60_000),
                    speed=1.0,
                    clock=WallClock(),
                    timeout_s=600.0,
                    progress=lambda _: None,
                )
            )
            await started.wait()
            assert log.open == 3
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            for other in asyncio.all_tasks() - {asyncio.current_task()}:
                other.cancel()
            await asyncio.sleep(0.01)
            return log.open

    assert asyncio.run(run()) == 0
    assert gc.get_freeze_count() == 0


def test_progress_ends_with_everything_counted():
    seen = []
    load(workload(0, 10, 20), progress=seen.append)
    assert len(seen) >= 2
    assert (seen[-1].total, seen[-1].sent, seen[-1].ended, seen[-1].completed) == (3, 3, 3, 3)
    assert seen[0].ended == 0


def test_the_start_may_be_given_and_being_late_for_it_is_recorded():
    async def run():
        clock = WallClock()
        async with serving() as log:
            target = LoadTarget(base_url=log.base_url, model="m")
            return await run_load(
                target,
                workload(0, 100),
                speed=1.0,
                clock=clock,
                timeout_s=10.0,
                start_ns=clock.now_ns() - 70 * NS_PER_MS,
            )

    result = asyncio.run(run())
    assert result.table.completed.all()
    assert result.dispatch_delay_ns[0] >= 70 * NS_PER_MS
    assert result.table.ttft_ms[0] >= 70.0
    assert result.table.ttft_ms[1] < 70.0
    assert result.saturated


@pytest.mark.parametrize(("speed", "timeout_s"), [(0.0, 1.0), (-1.0, 1.0), (1.0, 0.0)])
def test_senseless_settings_are_refused(speed, timeout_s):
    target = LoadTarget(base_url="http://h", model="m")
    with pytest.raises(InputError, match="out of range"):
        asyncio.run(
            run_load(target, workload(0), speed=speed, clock=WallClock(), timeout_s=timeout_s)
        )


def recorded(delays_ms, ttft_ms, speed=1.0):
    recorder = LoadRecorder(workload(*[0] * len(delays_ms)), speed)
    recorder.start_ns = 1_000
    for index, delay_ms in enumerate(delays_ms):
        recorder.on_sent(index, 1_000 + round(delay_ms * NS_PER_MS))
        at_ns = 1_000 + round(ttft_ms * NS_PER_MS)
        recorder.on_end(index, RequestStatus.COMPLETED, (4, at_ns, at_ns), "")
    return recorder.result()


def test_twenty_milliseconds_late_saturate_a_fast_server():
    assert not recorded([20.0] * 3, ttft_ms=30.0).saturated
    late = recorded([20.1] * 3, ttft_ms=30.0)
    assert late.saturated
    assert late.dispatch_limit_ns == DISPATCH_LIMIT_NS_MIN
    assert late.dispatch_delay_ms_p99 == pytest.approx(20.1)


def test_a_slow_server_allows_five_percent_of_its_median_ttft():
    assert not recorded([49.0] * 3, ttft_ms=1000.0).saturated
    assert recorded([51.0] * 3, ttft_ms=1000.0).saturated


def test_the_limit_is_on_the_wall_clock():
    result = recorded([30.0] * 3, ttft_ms=100.0, speed=10.0)
    assert result.table.ttft_ms.tolist() == [1000.0] * 3
    assert result.dispatch_limit_ns == DISPATCH_LIMIT_NS_MIN
    assert result.saturated


def test_a_client_that_cannot_keep_up_says_so():
    async def blocks_the_loop(request, writer):
        if request.index == 0:
            clock = WallClock()
            until_ns = clock.now_ns() + 60 * NS_PER_MS
            while clock.now_ns() < until_ns:
                pass
        await answer(request, writer)

    # On a busy machine the first request is answered late: others are still to come then.
    result, _, _ = load(workload(*range(0, 500, 5)), blocks_the_loop)
    assert result.table.completed.all()
    assert result.saturated
    assert result.dispatch_delay_ns.max() > 30 * NS_PER_MS
