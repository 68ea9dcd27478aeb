"""The page to choose a deployment from, for the profile of a run folder."""

from __future__ import annotations

from pathlib import Path

from profiler.page.render import render_page


def selection_page(folder: Path) -> str:
    """The page as text.

    Args:
        folder: of the run; its inputs hold the scenario and the request.

    Raises:
        InputError: the run has no profile, or its inputs are damaged.
    """
    # They bring the simulator, which the service does without until somebody asks for this.
    from harness.run.prepare import load_request  # noqa: PLC0415
    from harness.scenario import load_scenario  # noqa: PLC0415
    from profiler.page.build import build_selection, read_candidates  # noqa: PLC0415

    content = read_candidates(folder / "profile")
    dgdr = load_request(load_scenario(folder / "inputs" / "scenario.yaml"))
    return render_page(build_selection(dgdr, content), folder / "profile")
