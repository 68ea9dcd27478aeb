import gzip
import time
from pathlib import Path

import numpy as np
import pytest

from contracts.errors import InputError
from contracts.workload import PromptText
from simcore.simulation import simulate
from simcore.workload import (
    parse_azure,
    parse_burstgpt,
    parse_csv,
    parse_jsonl,
    parse_mooncake,
    parse_servegen,
)

GOOD = '{"timestamp": 1000, "input_length": 10, "output_length": 2, "hash_ids": [1]}'


def test_mooncake_lines() -> None:
    later = GOOD.replace("1000", "3500")
    workload = parse_mooncake([GOOD, "", later, later], source="t", limit=2, speed=2.0)
    assert workload.arrival_ns.tolist() == [0, 1_250_000_000]
    assert workload.isl.tolist() == [10, 10]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{broken", "line 2: not a JSON object"),
        ("[1]", "line 2: not a JSON object"),
        ('{"timestamp": 1, "input_length": 3}', "line 2: output_length must be a number"),
        (GOOD.replace("10,", "0,"), "line 2: lengths must be at least one token"),
        (GOOD.replace("1000", "999"), "line 2: timestamps must not decrease"),
    ],
)
def test_bad_mooncake_lines_are_named(line, message) -> None:
    with pytest.raises(InputError, match=message):
        parse_mooncake([GOOD, line], source="t")


def test_azure_lines() -> None:
    lines = [
        "TIMESTAMP,ContextTokens,GeneratedTokens",
        "2023-11-16 18:17:03.9799600,4808,10",
        "2023-11-16 18:17:04.0319600,110,27",
    ]
    workload = parse_azure(lines, source="t")
    assert workload.arrival_ns.tolist() == [0, 52_000_000]
    assert workload.osl.tolist() == [10, 27]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["A,B"], "columns are missing"),
        (["TIMESTAMP,ContextTokens,GeneratedTokens"], "no requests"),
        (["TIMESTAMP,ContextTokens,GeneratedTokens", "noon,1,1"], "line 2: malformed TIMESTAMP"),
        (["TIMESTAMP,ContextTokens,GeneratedTokens", "2023-01-01,1"], "line 2: malformed line"),
        ([], "columns are missing"),
    ],
)
def test_bad_azure_lines_are_named(lines, message) -> None:
    with pytest.raises(InputError, match=message):
        parse_azure(lines, source="t")


def test_mooncake_ids_become_the_text_of_the_prompt() -> None:
    lines = [
        '{"timestamp": 0, "input_length": 1100, "output_length": 5, "hash_ids": [4, 7, 9]}',
        '{"timestamp": 0, "input_length": 1024, "output_length": 5, "hash_ids": [4, 7]}',
        '{"timestamp": 5, "input_length": 9, "output_length": 5}',
    ]
    workload = parse_mooncake(lines, source="t")
    assert workload.texts == (
        PromptText((4, 7, 9), (512, 1024, 1100)),
        PromptText((4, 7), (512, 1024)),
        None,
    )
    assert parse_mooncake([GOOD], source="t", block_tokens=16).texts == (PromptText((1,), (10,)),)
    assert parse_mooncake(lines[2:], source="t").texts is None
    assert parse_mooncake([GOOD.replace("[1]", "[]")], source="t").texts is None


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (GOOD.replace("[1]", "[1, 2]"), "line 2: hash_ids must have one id for each 512 tokens"),
        (GOOD.replace("[1]", "[-1]"), "line 2: hash_ids must not be negative"),
        (GOOD.replace("[1]", "[1.5]"), "line 2: hash_ids must be a list of whole numbers"),
        (GOOD.replace("[1]", '"x"'), "line 2: hash_ids must be a list of whole numbers"),
        (GOOD.replace("10,", "-3,"), "line 2: lengths must be at least one token"),
        (GOOD.replace("10,", "10.5,"), "line 2: input_length must be a whole number"),
        (GOOD.replace("10,", "1e30,"), "line 2: "),
        (GOOD.replace("1000", "NaN"), "line 2: timestamp must be finite"),
        (GOOD.replace("1000", "Infinity"), "line 2: timestamp must be finite"),
        (GOOD.replace("1000", "1e300"), "line 2: the timestamp is impossible"),
        (GOOD.replace('"hash_ids"', '"hashes"'), r"line 2: unknown keys \(got hashes\)"),
    ],
)
def test_wrong_mooncake_fields_are_named(line, message) -> None:
    with pytest.raises(InputError, match=message):
        parse_mooncake([GOOD, line], source="t")


