"""``harness cluster up | status | down | fault``."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Annotated, Any

import typer

from contracts.command_line import with_options
from contracts.errors import InputError, PermanentError
from contracts.files import folder_for_output
from harness.cluster.cli.options import AsJson, Data, UpOptions
from harness.cluster.cli.place import Place, default_folder
from harness.cluster.node.images import load_rules
from harness.cluster.node.process import end_leftovers
from simcore.perf.gpus import gpu_spec

cluster_app = typer.Typer(
    name="cluster",
    help="An embedded Kubernetes API: kubectl works, pods are local processes.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def up(given: UpOptions) -> None:
    """Start a cluster, write its kubeconfig and print how to use it."""
    place = _place(given.data)
    found = place.running()
    if found is None:
        _check(given)
        if given.data is None and place.folder.exists():
            end_leftovers(place.folder)  # of a server that was killed
            shutil.rmtree(place.folder)
        url = place.start([*given.words(), *([] if given.data is None else ["--durable"])])
    else:
        url = found[1]
    if given.as_json:
        state = "started" if found is None else "running"
        print(json.dumps({"state": state, "url": url, "kubeconfig": str(place.kubeconfig)}))
        return
    already = "already running, as it was started,"
    print(f"cluster {'started' if found is None else already} at {url}")
    print(f"export KUBECONFIG={place.kubeconfig}")


def _check(given: UpOptions) -> None:
    """Bad input is found here and not in the log of a server that does not start."""
    try:
        gpu_spec(given.sku)
    except InputError as error:
        raise InputError(
            error.message, path="--sku", value=error.value, allowed=error.allowed
        ) from error
    if given.images is not None:
        load_rules(given.images)
    if given.data is not None:
        folder_for_output(given.data, "--data")


cluster_app.command(name="up", epilog="Example: harness cluster up --nodes 2 --gpus-per-node 8")(
    with_options(UpOptions, up)
)


@cluster_app.command(epilog="Example: harness cluster status")
def status(data: Data = None, as_json: AsJson = False) -> None:
    """Say whether the cluster runs and what is in it."""
    place = _place(data)
    found = place.running()
    facts: dict[str, Any] = {"state": "stopped", "folder": str(place.folder)}
    if found is not None:
        pid, url = found
        facts |= {"state": "running", "pid": pid, "url": url, "kubeconfig": str(place.kubeconfig)}
        for name, path in (("nodes", "/api/v1/nodes"), ("pods", "/api/v1/pods")):
            answer = place.ask(url, path)
            items = answer.get("items", []) if isinstance(answer, dict) else []
            facts[name] = len(items)
    if as_json:
        print(json.dumps(facts))
    else:
        print("\n".join(f"{key}: {value}" for key, value in facts.items()))
    if found is None:
        raise typer.Exit(1)


@cluster_app.command(epilog="Example: harness cluster down")
def down(data: Data = None, as_json: AsJson = False) -> None:
    """Stop the cluster and end its pods; what --data holds stays."""
    place = _place(data)
    found = place.running()
    if found is not None:
        place.stop(found[0])
    state = "stopped" if found is not None else "was not running"
    print(json.dumps({"state": state}) if as_json else f"cluster {state}")


@cluster_app.command(epilog='Example: harness cluster fault \'{"kind": "latency", "ms": 200}\'')
def fault(
    rule: Annotated[
        str | None, typer.Argument(help="A rule as JSON; nothing lists the rules in force.")
    ] = None,
    remove: Annotated[str | None, typer.Option(help="Remove a rule by its id.")] = None,
    clear: Annotated[bool, typer.Option("--clear", help="Remove every rule.")] = False,
    data: Data = None,
    _as_json: Annotated[bool, typer.Option("--json", help="It is JSON in any case.")] = True,
) -> None:
    """Inject a fault, list faults, or remove them (docs/cluster.md)."""
    place = _place(data)
    found = place.running()
    if found is None:
        raise PermanentError(f"no cluster runs in {place.folder}")
    url = found[1]
    if clear:
        answer = place.ask(url, "/harness/faults", method="DELETE")
    elif remove is not None:
        answer = place.ask(url, f"/harness/faults/{remove}", method="DELETE")
    elif rule is not None:
        try:
            body = json.loads(rule)
        except ValueError as error:
            raise InputError(f"is no JSON: {error}", path="rule", value=rule) from error
        answer = place.ask(url, "/harness/faults", body, method="POST")
    else:
        answer = place.ask(url, "/harness/faults")
    print(json.dumps(answer, indent=2))


def _place(data: Path | None) -> Place:
    return Place((data or default_folder()).resolve())
