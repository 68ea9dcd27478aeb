"""Realised workloads: synthetic arrivals and lengths, and trace formats."""

from simcore.workload.generic import parse_csv, parse_jsonl
from simcore.workload.synthetic import (
    Arrivals,
    BurstArrivals,
    ConstantArrivals,
    GammaArrivals,
    Lengths,
    PoissonArrivals,
    synthesize,
)
from simcore.workload.traces import parse_azure, parse_mooncake, parse_servegen

__all__ = [
    "Arrivals",
    "BurstArrivals",
    "ConstantArrivals",
    "GammaArrivals",
    "Lengths",
    "PoissonArrivals",
    "parse_azure",
    "parse_csv",
    "parse_jsonl",
    "parse_mooncake",
    "parse_servegen",
    "synthesize",
]
