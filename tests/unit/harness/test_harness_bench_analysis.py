"""Judgement of benchmark rows: curves, paired intervals, regret, targets, files."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from harness.bench.analysis import (
    against_oracle,
    curves,
    paired,
    targets,
    upstream_reductions,
    with_regret,
)
from harness.bench.report import write_results
from harness.cli.app import app


def row(entrant: str, attainment: float, gpu_hours: float, **changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "workload": "ramp",
        "startup_s": 60.0,
        "fault": "none",
        "seed": 1,
        "entrant": entrant,
        "knob": 1.0,
        "default": True,
        "offered": 1000,
        "attainment": attainment,
        "gpu_hours": gpu_hours,
        "goodput_per_gpu_hour": 1000 * attainment / gpu_hours,
        "scaling_events": 4,
        "direction_changes_per_h": 2.0,
        "violation_minutes": 0.0,
        "recover_s": 0.0,
        "late_attainment": attainment,
        "held_ratio": 0.0,
        "blind_removals": 0,
    }
    return values | changes


def rows(*found: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame(found)


GOOD = rows(
    row("sla", 0.995, 11.0),
    row("sla", 0.97, 9.0, knob=1.2, default=False),
    row("oracle", 0.992, 10.0, knob=0.9),
    row("oracle", 0.999, 12.0, knob=0.8, default=False),
    row("static", 0.90, 12.0, knob=6.0),
    row("static", 0.999, 15.0, knob=7.0, default=False),
    row("upstream-latency", 0.90, 9.5),
    row("upstream-throughput", 0.50, 8.0),
)


def verdicts(frame: pd.DataFrame) -> list[bool | None]:
    return [found.met for found in targets(frame)]


def test_targets_are_met_by_good_rows_and_unknown_without_faults():
    assert verdicts(GOOD) == [True, True, True, True, None, None]


def test_too_dear_too_bad_or_too_nervous_is_not_met():
    dear = GOOD.copy()
    dear.loc[0, "gpu_hours"] = 17.0
    assert verdicts(dear)[:2] == [False, False]
    bad = GOOD.copy()
    bad.loc[0, "attainment"] = 0.98
    assert verdicts(bad)[0] is False
    nervous = GOOD.copy()
    nervous.loc[0, "direction_changes_per_h"] = 7.0
    assert verdicts(nervous)[3] is False


def test_faults_have_targets_of_their_own():
    frame = rows(
        row("sla", 0.9, 10.0, fault="stale-metrics", blind_removals=1),
        row("sla", 0.9, 10.0, fault="never-ready", late_attainment=0.97),
    )
    assert verdicts(frame) == [None, None, None, True, False, True]


def test_upstream_is_compared_at_equal_or_fewer_gpu_hours():
    points = curves(GOOD)
    ours = points[(points["entrant"] == "sla") & points["default"]]
    found = upstream_reductions(points, ours).iloc[0]
    assert found["upstream"] == "upstream-latency"
    # 3 % missed at 9 GPU-hours against 10 % at 9.5.
    assert found["reduction"] == pytest.approx(0.7)
    # Of 1000 requests 30.5 against 100.5.
    assert found["corrected"] == pytest.approx(1.0 - 30.5 / 100.5)
    dear = points[points["knob"] != 1.2]
    assert upstream_reductions(dear, ours).iloc[0]["reduction"] == 0.0


def test_where_upstream_misses_nobody_nothing_can_be_reduced():
    frame = rows(row("sla", 0.999, 9.0), row("upstream-latency", 1.0, 9.5))
    points = curves(frame)
    found = upstream_reductions(points, points[points["entrant"] == "sla"]).iloc[0]
    assert found["reduction"] == 0.0
    assert found["corrected"] == pytest.approx(1.0 - 1.5 / 0.5)
    assert "in 1 upstream missed nobody" in targets(frame)[2].measured


def test_a_static_deployment_counts_as_a_schedule_of_one_who_knows():
    frame = GOOD.copy()
    frame.loc[frame["entrant"] == "static", "gpu_hours"] = 9.0
    points = curves(frame)
    ours = points[(points["entrant"] == "sla") & points["default"]]
    assert against_oracle(points, ours).iloc[0]["oracle_gpu_hours"] == pytest.approx(9.0)


def test_regret_is_measured_at_equal_attainment():
    found = with_regret(curves(GOOD)).set_index("entrant")["regret_gpu_hours"]
    # The oracle attains 99.5 % with 12 GPU-hours, 90 % with 10.
    assert found["sla"] == pytest.approx(-1.0)
    assert found["upstream-latency"] == pytest.approx(-0.5)


def test_paired_intervals_use_equal_seeds():
    frame = rows(
        *(row("sla", 0.9 + 0.01 * s, 10.0, seed=s) for s in (1, 2, 3)),
        *(row("last-value", 0.8 + 0.01 * s, 10.0, seed=s) for s in (1, 2, 3)),
    )
    found = paired(frame, "attainment").iloc[0]
    assert found["against"] == "last-value"
    assert found["difference"] == pytest.approx(0.1)
    assert found["half_width"] == pytest.approx(0.0, abs=1e-9)
    assert found["seeds"] == 3


def test_the_static_deployment_and_the_oracle_are_paired_at_their_fitting_knob():
    found = paired(GOOD, "gpu_hours").set_index("against")["difference"]
    assert found["static"] == pytest.approx(-4.0)
    assert found["oracle"] == pytest.approx(1.0)


def test_files_are_written(tmp_path):
    write_results(tmp_path / "out", GOOD)
    assert len(pd.read_parquet(tmp_path / "out" / "cells.parquet")) == len(GOOD)
    assert json.loads((tmp_path / "out" / "targets.json").read_text())[0]["met"] is True
    text = (tmp_path / "out" / "summary.md").read_text()
    assert "## ramp, start-up 60 s, fault none" in text
    assert "Cheapest at 99%: static 15.00 GPU-hours, oracle 10.00 GPU-hours." in text
    assert (tmp_path / "out" / "pareto.png").read_bytes()[:4] == b"\x89PNG"


def test_faults_alone_have_tables_and_no_plot(tmp_path):
    write_results(tmp_path, rows(row("sla", 0.9, 10.0, fault="crash")))
    assert "fault crash" in (tmp_path / "summary.md").read_text()
    assert not (tmp_path / "pareto.png").exists()


@pytest.mark.slow
def test_the_quick_profile_runs_from_the_command_line(tmp_path):
    out = tmp_path / "bench"
    result = CliRunner().invoke(
        app, ["bench", "planner", "--quick", "--out", str(out), "--json"], catch_exceptions=False
    )
    assert result.exit_code == 0
    frame = pd.read_parquet(out / "cells.parquet")
    assert set(frame["entrant"]) >= {"sla", "oracle", "static", "upstream-latency", "last-value"}
    calm = frame[frame["default"]].groupby("entrant")["attainment"].mean()
    assert calm["sla"] > calm["upstream-throughput"] + 0.3
