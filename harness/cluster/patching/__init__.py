"""JSON patch, merge patch, strategic merge patch and server-side apply. Pure."""

from harness.cluster.patching.apply import apply_config
from harness.cluster.patching.json_patch import json_patch
from harness.cluster.patching.managed import track_update
from harness.cluster.patching.merge import merge_patch, strategic_patch

__all__ = ["apply_config", "json_patch", "merge_patch", "strategic_patch", "track_update"]
