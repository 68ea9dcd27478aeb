"""Frontend and worker components of a deployment."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

from contracts.plan import DeploymentPlan, PoolPlan, Role, RouterPolicy
from dgdr.deployment.component import WORKSPACE, Component, Container, Mount
from dgdr.deployment.engine_args import WorkerArgs, engine_args
from dgdr.deployment.images import image_version, worker_image
from dgdr.deployment.mocker_args import Version, mocker_args
from dgdr.deployment.names import FRONTEND, volume_name, worker_name, worker_type
from dgdr.enums import Backend, ServingBackend
from dgdr.request import DgdrSpec

_EPHEMERAL_STORAGE = "2Gi"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildContext:
    """What all components of one deployment have in common.

    Attributes:
        backend: the engine of the workers.
        image: ``spec.image``, present.
        planner: a planner component joins the deployment.
        scaled_roles: roles whose replicas the planner sets.
        kv_router: the frontend routes by what the workers have cached.
        curves: performance curves, mounted where planner and mockers read them.
        measured: the curves were measured, so mockers prefer them to a performance model.
    """

    spec: DgdrSpec
    backend: ServingBackend
    image: str
    planner: bool
    scaled_roles: Set[Role]
    kv_router: bool = False
    curves: Mount | None = None
    measured: bool = False

    @property
    def mocker_curves(self) -> Mount | None:
        """Curves that mockers take their step times from."""
        return self.curves if self.measured else None

    @property
    def version(self) -> Version | None:
        """Release of the runtime: as the request says, else by the tag of the image."""
        return image_version(self.spec.runtime_version_override or self.image)

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


def serving_backend(spec: DgdrSpec, plan: DeploymentPlan) -> ServingBackend:
    """The engine that workers run: what the request names, else what the plan was made for."""
    if spec.backend is Backend.AUTO:
        return plan.topology.pools[0].engine.backend
    return ServingBackend(spec.backend.value)


def routes_by_cache(spec: DgdrSpec, plan: DeploymentPlan) -> bool:
    """Whether the request asks for the KV router or the plan counts on it."""
    return spec.features.kv_router.enabled or plan.router is RouterPolicy.KV_AWARE


def frontend_component(context: BuildContext) -> Component:
    """The HTTP frontend: one replica, the worker's image, port 8000."""
    spec = context.spec
    model_path = spec.model_cache.model_path
    args = () if model_path is None else ("--model-name", spec.model, "--model-path", model_path)
    router = {"DYN_ROUTER_MODE": "kv"} if context.kv_router else {}
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
        runtime_version=spec.runtime_version_override,
    )


def worker_component(context: BuildContext, pool: PoolPlan) -> Component:
    """The workers of one pool, with GPUs or as mockers."""
    spec, scaled = context.spec, pool.role in context.scaled_roles
    container = _mocker(context, pool) if spec.mocker else _engine(context, pool)
    curves = context.mocker_curves if spec.mocker else None
    return Component(
        name=worker_name(context.backend, pool.role, mocker=spec.mocker),
        type=worker_type(pool.role, planner_scaled=scaled),
        replicas=pool.replicas,
        container=container,
        mounts=(*(() if curves is None else (curves,)), *context.cache_mounts),
        planner_scaled=scaled,
        nodes=1 if spec.mocker else pod_gpus(spec, pool).nodes,
        runtime_version=spec.runtime_version_override,
    )


def _mocker(context: BuildContext, pool: PoolPlan) -> Container:
    curves = context.mocker_curves
    return Container(
        image=worker_image(context.image, context.backend, mocker=True),
        module="dynamo.mocker",
        working_dir=f"{WORKSPACE}/examples/backends/mocker",
        args=mocker_args(
            _worker_args(context, pool),
            profile_dir=None if curves is None else curves.path,
            version=context.version,
        ),
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
        gpus=pod_gpus(context.spec, pool).of_pod,
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
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PodGpus:
    """How one replica lies on machines.

    Attributes:
        nodes: machines of the replica, one pod each.
        of_pod: GPUs that each of these pods asks for.
    """

    nodes: int
    of_pod: int


def pod_gpus(spec: DgdrSpec, pool: PoolPlan) -> PodGpus:
    """Machines and GPUs of one replica; attention ranks and pipeline stages count."""
    total = pool.engine.gpus
    per_node = spec.hardware.num_gpus_per_node or pool.engine.gpu.gpus_per_node
    return PodGpus(nodes=-(-total // per_node), of_pod=min(total, per_node))
