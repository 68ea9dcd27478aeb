import json

import pytest

from mocker.api.errors import ApiError
from mocker.api.frames import FrameEncoder, TokenLabels, chunk_head, closing, usage, whole_answer
from mocker.api.prompts import PromptReader
from mocker.api.requests import NATURAL_ANSWER_TOKENS, parse_generation
from mocker.api.wording import Author
from mocker.text.words import WordTokenizer

WORDS = WordTokenizer()
READER = PromptReader(WORDS)
CHAT = {"model": "m", "messages": [{"role": "user", "content": "one two three"}]}


def parse(chat: bool = True, **changes):
    base = CHAT if chat else {"model": "m", "prompt": "one two three"}
    return parse_generation(json.dumps({**base, **changes}).encode(), READER, chat=chat)


def word(request, *, seed=0, choice=0, context_tokens=10_000):
    return Author(WORDS, seed, context_tokens).write(request, request.prompts[0], choice)


def test_every_token_is_one_word_and_the_text_is_deterministic() -> None:
    tokens, author = WORDS.cycle, Author(WORDS, 0, 10_000)
    assert all(WORDS.count(token) == 1 and token.startswith(" ") for token in tokens)
    assert len(set(tokens)) == len(tokens)
    assert WORDS.count(author.text(5, 1000)) == 1000
    assert author.text(5, 20) == author.text(5, 20) != author.text(6, 20)
    assert author.text(5, 20).startswith(author.text(5, 10))


@pytest.mark.parametrize(
    ("content", "tokens"),
    [("a b c", 3), ("", 1), (None, 1), ([{"type": "text", "text": "a b"}, {"type": "image"}], 2)],
)
def test_chat_prompts_are_counted_in_words(content, tokens) -> None:
    assert parse(messages=[{"role": "user", "content": content}]).prompts[0].isl == tokens


@pytest.mark.parametrize(
    ("prompt", "tokens"), [("a b c d", 4), ([7, 8, 9], 3), (["a b"], 2), ([[1, 2, 3, 4]], 4)]
)
def test_plain_prompts(prompt, tokens) -> None:
    assert parse(chat=False, prompt=prompt).prompts[0].isl == tokens


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
        ({"n": 999}, "n"),
        ({"best_of": 1, "n": 2}, "best_of"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": 2}, "top_p"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"stop_token_ids": ["a"]}, "stop_token_ids"),
        ({"min_tokens": 9, "max_tokens": 3}, "min_tokens"),
        ({"tools": [{}]}, "tools"),
        ({"tools": {}}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"response_format": {"type": "poem"}}, "response_format"),
        ({"messages": [{"role": "user", "tool_calls": 3}]}, "messages"),
        ({"messages": [{"role": "user", "tool_calls": [{}]}]}, "messages"),
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


@pytest.mark.parametrize("prompt", [None, "", [], [1, "a"], ["a", ""], [True], {"a": 1}, [[]]])
def test_bad_prompts_are_refused(prompt) -> None:
    with pytest.raises(ApiError) as caught:
        parse(chat=False, prompt=prompt)
    assert (caught.value.status, caught.value.param) == (400, "prompt")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b"3", b"[" * 100_000])
def test_bodies_that_are_no_object(body) -> None:
    with pytest.raises(ApiError) as caught:
        parse_generation(body, READER, chat=True)
    assert caught.value.status == 400
    assert set(caught.value.body()["error"]) == {"message", "type", "param", "code"}


def test_length_of_the_answer() -> None:
    assert word(parse(max_tokens=7), context_tokens=100).generated == 7
    natural = word(parse())
    assert (natural.generated, natural.reason) == (NATURAL_ANSWER_TOKENS, "stop")
    assert word(parse(), context_tokens=10).generated == 7
    assert word(parse(ignore_eos=True), context_tokens=900).generated == 897
    assert word(parse(min_tokens=300)).generated == 300
    for request in (parse(max_tokens=8), parse(messages=[{"role": "user", "content": "a " * 10}])):
        with pytest.raises(ApiError, match="maximum context length is 10 tokens"):
            word(request, context_tokens=10)


