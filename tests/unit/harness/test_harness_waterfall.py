"""The slowest requests, and why two rungs differ, in the report."""

from __future__ import annotations

import re

import numpy as np
from test_harness_compare import changed, folder
from test_harness_judge import run

from harness.report.views import cause_rows
from harness.report.waterfall import slowest, waterfall


def test_the_slowest_come_first_and_those_that_failed_before_them() -> None:
    one = run([50.0, 900.0, 70.0, 60.0], failed=1)
    bars = slowest(one, count=3)
    assert [bar.label.split(" at ")[0] for bar in bars] == ["3", "1", "2"]
    assert (bars[0].completed, bars[0].first_s, bars[0].end_s) == (False, None, 4.0)
    assert bars[0].label == "3 at 3.0 s: 10 in, 11 out, failed"
    assert (bars[1].arrival_s, bars[1].first_s) == (1.0, 1.9)


def test_retries_and_preemptions_are_noted() -> None:
    one = changed(run([50.0]), retries=np.array([2]), preemptions=np.array([1]))
    assert slowest(one)[0].label.endswith("11 out, retried 2 x, preempted 1 x")


def test_the_chart_has_a_bar_for_each_and_is_always_the_same() -> None:
    one = run([50.0, 60.0], failed=1)
    svg = str(waterfall(one))
    assert svg == str(waterfall(one))
    assert len(re.findall(r"in, 11 out", svg)) == 2
    assert waterfall(run([])) is None


def test_causes_of_a_difference_between_rungs(tmp_path) -> None:
    slower = run([60.0, 50.0], rung="mock")
    rows = cause_rows(folder(tmp_path, run([50.0, 50.0]), slower))
    assert rows[0] == {
        "rungs": "sim -> mock",
        "figure": "TTFT mean",
        "cause": "the same circumstances",
        "requests": "2",
        "share": "+5 ms",
    }
