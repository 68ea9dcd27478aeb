"""Which commit made a scenario fail: the runs of an older source tree, in a worktree of its own."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from contracts.errors import InputError, PermanentError
from harness.settings import variables

# By exit code of ``harness run``; any other one says nothing about the scenario.
_VERDICTS = {0: True, 1: False}
Judge = Callable[[str], bool | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Culprit:
    """The result of a search through commits.

    Attributes:
        commit: the first that fails.
        good: the last before it that passes.
        suspects: those in between that could not be judged; each may be the first that fails.
        runs: commits that were tried.
    """

    commit: str
    good: str
    suspects: tuple[str, ...]
    runs: int


def first_failing(
    commits: Sequence[str], judge: Judge, report: Callable[[str, int], None]
) -> Culprit:
    """Halve a line of commits between one that passes and one that fails.

    Args:
        commits: oldest first; the first must pass, the last must fail.
        judge: whether the scenario passes with a commit; ``None`` when that cannot be said.
        report: told each commit's outcome and how many were tried.

    Raises:
        InputError: the first does not pass, or the last does not fail.
    """
    runs, unknown = 0, set[int]()

    def asked(index: int) -> bool | None:
        nonlocal runs
        found = judge(commits[index])
        runs += 1
        text = {True: "passes", False: "fails", None: "cannot be judged"}[found]
        report(f"{commits[index][:12]} {text}", runs)
        return found

    low, high = 0, len(commits) - 1
    for index, wanted in ((low, True), (high, False)):
        if asked(index) is not wanted:
            what = "pass" if wanted else "fail"
            raise InputError(f"does not {what}", path="--commits", value=commits[index][:12])
    while True:
        between = [index for index in range(low + 1, high) if index not in unknown]
        if not between:
            break
        middle = between[len(between) // 2]
        found = asked(middle)
        if found is None:
            unknown.add(middle)
        elif found:
            low = middle
        else:
            high = middle
    return Culprit(
        commit=commits[high], good=commits[low], suspects=tuple(commits[low + 1 : high]), runs=runs
    )


def commits_between(repository: Path, span: str) -> list[str]:
    """The commits of ``GOOD..BAD``, oldest first, both ends included.

    Raises:
        InputError: not two commits of this repository, or the second does not follow the first.
    """
    good, dots, bad = span.partition("..")
    if not (good and dots and bad):
        raise InputError("is no pair of commits", path="--commits", value=span,
                         allowed="GOOD..BAD")  # fmt: skip
    start = _git(repository, "rev-parse", "--verify", f"{good}^{{commit}}").strip()
    later = _git(repository, "rev-list", "--reverse", "--first-parent", f"{good}..{bad}").split()
    if not later:
        raise InputError("no commit lies between them", path="--commits", value=span)
    return [start, *later]


@contextmanager
def judge_in_worktree(repository: Path, scenario: Path, folder: Path) -> Iterator[Judge]:
    """Runs a scenario file with the code of any commit, on rung sim.

    The worktree lies in a temporary folder and is removed at the end.

    Args:
        repository: of the source tree.
        scenario: as it is now, whatever it was in a commit.
        folder: where the runs go.
    """
    with tempfile.TemporaryDirectory(prefix="bisect-") as name:
        tree = Path(name) / "tree"
        _git(repository, "worktree", "add", "--detach", str(tree), "HEAD")
        try:
            yield lambda commit: _judged(tree, commit, scenario.resolve(), folder.resolve())
        finally:
            _git(repository, "worktree", "remove", "--force", str(tree))


def _judged(tree: Path, commit: str, scenario: Path, folder: Path) -> bool | None:
    _git(tree, "checkout", "--quiet", "--detach", "--force", commit)
    words = [sys.executable, "-m", "harness", "run", str(scenario), "--on", "sim"]
    done = subprocess.run(
        [*words, "--runs-dir", str(folder), "--json"],
        cwd=tree, env=variables({"PYTHONPATH": str(tree)}), capture_output=True, check=False,
    )  # fmt: skip
    return _VERDICTS.get(done.returncode)


def _git(folder: Path, *words: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise PermanentError(f"git is needed: {error}") from error
    if done.returncode:
        text = done.stderr.strip() or f"exit code {done.returncode}"
        raise InputError(f"git {words[0]}: {text}", path="--commits")
    return done.stdout
