"""Step-time models, GPU facts, model architectures and KV capacity."""

from simcore.perf.defaults import BackendDefaults, backend_defaults, engine_from_settings
from simcore.perf.gpus import KNOWN_SKUS, gpu_spec
from simcore.perf.memory import MemoryRequest, kv_blocks_for
from simcore.perf.models import KNOWN_MODELS, architecture, architecture_from_config
from simcore.perf.profile import curve_times
from simcore.perf.roofline import RooflineTimer, roofline
from simcore.perf.table import StepTable, parse_step_table, table_times

__all__ = [
    "KNOWN_MODELS",
    "KNOWN_SKUS",
    "BackendDefaults",
    "MemoryRequest",
    "RooflineTimer",
    "StepTable",
    "architecture",
    "architecture_from_config",
    "backend_defaults",
    "curve_times",
    "engine_from_settings",
    "gpu_spec",
    "kv_blocks_for",
    "parse_step_table",
    "roofline",
    "table_times",
]
