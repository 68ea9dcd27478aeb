"""Frontend and worker components of a deployment."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

from contracts.plan import PoolPlan, Role
from dgdr.deployment.component import Component, Container, Mount
from dgdr.deployment.engine_args import WorkerArgs, engine_args, mocker_args
from dgdr.deployment.images import worker_image
from dgdr.deployment.names import FRONTEND, volume_name, worker_name, worker_type
from dgdr.enums import ServingBackend
from dgdr.request import DgdrSpec

WORKSPACE = "/workspace"
_EPHEMERAL_STORAGE = "2Gi"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildContext:
    """What all components of one deployment have in common.

    Attributes:
        image: ``spec.image``, present.
        planner: a planner component joins the deployment.
        scaled_roles: roles whose replicas the planner sets.
    """

    spec: DgdrSpec
    image: str
    planner: bool
    scaled_roles: Set[Role]

    @property
    def backend(self) -> ServingBackend:
        """The engine of the workers."""
        return self.spec.backend.serving

    @property
    def cache_mounts(self) -> tuple[Mount, ...]:
        """The model cache, if the request names a claim."""
        claim = self.spec.model_cache.pvc_name
        if claim is None:
            return ()
        return (
            Mount(
                name=volume_name(claim),
                source={"persistentVolumeClaim": {"claimName": claim}},
                path=self.spec.model_cache.pvc_mount_path,
            ),
        )

    @property
    def cache_env(self) -> dict[str, str]:
        """Points Hugging Face at the claim when no path inside it is given."""
        cache = self.spec.model_cache
        if cache.pvc_name is None or cache.model_path is not None:
            return {}
        return {"HF_HOME": cache.pvc_mount_path}


def frontend_component(context: BuildContext) -> Component:
    """The HTTP frontend: one replica, the worker's image, port 8000."""
    spec = context.spec
    model_path = spec.model_cache.model_path
    args = () if model_path is None else ("--model-name", spec.model, "--model-path", model_path)
    router = {"DYN_ROUTER_MODE": "kv"} if spec.features.kv_router.enabled else {}
    return Component(
        name=FRONTEND,
        type="frontend",
        replicas=1,
        container=Container(
            image=worker_image(context.image, context.backend, mocker=spec.mocker),
            module="dynamo.frontend",
            working_dir=WORKSPACE,
            args=args,
            env={**context.cache_env, **router},
        ),
        mounts=context.cache_mounts,
        tolerations=spec.overrides.tolerations,
        runtime_version=spec.runtime_version_override,
    )


def worker_component(context: BuildContext, pool: PoolPlan) -> Component:
    """The workers of one pool, with GPUs or as mockers."""
    spec, scaled = context.spec, pool.role in context.scaled_roles
    container = _mocker(context, pool) if spec.mocker else _engine(context, pool)
    return Component(
        name=worker_name(context.backend, pool.role, mocker=spec.mocker),
        type=worker_type(pool.role, planner_scaled=scaled),
        replicas=pool.replicas,
        container=container,
        mounts=context.cache_mounts,
        tolerations=spec.overrides.tolerations,
        planner_scaled=scaled,
        nodes=1 if spec.mocker else -(-pool.engine.gpus // _gpus_per_node(context, pool)),
        runtime_version=spec.runtime_version_override,
    )


def _mocker(context: BuildContext, pool: PoolPlan) -> Container:
    return Container(
        image=worker_image(context.image, context.backend, mocker=True),
        module="dynamo.mocker",
        working_dir=f"{WORKSPACE}/examples/backends/mocker",
        args=mocker_args(_worker_args(context, pool)),
        env=context.cache_env,
    )


def _engine(context: BuildContext, pool: PoolPlan) -> Container:
    backend = context.backend
    vllm, trtllm = backend is ServingBackend.VLLM, backend is ServingBackend.TRTLLM
    # The planner's regressions start from a short benchmark that vLLM workers run on themselves.
    benchmark = {"DYN_BENCHMARK_MODE": pool.role.value} if vllm and context.planner else {}
    scratch = vllm or pool.role is Role.AGG
    return Container(
        image=worker_image(context.image, backend, mocker=False),
        module=f"dynamo.{backend.value}",
        working_dir=f"{WORKSPACE}/" if trtllm else f"{WORKSPACE}/examples/backends/{backend.value}",
        args=engine_args(_worker_args(context, pool)),
        env={**context.cache_env, **benchmark},
        gpus=min(pool.engine.gpus, _gpus_per_node(context, pool)),
        ephemeral_storage=_EPHEMERAL_STORAGE if scratch else None,
    )


def _worker_args(context: BuildContext, pool: PoolPlan) -> WorkerArgs:
    spec = context.spec
    return WorkerArgs(
        backend=context.backend,
        role=pool.role,
        engine=pool.engine,
        model_path=spec.model_cache.model_path or spec.model,
        served_name=spec.model,
        trust_remote_code=spec.overrides.trust_remote_code,
    )


def _gpus_per_node(context: BuildContext, pool: PoolPlan) -> int:
    return context.spec.hardware.num_gpus_per_node or pool.engine.gpu.gpus_per_node
