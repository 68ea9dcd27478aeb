"""Scenario files of jobs, and what may be read of run folders."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import yaml

from contracts.errors import InputError
from harness.service.model import Job, Submission

SCENARIO_FILE = "scenario.yaml"
_FILES_MAX = 20


def check_submission(submission: Submission) -> str:
    """Refuse what must not be written or read; returns the name of the scenario.

    Only files that came with the submission can be used: a path of the scenario that leads
    out of its folder could read anything on this machine.

    Raises:
        InputError: names the field.
    """
    if len(submission.files) > _FILES_MAX:
        raise InputError("too many files", path="files", value=str(len(submission.files)),
                         allowed=f"at most {_FILES_MAX}")  # fmt: skip
    for name in submission.files:
        if not _inside(name) or name == SCENARIO_FILE:
            raise InputError(
                "must lie in the folder of the scenario", path=f"files.{name}", value=name
            )
    try:
        content = yaml.safe_load(submission.scenario)
    except (yaml.YAMLError, RecursionError) as error:
        raise InputError(f"is not YAML: {error}", path="scenario") from error
    if not isinstance(content, dict):
        raise InputError("is not a scenario", path="scenario", allowed="keys and values")
    for where, text in _texts(content, "scenario"):
        if _leads_out(text):
            raise InputError(
                "leads out of the folder of the scenario; hand the file in with `files`",
                path=where,
                value=text,
            )
    return str(content.get("name") or "unnamed")


def job_files(data: Path, job: Job) -> Path:
    """Write a job's files, if they are not there yet; returns the scenario file."""
    folder = data / "jobs" / str(job.id)
    for name, text in {**job.submission.files, SCENARIO_FILE: job.submission.scenario}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder / SCENARIO_FILE


def artefact(runs: Path, folder: str, name: str) -> Path:
    """A file of a run folder.

    Raises:
        InputError: it is not there, or outside of the folder.
    """
    root = (runs / folder).resolve()
    path = (root / name).resolve()
    if not path.is_relative_to(root) or not path.is_file() or path.name.startswith("."):
        raise InputError("no such file in the run folder", path="name", value=name)
    return path


def artefacts(runs: Path, folder: str) -> list[tuple[str, int]]:
    """All files of a run folder with their sizes in bytes."""
    root = runs / folder
    found = sorted(path for path in root.rglob("*") if path.is_file())
    return [
        (str(path.relative_to(root)), path.stat().st_size)
        for path in found
        if not path.name.startswith(".")
    ]


def _inside(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts


def _leads_out(text: str) -> bool:
    path = PurePosixPath(text)
    return path.is_absolute() or ".." in path.parts


def _texts(value: object, where: str) -> list[tuple[str, str]]:
    """Every text in the scenario that could be a path: one line with a slash."""
    if isinstance(value, str):
        return [(where, value)] if "/" in value and "\n" not in value and " " not in value else []
    if isinstance(value, dict):
        return [found for key, item in value.items() for found in _texts(item, f"{where}.{key}")]
    if isinstance(value, list):
        return [
            found for place, item in enumerate(value) for found in _texts(item, f"{where}[{place}]")
        ]
    return []
