"""Runs again: a replay of a run folder, the smallest failing scenario, random scenarios."""

from harness.explore.bisect import Shrunk, shrink
from harness.explore.replay import Replay, replay
from harness.explore.sample import sample
from harness.explore.search import Finding, SearchResult, search
from harness.explore.trial import Trial, TrialResult, Tries

__all__ = [
    "Finding",
    "Replay",
    "SearchResult",
    "Shrunk",
    "Trial",
    "TrialResult",
    "Tries",
    "replay",
    "sample",
    "search",
    "shrink",
]
