"""``python -m profiler ui``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from profiler.page.serve import Target, selection_app, serve_app


def ui(
    folder: Annotated[Path, typer.Argument(help="Output folder of the profiler.")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes a free port.", min=0, max=65535)] = 0,
    kubeconfig: Annotated[
        Path | None, typer.Option(help="Cluster that the chosen deployment may be applied to.")
    ] = None,
    context: Annotated[str | None, typer.Option(help="Context of the kubeconfig.")] = None,
    namespace: Annotated[str, typer.Option(help="Where deployments are created.")] = "default",
) -> None:
    """Serve the page to choose a deployment from; with a cluster it can be applied."""
    target = None
    if kubeconfig is not None:
        # The client of Kubernetes takes a second to import; the page alone does without.
        from dgdr.operator.client import KubeClient  # noqa: PLC0415

        client = KubeClient(str(kubeconfig), context)
        target = Target(name=context or "the cluster", namespace=namespace, creator=client)
    serve_app(selection_app(folder, target), host, port, "{url}/  (Ctrl-C ends it)")
