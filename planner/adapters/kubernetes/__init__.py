"""The planner against DynamoGraphDeployments: observes pods, sets replicas."""

from planner.adapters.kubernetes.connector import KubernetesConnector
from planner.adapters.kubernetes.graph_api import GraphApi, GraphName
from planner.adapters.kubernetes.scaling import Reservation

__all__ = ["GraphApi", "GraphName", "KubernetesConnector", "Reservation"]
