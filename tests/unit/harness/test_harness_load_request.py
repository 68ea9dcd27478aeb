import json

import pytest

from contracts.errors import InputError
from profiler.load.request import RequestFactory, parse_endpoint


def parse(head, body):
    lines = head.decode().split("\r\n")
    assert lines[-2:] == ["", ""]
    headers = dict(line.split(": ", 1) for line in lines[1:-2])
    assert int(headers["Content-Length"]) == len(body)
    return lines[0], headers, json.loads(body)


@pytest.mark.parametrize("isl", [1, 2, 17, 4000])
def test_the_prompt_has_exactly_isl_words(isl):
    factory = RequestFactory(parse_endpoint("http://127.0.0.1:8000"), "org/m", 4000)
    line, headers, body = parse(*factory.build(5, isl, 20))
    assert line == "POST /v1/chat/completions HTTP/1.1"
    assert headers["Host"] == "127.0.0.1:8000"
    assert headers["x-request-id"] == "load-5"
    assert len(body["messages"][0]["content"].split()) == isl
    assert body["messages"][0]["role"] == "user"
    assert {k: body[k] for k in ("model", "stream", "max_tokens", "ignore_eos")} == {
        "model": "org/m",
        "stream": True,
        "max_tokens": 20,
        "ignore_eos": True,
    }


def test_no_two_prompts_share_their_first_word():
    factory = RequestFactory(parse_endpoint("http://h"), "m", 10)
    bodies = [json.loads(factory.build(i, 3, 1)[1]) for i in range(20)]
    firsts = {body["messages"][0]["content"].split()[0] for body in bodies}
    assert len(firsts) == 20


def test_a_model_name_is_escaped():
    factory = RequestFactory(parse_endpoint("http://h"), 'a"b', 1)
    assert json.loads(factory.build(0, 1, 1)[1])["model"] == 'a"b'


@pytest.mark.parametrize(
    ("url", "host", "port", "path", "authority"),
    [
        ("http://h", "h", 80, "/v1/chat/completions", "h"),
        ("http://h:81/", "h", 81, "/v1/chat/completions", "h:81"),
        ("http://h:81/v1", "h", 81, "/v1/chat/completions", "h:81"),
        ("http://h/x/v1/", "h", 80, "/x/v1/chat/completions", "h"),
        ("http://[::1]:9", "::1", 9, "/v1/chat/completions", "[::1]:9"),
    ],
)
def test_endpoints(url, host, port, path, authority):
    endpoint = parse_endpoint(url)
    assert (endpoint.host, endpoint.port) == (host, port)
    assert (endpoint.path, endpoint.authority) == (path, authority)


@pytest.mark.parametrize("url", ["https://h", "h:80", "http://", "http://h?x=1", "http://h:99999"])
def test_unusable_urls_are_refused(url):
    with pytest.raises(InputError, match="base_url"):
        parse_endpoint(url)
