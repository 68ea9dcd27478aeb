"""The package stays below profiler, planner, mocker and harness."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import dgdr

PACKAGE = Path(dgdr.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
ALLOWED_OWN = {"contracts", "dgdr"}
PROJECT = ALLOWED_OWN | {"simcore", "profiler", "planner", "mocker", "harness"}


@pytest.mark.parametrize("module", MODULES, ids=lambda m: str(m.relative_to(PACKAGE)))
def test_modules_import_only_contracts_of_the_project(module):
    roots = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            roots |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            roots.add((node.module or "").split(".")[0])
    assert roots & PROJECT <= ALLOWED_OWN
    assert not roots & {"random", "uuid", "time", "datetime"}


def test_public_names_exist():
    assert len(MODULES) > 10
    for name in dgdr.__all__:
        assert getattr(dgdr, name) is not None