def test_stop_strings_end_the_answer_and_are_not_shown() -> None:
    plain = word(parse(max_tokens=50), seed=3)
    words = plain.text.split()
    stopped = word(parse(max_tokens=50, stop=f" {words[4]}"), seed=3)
    assert stopped.text.split() == words[:4]
    assert (stopped.generated, stopped.shown, stopped.reason) == (5, 4, "stop")
    late = word(parse(max_tokens=50, stop=[f" {words[4]}", " never"], min_tokens=9), seed=3)
    assert late.generated == 50
    inside = word(parse(max_tokens=50, stop=words[4][1:]), seed=3)
    assert plain.text.startswith(inside.text)
    assert "".join(inside.pieces[: inside.shown]) == inside.text
    ids = WORDS.encode(words[6])
    by_id = word(parse(max_tokens=50, stop_token_ids=ids), seed=3)
    assert by_id.text.split() == words[: words.index(words[6])]


def test_the_seed_and_the_prompt_choose_the_text() -> None:
    first, same = word(parse(seed=1)).text, word(parse(seed=1)).text
    assert first == same
    assert first != word(parse(seed=2)).text
    other = parse(messages=[{"role": "user", "content": "one two four"}])
    assert word(parse()).text != word(other).text


def chunks(stream: bytes) -> list[dict]:
    parts = stream.decode().split("\n\n")
    assert parts[-1] == ""
    return [json.loads(part.removeprefix("data: ")) for part in parts[:-1] if "[DONE]" not in part]


def encoder(request, *, seed=0):
    author = Author(WORDS, seed, 10_000)
    wording = author.write(request, request.prompts[0], 0)
    return FrameEncoder(request, "id-1", 7, 0, wording, TokenLabels(author)), wording


