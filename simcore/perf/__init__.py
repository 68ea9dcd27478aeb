"""Step-time models, GPU facts, model architectures and KV capacity."""

from simcore.perf.defaults import BackendDefaults, backend_defaults, engine_from_settings
from simcore.perf.gpus import KNOWN_SKUS, gpu_spec
from simcore.perf.memory import MemoryRequest, kv_blocks_for
from simcore.perf.models import KNOWN_MODELS, architecture, architecture_from_config
from simcore.perf.roofline import RooflineTimer, roofline

__all__ = [
    "KNOWN_MODELS",
    "KNOWN_SKUS",
    "BackendDefaults",
    "MemoryRequest",
    "RooflineTimer",
    "architecture",
    "architecture_from_config",
    "backend_defaults",
    "engine_from_settings",
    "gpu_spec",
    "kv_blocks_for",
    "roofline",
]
