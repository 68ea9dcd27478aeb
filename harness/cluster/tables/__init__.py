"""The Table form of objects, which ``kubectl get`` prints."""

from harness.cluster.tables.build import partial, table

__all__ = ["partial", "table"]
