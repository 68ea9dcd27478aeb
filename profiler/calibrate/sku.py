"""From fitted rates to the facts of a GPU: data sheet, ratios, what was borrowed."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from contracts.hardware import Efficiencies, Evidence, GpuSpec
from profiler.calibrate.bench import DeviceFacts
from profiler.calibrate.fit import Rates
from simcore.perf import KNOWN_SKUS, gpu_spec

# Device names, most specific first; a name that none matches has no bundled data sheet.
_NAMES = (
    (r"\bGH200\b|\bNVL\b|MI300A|A100.*40GB", None),
    (r"\bGB200\b", "gb200_sxm"),
    (r"\bB300\b", "b300_sxm"),
    (r"\bB200\b", "b200_sxm"),
    (r"\bH200\b", "h200_sxm"),
    (r"\bH100\b.*PCIe", "h100_pcie"),
    (r"\bH100\b", "h100_sxm"),
    (r"\bA100\b.*PCIe", "a100_pcie"),
    (r"\bA100\b", "a100_sxm"),
    (r"\bL40S\b", "l40s"),
    (r"\bL40\b", "l40"),
    (r"\bL4\b", "l4"),
    (r"\bA30\b", "a30"),
    (r"\bV100\b.*PCIe", "v100_pcie"),
    (r"\bV100\b", "v100_sxm"),
    (r"\bT4\b", "t4"),
    (r"\bMI300X\b", "mi300"),
    (r"\bMI2[15]0X?\b", "mi200"),
)
# What is borrowed for a device that no data sheet is bundled for: a PCIe card.
FALLBACK_SKU = "l40s"
# Kernels say nothing about scheduler, host and overlap: no step is known better than
# those of the GPUs that were checked against whole engines.
STEP_ERROR_MIN = min(
    gpu_spec(sku).error_ratio for sku in KNOWN_SKUS if gpu_spec(sku).evidence is Evidence.CALIBRATED
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Composed:
    """Facts of a GPU and what people should know about them.

    Attributes:
        sheet: bundled SKU whose data sheet was used; ``None`` when it was measured.
    """

    gpu: GpuSpec
    sheet: str | None
    notes: tuple[str, ...]


def bundled_sku(device_name: str) -> str | None:
    """The bundled SKU that a device name stands for."""
    for pattern, sku in _NAMES:
        if re.search(pattern, device_name.replace("-", " "), re.IGNORECASE):
            return sku
    return None


def sku_name(device_name: str) -> str:
    """A device name as the name of a SKU: lower case, words joined by underscores."""
    return re.sub(r"[^a-z0-9]+", "_", device_name.lower()).strip("_") or "gpu"


def compose(rates: Rates, facts: DeviceFacts, *, sku: str, like: str | None) -> Composed:
    """Relate fitted rates to a data sheet.

    With a bundled SKU (``like``, or the device's name) its data sheet holds and the ratios
    are rate over sheet; a rate above the sheet replaces the sheet's value. Else the rates
    themselves are the data sheet, with ratio 1. What was not measured is borrowed.

    Raises:
        InputError: ``like`` is no bundled SKU.
    """
    sheet = like or bundled_sku(facts.name)
    donor = gpu_spec(sheet or FALLBACK_SKU)
    notes = []
    if sheet is None:
        notes.append(
            "no bundled data sheet for this device: TFLOPS and memory bandwidth are what was "
            f"reached, with ratio 1; links are borrowed from {FALLBACK_SKU} where not measured"
        )
    book = _Book(notes, known=sheet is not None)
    half = book.peak("bf16_tflops", donor.bf16_tflops, rates.half_flops, rates.attention_flops)
    memory = book.peak(
        "memory_tbytes_per_s", donor.memory_tbytes_per_s, rates.gemm_bytes, rates.attention_bytes
    )
    fp8, fp8_ratio = _fp8(book, donor, rates, facts)
    link, link_ratio = _link(book, donor, rates)
    eff = donor.efficiencies
    if rates.link_bytes is None:
        notes.append(f"all-reduce was not measured: link and its costs are those of {donor.sku}")
    elif rates.allreduce_peer_us is None:
        notes.append(f"groups of one size only: allreduce_peer_us is that of {donor.sku}")
    gpu = GpuSpec(
        sku=sku,
        memory_gib=round(facts.memory_gib, 2),
        memory_tbytes_per_s=_short(memory),
        bf16_tflops=_short(half),
        fp8_tflops=None if fp8 is None else _short(fp8),
        fp4_tflops=None if sheet is None else donor.fp4_tflops,
        intra_node_gbytes_per_s=_short(link),
        inter_node_gbytes_per_s=donor.inter_node_gbytes_per_s,
        gpus_per_node=donor.gpus_per_node if sheet else facts.gpus,
        evidence=Evidence.CALIBRATED,
        error_ratio=STEP_ERROR_MIN,
        efficiencies=Efficiencies(
            gemm_compute_ratio=_ratio(rates.half_flops / 1e12 / half),
            fp8_compute_ratio=_ratio(fp8_ratio),
            gemm_memory_ratio=_ratio(rates.gemm_bytes / 1e12 / memory),
            attention_compute_ratio=_ratio(rates.attention_flops / 1e12 / half),
            attention_memory_ratio=_ratio(rates.attention_bytes / 1e12 / memory),
            link_ratio=_ratio(link_ratio),
            kernel_us=_short(rates.kernel_us),
            attention_kernel_us=_short(rates.attention_kernel_us),
            allreduce_us=_short(_or(rates.allreduce_us, eff.allreduce_us)),
            allreduce_peer_us=_short(_or(rates.allreduce_peer_us, eff.allreduce_peer_us)),
            # Grouped GEMMs are not measured.
            expert_compute_ratio=eff.expert_compute_ratio,
            expert_memory_ratio=eff.expert_memory_ratio,
        ),
    )
    return Composed(gpu=gpu, sheet=sheet, notes=tuple(notes))


def with_error(gpu: GpuSpec, worst_p67: float, *, estimated: bool) -> GpuSpec:
    """The facts with the error band of a step.

    Args:
        gpu: the facts.
        worst_p67: error that two thirds of the points of the worst operator stay within.
        estimated: the numbers are not to be relied on.
    """
    evidence = Evidence.ESTIMATED if estimated else Evidence.CALIBRATED
    ratio = min(1.0, round(max(STEP_ERROR_MIN, worst_p67), 3))
    return replace(gpu, evidence=evidence, error_ratio=ratio)


class _Book:
    """Data-sheet values: the bundled one, unless more was reached."""

    def __init__(self, notes: list[str], *, known: bool) -> None:
        self._notes = notes
        self.known = known

    def peak(self, name: str, sheet: float, *reached: float, unit: float = 1e12) -> float:
        best = max(reached) / unit
        if not self.known:
            return best
        if best > sheet:
            self._notes.append(
                f"{name}: {_short(best)} was reached, above the data sheet's {sheet}; it stands "
                "in its place"
            )
            return best
        return sheet


def _fp8(
    book: _Book, donor: GpuSpec, rates: Rates, facts: DeviceFacts
) -> tuple[float | None, float]:
    """8-bit rate and ratio; borrowed when the library could not measure them."""
    ratio = donor.efficiencies.fp8_compute_ratio
    if rates.fp8_flops is not None:
        known = donor.fp8_tflops or 0.0
        peak = book.peak("fp8_tflops", known, rates.fp8_flops)
        return peak, rates.fp8_flops / 1e12 / peak
    if not book.known or donor.fp8_tflops is None:
        return None, ratio
    why = "too few points" if facts.fp8 else "this PyTorch cannot run it here"
    book._notes.append(f"8-bit GEMM was not measured ({why}): rate and ratio of {donor.sku}")
    return donor.fp8_tflops, ratio


def _link(book: _Book, donor: GpuSpec, rates: Rates) -> tuple[float, float]:
    if rates.link_bytes is None:
        return donor.intra_node_gbytes_per_s, donor.efficiencies.link_ratio
    peak = book.peak(
        "intra_node_gbytes_per_s", donor.intra_node_gbytes_per_s, rates.link_bytes, unit=1e9
    )
    return peak, rates.link_bytes / 1e9 / peak


def _short(value: float) -> float:
    """Four significant digits."""
    return float(f"{value:.4g}")


def _ratio(value: float) -> float:
    """A ratio of the file: four significant digits, at most 1."""
    return min(1.0, _short(value))


def _or(value: float | None, other: float) -> float:
    return other if value is None else value
