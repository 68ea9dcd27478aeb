"""The verbs of the API on the store, without a transport."""

from harness.cluster.api.call import Call, Options
from harness.cluster.api.reads import Reads
from harness.cluster.api.watching import Watcher
from harness.cluster.api.writes import Writes

__all__ = ["Call", "Options", "Reads", "Watcher", "Writes"]
