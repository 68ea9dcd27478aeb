"""``harness serve``, ``submit`` and ``runs``."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from contracts.command_line import with_options
from contracts.errors import InputError
from harness.service.bundle import bundle
from harness.service.client import Client, ended
from harness.service.model import JobState, Submission

# Exit codes of a run that was followed to its end.
_VERDICTS = {"pass": 0, "fail": 1, "inconclusive": 5}
_STATES = {JobState.REFUSED: 2, JobState.FAILED: 4, JobState.CANCELLED: 130}
Token = Annotated[
    str | None,
    typer.Option(envvar="HARNESS_TOKEN", help="Bearer token; not needed on loopback."),
]
Service = Annotated[str, typer.Option(envvar="HARNESS_SERVICE", help="Address of the service.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
LOOPBACK = "http://127.0.0.1:8600"
serve_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@serve_app.command(epilog="Example: harness serve --port 8600 --data service")
def serve_command(  # noqa: PLR0913  # options of a command line
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes a free port.", min=0, max=65535)] = 8600,
    data: Annotated[Path, typer.Option(help="Folder for runs and the database file.")] = Path(
        "service"
    ),
    db: Annotated[
        str | None,
        typer.Option(help="sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME."),
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Processes; default: cores.", min=1)] = None,
    token: Token = None,
    planner_bench: Annotated[
        Path | None, typer.Option(help="Output of harness bench planner, to be shown.")
    ] = None,
) -> None:
    """Serve a queue of runs with its results over HTTP, and pages to look at them."""
    # Only this command needs the web framework; the others start without it.
    from harness.service.serve import ServiceSettings, serve  # noqa: PLC0415

    if planner_bench is not None and not planner_bench.is_dir():
        raise InputError("is no folder", path="--planner-bench", value=str(planner_bench))
    settings = ServiceSettings(
        host=host,
        port=port,
        data=data,
        database_url=db,
        workers=workers or os.cpu_count() or 1,
        token=token,
        planner_bench=planner_bench,
    )
    serve(settings)


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitOptions:
    """Options of ``harness submit``."""

    scenario_file: Annotated[Path, typer.Argument(help="Scenario file (YAML).")]
    service: Service = LOOPBACK
    on: Annotated[str, typer.Option("--on", help="Rungs, separated by commas.")] = ""
    seed: Annotated[list[int] | None, typer.Option(help="Seed; may be repeated.")] = None
    label: Annotated[str, typer.Option(help="A word to find the run by.")] = ""
    baseline: Annotated[
        Path | None, typer.Option(help="Fail when figures are worse than in this baseline.")
    ] = None
    key: Annotated[
        str | None, typer.Option(help="The same key hands the same run in only once.")
    ] = None
    wait: Annotated[bool, typer.Option("--wait", help="Follow the run to its end.")] = False
    token: Token = None
    as_json: AsJson = False

    def submission(self) -> Submission:
        """The scenario with every file that it names.

        Raises:
            InputError: a file is missing or damaged.
        """
        rungs = tuple(name.strip() for name in self.on.split(",") if name.strip())
        seeds = tuple(self.seed or ())
        return bundle(
            self.scenario_file, rungs=rungs, seeds=seeds, label=self.label, baseline=self.baseline
        )


def submit(given: SubmitOptions) -> None:
    """Hand a scenario, with every file that it names, to a service.

    Each cell of a matrix becomes a run. Exit codes with --wait: 0 pass, 1 fail,
    2 refused, 4 failed, 5 inconclusive, 130 cancelled; of several runs the highest.
    """
    submission = given.submission()
    with Client(given.service, given.token) as client:
        body = {name: value for name, value in asdict(submission).items() if name != "cell"}
        first = client.submit(body, given.key)
        if not given.wait:
            _show_submitted(first, given.service, as_json=given.as_json)
            return
        done = [client.follow(run, _say) for run in first["cells"]]
    if given.as_json:
        print(json.dumps(done[0] if len(done) == 1 else done, indent=2))
    else:
        print("\n".join(_run_line(run) for run in done))
    raise typer.Exit(max(_exit_code(run) for run in done))


submit_command = with_options(SubmitOptions, submit)


def runs_command(
    service: Service = LOOPBACK,
    state: Annotated[JobState | None, typer.Option(help="Only runs in this state.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many, newest first.")] = 20,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """List the runs of a service, newest first."""
    with Client(service, token) as client:
        found = client.runs(limit=limit, state=None if state is None else state.value)
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        print("\n".join(_run_line(run) for run in found) or "no runs")


def _show_submitted(first: dict[str, Any], service: str, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(first))
        return
    for run in first["cells"]:
        print(f"run {run} {first['state']}: {service.rstrip('/')}/runs/{run}")


def _run_line(run: dict[str, Any]) -> str:
    label = f" [{run['label']}]" if run["label"] else ""
    error = f": {run['error']}" if run["error"] else ""
    return (
        f"{run['id']:>6} {run['state']:<10} {run['verdict'] or '-':<13} "
        f"{run['created_at'][:19]} {run['name']}{label}{error}"
    )


def _exit_code(run: dict[str, Any]) -> int:
    state = JobState(run["state"])
    return _VERDICTS[run["verdict"]] if state is JobState.DONE else _STATES[state]


def _say(run: dict[str, Any]) -> None:
    """Progress for people who look on."""
    if not sys.stderr.isatty():
        return
    share = f"{run['done']}/{run['total']}" if run["total"] else ""
    sys.stderr.write(f"\r\033[Krun {run['id']} {run['state']} {run['phase']} {share}")
    if ended(run):
        sys.stderr.write("\r\033[K")
    sys.stderr.flush()
