"""GPU facts and kernel efficiencies by SKU, shipped as data with provenance.

``data/gpus.json`` holds data-sheet numbers, the efficiencies used with them and where
both come from (see NOTICE). Error bands of SKUs without own measurements are guesses:
what the same form with borrowed efficiencies misses on GPUs that were measured.
"""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Any

from contracts.errors import InputError
from contracts.hardware import Efficiencies, Evidence, GpuSpec


@cache
def _data() -> dict[str, Any]:
    text = resources.files("simcore.perf").joinpath("data/gpus.json").read_text(encoding="utf-8")
    content: dict[str, Any] = json.loads(text)
    return content


def known_skus() -> tuple[str, ...]:
    """All SKUs with facts, aliases included."""
    return (*_data()["gpus"], *_data()["aliases"])


def gpu_spec(sku: str) -> GpuSpec:
    """Facts of one GPU SKU.

    Raises:
        InputError: the SKU has no facts; lists those that do.
    """
    data = _data()
    facts = data["gpus"].get(data["aliases"].get(sku, sku))
    if facts is None:
        raise InputError(
            "no performance facts for this GPU", value=sku, allowed=", ".join(known_skus())
        )
    ratios = data["efficiencies"][facts["efficiencies"]]
    own = {key: value for key, value in facts.items() if key in GpuSpec.__slots__}
    own |= {
        "sku": sku,
        "evidence": Evidence(facts["evidence"]),
        "efficiencies": Efficiencies(
            **{key: value for key, value in ratios.items() if key != "source"}
        ),
    }
    return GpuSpec(**own)


KNOWN_SKUS: tuple[str, ...] = known_skus()
