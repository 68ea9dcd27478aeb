"""Options of ``up``, and of the server process that it starts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

Data = Annotated[
    Path | None,
    typer.Option(help="Keep objects in this folder; they survive a crash.", show_default=False),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """What both take."""

    nodes: Annotated[int, typer.Option(help="Nodes.", min=1, max=200)] = 2
    gpus_per_node: Annotated[int, typer.Option(help="GPUs of each node.", min=0, max=64)] = 8
    sku: Annotated[str, typer.Option(help="GPU type, as in a DGDR.")] = "h200_sxm"
    images: Annotated[
        Path | None, typer.Option(help="YAML list of rules: image to local command.")
    ] = None
    port: Annotated[
        int, typer.Option(help="Port on 127.0.0.1; 0 takes any free one.", min=0, max=65535)
    ] = 0
    backoff_s: Annotated[
        float, typer.Option(help="Seconds before a failed container restarts.", min=0)
    ] = 1.0
    evict_s: Annotated[
        float, typer.Option(help="Seconds that pods stay on a lost node.", min=0)
    ] = 30.0

    def words(self) -> list[str]:
        """The same options for another process."""
        found = [
            *("--nodes", str(self.nodes), "--gpus-per-node", str(self.gpus_per_node)),
            *("--sku", self.sku, "--port", str(self.port)),
            *("--backoff-s", f"{self.backoff_s:g}", "--evict-s", f"{self.evict_s:g}"),
        ]
        return found if self.images is None else [*found, "--images", str(self.images.resolve())]


@dataclass(frozen=True, slots=True, kw_only=True)
class UpOptions(ServerOptions):
    """Options of ``harness cluster up``."""

    data: Data = None
    as_json: AsJson = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions(ServerOptions):
    """Options of the server process."""

    folder: Annotated[Path, typer.Option(help="Folder of the cluster.")]
    durable: Annotated[bool, typer.Option("--durable", help="Keep objects.")] = False
    until_stdin_ends: Annotated[
        bool, typer.Option("--until-stdin-ends", help="End when standard input does.")
    ] = False
