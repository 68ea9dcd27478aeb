"""Records of a run: a row for each request, and a digest of all events."""

from simcore.observe.digest import EventDigest
from simcore.observe.recorder import Recorder, RollingRecorder

__all__ = ["EventDigest", "Recorder", "RollingRecorder"]
