"""A GPU of one's own: the facts of a SKU in a YAML file.

The keys are the fields of :class:`GpuSpec`. A file that ``profiler calibrate`` wrote has
the key ``calibration`` besides: where the numbers come from and how well they fit.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

from contracts.errors import CombinedInputError, InputError
from contracts.hardware import GpuSpec

_KEY = "calibration"
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorError:
    """How far the fitted formula is from the measured times of one operator.

    Attributes:
        points: measured points.
        planned: points of the grid.
        error_p50: median of |predicted / measured - 1|; likewise the others.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    points: int
    planned: int
    error_p50: float
    error_p67: float
    error_p90: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Provenance of measured facts.

    Attributes:
        device: what the GPU calls itself.
        runtime: versions of the library and driver that measured.
        half_type: 16-bit type that was measured.
        measured_at: UTC.
        seconds: duration of the measurements.
        data_sheet: bundled SKU whose peaks were used, or ``measured``.
        raw: file with the measured times, if one was written.
        operators: errors by operator.
        notes: what was borrowed, left out or unusual.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    device: str
    runtime: str
    half_type: str
    measured_at: str
    seconds: float
    data_sheet: str
    raw: str | None
    operators: dict[str, OperatorError]
    notes: list[str]


_GPU = TypeAdapter(GpuSpec)
_CALIBRATION = TypeAdapter(Calibration)


def load_gpu(text: str, *, source: str) -> GpuSpec:
    """Read the facts of a GPU.

    Raises:
        InputError: not YAML, or a field is missing, unknown or of the wrong kind.
    """
    data = _mapping(text, source)
    if isinstance(data, dict) and _KEY in data:
        _validated(_CALIBRATION, data[_KEY], source, _KEY)
        data = {key: value for key, value in data.items() if key != _KEY}
    gpu = _validated(_GPU, data, source)
    _check(gpu, source)
    return gpu


def load_calibration(text: str, *, source: str) -> Calibration | None:
    """Read where the facts of a file come from; ``None`` when it does not say.

    Raises:
        InputError: not YAML, or a field is missing, unknown or of the wrong kind.
    """
    data = _mapping(text, source)
    if not isinstance(data, dict) or _KEY not in data:
        return None
    return _validated(_CALIBRATION, data[_KEY], source, _KEY)


def dump_gpu(gpu: GpuSpec, calibration: Calibration, *, comment: str) -> str:
    """The text of a file that :func:`load_gpu` reads; ``comment`` stands on top."""
    head = "".join(f"# {line}\n" for line in comment.splitlines())
    content = {**asdict(gpu), "evidence": gpu.evidence.value, _KEY: asdict(calibration)}
    return head + yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)


def _mapping(text: str, source: str) -> Any:  # noqa: ANN401  # any YAML, checked by the caller
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"is not YAML: {error}", source=source) from error


def _validated(adapter: TypeAdapter[_T], data: object, source: str, *under: str) -> _T:
    try:
        return adapter.validate_python(data)
    except ValidationError as error:
        raise CombinedInputError(
            [
                InputError(
                    detail["msg"],
                    source=source,
                    path=".".join((*under, *(str(part) for part in detail["loc"]))) or None,
                    value=repr(detail["input"])[:80],
                )
                for detail in error.errors()
            ]
        ) from error


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
