"""Options of ``python -m mocker`` and what they come to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from contracts.errors import InputError, UnsupportedError
from contracts.faults import LostRequestPolicy
from contracts.plan import DeploymentPlan, Role, RouterPolicy
from mocker.dynamo.engine import worker_plan
from mocker.dynamo.graph import load_graph
from mocker.fleet.discovery import Discovery, StaticList, WorkerFile, kubernetes_slices
from mocker.fleet.run import FrontendSettings, WorkerSettings, worker_of
from mocker.settings import ServerKind, ServeSettings, load_plan, load_step_times

Host = Annotated[str, typer.Option(help="Address to listen on.")]
Port = Annotated[int, typer.Option(help="Port; 0 takes any free one.")]
Seed = Annotated[int, typer.Option(help="Chooses the generated text.")]
TokenizerFolder = Annotated[
    Path | None, typer.Option(help="Folder with tokenizer.json; without it a word is a token.")
]
ApiKey = Annotated[str | None, typer.Option(help="Key that clients must send.")]
InFlight = Annotated[
    int | None, typer.Option(help="Requests in flight beyond which clients get 429.")
]
Lost = Annotated[LostRequestPolicy, typer.Option(help="What happens to requests of a dead worker.")]


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """What is simulated and how: the options of everything that holds engines."""

    context: typer.Context
    plan: Annotated[Path | None, typer.Option(help="Deployment plan (JSON) of the profiler.")] = (
        None
    )
    dgd: Annotated[Path | None, typer.Option(help="DynamoGraphDeployment (YAML or JSON).")] = None
    engine: Annotated[
        str | None,
        typer.Option(help="vllm, sglang, trtllm or mocker; its own arguments come after --."),
    ] = None
    gpu: Annotated[str | None, typer.Option(help="GPU of --dgd and --engine, as in a DGDR.")] = None
    host: Host = "127.0.0.1"
    port: Port = 8000
    speed: Annotated[
        float, typer.Option(help="Simulated seconds in a wall second; inf does not wait.")
    ] = 1.0
    seed: Seed = 0
    step_times: Annotated[
        str, typer.Option(help="roofline, profile:DIR, table:FILE or aic, see docs/step-times.md.")
    ] = "roofline"
    planner_profile_data: Annotated[
        Path | None,
        typer.Option(help="The same as --step-times profile:DIR, under Dynamo's name."),
    ] = None
    tokenizer: TokenizerFolder = None
    startup_time: Annotated[
        float | None, typer.Option(help="Start-up time of workers and server, simulated seconds.")
    ] = None

    def serve_settings(self) -> ServeSettings:
        """What all of these come to.

        Raises:
            InputError: the options contradict each other or what they name cannot be read.
        """
        return ServeSettings(
            plan=self._plan(),
            host=self.host,
            port=self.port,
            speed=self.speed,
            seed=self.seed,
            timer_for=load_step_times(self._times()),
            tokenizer=self.tokenizer,
            startup_s=self.startup_time,
        )

    def _times(self) -> str:
        if self.planner_profile_data is None:
            return self.step_times
        if self.step_times != "roofline":
            raise InputError(
                "use one of --step-times and --planner-profile-data", path="--step-times"
            )
        return f"profile:{self.planner_profile_data}"

    def _plan(self) -> DeploymentPlan:
        """The deployment that the options name; exactly one of them does."""
        options = {"--plan": self.plan, "--dgd": self.dgd, "--engine": self.engine}
        named = [name for name, value in options.items() if value]
        if len(named) != 1:
            raise InputError(
                "say what to serve", value=", ".join(named) or "nothing",
                allowed="one of --plan, --dgd, --engine",
            )  # fmt: skip
        rest = self.context.args
        if rest and self.engine is None:
            raise InputError("is unknown", value=" ".join(rest), path="arguments")
        if self.plan is not None:
            return load_plan(self.plan)
        variables = {"GPU_SKU": self.gpu} if self.gpu else {}
        if self.dgd is not None:
            return load_graph(self.dgd, variables)
        return worker_plan(self.engine or "", rest, variables).plan


@dataclass(frozen=True, kw_only=True)
class ServeOptions(EngineOptions):
    """Options of ``serve``."""

    dgdr: Annotated[
        Path | None, typer.Option(help="A DGDR; says which command makes the plan to serve.")
    ] = None
    on_worker_lost: Lost = LostRequestPolicy.RETRY
    api_key: ApiKey = None
    max_in_flight: InFlight = None
    server: Annotated[ServerKind, typer.Option(help="What speaks HTTP.")] = ServerKind.BUILT_IN
    until_stdin_ends: Annotated[
        bool, typer.Option(help="End with whoever holds the other end of standard input.")
    ] = False

    def settings(self) -> ServeSettings:
        """What to serve.

        Raises:
            UnsupportedError: a request, which has to be profiled first.
            InputError: see :meth:`EngineOptions.serve_settings`.
        """
        if self.dgdr is not None:
            if not self.dgdr.is_file():
                raise InputError("is no file", path="--dgdr", value=str(self.dgdr))
            raise UnsupportedError(
                f"--dgdr {self.dgdr}: a request has to be profiled first; run python -m profiler "
                f"--config {self.dgdr} --output-dir profile, then python -m mocker serve "
                "--plan profile/plan.json"
            )
        return replace(
            self.serve_settings(),
            on_worker_lost=self.on_worker_lost,
            api_key=self.api_key,
            queue_limit=self.max_in_flight,
            server=self.server,
        )


@dataclass(frozen=True, kw_only=True)
class WorkerOptions(EngineOptions):
    """Options of ``worker``."""

    role: Annotated[Role, typer.Option(help="Which pool of the plan it belongs to.")] = Role.AGG
    worker_id: Annotated[str, typer.Option(help="Name for people.")] = "worker"
    port: Port = 9000
    drain_limit: Annotated[
        float, typer.Option(help="Seconds that requests may go on after SIGTERM.")
    ] = 60.0

    def settings(self) -> WorkerSettings:
        """What to run.

        Raises:
            InputError: see :meth:`EngineOptions.serve_settings` and :func:`worker_of`.
        """
        serve = self.serve_settings()
        return WorkerSettings(
            serve=replace(serve, plan=worker_of(serve.plan, self.role)),
            role=self.role,
            worker_id=self.worker_id,
            drain_limit_s=self.drain_limit,
        )


@dataclass(frozen=True, kw_only=True)
class FrontendOptions:
    """Options of ``frontend``."""

    workers: Annotated[str, typer.Option(help="host:port,host:port")] = ""
    workers_file: Annotated[
        Path | None, typer.Option(help="File with one address in each line; may change.")
    ] = None
    selector: Annotated[
        str | None, typer.Option(help="Label selector of EndpointSlices in a cluster.")
    ] = None
    namespace: Annotated[str, typer.Option(help="Of the EndpointSlices.")] = "default"
    kubeconfig: Annotated[
        Path | None, typer.Option(help="Of the cluster; without it, the pod's own account.")
    ] = None
    router: Annotated[RouterPolicy, typer.Option(help="How workers are chosen.")] = (
        RouterPolicy.KV_AWARE
    )
    on_worker_lost: Lost = LostRequestPolicy.RETRY
    host: Host = "127.0.0.1"
    port: Port = 8000
    seed: Seed = 0
    tokenizer: TokenizerFolder = None
    api_key: ApiKey = None
    max_in_flight: InFlight = None

    def settings(self) -> FrontendSettings:
        """Whom to serve for."""
        return FrontendSettings(
            discovery=self._discovery(),
            policy=self.router,
            moves_max=None if self.on_worker_lost is LostRequestPolicy.RETRY else 0,
            host=self.host,
            port=self.port,
            seed=self.seed,
            tokenizer=self.tokenizer,
            api_key=self.api_key,
            queue_limit=self.max_in_flight,
        )

    def _discovery(self) -> Discovery:
        if self.workers_file is not None:
            return WorkerFile(self.workers_file)
        if self.selector is not None:
            return kubernetes_slices(self.namespace, self.selector, self.kubeconfig)
        words = (word.strip() for word in self.workers.split(","))
        return StaticList(tuple(word for word in words if word))
