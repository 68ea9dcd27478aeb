"""``python -m mocker serve|frontend|worker|tokenizer``."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer

from contracts.errors import InputError, UnsupportedError
from contracts.exits import run_command
from contracts.faults import LostRequestPolicy
from contracts.plan import DeploymentPlan, Role, RouterPolicy
from mocker.settings import ServerKind, ServeSettings, load_plan, load_step_times

cli = typer.Typer(
    name="mocker",
    help="OpenAI-compatible server whose timing is a simulated engine.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
_ENGINE_ARGS = {"allow_extra_args": True}

PlanOption = Annotated[Path | None, typer.Option(help="Deployment plan (JSON) of the profiler.")]
DgdOption = Annotated[Path | None, typer.Option(help="DynamoGraphDeployment (YAML or JSON).")]
RequestOption = Annotated[
    Path | None, typer.Option(help="A DGDR; says which command makes the plan to serve.")
]
EngineOption = Annotated[
    str | None,
    typer.Option(help="vllm, sglang, trtllm or mocker; its own arguments come after --."),
]
GpuOption = Annotated[str | None, typer.Option(help="GPU of --dgd and --engine, as in a DGDR.")]
HostOption = Annotated[str, typer.Option(help="Address to listen on.")]
PortOption = Annotated[int, typer.Option(help="Port; 0 takes any free one.")]
SpeedOption = Annotated[
    float, typer.Option(help="Simulated seconds in a wall second; inf does not wait.")
]
TimesOption = Annotated[
    str, typer.Option(help="roofline, profile:DIR, table:FILE or aic, see docs/step-times.md.")
]
ProfileOption = Annotated[
    Path | None, typer.Option(help="The same as --step-times profile:DIR, under Dynamo's name.")
]
TokenizerOption = Annotated[
    Path | None, typer.Option(help="Folder with tokenizer.json; without it a word is a token.")
]
KeyOption = Annotated[str | None, typer.Option(help="Key that clients must send.")]
QueueOption = Annotated[
    int | None, typer.Option(help="Requests in flight beyond which clients get 429.")
]
StartupOption = Annotated[
    float | None, typer.Option(help="Start-up time of workers and server, simulated seconds.")
]
LostOption = Annotated[
    LostRequestPolicy, typer.Option(help="What happens to requests of a dead worker.")
]
SeedOption = Annotated[int, typer.Option(help="Chooses the generated text.")]
ServerOption = Annotated[ServerKind, typer.Option(help="What speaks HTTP.")]


@cli.callback()
def mocker() -> None:
    """OpenAI-compatible server whose timing is a simulated engine."""


@cli.command(
    context_settings=_ENGINE_ARGS,
    epilog="Example: python -m mocker serve --plan profile/plan.json --port 8000",
)
def serve(  # noqa: PLR0913  # options of a command line
    context: typer.Context,
    plan: PlanOption = None,
    dgd: DgdOption = None,
    dgdr: RequestOption = None,
    engine: EngineOption = None,
    gpu: GpuOption = None,
    host: HostOption = "127.0.0.1",
    port: PortOption = 8000,
    speed: SpeedOption = 1.0,
    seed: SeedOption = 0,
    on_worker_lost: LostOption = LostRequestPolicy.RETRY,
    step_times: TimesOption = "roofline",
    planner_profile_data: ProfileOption = None,
    tokenizer: TokenizerOption = None,
    api_key: KeyOption = None,
    max_in_flight: QueueOption = None,
    startup_time: StartupOption = None,
    server: ServerOption = ServerKind.BUILT_IN,
) -> None:
    """Serve a whole deployment until interrupted."""
    from mocker.server import serve as run

    if dgdr is not None:
        raise UnsupportedError(
            f"--dgdr {dgdr}: a request has to be profiled first; run python -m profiler "
            f"--config {dgdr} --output-dir profile, then python -m mocker serve "
            "--plan profile/plan.json"
        )
    settings = ServeSettings(
        plan=_plan(plan, dgd, engine, gpu, context.args),
        host=host,
        port=port,
        speed=speed,
        seed=seed,
        on_worker_lost=on_worker_lost,
        timer_for=load_step_times(_times(step_times, planner_profile_data)),
        tokenizer=tokenizer,
        api_key=api_key,
        queue_limit=max_in_flight,
        startup_s=startup_time,
        server=server,
    )
    asyncio.run(run(settings))


@cli.command(
    context_settings=_ENGINE_ARGS,
    epilog="Example: python -m mocker worker --plan profile/plan.json --role decode --port 9001",
)
def worker(  # noqa: PLR0913  # options of a command line
    context: typer.Context,
    plan: PlanOption = None,
    dgd: DgdOption = None,
    engine: EngineOption = None,
    gpu: GpuOption = None,
    role: Annotated[Role, typer.Option(help="Which pool of the plan it belongs to.")] = Role.AGG,
    worker_id: Annotated[str, typer.Option(help="Name for people.")] = "worker",
    host: HostOption = "127.0.0.1",
    port: PortOption = 9000,
    speed: SpeedOption = 1.0,
    seed: SeedOption = 0,
    step_times: TimesOption = "roofline",
    planner_profile_data: ProfileOption = None,
    tokenizer: TokenizerOption = None,
    startup_time: StartupOption = None,
    drain_limit: Annotated[
        float, typer.Option(help="Seconds that requests may go on after SIGTERM.")
    ] = 60.0,
) -> None:
    """Run one engine; frontends connect to its port."""
    from mocker.fleet.run import WorkerSettings, run_worker

    settings = WorkerSettings(
        serve=ServeSettings(
            plan=_plan(plan, dgd, engine, gpu, context.args),
            host=host,
            port=port,
            speed=speed,
            seed=seed,
            timer_for=load_step_times(_times(step_times, planner_profile_data)),
            tokenizer=tokenizer,
            startup_s=startup_time,
        ),
        role=role,
        worker_id=worker_id,
        drain_limit_s=drain_limit,
    )
    asyncio.run(run_worker(settings))


@cli.command(epilog="Example: python -m mocker frontend --workers 127.0.0.1:9000,127.0.0.1:9001")
def frontend(  # noqa: PLR0913  # options of a command line
    workers: Annotated[str, typer.Option(help="host:port,host:port")] = "",
    workers_file: Annotated[
        Path | None, typer.Option(help="File with one address in each line; may change.")
    ] = None,
    selector: Annotated[
        str | None, typer.Option(help="Label selector of EndpointSlices in a cluster.")
    ] = None,
    namespace: Annotated[str, typer.Option(help="Of the EndpointSlices.")] = "default",
    kubeconfig: Annotated[
        Path | None, typer.Option(help="Of the cluster; without it, the pod's own account.")
    ] = None,
    router: Annotated[
        RouterPolicy, typer.Option(help="How workers are chosen.")
    ] = RouterPolicy.KV_AWARE,
    on_worker_lost: LostOption = LostRequestPolicy.RETRY,
    host: HostOption = "127.0.0.1",
    port: PortOption = 8000,
    seed: SeedOption = 0,
    tokenizer: TokenizerOption = None,
    api_key: KeyOption = None,
    max_in_flight: QueueOption = None,
) -> None:
    """Serve clients with workers elsewhere."""
    from mocker.fleet.discovery import Discovery, StaticList, WorkerFile, kubernetes_slices
    from mocker.fleet.run import FrontendSettings, run_frontend

    discovery: Discovery
    if workers_file is not None:
        discovery = WorkerFile(workers_file)
    elif selector is not None:
        discovery = kubernetes_slices(namespace, selector, kubeconfig)
    else:
        discovery = StaticList(tuple(word.strip() for word in workers.split(",") if word.strip()))
    settings = FrontendSettings(
        discovery=discovery,
        policy=router,
        on_worker_lost=on_worker_lost,
        host=host,
        port=port,
        seed=seed,
        tokenizer=tokenizer,
        api_key=api_key,
        queue_limit=max_in_flight,
    )
    asyncio.run(run_frontend(settings))


@cli.command(epilog="Example: python -m mocker tokenizer --output-dir words")
def tokenizer(
    output_dir: Annotated[Path, typer.Option(help="Folder to write.")],
) -> None:
    """Write the bundled tokenizer for clients that count tokens themselves."""
    from mocker.text.words import write_tokenizer

    write_tokenizer(output_dir)


def _times(step_times: str, planner_profile_data: Path | None) -> str:
    if planner_profile_data is None:
        return step_times
    if step_times != "roofline":
        raise InputError("use one of --step-times and --planner-profile-data", path="--step-times")
    return f"profile:{planner_profile_data}"


def _plan(
    plan: Path | None, dgd: Path | None, engine: str | None, gpu: str | None, rest: list[str]
) -> DeploymentPlan:
    """The deployment that the options name; exactly one of them does."""
    from mocker.dynamo.engine import worker_plan
    from mocker.dynamo.graph import load_graph

    named = [name for name, value in (("--plan", plan), ("--dgd", dgd), ("--engine", engine))
             if value]  # fmt: skip
    if len(named) != 1:
        raise InputError(
            "say what to serve", value=", ".join(named) or "nothing",
            allowed="one of --plan, --dgd, --engine",
        )  # fmt: skip
    if rest and engine is None:
        raise InputError("is unknown", value=" ".join(rest), path="arguments")
    if plan is not None:
        return load_plan(plan)
    variables = {"GPU_SKU": gpu} if gpu else {}
    if dgd is not None:
        return load_graph(dgd, variables)
    return worker_plan(engine or "", rest, variables).plan


def main() -> None:
    """Run the command line; errors become one message and their exit code."""
    sys.exit(run_command(lambda: cli(standalone_mode=False)))


if __name__ == "__main__":
    main()
