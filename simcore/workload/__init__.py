"""Realised workloads: synthetic arrivals and lengths, and trace formats."""

from simcore.workload.synthetic import (
    Arrivals,
    BurstArrivals,
    ConstantArrivals,
    GammaArrivals,
    Lengths,
    PoissonArrivals,
    synthesize,
)
from simcore.workload.traces import parse_azure, parse_mooncake

__all__ = [
    "Arrivals",
    "BurstArrivals",
    "ConstantArrivals",
    "GammaArrivals",
    "Lengths",
    "PoissonArrivals",
    "parse_azure",
    "parse_mooncake",
    "synthesize",
]
