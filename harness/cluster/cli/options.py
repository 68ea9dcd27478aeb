"""Options of ``up`` that the server process gets as well."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

NodeCount = Annotated[int, typer.Option(help="Nodes.", min=1, max=200)]
GpuCount = Annotated[int, typer.Option(help="GPUs of each node.", min=0, max=64)]
Sku = Annotated[str, typer.Option(help="GPU type, as in a DGDR.")]
Images = Annotated[Path | None, typer.Option(help="YAML list of rules: image to local command.")]
Backoff = Annotated[float, typer.Option(help="Seconds before a failed container restarts.", min=0)]
Evict = Annotated[float, typer.Option(help="Seconds that pods stay on a lost node.", min=0)]
Port = Annotated[int, typer.Option(help="Port on 127.0.0.1; 0 takes any free one.", min=0)]
