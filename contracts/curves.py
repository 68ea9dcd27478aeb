"""Performance curves of one prefill and one decode engine, under the names of the npz files."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from contracts.errors import InputError

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PrefillCurves:
    """Prefill of a single prompt by length.

    Attributes:
        prefill_isl: shape (n,), tokens, increasing.
        prefill_ttft: shape (n,), milliseconds.
        prefill_thpt_per_gpu: shape (n,), prompt tokens/s for each GPU.
    """

    prefill_isl: FloatArray
    prefill_ttft: FloatArray
    prefill_thpt_per_gpu: FloatArray

    def __post_init__(self) -> None:
        _same_length(self, ("prefill_isl", "prefill_ttft", "prefill_thpt_per_gpu"))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DecodeCurves:
    """Decode steps by KV usage and mean context length; scattered points.

    Attributes:
        x_kv_usage: shape (n,), share of KV tokens in use (0-1).
        y_context_length: shape (n,), mean tokens in context of a request.
        z_itl: shape (n,), milliseconds.
        z_thpt_per_gpu: shape (n,), output tokens/s for each GPU.
        max_kv_tokens: KV tokens that fit into one engine.
    """

    x_kv_usage: FloatArray
    y_context_length: FloatArray
    z_itl: FloatArray
    z_thpt_per_gpu: FloatArray
    max_kv_tokens: int

    def __post_init__(self) -> None:
        _same_length(self, ("x_kv_usage", "y_context_length", "z_itl", "z_thpt_per_gpu"))


def _same_length(curves: PrefillCurves | DecodeCurves, names: tuple[str, ...]) -> None:
    lengths = {name: len(getattr(curves, name)) for name in names}
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        raise InputError("curve arrays must be non-empty and equally long", value=str(lengths))
