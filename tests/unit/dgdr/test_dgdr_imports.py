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
    inside = module.relative_to(PACKAGE).as_posix()
    assert not roots & {"random", "uuid"}
    assert "time" not in roots or inside == "operator/clock.py"
    assert "datetime" not in roots or inside == "reconcile/times.py"
    assert "kubernetes" not in roots or inside == "operator/client.py"
    if inside.startswith(("reconcile/", "convert/", "crds/")):
        assert not roots & {"threading", "os", "socket", "httpx", "urllib3"}


def test_public_names_exist():
    assert len(MODULES) > 10
    for name in dgdr.__all__:
        assert getattr(dgdr, name) is not None
