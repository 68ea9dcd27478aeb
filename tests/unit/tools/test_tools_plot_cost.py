import runpy
from pathlib import Path

import pytest

from contracts.errors import InputError

SCRIPT = Path(__file__).parents[3] / "tools" / "plot_cost.py"


@pytest.fixture(scope="module")
def tool() -> dict:
    return runpy.run_path(str(SCRIPT))


def test_a_tiny_run_prints_every_case_and_draws(tool, tmp_path, capsys) -> None:
    picture = tmp_path / "images" / "cost.png"
    tool["main"](["--out", str(picture), "--scale", "0.002"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + sum(len(values) for values in tool["SWEEPS"].values())
    swept = {name: [] for name in tool["SWEEPS"]}
    for line in lines[1:]:
        name, requests, workers, osl, cpu_s, _ = line.split()
        swept[name].append(int({"requests": requests, "workers": workers, "osl": osl}[name]))
        assert float(cpu_s) >= 0
    assert swept["workers"] == [1, 4, 16, 64]
    assert swept["osl"] == [32, 128, 512, 2048]
    assert swept["requests"][-1] > swept["requests"][0]
    assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_an_impossible_scale_is_refused(tool, tmp_path) -> None:
    with pytest.raises(InputError, match="--scale"):
        tool["main"](["--scale", "nan", "--out", str(tmp_path / "x.png")])
    assert list(tmp_path.iterdir()) == []
