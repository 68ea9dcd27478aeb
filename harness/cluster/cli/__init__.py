"""``harness cluster``."""

from harness.cluster.cli.commands import cluster_app

__all__ = ["cluster_app"]