def test_stream_in_the_documented_order() -> None:
    request = parse(stream=True, stream_options={"include_usage": True}, max_tokens=2)
    frames, wording = encoder(request)
    head = chunk_head(request, "id-1", 7)
    stream = frames.opening() + frames.tokens(0, 2) + frames.finish(2)
    stream += closing(request, head, usage(3, 2, 1), None)
    assert stream.endswith(b"data: [DONE]\n\n")
    found = chunks(stream)
    assert found[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    said = "".join(chunk["choices"][0]["delta"]["content"] for chunk in found[1:3])
    assert said == Author(WORDS, 0, 99).text(wording.start, 2)
    assert found[3]["choices"][0] == {
        "index": 0, "delta": {}, "logprobs": None, "finish_reason": "length",
    }  # fmt: skip
    assert found[4]["choices"] == []
    assert found[4]["usage"]["total_tokens"] == 5
    assert found[4]["usage"]["prompt_tokens_details"] == {"cached_tokens": 1}
    assert {chunk["id"] for chunk in found} == {"id-1"}
    assert all(chunk["usage"] is None for chunk in found[:4])


def test_long_runs_of_tokens_are_the_same_as_single_ones() -> None:
    frames, wording = encoder(parse(stream=True, max_tokens=1000))
    together = frames.tokens(3, 700)
    assert together == b"".join(frames.tokens(at, at + 1) for at in range(3, 700))
    said = "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks(together))
    assert said.split() == Author(WORDS, 0, 9999).text(wording.start, 700).split()[3:]


def test_usage_is_sent_only_when_asked_for() -> None:
    request = parse(stream=True, stream_options={})
    quiet, _ = encoder(request)
    assert b"usage" not in quiet.opening() + quiet.tokens(0, 1)
    assert closing(request, b"", usage(1, 1), None) == b"data: [DONE]\n\n"
    options = {"include_usage": True, "continuous_usage_stats": True}
    chatty, _ = encoder(parse(stream=True, stream_options=options))
    counts = [chunk["usage"]["completion_tokens"] for chunk in chunks(chatty.tokens(0, 3))]
    assert counts == [1, 2, 3]


def whole(request, counts=None):
    author = Author(WORDS, 0, 10_000)
    wordings = [author.write(request, request.prompts[0], k) for k in range(request.choices)]
    return json.loads(whole_answer(request, "i", 1, wordings, counts or usage(3, 9), None))


def test_whole_answers_have_the_shape_of_their_endpoint() -> None:
    one, two = whole(parse(max_tokens=4)), whole(parse(max_tokens=4, n=2))
    assert one["choices"][0] == two["choices"][0], "the short cut says the same"
    assert one["object"] == "chat.completion"
    assert len(two["choices"][1]["message"]["content"].split()) == 4
    assert two["usage"]["completion_tokens"] == 9
    plain = whole(parse(chat=False, max_tokens=2, echo=True))
    assert plain["object"] == "text_completion"
    assert plain["choices"][0]["text"].startswith("one two three ")


def test_probabilities_of_tokens() -> None:
    shown = whole(parse(max_tokens=3, logprobs=True, top_logprobs=2))["choices"][0]["logprobs"]
    assert [len(entry["top_logprobs"]) for entry in shown["content"]] == [2, 2, 2]
    assert all(entry["logprob"] < 0 and entry["bytes"] for entry in shown["content"])
    plain = whole(parse(chat=False, max_tokens=3, logprobs=1))["choices"][0]
    assert "".join(plain["logprobs"]["tokens"]) == plain["text"]
    assert plain["logprobs"]["text_offset"][1] == len(plain["logprobs"]["tokens"][0])


SCHEMA = {
    "type": "object",
    "required": ["city", "days", "kind", "tags", "deep"],
    "properties": {
        "city": {"type": "string", "minLength": 12},
        "days": {"type": "integer", "minimum": 2},
        "kind": {"enum": ["sun", "rain"]},
        "tags": {"type": "array", "items": {"type": "boolean"}, "minItems": 2},
        "deep": {"$ref": "#/$defs/deep"},
        "unused": {"type": "null"},
    },
    "$defs": {"deep": {"anyOf": [{"type": "number"}, {"type": "null"}]}},
}


def test_answers_fit_their_schema_and_count_exactly() -> None:
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
    wording = word(parse(response_format=form))
    said = json.loads(wording.text)
    assert set(said) == set(SCHEMA["required"])
    assert (said["days"], said["kind"], said["tags"]) == (2, "sun", [True, True])
    assert len(said["city"]) >= 12
    assert WORDS.count(wording.text) == wording.generated
    assert isinstance(json.loads(word(parse(response_format={"type": "json_object"})).text), dict)
    cut = word(parse(response_format=form, max_tokens=3))
    assert (cut.generated, cut.reason) == (3, "length")


def test_tools_are_called_when_they_must_be() -> None:
    tools = [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}]
    assert parse(tools=tools).call is None
    assert parse(tools=tools, tool_choice="auto").call is None
    named = {"type": "function", "function": {"name": "weather"}}
    for choice in ("required", named):
        answer = whole(parse(tools=tools, tool_choice=choice))["choices"][0]
        assert answer["finish_reason"] == "tool_calls"
        call = answer["message"]["tool_calls"][0]
        assert call["function"]["name"] == "weather"
        assert "city" in json.loads(call["function"]["arguments"])
    with pytest.raises(ApiError, match="names no tool"):
        parse(tools=tools, tool_choice={"function": {"name": "other"}})
    frames, wording = encoder(parse(tools=tools, tool_choice="required", stream=True))
    found = chunks(frames.opening() + frames.tokens(0, wording.generated))
    calls = [chunk["choices"][0]["delta"]["tool_calls"][0] for chunk in found[1:]]
    assert calls[0]["id"]
    arguments = "".join(call["function"]["arguments"] for call in calls)
    assert json.loads(arguments)["days"] == 2
