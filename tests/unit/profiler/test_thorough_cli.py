"""Which command lines lead to the measured search, and what they do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
import yaml
from thorough_samples import REQUEST, request

from contracts.errors import InfeasibleError, InputError
from contracts.hardware import Evidence
from profiler.page import load_selection
from profiler.page.build import write_choice
from profiler.thorough.cli import command, dry
from profiler.thorough.dispatch import wants_thorough
from profiler.thorough.options import DeployerKind

HARDWARE = "{gpuSku: l40s, totalGpus: 1}"


def text() -> str:
    filled = REQUEST.replace("BACKEND", "vllm").replace("SLA", "{itl: 26}")
    filled = filled.replace("WORKLOAD", "{isl: 200, osl: 8}").replace("HARDWARE", HARDWARE)
    return filled.replace("FEATURES", "{}")


@contextlib.contextmanager
def bars() -> Iterator[object]:
    yield lambda phase, done, total: None


def test_the_strategy_or_the_deployer_decides(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text(text())
    assert wants_thorough(["--config", str(path)])
    assert wants_thorough([f"--config={path}"])
    path.write_text(text().replace("thorough", "rapid"))
    assert not wants_thorough(["--config", str(path)])
    assert wants_thorough(["--config", str(path), "--deployer", "sim"])
    assert not wants_thorough(["--config", str(tmp_path / "missing.yaml")])
    assert not wants_thorough(["--help"])


def test_a_search_from_the_command_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("signal.signal", lambda number, handler: None)
    monkeypatch.delenv("DGDR_NAME", raising=False)
    path = tmp_path / "r.yaml"
    path.write_text(text())
    command(bars, write_choice)(config=str(path), output_dir=tmp_path / "out", max_gpu_hours=5.0)
    assert capsys.readouterr().out.startswith("picked ")
    assert (tmp_path / "out" / "final_config.yaml").exists()
    selection = load_selection(tmp_path / "out")
    assert selection.measured
    picked = selection.candidate(selection.picked)
    assert picked.evidence is Evidence.MEASURED
    assert picked.itl_ms.p50 > 0
    assert "kind: DynamoGraphDeployment" in picked.dgd_yaml
    assert "TTFT mean" in (tmp_path / "out" / "report.html").read_text()


def nothing(*_words: object) -> None:
    """After a search that did not take place."""


def test_inside_a_cluster_the_default_is_that_cluster(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("profiler.thorough.cli._run", lambda *words: seen.append(words[2]))
    monkeypatch.setenv("DGDR_NAME", "small")
    monkeypatch.setenv("DGDR_NAMESPACE", "team")
    monkeypatch.setenv("DGDR_UID", "u-1")
    path = tmp_path / "r.yaml"
    path.write_text(text())
    command(bars, nothing)(config=str(path))
    assert seen[0].deployer is DeployerKind.KUBERNETES
    assert (seen[0].identity.namespace, seen[0].identity.uid) == ("team", "u-1")
    monkeypatch.delenv("DGDR_NAME")
    command(bars, nothing)(config=str(path))
    assert (seen[1].deployer, seen[1].identity) == (DeployerKind.SIM, None)


def test_a_dry_run_checks_and_writes_an_empty_configuration(tmp_path, capsys):
    dry(request(), tmp_path)
    assert yaml.safe_load((tmp_path / "final_config.yaml").read_text()) is None
    status = yaml.safe_load((tmp_path / "profiler_status.yaml").read_text())
    assert (status["status"], status["phase"]) == ("success", "Done")
    assert "tp1, tp2, tp4" in capsys.readouterr().out
    with pytest.raises(InputError, match="auto"):
        dry(request(backend="auto"), tmp_path)
    with pytest.raises(InfeasibleError, match="does not fit"):
        dry(request(model="meta-llama/Llama-3.1-70B-Instruct", hardware=HARDWARE), tmp_path)
