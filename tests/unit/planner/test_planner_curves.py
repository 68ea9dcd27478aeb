"""Curves of a mounted ConfigMap."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from planner_samples import decode_curves, prefill_curves

from contracts.errors import InputError
from planner.adapters.curves import DECODE_FILE, PREFILL_FILE, curves_folder, read_curves


def write(folder: Path, **changes: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, curves in ((PREFILL_FILE, prefill_curves()), (DECODE_FILE, decode_curves())):
        data = {
            key: value.tolist() if isinstance(value, np.ndarray) else value
            for key, value in dataclasses.asdict(curves).items()
        }
        wanted = {key: changes[key] for key in data if key in changes}
        content = {key: value for key, value in (data | wanted).items() if value is not None}
        (folder / name).write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize("tokens", [100_000, [100_000], 100_000.0])
def test_json_files_hold_the_same_arrays_as_npz_files(tmp_path, tokens):
    prefill, decode = read_curves(write(tmp_path, max_kv_tokens=tokens))
    assert prefill.prefill_ttft.tolist() == [100.0, 200.0]
    assert decode.z_itl.tolist() == decode_curves().z_itl.tolist()
    assert decode.max_kv_tokens == 100_000


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"prefill_ttft": None}, "prefill_ttft: is missing"),
        ({"z_itl": ["fast"]}, "z_itl: .*no finite numbers"),
        ({"z_itl": [1.0, float("nan"), 1.0, 1.0, 1.0]}, "z_itl: .*no finite numbers"),
        ({"z_itl": [1.0]}, "equally long"),
        ({"max_kv_tokens": None}, "max_kv_tokens: is missing"),
        ({"max_kv_tokens": [1, 2]}, "max_kv_tokens: must be one number"),
        ({"max_kv_tokens": 0}, "max_kv_tokens: must be one number"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, changes, words):
    with pytest.raises(InputError, match=words):
        read_curves(write(tmp_path, **changes))


def test_one_missing_file_or_other_content_is_named(tmp_path):
    (write(tmp_path) / DECODE_FILE).unlink()
    with pytest.raises(InputError, match=f"{DECODE_FILE}: cannot be read"):
        read_curves(tmp_path)
    for text, words in (("{", "is not JSON"), ("[]", "is missing")):
        (tmp_path / DECODE_FILE).write_text(text)
        with pytest.raises(InputError, match=words):
            read_curves(tmp_path)
    with pytest.raises(InputError, match="run the profiler first"):
        read_curves(tmp_path / "nothing")


def test_the_folder_is_beside_the_settings_or_where_pods_have_it(tmp_path, monkeypatch):
    settings = tmp_path / "planner_config" / "planner_config.json"
    mounted = write(tmp_path / "work" / "profiling_results")
    monkeypatch.chdir(tmp_path / "work")
    # As a generated deployment says it, or the profiler beside its own files.
    for name in ("profiling_results", "/workspace/profiling_results", "."):
        assert curves_folder(settings, name) == mounted
    own = write(tmp_path / "planner_config" / "results")
    assert curves_folder(settings, "results") == own
    monkeypatch.chdir(tmp_path)
    assert curves_folder(settings, "nothing") == settings.parent / "nothing"
