"""Random scenarios: small, valid, and always the same for a seed and a number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from contracts.streams import RandomStreams

Document = dict[str, Any]
# Everything has healed by this second, so that recovery can be judged before the end.
_HEALED_S = 35.0
_DURATION_S = 70.0
# Requests and the load that suits their deployments (requests a second, prompt, output).
_BASES = (
    ("dgdr/llama-8b.yaml", 12.0, 1500, 120),
    ("dgdr/llama-70b.yaml", 1.5, 3000, 100),
    ("dgdr/qwen3-8b.yaml", 1.0, 800, 100),
)
_TOPOLOGIES: Sequence[tuple[Document | None, tuple[str, ...]]] = (
    ({"kind": "agg", "replicas": 3}, ("agg",)),
    ({"kind": "agg", "replicas": 4}, ("agg",)),
    ({"kind": "disagg", "prefill": 2, "decode": 2, "link": "rdma"}, ("prefill", "decode")),
)


def sample(seed: int, number: int) -> Document:
    """The ``number``-th random scenario of a seed; paths start at the scenarios folder.

    Every fault has healed long before the end of the traffic, and the load suits what is
    left, so a deployment that does not recover is a finding.
    """
    rng = RandomStreams(seed).stream(f"search.{number}")
    dgdr, rate_per_s, isl, osl = _BASES[int(rng.integers(len(_BASES)))]
    topology, roles = _TOPOLOGIES[int(rng.integers(len(_TOPOLOGIES)))]
    if dgdr == "dgdr/llama-70b.yaml":
        topology, roles = _TOPOLOGIES[0]
    faults = [_fault(rng, roles) for _ in range(int(rng.integers(0, 4)))]
    windows: list[Document] = []
    if faults:
        windows.append({"when": "after", "within_s": 15.0, "completed_ratio_min": 1.0,
                        "attainment_min": 0.5})  # fmt: skip
    expect: Document = {"completed_ratio_min": 1.0}
    if windows:
        expect["windows"] = windows
    return {
        "version": 1,
        "name": f"search-{seed}-{number}",
        "deploy": {
            "dgdr": dgdr,
            # Room for every topology here, whatever engine the profiler picks.
            "set": {"spec.hardware.totalGpus": 32},
            "startup_s": round(float(rng.uniform(1, 8)), 1),
            "topology": topology,
            "router": str(rng.choice(["least_loaded", "round_robin", "power_of_two", "kv_aware"])),
        },
        "workload": {"synthetic": _traffic(rng, rate_per_s, isl, osl)},
        "faults": sorted(faults, key=lambda fault: fault["at_s"]),
        "on_worker_lost": "retry",
        "expect": expect,
        "rungs": ["sim"],
        "seeds": [int(rng.integers(1_000_000))],
    }


def _traffic(rng: np.random.Generator, rate_per_s: float, isl: int, osl: int) -> Document:
    rate = round(rate_per_s * float(rng.uniform(0.4, 1.0)), 2)
    arrivals = [
        {"kind": "poisson", "rate_per_s": rate},
        {"kind": "constant", "rate_per_s": rate},
        {"kind": "gamma", "rate_per_s": rate, "cv": 1.5},
    ]
    return {
        "duration_s": _DURATION_S,
        "arrivals": arrivals[int(rng.integers(len(arrivals)))],
        "isl": {"mean": isl, "cv": round(float(rng.uniform(0, 0.5)), 2)},
        "osl": {"mean": osl, "cv": round(float(rng.uniform(0, 0.5)), 2)},
    }


def _fault(rng: np.random.Generator, roles: tuple[str, ...]) -> Document:
    at_s = round(float(rng.uniform(3, 20)), 1)
    duration_s = round(min(float(rng.uniform(1, 10)), _HEALED_S - at_s), 1)
    role = str(rng.choice(list(roles)))
    kinds: list[Document] = [
        {"kind": "worker_crash", "role": role},
        {"kind": "worker_drain", "role": role},
        {"kind": "worker_partition", "role": role, "duration_s": duration_s},
        {"kind": "slow_worker", "role": role, "duration_s": duration_s, "factor": 2.0},
        {"kind": "stale_router_view", "duration_s": duration_s, "lag_s": 0.5},
        {"kind": "traffic_shift", "duration_s": max(duration_s, 6.0), "isl_factor": 1.3},
    ]
    if "decode" in roles:
        kinds.append({"kind": "link_degraded", "duration_s": duration_s, "factor": 0.5})
        kinds.append({"kind": "link_lost", "duration_s": min(duration_s, 2.0)})
    return kinds[int(rng.integers(len(kinds)))] | {"at_s": at_s}
