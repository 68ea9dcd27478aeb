import itertools
import json

import pytest
from harness_sse_server import DONE, FINISH, ROLE, USAGE, token
from hypothesis import given
from hypothesis import strategies as st

from profiler.load.stream import LINE_BYTES_MAX, SseStream

WHOLE = ROLE + token() + token(" king") + token(" end") + FINISH + USAGE + DONE


def test_counts_content_chunks_and_their_instants():
    stream = SseStream()
    for at_ns, part in enumerate((ROLE, token(), token(" king"), FINISH, USAGE, DONE)):
        stream.feed(part, at_ns)
    assert (stream.tokens, stream.first_ns, stream.last_ns) == (2, 1, 2)
    assert stream.done
    assert stream.error is None


def test_role_finish_and_usage_chunks_are_not_tokens():
    stream = SseStream()
    stream.feed(ROLE + FINISH + USAGE + DONE, 7)
    assert (stream.tokens, stream.first_ns, stream.last_ns) == (0, -1, -1)


@given(cuts=st.lists(st.integers(0, len(WHOLE)), max_size=12))
def test_cuts_between_reads_change_nothing(cuts):
    stream = SseStream()
    edges = [0, *sorted(cuts), len(WHOLE)]
    for at_ns, (start, end) in enumerate(itertools.pairwise(edges)):
        stream.feed(WHOLE[start:end], at_ns)
    assert stream.tokens == 3
    assert stream.done
    assert stream.error is None
    assert 0 <= stream.first_ns <= stream.last_ns


def test_a_frame_counts_when_its_last_byte_arrives():
    stream = SseStream()
    stream.feed(token()[:-2], 1)
    assert stream.tokens == 0
    stream.feed(b"\n\n", 2)
    assert (stream.tokens, stream.first_ns) == (1, 2)


def test_crlf_comments_and_event_lines():
    stream = SseStream()
    stream.feed(b": ping\r\n\r\nevent: message\r\n" + token().replace(b"\n", b"\r\n"), 1)
    stream.feed(b"data: [DONE]\r\n\r\n", 2)
    assert (stream.tokens, stream.done, stream.error) == (1, True, None)


def test_spaced_json_and_reasoning_text_count():
    stream = SseStream()
    chunk = {"choices": [{"delta": {"content": "a"}}]}
    stream.feed(f"data: {json.dumps(chunk)}\n\n".encode(), 1)
    stream.feed(b'data: {"choices":[{"delta":{"reasoning_content":"hm","content":null}}]}\n\n', 2)
    assert stream.tokens == 2


def test_a_quoted_key_inside_the_text_is_not_a_second_token():
    stream = SseStream()
    stream.feed(token('"content":"x"'), 1)
    assert stream.tokens == 1
    stream.feed(ROLE.replace(b"assistant", b'a\\"content\\":\\"x'), 2)
    assert stream.tokens == 1


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b'{"error":{"message":"boom","type":"server_error"}}', "boom"),
        (b'{"error":"plain"}', "plain"),
        (b'{"message":"gone","type":"Internal","code":500}', "gone"),
        (b"{broken", "not JSON: {broken"),
        (b"[1]", "not an object: [1]"),
    ],
)
def test_errors_in_the_stream_are_kept(payload, message):
    stream = SseStream()
    stream.feed(token() + b"data: " + payload + b"\n\n" + token(), 1)
    assert stream.error == message
    assert stream.tokens == 2


def test_an_endless_line_is_an_error_and_not_kept():
    stream = SseStream()
    stream.feed(b"x" * (LINE_BYTES_MAX + 1), 1)
    assert stream.error == f"a line of more than {LINE_BYTES_MAX} bytes"
