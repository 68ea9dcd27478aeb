"""Records of a run: a row for each request, gaps between tokens, a digest of all events."""

from simcore.observe.digest import EventDigest
from simcore.observe.gaps import GapBucket, GapHistogram
from simcore.observe.recorder import Recorder

__all__ = ["EventDigest", "GapBucket", "GapHistogram", "Recorder"]
