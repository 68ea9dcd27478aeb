"""Plots of a profile that are drawn later are those that are drawn at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from dgdr import load_dgdr
from profiler import RapidOptions, draw_missing, run_rapid

REQUEST = Path(__file__).parents[3] / "scenarios" / "dgdr" / "llama-8b.yaml"


def contents(folder: Path) -> dict[str, bytes]:
    """All files but the status, which holds times."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "profiler_status.yaml"
    }


@pytest.mark.slow
def test_plots_can_wait(tmp_path: Path) -> None:
    dgdr = load_dgdr(REQUEST.read_text(), source=str(REQUEST))
    prices = {"h100_sxm": 2.0}
    at_once = run_rapid(dgdr, tmp_path / "at-once", RapidOptions(prices=prices))
    later = run_rapid(dgdr, tmp_path / "later", RapidOptions(prices=prices, draw=False))
    drawn, bare = contents(tmp_path / "at-once"), contents(tmp_path / "later")
    plots = {name for name in drawn if name.endswith(".png")}
    assert len(plots) == 6
    assert set(drawn) - set(bare) == plots == set(at_once.files) - set(later.files)
    draw_missing(tmp_path / "later")
    assert contents(tmp_path / "later") == drawn
    (tmp_path / "later" / "pareto.png").write_bytes(b"kept")
    draw_missing(tmp_path / "later")
    assert (tmp_path / "later" / "pareto.png").read_bytes() == b"kept"


def test_a_folder_without_a_profile_stays_empty(tmp_path: Path) -> None:
    draw_missing(tmp_path)
    assert list(tmp_path.iterdir()) == []
