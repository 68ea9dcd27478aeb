"""``harness``: rehearse scenarios, compare runs, look for failures."""

from __future__ import annotations

from collections.abc import Callable

import typer

from harness.cli import accuracy, explore, folders, run
from harness.cli.bench import bench_app
from harness.cli.bisect import bisect
from harness.cli.service import runs_command, serve_command, submit_command
from harness.cluster.cli import cluster_app

app = typer.Typer(
    name="harness",
    help="Rehearse a Dynamo deployment request on a laptop.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)
app.add_typer(cluster_app)
app.add_typer(bench_app)
app.command(name="serve", epilog="Example: harness serve --port 8600 --data service")(serve_command)


@app.callback()
def harness() -> None:
    """Rehearse a Dynamo deployment request on a laptop."""


def _add(name: str, command: Callable[..., object], *examples: str) -> None:
    text = "\n\n".join(f"Example: harness {example}" for example in examples)
    app.command(name, epilog=text)(command)


_add(
    "run",
    run.run,
    "run scenarios/quickstart.yaml --on sim,mock",
    "run scenarios/burst.yaml --seed 1 --seed 2 --baseline burst.baseline.json",
)
_add(
    "submit",
    submit_command,
    "submit scenarios/quickstart.yaml --on sim",
    "submit scenarios/routers.yaml --wait --json",
)
_add("runs", runs_command, "runs", "runs --state failed --json")
_add("plan", run.plan, "plan scenarios/worker-crash.yaml", "plan scenarios/routers.yaml --json")
_add("validate", run.validate, "validate scenarios/quickstart.yaml")
_add("schema", run.schema, "schema > scenarios/scenario.schema.json")
_add("ls", folders.list_runs, "ls", "ls --json")
_add("report", folders.report, "report runs/20260101T120000Z-quickstart-1")
_add("diff", folders.diff, "diff runs/20260101T120000Z-burst-1 runs/20260102T120000Z-burst-1")
_add("replay", folders.replay_run, "replay runs/20260101T120000Z-quickstart-1")
_add("baseline", folders.baseline, "baseline runs/20260101T120000Z-burst-1 --out burst.json")
_add(
    "bisect",
    bisect,
    "bisect --scenario failing.yaml --out small.yaml",
    "bisect --scenario failing.yaml --time",
    "bisect --scenario failing.yaml --commits v1.0..HEAD",
)
_add("search", explore.search_command, "search --for 10m --seed 7", "search --count 20 --json")
_add("accuracy", accuracy.accuracy, "accuracy ../shared/data")
