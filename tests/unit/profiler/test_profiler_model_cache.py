"""A model that is not bundled, read from the model cache of a request."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

import profiler.__main__ as entry
from contracts.errors import InputError
from profiler.dgdr.inputs import model_config_of
from simcore.perf import KNOWN_MODELS, architecture

OWN = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
    "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256,
    "max_position_embeddings": 8192, "torch_dtype": "bfloat16",
}  # fmt: skip


def write(path, config):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(config))


@pytest.mark.parametrize(
    "place",
    [
        "config.json",
        "hub/models--acme--tiny/snapshots/0a1b/config.json",
        "models--acme--tiny/snapshots/0a1b/config.json",
    ],
)
def test_it_is_found(tmp_path, place):
    write(tmp_path / place, OWN)
    assert model_config_of("acme/tiny", None, tmp_path) == OWN


def test_a_named_file_wins_and_a_bundled_model_needs_none(tmp_path):
    write(tmp_path / "config.json", OWN)
    write(tmp_path / "mine.json", {**OWN, "vocab_size": 1})
    found = model_config_of("acme/tiny", tmp_path / "mine.json", tmp_path)
    assert found is not None
    assert found["vocab_size"] == 1
    assert model_config_of("Qwen/Qwen3-0.6B", None, tmp_path) is None
    assert model_config_of("acme/tiny", None, tmp_path / "empty") is None


def test_the_profiler_of_a_job_reads_it(tmp_path, monkeypatch, capsys):
    write(tmp_path / "cache" / "config.json", OWN)
    request = {
        "apiVersion": "nvidia.com/v1beta1",
        "kind": "DynamoGraphDeploymentRequest",
        "metadata": {"name": "own"},
        "spec": {
            "model": "acme/tiny",
            "image": "i",
            "backend": "vllm",
            "hardware": {"gpuSku": "h200_sxm", "numGpusPerNode": 8, "totalGpus": 8},
        },
    }
    words = ["--config", json.dumps(request), "--output-dir", str(tmp_path / "out"), "--dry-run"]
    monkeypatch.setattr(sys, "argv", ["profiler", *words])
    with pytest.raises(SystemExit, match="2"):
        entry.main()
    assert "no bundled architecture" in capsys.readouterr().err
    monkeypatch.setenv("DGDR_MODEL_CACHE", str(tmp_path / "cache"))
    with pytest.raises(SystemExit, match="0"):
        entry.main()
    assert capsys.readouterr().out == "own: valid\n"


def test_an_unknown_model_names_its_neighbours_and_no_long_list():
    with pytest.raises(InputError) as caught:
        architecture("qwen/qwen3-9b")
    assert caught.value.allowed is not None
    assert caught.value.allowed.startswith("Qwen/Qwen3-8B, ")
    assert len(caught.value.allowed) < 120


def test_the_page_of_the_profiler_lists_every_bundled_model():
    page = (Path(__file__).parents[3] / "docs" / "profiler.md").read_text()
    rows = re.findall(r"^\| `([^`]+)` \| (`.*`) \|$", page.partition("## Models")[2], re.M)
    listed = {f"{owner}/{name}" for owner, names in rows for name in re.findall("`(.*?)`", names)}
    assert listed == set(KNOWN_MODELS)
