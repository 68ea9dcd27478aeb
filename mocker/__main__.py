"""``python -m mocker serve|frontend|worker|tokenizer``."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from contracts.command_line import with_options
from contracts.exits import end_with, end_with_stdin
from contracts.files import folder_for_output
from mocker.command import FrontendOptions, ServeOptions, WorkerOptions

cli = typer.Typer(
    name="mocker",
    help="OpenAI-compatible server whose timing is a simulated engine.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
_ENGINE_ARGS = {"allow_extra_args": True}


@cli.callback()
def mocker() -> None:
    """OpenAI-compatible server whose timing is a simulated engine."""


def serve(given: ServeOptions) -> None:
    """Serve a whole deployment until interrupted."""
    from mocker.server import serve as run

    if given.until_stdin_ends:
        end_with_stdin()
    asyncio.run(run(given.settings()))


def worker(given: WorkerOptions) -> None:
    """Run one engine; frontends connect to its port."""
    from mocker.fleet.run import run_worker

    asyncio.run(run_worker(given.settings()))


def frontend(given: FrontendOptions) -> None:
    """Serve clients with workers elsewhere."""
    from mocker.fleet.run import run_frontend

    asyncio.run(run_frontend(given.settings()))


cli.command(
    context_settings=_ENGINE_ARGS,
    epilog="Example: python -m mocker serve --plan profile/plan.json --port 8000",
)(with_options(ServeOptions, serve))
cli.command(
    context_settings=_ENGINE_ARGS,
    epilog="Example: python -m mocker worker --plan profile/plan.json --role decode --port 9001",
)(with_options(WorkerOptions, worker))
cli.command(epilog="Example: python -m mocker frontend --workers 127.0.0.1:9000,127.0.0.1:9001")(
    with_options(FrontendOptions, frontend)
)


@cli.command(epilog="Example: python -m mocker tokenizer --output-dir words")
def tokenizer(
    output_dir: Annotated[Path, typer.Option(help="Folder to write.")],
) -> None:
    """Write the bundled tokenizer for clients that count tokens themselves."""
    from mocker.text.words import write_tokenizer

    folder_for_output(output_dir, "--output-dir")
    write_tokenizer(output_dir)


def main() -> None:
    """Run the command line; errors become one message and their exit code."""
    end_with(lambda: cli(standalone_mode=False))


if __name__ == "__main__":
    main()
