"""Replays measured benchmark points in the simulator and tells how far off it is."""

from harness.accuracy.points import Point
from harness.accuracy.read import read_points
from harness.accuracy.replay import replay
from harness.accuracy.summary import GroupError, summarise_errors

__all__ = ["GroupError", "Point", "read_points", "replay", "summarise_errors"]
