"""Scenario files of jobs, and what may be read of run folders."""

from __future__ import annotations

import base64
import posixpath
import tempfile
from pathlib import Path, PurePosixPath

import yaml

from contracts.errors import InputError, RehearsalError
from harness.scenario import load_scenarios
from harness.service.model import BINARY_SUFFIXES, Job, Submission

SCENARIO_FILE = "scenario.yaml"
_FILES_MAX = 20


def check_submission(submission: Submission) -> str:
    """Refuse what must not be written or read; returns the name of the scenario.

    Only files that came with the submission can be used: a path of the scenario that leads
    out of its folder could read anything on this machine.

    Raises:
        InputError: names the field.
    """
    _check_files(submission)
    content = _parsed(submission.scenario, "scenario")
    if not isinstance(content, dict):
        raise InputError("is not a scenario", path="scenario", allowed="keys and values")
    _check_includes(content, SCENARIO_FILE, "scenario")
    for name, text in submission.files.items():
        if name.endswith((".yaml", ".yml")):
            _check_includes(_part(text), name, f"files.{name}")
    for where, text in _texts(content, "scenario"):
        if _leads_out(text):
            raise InputError(
                "leads out of the folder of the scenario; hand the file in with `files`",
                path=where,
                value=text,
            )
    return str(content.get("name") or "unnamed")


def _check_files(submission: Submission) -> None:
    if len(submission.files) > _FILES_MAX:
        raise InputError("too many files", path="files", value=str(len(submission.files)),
                         allowed=f"at most {_FILES_MAX}")  # fmt: skip
    for name in submission.files:
        if not _inside(name) or name == SCENARIO_FILE:
            raise InputError(
                "must lie in the folder of the scenario", path=f"files.{name}", value=name
            )
        if name.endswith(BINARY_SUFFIXES):
            _decoded(name, submission.files[name])
    if submission.baseline and submission.baseline not in submission.files:
        raise InputError("is not among the files", path="baseline", value=submission.baseline)


def cell_names(submission: Submission) -> list[str]:
    """Names of the scenarios that a submission stands for, one for each cell of its matrix.

    A submission that cannot be read as a scenario counts as one: its worker says why.

    Args:
        submission: checked by :func:`check_submission`.
    """
    name = check_submission(submission)
    content = _parsed(submission.scenario, "scenario")
    if not isinstance(content, dict) or not content.keys() & {"matrix", "include"}:
        return [name]
    with tempfile.TemporaryDirectory(prefix="submission-") as folder:
        try:
            return [each.name for each in load_scenarios(_write(Path(folder), submission))]
        except RehearsalError:
            return [name]


def job_files(data: Path, job: Job) -> Path:
    """Write a job's files, if they are not there yet; returns the scenario file."""
    return _write(data / "jobs" / str(job.id), job.submission)


def _write(folder: Path, submission: Submission) -> Path:
    for name, text in {**submission.files, SCENARIO_FILE: submission.scenario}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        content = _decoded(name, text) if name.endswith(BINARY_SUFFIXES) else text.encode()
        path.write_bytes(content)
    return folder / SCENARIO_FILE


def _decoded(name: str, text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise InputError(f"is not base64: {error}", path=f"files.{name}") from error


def _parsed(text: str, where: str) -> object:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise InputError(f"is not YAML: {error}", path=where) from error


def _part(text: str) -> object:
    """What a further file holds; one that is not a single document includes nothing."""
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError):
        return None


def _check_includes(content: object, name: str, where: str) -> None:
    """Included files must have come with the submission; they count from the file's folder."""
    included = content.get("include") if isinstance(content, dict) else None
    for index, text in enumerate(included if isinstance(included, list) else ()):
        target = posixpath.normpath(posixpath.join(posixpath.dirname(name), str(text)))
        if not _inside(target):
            raise InputError(
                "leads out of the folder of the scenario; hand the file in with `files`",
                path=f"{where}.include[{index}]",
                value=str(text),
            )


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
