import json

import pytest

from mocker.api.answer import word
from mocker.api.errors import ApiError
from mocker.api.frames import FrameEncoder, whole_answer
from mocker.api.requests import NATURAL_ANSWER_TOKENS, parse_completion
from mocker.text import TOKENS, answer, count_tokens, stop_at

CHAT = {"model": "m", "messages": [{"role": "user", "content": "one two three"}]}


def parse(chat: bool = True, **changes):
    base = CHAT if chat else {"model": "m", "prompt": "one two three"}
    return parse_completion(json.dumps({**base, **changes}).encode(), chat=chat)


def test_every_token_is_one_word_and_the_text_is_deterministic() -> None:
    assert all(count_tokens(token) == 1 and token.startswith(" ") for token in TOKENS)
    assert len(set(TOKENS)) == len(TOKENS)
    assert count_tokens(answer(5, 1000)) == 1000
    assert answer(5, 20) == answer(5, 20) != answer(6, 20)
    assert answer(5, 20).startswith(answer(5, 10))


@pytest.mark.parametrize(
    ("content", "tokens"),
    [("a b c", 3), ("", 1), (None, 1), ([{"type": "text", "text": "a b"}, {"type": "image"}], 2)],
)
def test_chat_prompts_are_counted_in_words(content, tokens) -> None:
    assert parse(messages=[{"role": "user", "content": content}]).isl == tokens


@pytest.mark.parametrize(
    ("prompt", "tokens"), [("a b c d", 4), ([7, 8, 9], 3), (["a b"], 2), ([[1, 2, 3, 4]], 4)]
)
def test_plain_prompts(prompt, tokens) -> None:
    assert parse(chat=False, prompt=prompt).isl == tokens


def test_defaults_and_unknown_keys() -> None:
    request = parse(ignore_eos=True, temperature=0.3, some_future_key={"x": 1})
    assert (request.max_tokens, request.choices, request.stream) == (None, 1, False)
    assert parse(max_completion_tokens=5, max_tokens=9).max_tokens == 5
    assert parse(chat=False, max_tokens=9).max_tokens == 9


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"model": None}, "model"),
        ({"model": 3}, "model"),
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": ["hi"]}, "messages"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages"),
        ({"messages": [{"role": "user", "content": [{"text": "x"}]}]}, "messages"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"n": 0}, "n"),
        ({"n": 99}, "n"),
        ({"min_tokens": -1}, "min_tokens"),
        ({"stop": [""]}, "stop"),
        ({"stop": 4}, "stop"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stream": True, "stream_options": [1]}, "stream_options"),
    ],
)
def test_bad_fields_are_named(changes, param) -> None:
    with pytest.raises(ApiError) as caught:
        parse(**changes)
    assert (caught.value.status, caught.value.param) == (400, param)


@pytest.mark.parametrize("prompt", [None, "", [], [1, "a"], ["a", "b"], [True], {"a": 1}])
def test_bad_prompts_are_refused(prompt) -> None:
    with pytest.raises(ApiError) as caught:
        parse(chat=False, prompt=prompt)
    assert (caught.value.status, caught.value.param) == (400, "prompt")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b"3", b"[" * 100_000])
def test_bodies_that_are_no_object(body) -> None:
    with pytest.raises(ApiError) as caught:
        parse_completion(body, chat=True)
    assert caught.value.status == 400
    assert set(caught.value.body()["error"]) == {"message", "type", "param", "code"}


def test_length_of_the_answer() -> None:
    assert word(parse(max_tokens=7), seed=0, choice=0, context_tokens=100).generated == 7
    natural = word(parse(), seed=0, choice=0, context_tokens=10_000)
    assert (natural.generated, natural.reason) == (NATURAL_ANSWER_TOKENS, "stop")
    assert word(parse(), seed=0, choice=0, context_tokens=10).generated == 7
    for request in (parse(max_tokens=8), parse(messages=[{"role": "user", "content": "a " * 10}])):
        with pytest.raises(ApiError, match="maximum context length is 10 tokens"):
            word(request, seed=0, choice=0, context_tokens=10)


def test_stop_strings_end_the_answer_and_are_not_shown() -> None:
    plain = word(parse(max_tokens=50), seed=3, choice=0, context_tokens=1000)
    words = plain.text.split()
    stopped = word(parse(max_tokens=50, stop=words[4]), seed=3, choice=0, context_tokens=1000)
    assert stopped.text.split() == words[:4]
    assert (stopped.generated, stopped.shown, stopped.reason) == (5, 4, "stop")
    late = parse(max_tokens=50, stop=words[4], min_tokens=9)
    assert word(late, seed=3, choice=0, context_tokens=1000).generated >= 9
    assert stop_at(plain.start, 50, ["never there"], 0) is None


def chunks(stream: bytes) -> list[dict]:
    parts = stream.decode().split("\n\n")
    assert parts[-1] == ""
    return [json.loads(part.removeprefix("data: ")) for part in parts[:-1] if "[DONE]" not in part]


def test_stream_in_the_documented_order() -> None:
    request = parse(stream=True, stream_options={"include_usage": True})
    encoder = FrameEncoder(request, "id-1", 7)
    stream = (
        encoder.role(0) + encoder.tokens(0, 5, 0, 2) + encoder.finish(0, "length", 2)
    ) + encoder.closing(2)
    assert stream.endswith(b"data: [DONE]\n\n")
    found = chunks(stream)
    assert found[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert "".join(chunk["choices"][0]["delta"]["content"] for chunk in found[1:3]) == answer(5, 2)
    assert found[3]["choices"][0] == {
        "index": 0, "delta": {}, "logprobs": None, "finish_reason": "length",
    }  # fmt: skip
    assert found[4]["choices"] == []
    assert found[4]["usage"]["total_tokens"] == 5
    assert {chunk["id"] for chunk in found} == {"id-1"}
    assert all(chunk["usage"] is None for chunk in found[:4])


def test_usage_is_sent_only_when_asked_for() -> None:
    quiet = FrameEncoder(parse(stream=True, stream_options={}), "i", 1)
    assert b"usage" not in quiet.role(0) + quiet.tokens(0, 0, 0, 1) + quiet.closing(1)
    options = {"include_usage": True, "continuous_usage_stats": True}
    chatty = FrameEncoder(parse(stream=True, stream_options=options), "i", 1)
    counts = [chunk["usage"]["completion_tokens"] for chunk in chunks(chatty.tokens(0, 0, 0, 3))]
    assert counts == [1, 2, 3]


def test_whole_answers_have_the_shape_of_their_endpoint() -> None:
    chat = json.loads(whole_answer(parse(), "i", 1, [("a b", "stop", 2), ("c", "length", 1)]))
    assert chat["choices"][1]["message"] == {"role": "assistant", "content": "c"}
    assert chat["usage"]["completion_tokens"] == 3
    plain = json.loads(whole_answer(parse(chat=False), "i", 1, [("a b", "stop", 2)]))
    assert (plain["object"], plain["choices"][0]["text"]) == ("text_completion", "a b")