@pytest.mark.parametrize("parse", [parse_mooncake, parse_jsonl])
@pytest.mark.parametrize("lines", [[], ["", "  "]])
def test_an_empty_trace_is_an_error(parse, lines) -> None:
    with pytest.raises(InputError, match=r"t: line 1: the trace has no requests"):
        parse(lines, source="t")


@pytest.mark.parametrize("speed", [0.0, -1.0, float("nan"), float("inf")])
def test_an_impossible_speed_is_refused(speed) -> None:
    with pytest.raises(InputError, match="speed"):
        parse_mooncake([GOOD], source="t", speed=speed)


def test_an_impossible_limit_or_block_is_refused() -> None:
    with pytest.raises(InputError, match="limit"):
        parse_mooncake([GOOD], source="t", limit=0)
    with pytest.raises(InputError, match="block_tokens"):
        parse_mooncake([GOOD], source="t", block_tokens=0)


SERVEGEN = "arrival_s,client_id,input_tokens,output_tokens,reason_ratio"


def test_servegen_lines() -> None:
    workload = parse_servegen([SERVEGEN, "0.5,54,168,100,0.75", "2.0,60,352,611,"], source="t")
    assert workload.arrival_ns.tolist() == [0, 1_500_000_000]
    assert workload.isl.tolist() == [168, 352]
    assert workload.reasoning_tokens.tolist() == [75, 0]
    assert parse_servegen([SERVEGEN, "2.0,60,352,611,"], source="t").reasoning_tokens is None


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([SERVEGEN + ",extra", "1,1,1,1,,2"], r"line 1: unknown columns \(got extra\)"),
        ([SERVEGEN.replace("client_id,", "")], "line 1: columns are missing"),
        ([SERVEGEN], "line 1: the trace has no requests"),
        ([SERVEGEN, "nan,1,1,1,"], "line 2: arrival_s must be finite"),
        ([SERVEGEN, "1,1,1,1,1.5"], "line 2: reason_ratio must lie between 0 and 1"),
        ([SERVEGEN, "1,1,1,1,", "", "0.5,1,1,1,"], "line 4: timestamps must not decrease"),
        ([SERVEGEN, "1,1,0,1,"], "line 2: lengths must be at least one token"),
        ([SERVEGEN, "1,1,x,1,"], "line 2: input_tokens must be a number"),
        ([SERVEGEN, "1,1,1"], "line 2: malformed line"),
    ],
)
def test_bad_servegen_lines_are_named(lines, message) -> None:
    with pytest.raises(InputError, match=message):
        parse_servegen(lines, source="t")


def test_csv_and_jsonl_say_the_same() -> None:
    header = "timestamp_ms,isl,osl,session,priority,adapter,hash_ids"
    table = parse_csv(
        [header, "100,600,5,3,1,sql,8 9", "350.5,20,6,,,,"], source="t", block_tokens=512
    )
    objects = parse_jsonl(
        [
            '{"arrival_s": 0.1, "isl": 600, "osl": 5, "session": 3, "priority": 1, '
            '"adapter": "sql", "hash_ids": [8, 9]}',
            '{"timestamp_ms": 350.5, "isl": 20, "osl": 6}',
        ],
        source="t",
    )
    assert list(table.requests()) == list(objects.requests())
    first, second = table.requests()
    assert first.text == PromptText((8, 9), (512, 600))
    assert (first.session, first.priority, first.adapter) == (3, 1, "sql")
    assert second.arrival_ns == 250_500_000
    assert (second.text, second.session, second.priority, second.adapter) == (None, -1, 0, "")


