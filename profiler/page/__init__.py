"""The page to choose a deployment from: a file that opens offline, and a server that can apply."""

from profiler.page.render import REPORT_FILE, write_page
from profiler.page.selection import (
    SELECTION_FILE,
    Percentiles,
    RoleShape,
    RuledOut,
    Selection,
    SelectionCandidate,
    load_selection,
    write_selection,
)

__all__ = [
    "REPORT_FILE",
    "SELECTION_FILE",
    "Percentiles",
    "RoleShape",
    "RuledOut",
    "Selection",
    "SelectionCandidate",
    "load_selection",
    "write_page",
    "write_selection",
]
