"""A GPU of one's own: the facts of a SKU from a YAML file."""

from __future__ import annotations

import yaml
from pydantic import TypeAdapter, ValidationError

from contracts.errors import CombinedInputError, InputError
from contracts.hardware import GpuSpec

_GPU = TypeAdapter(GpuSpec)


def load_gpu(text: str, *, source: str) -> GpuSpec:
    """Read the facts of a GPU; the keys are the fields of :class:`GpuSpec`.

    Raises:
        InputError: not YAML, or a field is missing, unknown or of the wrong kind.
    """
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"is not YAML: {error}", source=source) from error
    try:
        gpu = _GPU.validate_python(data)
    except ValidationError as error:
        raise CombinedInputError(
            [
                InputError(
                    detail["msg"],
                    source=source,
                    path=".".join(str(part) for part in detail["loc"]) or None,
                    value=repr(detail["input"])[:80],
                )
                for detail in error.errors()
            ]
        ) from error
    _check(gpu, source)
    return gpu


def _check(gpu: GpuSpec, source: str) -> None:
    values = {name: getattr(gpu, name) for name in GpuSpec.__slots__ if name != "efficiencies"}
    values |= {
        f"efficiencies.{name}": getattr(gpu.efficiencies, name)
        for name in gpu.efficiencies.__slots__
    }
    problems = []
    for path, value in values.items():
        if isinstance(value, str) or value is None:
            continue
        high = 1.0 if path.endswith("_ratio") else float("inf")
        low_ok = value >= 0 if path.endswith("_us") else value > 0
        if not (low_ok and value <= high):
            allowed = "above 0" + ("" if high > 1 else " and at most 1")
            problems.append(
                InputError(
                    "is out of range", source=source, path=path, value=str(value), allowed=allowed
                )
            )
    if problems:
        raise CombinedInputError(problems)
