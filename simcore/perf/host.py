"""What a backend adds to an engine step; shipped as data with provenance.

The scheduler takes a fixed time for a step. An engine that prepares the next step while
the GPU works hides that behind the GPU; the others pay for it in every step. Sampling and
output handling take a little for each request. A step with prompt work is not replayed as
a CUDA graph, so the host launches its kernels one by one, and the step lasts at least as
long as that takes. Mixtures of experts run a number of small kernels around the experts,
and how many differs more between backends than between GPUs.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from contracts.engine import Backend


@dataclass(frozen=True, slots=True, kw_only=True)
class HostCost:
    """What a backend adds to one step.

    Attributes:
        step_us: every step; hidden behind the GPU by engines that prepare the next step
            while it works.
        request_us: for each request in the step; never hidden.
        expert_prefill_layer_us: launching the experts of one layer besides that.
        expert_layer_us: routing, sorting and combining around the experts of one layer.
        prefill_layer_us: launching one layer of a step with prompt work; hidden behind the
            GPU where that takes longer.
        frontend_ms: between client and engine: HTTP, tokens, queues between processes.
            Part of TTFT and E2E that a client measures, not of engine steps.
    """

    step_us: float
    request_us: float
    expert_prefill_layer_us: float
    expert_layer_us: float
    prefill_layer_us: float
    frontend_ms: float


@cache
def _data() -> dict[str, Any]:
    file = resources.files("simcore.perf").joinpath("data/backends.json")
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return content


def host_cost(backend: Backend) -> HostCost:
    """Host cost of a backend."""
    return HostCost(**_data()["backends"][backend.value])
