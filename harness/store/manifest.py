"""The manifest: who ran what, when, with which versions, and how it ended."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import ClassVar

_PACKAGES = ("dgdr-rehearsal", "numpy", "simpy", "pandas", "pyarrow", "pydantic", "httptools")


class RunStatus(StrEnum):
    """How far a run got."""

    RUNNING = "running"
    COMPLETE = "complete"
    INCOMPLETE = "incomplete"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One run.

    Attributes:
        scenario_text: the scenario file as it was read.
        rungs: in the order in which they were to run.
        command_line: arguments of the process.
        rerun_line: a shell line that repeats this run.
        versions: by package; ``commit`` is the checkout, if there is one.
        reason: why the run is incomplete or failed; empty otherwise.
        inputs: file name under ``inputs/`` to its SHA-256.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    scenario: str
    scenario_text: str
    rungs: tuple[str, ...]
    seeds: tuple[int, ...]
    command_line: tuple[str, ...]
    rerun_line: str
    versions: dict[str, str]
    platform: dict[str, str]
    started: str
    finished: str | None = None
    status: RunStatus = RunStatus.RUNNING
    reason: str = ""
    inputs: dict[str, str] = field(default_factory=dict)
    schema_version: int = 1


def environment(checkout: Path | None = None) -> tuple[dict[str, str], dict[str, str]]:
    """Versions and platform of this process, for the manifest.

    Args:
        checkout: folder of the source tree; its commit is added when git knows it.
    """
    versions = dict(_versions(checkout))
    system = {
        "system": platform.platform(),
        "machine": platform.machine(),
        "cpus": str(os.cpu_count() or "unknown"),
    }
    return versions, system


@cache
def _versions(checkout: Path | None) -> Mapping[str, str]:
    """Asked once: this process goes on with the code that it has loaded."""
    versions = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    commit = _commit(checkout) if checkout else None
    return versions | ({"commit": commit} if commit else {})


def _commit(checkout: Path) -> str | None:
    commit = _git(checkout, "rev-parse", "HEAD")
    if not commit:
        return None
    changed = _git(checkout, "status", "--porcelain", "--untracked-files=no")
    return f"{commit} with local changes" if changed else commit


def _git(checkout: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(checkout), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
