"""A GPU of one's own: read strictly, used everywhere."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

from contracts.errors import CombinedInputError, InputError
from dgdr import load_dgdr
from profiler import RapidOptions, load_gpu, run_rapid
from simcore.perf import gpu_spec

ROOT = Path(__file__).parents[3]


def text(**changes) -> str:
    facts = json.loads(json.dumps(asdict(gpu_spec("l40s"))))
    return yaml.safe_dump({**facts, "sku": "my_gpu", **changes})


@pytest.mark.slow
def test_a_gpu_file_is_read_and_used(tmp_path: Path) -> None:
    gpu = load_gpu(text(memory_gib=96.0, memory_tbytes_per_s=1.8), source="my.yaml")
    assert (gpu.sku, gpu.memory_gib) == ("my_gpu", 96.0)
    request = load_dgdr((ROOT / "scenarios/dgdr/qwen3-8b.yaml").read_text(), source="dgdr")
    result = run_rapid(request, tmp_path, RapidOptions(gpu=gpu, draw=False))
    plain = run_rapid(request, tmp_path, RapidOptions(draw=False))
    assert result.plan.topology.pools[0].engine.gpu.sku == "my_gpu"
    assert result.decode_curves.z_itl.min() < plain.decode_curves.z_itl.min()


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"memory_gib": "much"}, "memory_gib"),
        ({"memory_gib": -1.0}, "memory_gib"),
        ({"evidence": "believed"}, "evidence"),
        ({"colour": "green"}, "colour"),
        ({"error_ratio": 3.0}, "error_ratio"),
        ({"efficiencies": {}}, "efficiencies"),
    ],
)
def test_wrong_fields_are_named(changes: dict[str, object], path: str) -> None:
    with pytest.raises(CombinedInputError, match=path) as caught:
        load_gpu(text(**changes), source="my.yaml")
    assert "my.yaml" in str(caught.value)


def test_what_is_not_yaml_is_refused() -> None:
    with pytest.raises(InputError, match="is not YAML"):
        load_gpu("a: [", source="my.yaml")
    with pytest.raises(InputError, match=r"my\.yaml"):
        load_gpu("", source="my.yaml")
