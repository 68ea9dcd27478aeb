"""What is measured: single operator calls, and the grids of shapes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TypeVar

from contracts.model import Dtype


@dataclass(frozen=True, slots=True, kw_only=True)
class GemmPoint:
    """``m`` rows times a ``k`` by ``n`` weight matrix; ``BF16`` stands for any 16-bit type."""

    m: int
    k: int
    n: int
    dtype: Dtype


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextPoint:
    """Attention of ``new`` prompt tokens in 16 bits, as many KV heads as query heads.

    With ``past`` 0 they attend to themselves, causally; else to the ``past`` tokens before
    them only, as the part of a chunk that looks back does.
    """

    heads: int
    head_dim: int
    new: int
    past: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodePoint:
    """Attention of one new token for each request, 16-bit KV cache, one query per KV head."""

    requests: int
    context: int
    heads: int
    head_dim: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyPoint:
    """A copy inside the GPU's memory; ``size_bytes`` counts what is read and written."""

    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchPoint:
    """One kernel on a single number, launched by the host or replayed from a graph."""

    graph: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AllReducePoint:
    """A sum of ``size_bytes`` over ``gpus`` GPUs of this machine."""

    size_bytes: int
    gpus: int


Point = GemmPoint | ContextPoint | DecodePoint | CopyPoint | LaunchPoint | AllReducePoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """Seconds that one call of a point took, median of several."""

    point: Point
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Points of one operator in the order of measuring.

    Attributes:
        share: part of the time that this section may take (0-1).
    """

    name: str
    points: tuple[Point, ...]
    share: float


def operator_of(point: Point) -> str:
    """Name of the operator, as it stands in files."""
    match point:
        case GemmPoint(dtype=dtype):
            return f"gemm_{dtype.value}"
        case ContextPoint():
            return "context_attention"
        case DecodePoint():
            return "decode_attention"
        case CopyPoint():
            return "copy"
        case LaunchPoint(graph=graph):
            return "launch_graph" if graph else "launch_host"
        case AllReducePoint():
            return "all_reduce"


def shape_of(point: Point) -> dict[str, str]:
    """Fields of a point as text, for the CSV."""
    return {name: str(value) for name, value in asdict(point).items()}


# Weight matrices (k, n) of 8B and 70B models and of their slices, and small ones.
_WEIGHTS = (
    (1024, 1024), (2048, 2048), (4096, 4096), (4096, 6144), (4096, 28_672), (14_336, 4096),
    (8192, 2560), (8192, 14_336), (7168, 8192),
)  # fmt: skip
_ROWS = (1, 8, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)
_MIB = 1 << 20
_SHARES = {"gemm_bf16": 0.3, "gemm_fp8": 0.2, "attention": 0.35, "copy": 0.05, "launch": 0.02}
_LINK_SHARE = 0.08


def grid(*, fp8: bool, gpus: int, tiny: bool) -> list[Section]:
    """Sections for one machine.

    Args:
        fp8: the GPU computes with 8-bit floating point.
        gpus: GPUs of the machine.
        tiny: sizes for a CPU: the same code in seconds, numbers of no use.
    """
    if tiny:
        weights: Iterable[tuple[int, int]] = ((64, 64), (128, 256), (256, 512))
        rows: Iterable[int] = (1, 16, 64, 256)
        prompts = [(16, 0), (64, 0), (128, 0), (256, 0), (32, 128)]
        decodes = [(1, 64), (2, 128), (4, 256), (8, 256)]
        copies, sums = [_MIB // 4, _MIB], [4096, 65_536]
        heads, head_dim = 2, 32
    else:
        weights, rows = _WEIGHTS, _ROWS
        prompts = [(128 << n, 0) for n in range(8)]
        prompts += [(256, 4096), (1024, 4096), (2048, 8192), (512, 16_384)]
        decodes = [(b, s) for b in (1, 4, 16, 64, 128) for s in (128, 512, 2048, 8192)]
        copies = [_MIB << n for n in (4, 6, 8, 10)]
        sums = [8192 << n for n in range(0, 15, 2)]
        heads, head_dim = 8, 128
    sections = []
    for dtype in (Dtype.BF16, Dtype.FP8) if fp8 else (Dtype.BF16,):
        gemms = [GemmPoint(m=m, k=k, n=n, dtype=dtype) for k, n in weights for m in rows]
        sections.append(_section(f"gemm_{dtype.value}", gemms))
    attention: list[Point] = [
        ContextPoint(heads=heads, head_dim=head_dim, new=new, past=past) for new, past in prompts
    ]
    attention += [
        DecodePoint(requests=b, context=s, heads=heads, head_dim=head_dim) for b, s in decodes
    ]
    sections.append(_section("attention", attention))
    sections.append(_section("copy", [CopyPoint(size_bytes=size) for size in copies]))
    sections.append(_section("launch", [LaunchPoint(graph=False), LaunchPoint(graph=True)]))
    groups = [n for n in (2, 4, 8, 16) if n <= gpus]
    if groups:
        links = [AllReducePoint(size_bytes=size, gpus=n) for n in groups for size in sums]
        sections.append(_section("all_reduce", links))
    return sections


_P = TypeVar("_P")


def spread(items: list[_P]) -> list[_P]:
    """The same items in an order of which every beginning covers the whole range.

    Positions follow the multiples of the golden ratio, so a section that runs out of time
    has measured small and large shapes alike.
    """
    order = sorted(range(len(items)), key=lambda index: (index * 0.6180339887) % 1.0)
    return [items[index] for index in order]


def _section(name: str, points: Iterable[Point]) -> Section:
    share = _SHARES.get(name, _LINK_SHARE)
    return Section(name=name, points=tuple(spread(list(points))), share=share)
