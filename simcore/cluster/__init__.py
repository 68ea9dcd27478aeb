"""Pools of workers, routing, KV transfer, scaling and faults."""

from simcore.cluster.cluster import Cluster
from simcore.cluster.listener import ClusterListener

__all__ = ["Cluster", "ClusterListener"]
