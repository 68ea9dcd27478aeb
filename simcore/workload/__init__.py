"""Realised workloads: synthetic requests and conversations, and trace formats."""

from simcore.workload.arrivals import (
    Arrivals,
    BurstArrivals,
    ConstantArrivals,
    GammaArrivals,
    PoissonArrivals,
    SteppedArrivals,
    diurnal,
)
from simcore.workload.generic import parse_csv, parse_jsonl
from simcore.workload.lengths import Lengths
from simcore.workload.mix import AdapterMix, SharedPrefixes, Thinking, TrafficMix
from simcore.workload.sessions import Conversation, ThinkTime, synthesize_sessions
from simcore.workload.synthetic import synthesize
from simcore.workload.traces import parse_azure, parse_burstgpt, parse_mooncake, parse_servegen

__all__ = [
    "AdapterMix",
    "Arrivals",
    "BurstArrivals",
    "ConstantArrivals",
    "Conversation",
    "GammaArrivals",
    "Lengths",
    "PoissonArrivals",
    "SharedPrefixes",
    "SteppedArrivals",
    "ThinkTime",
    "Thinking",
    "TrafficMix",
    "diurnal",
    "parse_azure",
    "parse_burstgpt",
    "parse_csv",
    "parse_jsonl",
    "parse_mooncake",
    "parse_servegen",
    "synthesize",
    "synthesize_sessions",
]
