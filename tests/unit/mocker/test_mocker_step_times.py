"""The mocker's own choice of step times."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from typer.testing import CliRunner

from contracts.errors import InputError, UnsupportedError
from mocker.__main__ import cli
from mocker.settings import ServeSettings, load_step_times
from profiler.dgdr.outputs import write_curves
from profiler.measure import decode_curves, prefill_curves
from simcore.perf import roofline

WITHOUT_AIC = importlib.util.find_spec("aiconfigurator_core") is None
TABLE = (
    "kind,tokens,batch,context,ms\nprefill,16,,0,5\nprefill,64,,0,9\n"
    "decode,,1,10,2\ndecode,,1,1000,3\n"
)


def test_a_table_and_curves(tmp_path: Path, make_engine_spec) -> None:
    assert load_step_times("roofline") is roofline
    engine = make_engine_spec()
    (tmp_path / "steps.csv").write_text(TABLE)
    timer = load_step_times(f"table:{tmp_path / 'steps.csv'}")(engine)
    assert timer.mixed_step_fs(1, 1000, []) == pytest.approx(3e12, rel=1e-6)
    write_curves(tmp_path, prefill_curves(engine, 16_384), decode_curves(engine, 16_384))
    timer = load_step_times(f"profile:{tmp_path}")(engine)
    step_fs = roofline(engine).mixed_step_fs(16, 16_000, [])
    assert timer.mixed_step_fs(16, 16_000, []) == pytest.approx(step_fs, rel=0.04)


@pytest.mark.parametrize("choice", ["", "aic:", "table:", "table", "profile:"])
def test_unknown_choices(choice: str) -> None:
    with pytest.raises(InputError, match=r"--step-times.*allowed: roofline, profile:DIR, table"):
        load_step_times(choice)


def test_missing_and_damaged_files(tmp_path: Path) -> None:
    for choice in (f"table:{tmp_path / 'no.csv'}", f"profile:{tmp_path}"):
        with pytest.raises(InputError, match="cannot be read"):
            load_step_times(choice)
    (tmp_path / "steps.csv").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="cannot be read"):
        load_step_times(f"table:{tmp_path / 'steps.csv'}")


@pytest.mark.skipif(not WITHOUT_AIC, reason="AIConfigurator is installed")
def test_aic_names_the_package_that_is_missing() -> None:
    for choice in ("aic", "aic:0.24.0"):
        with pytest.raises(UnsupportedError, match="extra 'aic'"):
            load_step_times(choice)


def test_a_request_is_answered_with_the_command_that_plans_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    missing = CliRunner().invoke(cli, ["serve", "--dgdr", "my.yaml"])
    assert str(missing.exception) == "--dgdr: is no file (got my.yaml)"
    Path("my.yaml").touch()
    found = CliRunner().invoke(cli, ["serve", "--dgdr", "my.yaml"])
    assert isinstance(found.exception, UnsupportedError)
    assert "python -m profiler --config my.yaml --output-dir profile" in str(found.exception)


@pytest.mark.parametrize("speed", [5e-324, 1e300, 0.0, -1.0, float("nan")])
def test_speeds_at_which_clocks_make_no_sense(speed: float, make_agg_plan) -> None:
    with pytest.raises(InputError, match="--speed"):
        ServeSettings(plan=make_agg_plan(1), speed=speed)