def test_a_plain_csv_has_no_columns_that_nobody_gave() -> None:
    workload = parse_csv(["arrival_s,isl,osl", "0,5,5"], source="t")
    assert workload.texts is None
    assert workload.sessions is None
    assert workload.adapters is None
    assert workload.priority is None


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["arrival_s,isl,osl,colour", "0,1,1,red"], "line 1: unknown columns"),
        (["arrival_s,isl,isl,osl"], "line 1: a column is given twice"),
        (["isl,osl", "1,1"], "line 2: needs either arrival_s or timestamp_ms"),
        (["arrival_s,timestamp_ms,isl,osl", "1,1,1,1"], "line 2: needs either"),
        (["arrival_s,isl,osl", "inf,1,1"], "line 2: arrival_s must be finite"),
        (["arrival_s,isl,osl", ",1,1"], "line 2: arrival_s must be a number"),
        (["arrival_s,isl,osl", "0,-1,1"], "line 2: lengths must be at least one token"),
        (["arrival_s,isl,osl", "0,1"], "line 2: malformed line"),
        (["arrival_s,isl,osl,session", "0,1,1,-4"], "line 2: session must not be negative"),
        (["arrival_s,isl,osl,hash_ids", "0,1,1,a"], "line 2: hash_ids must be whole numbers"),
        (["arrival_s,isl,osl", '0,1,"' + "1" * 140_000 + '"'], "line 2: not a CSV line"),
    ],
)
def test_bad_csv_lines_are_named(lines, message) -> None:
    with pytest.raises(InputError, match=message):
        parse_csv(lines, source="t")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"arrival_s": 0, "isl": 1, "osl": 1, "user": 3}', "line 1: unknown keys"),
        ('{"arrival_s": 0, "isl": 1, "osl": null}', "line 1: osl must be a number"),
        ('{"arrival_s": true, "isl": 1, "osl": 1}', "line 1: arrival_s must be a number"),
        ('{"arrival_s": 0, "isl": 1, "osl": 1, "adapter": 5}', "line 1: adapter must be text"),
    ],
)
def test_bad_jsonl_lines_are_named(line, message) -> None:
    with pytest.raises(InputError, match=message):
        parse_jsonl([line], source="t")


def test_a_prompt_beyond_the_context_is_a_rejected_row(make_agg_plan) -> None:
    lines = ["arrival_s,isl,osl", "0,200000,5", "1,100,5"]
    table = simulate(make_agg_plan(1), parse_csv(lines, source="t")).table
    assert table.status.tolist() == ["rejected", "completed"]
    assert table.first_token_ns[0] == -1


TRACES = Path(__file__).parents[4] / "shared" / "data" / "traces"


@pytest.mark.slow
@pytest.mark.skipif(not TRACES.is_dir(), reason=f"no real traces at {TRACES}")
@pytest.mark.parametrize(
    ("name", "parse", "requests"),
    [
        ("azure_llm_2023_conv.csv.gz", parse_azure, 19_366),
        ("mooncake_fast25_conversation.jsonl.gz", parse_mooncake, 12_031),
        ("servegen_sampled/deepseek-r1_1h_4rps.csv.gz", parse_servegen, 14_508),
    ],
)
def test_real_traces_run_through_the_simulator(name, parse, requests, make_agg_plan) -> None:
    with gzip.open(TRACES / name, "rt") as lines:
        workload = parse(lines, source=name)
    assert len(workload) == requests
    table = simulate(make_agg_plan(8), workload).table
    ended = np.isin(table.status, ["completed", "rejected"])
    assert len(table) == requests
    assert ended.all()
    assert table.completed.mean() > 0.99


@pytest.mark.skipif(not TRACES.is_dir(), reason=f"no real traces at {TRACES}")
def test_the_mooncake_trace_shares_what_its_authors_say() -> None:
    with gzip.open(TRACES / "mooncake_fast25_conversation.jsonl.gz", "rt") as lines:
        texts = list(lines)
    before_s = time.process_time()
    workload = parse_mooncake(texts, source="mooncake")
    cpu_s = time.process_time() - before_s
    seen: set[int] = set()
    hits = total = 0
    for text in workload.texts:
        total += len(text.ids)
        hits += sum(text_id in seen for text_id in text.ids)
        seen.update(text.ids)
    assert hits / total == pytest.approx(0.366, abs=0.001)
    assert cpu_s < 3.0, "an order of magnitude above what parsing takes"


BURSTGPT = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"


def test_burstgpt_leaves_out_failed_requests_and_says_so() -> None:
    text = BURSTGPT + "5.5,GPT-4,10,20,30,API log\n6,GPT-4,7,0,7,API log\n7.5,ChatGPT,8,9,17,x\n"
    workload = parse_burstgpt(text.splitlines(), source="b.csv", speed=2.0)
    assert workload.arrival_ns.tolist() == [0, 1_000_000_000]
    assert (workload.isl.tolist(), workload.osl.tolist()) == ([10, 8], [20, 9])
    assert workload.source == "b.csv, 1 failed requests of the trace left out"
    with pytest.raises(InputError, match="line 3: timestamps must not decrease"):
        parse_burstgpt((BURSTGPT + "5,m,1,1,2,x\n4,m,1,1,2,x\n").splitlines(), source="b.csv")
