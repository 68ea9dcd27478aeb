"""What processes of pods inherit from the server's surroundings."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "USER", "VIRTUAL_ENV", "LD_LIBRARY_PATH")
LOOPBACK_RANGE = sys.platform == "linux"


def inherited_environment() -> dict[str, str]:
    """Environment of every container: a few harmless variables, and this project's code."""
    found = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    root = str(Path(__file__).resolve().parents[3])
    present = os.environ.get("PYTHONPATH", "")
    found["PYTHONPATH"] = f"{root}{os.pathsep}{present}" if present else root
    found["PYTHONUNBUFFERED"] = "1"
    return found
