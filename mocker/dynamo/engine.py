"""From the command line of one worker to the plan of a deployment of one worker."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from contracts.engine import Backend
from contracts.errors import InfeasibleError, InputError
from contracts.files import unreadable
from contracts.hardware import GpuSpec
from contracts.model import Dtype, ModelArchitecture
from contracts.plan import DeploymentPlan, Role
from contracts.ports import TimerFactory
from contracts.settings import EngineSettings
from dgdr.deployment.profile_data import DECODE_FILE, PREFILL_FILE, Curves, read_profile_files
from dgdr.enums import ServingBackend
from dgdr.reconcile.hardware import sku_of_product
from dgdr.worker_args import read_mocker, read_worker_args
from mocker.dynamo.settings import option
from mocker.fleet.worker_plan import plan_of_worker, times_of_worker, worker_times
from simcore.perf import (
    KNOWN_MODELS,
    MemoryRequest,
    architecture,
    architecture_from_config,
    curve_times,
    engine_from_settings,
    gpu_spec,
    kv_blocks_for,
)
from simcore.perf.profile import curve_gpus

__all__ = ["BACKENDS", "WorkerPlan", "worker_plan", "worker_times"]

SKU_VARIABLE, PRODUCT_VARIABLE = "GPU_SKU", "GPU_PRODUCT"
BACKENDS = ("vllm", "sglang", "trtllm", "mocker")
_NAME_OPTIONS = ("--served-model-name", "--model-name", "--model-path", "--model")
_TP_SIZES = (1, 2, 4, 8, 16, 32)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerPlan:
    """What one worker pod serves.

    Attributes:
        role: part of a disaggregated deployment, or all of it.
        speed: simulated seconds in a second of wall time.
        timer_for: step times of its engines.
    """

    plan: DeploymentPlan
    role: Role
    speed: float = 1.0
    timer_for: TimerFactory = field(default_factory=lambda: worker_times)


def worker_plan(backend: str, args: Sequence[str], variables: Mapping[str, str]) -> WorkerPlan:
    """The deployment of the one worker that a command line starts.

    A prefill worker is an engine like any other: the frontend asks it for one token. In front
    of a decode worker's engine stands a prefill that takes no time, because the frontend has
    already waited for the real one; the transfer of the KV cache is part of the decode worker.

    Args:
        backend: one of ``BACKENDS``.
        args: of the container.
        variables: ``GPU_SKU`` (as in a DGDR) or ``GPU_PRODUCT`` (as in node labels).

    Raises:
        InputError: an unknown option, model or GPU.
        UnsupportedError: an option that is not modelled.
        InfeasibleError: the model does not fit.
    """
    if backend not in BACKENDS:
        raise InputError(
            "is no engine", path="--engine", value=backend, allowed=", ".join(BACKENDS)
        )
    if backend == "mocker":
        return _mocker_plan(args, variables)
    settings = read_worker_args(ServingBackend(backend), args)
    engine = engine_from_settings(settings, model=_model(settings, args), gpu=_gpu(variables))
    return WorkerPlan(plan=plan_of_worker(engine, settings.role), role=settings.role)


def _mocker_plan(args: Sequence[str], variables: Mapping[str, str]) -> WorkerPlan:
    """A mocker runs anywhere, so what its arguments say about the GPU counts first."""
    found = read_mocker(args)
    settings = found.engine
    gpu = gpu_spec(found.gpu_sku) if found.gpu_sku else _gpu(variables)
    model = _model(settings, args)
    curves = None if found.profile_dir is None else _curves(Path(found.profile_dir))
    if curves is not None:
        prefill, decode = curve_gpus(*curves)
        settings = replace(settings, tp=prefill if settings.role is Role.PREFILL else decode)
    elif not found.sized:
        settings = replace(settings, tp=_least_tp(settings, model, gpu))
    engine = engine_from_settings(settings, model=model, gpu=gpu)
    return WorkerPlan(
        plan=plan_of_worker(engine, settings.role),
        role=settings.role,
        speed=found.speed,
        timer_for=worker_times if curves is None else times_of_worker(curve_times(*curves)),
    )


def _curves(folder: Path) -> Curves:
    texts = []
    for name in (PREFILL_FILE, DECODE_FILE):
        try:
            texts.append((folder / name).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(unreadable(error), source=str(folder / name)) from error
    return read_profile_files(*texts, source=str(folder))


def _gpu(variables: Mapping[str, str]) -> GpuSpec:
    sku, product = variables.get(SKU_VARIABLE), variables.get(PRODUCT_VARIABLE)
    if sku:
        return gpu_spec(sku)
    found = sku_of_product(product or "")
    if found is None:
        raise InputError(
            "says which GPU this worker stands for and is missing or unknown",
            path=f"${PRODUCT_VARIABLE}",
            value=product or "nothing",
            allowed=f"a product as in node labels, or a SKU of the DGDR in ${SKU_VARIABLE}",
        )
    return gpu_spec(found.value)


def _model(settings: EngineSettings, args: Sequence[str]) -> ModelArchitecture:
    """By the name under which it is served, else by its ``config.json``."""
    names = [value for name in _NAME_OPTIONS if (value := option(args, name))]
    if not names and not settings.model:
        raise InputError(
            "is required among the engine's own arguments (after --)",
            path="--model",
            value="nothing",
        )
    config = Path(settings.model) / "config.json"
    if settings.model and config.is_file():
        return architecture_from_config(names[0], json.loads(config.read_text(encoding="utf-8")))
    known = {each.lower() for each in KNOWN_MODELS}
    bundled = next((name for name in names if name.lower() in known), settings.model)
    return replace(architecture(bundled), model_id=names[0])


def _least_tp(settings: EngineSettings, model: ModelArchitecture, gpu: GpuSpec) -> int:
    """The fewest GPUs whose memory holds the KV blocks that the mocker is told to have."""
    block = settings.block_size_tokens or 1
    for tp in _TP_SIZES:
        request = MemoryRequest(
            model=model,
            gpu=gpu,
            tp=tp,
            weight_dtype=Dtype.BF16,
            kv_dtype=Dtype.BF16,
            block_size_tokens=block,
            max_num_batched_tokens=settings.max_num_batched_tokens or 8192,
            max_num_seqs=settings.max_num_seqs or 256,
            backend=Backend.VLLM,
        )
        try:
            if kv_blocks_for(request) * block >= (settings.kv_tokens or 1):
                return tp
        except InfeasibleError:
            continue
    raise InfeasibleError(
        f"no number of {gpu.sku} holds {model.model_id} and its KV blocks",
        binding_constraint=f"--num-gpu-blocks-override with {_TP_SIZES[-1]} GPUs",
    )
