"""Where AIPerf is, and a mocker for it to measure."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from profiler.load.aiperf import SETTING, aiperf_command, installed

ROOT = Path(__file__).parents[2]
COMMAND = aiperf_command(os.environ)
needs_aiperf = pytest.mark.skipif(
    not installed(COMMAND), reason=f"AIPerf is not installed: put it on PATH or into {SETTING}"
)


@contextmanager
def serving(plan: Path, *options: str) -> Iterator[str]:
    """A mocker process; yields its base URL."""
    process = subprocess.Popen(
        [sys.executable, "-m", "mocker", "serve", "--plan", str(plan), "--port", "0", *options],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        yield process.stdout.readline().removeprefix("mocker ready ").strip()
    finally:
        process.terminate()
        process.communicate(timeout=10)


def recorded(base_url: str) -> dict[str, dict[str, Any]]:
    """The simulator's own instants of every request, by the id that the client gave it."""
    table = httpx.get(f"{base_url}/admin/record", timeout=10.0).json()["requests"]
    return {
        name: {key: values[index] for key, values in table.items()}
        for index, name in enumerate(table["client_id"])
    }


def exported(folder: Path) -> dict[str, Any]:
    """AIPerf's summary."""
    return dict(json.loads((folder / "profile_export_aiperf.json").read_text()))
