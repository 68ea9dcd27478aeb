"""Run folders: everything one rehearsal leaves behind, as files."""

from harness.store.cost import gpu_seconds
from harness.store.folder import RunFolder
from harness.store.loaded import LoadedRun, load_run
from harness.store.manifest import Manifest, RunStatus, environment
from harness.store.metrics import write_gaps, write_metrics
from harness.store.pareto import ParetoPoint, ParetoSet
from harness.store.results import LoadCheck, RungRun, RunSetup
from harness.store.summary import (
    Quantiles,
    RungDifference,
    RungSummary,
    compare,
    merge_tables,
    quantiles,
    summarise,
    summarise_runs,
)
from harness.store.verdict import Bound, Check, Outcome, Verdict

__all__ = [
    "Bound",
    "Check",
    "LoadCheck",
    "LoadedRun",
    "Manifest",
    "Outcome",
    "ParetoPoint",
    "ParetoSet",
    "Quantiles",
    "RunFolder",
    "RunSetup",
    "RunStatus",
    "RungDifference",
    "RungRun",
    "RungSummary",
    "Verdict",
    "compare",
    "environment",
    "gpu_seconds",
    "load_run",
    "merge_tables",
    "quantiles",
    "summarise",
    "summarise_runs",
    "write_gaps",
    "write_metrics",
]
