"""What a server is started with: the plan file and the options of the command line."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from contracts.errors import CombinedInputError, InputError
from contracts.faults import LostRequestPolicy
from contracts.files import unreadable
from contracts.plan import DeploymentPlan
from contracts.ports import TimerFactory
from simcore.perf import curve_times, parse_step_table, roofline, table_times
from simcore.perf.aic import aic_times
from simcore.perf.profile import DECODE_FILE, PREFILL_FILE, parse_curves

_PLAN = TypeAdapter(DeploymentPlan)


# Beyond these, simulated instants are no nanoseconds in a machine's integers any more.
SPEED_MIN, SPEED_MAX = 1e-6, 1e6


def check_speed(speed: float, *, path: str) -> None:
    """Refuse speeds at which clocks make no sense.

    Raises:
        InputError: names the value and what is allowed.
    """
    if not (SPEED_MIN <= speed <= SPEED_MAX or speed == float("inf")):
        raise InputError(
            "is out of range",
            path=path,
            value=str(speed),
            allowed=f"{SPEED_MIN:g} to {SPEED_MAX:,.0f}; inf does not wait at all",
        )


class ServerKind(StrEnum):
    """What speaks HTTP; the application is the same."""

    BUILT_IN = "built-in"
    GRANIAN = "granian"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeSettings:
    """Options of ``serve``.

    Attributes:
        port: 0 lets the operating system choose.
        speed: simulated seconds in a second of wall time.
        seed: chooses the generated text; timing does not depend on it.
        timer_for: step times of an engine.
        tokenizer: folder with ``tokenizer.json``; ``None`` counts words.
        api_key: clients must send it.
        queue_limit: requests in flight beyond which clients get 429.
        startup_s: new workers take so long to start, and the server answers 503 at first, in
            simulated seconds; ``None`` is ready at once and leaves the plan as it is.
        server: what speaks HTTP.
    """

    plan: DeploymentPlan
    host: str = "127.0.0.1"
    port: int = 8000
    speed: float = 1.0
    seed: int = 0
    on_worker_lost: LostRequestPolicy = LostRequestPolicy.RETRY
    timer_for: TimerFactory = roofline
    tokenizer: Path | None = None
    api_key: str | None = None
    queue_limit: int | None = None
    startup_s: float | None = None
    server: ServerKind = ServerKind.BUILT_IN

    def __post_init__(self) -> None:
        check_speed(self.speed, path="--speed")
        if self.startup_s is not None and self.startup_s < 0:
            raise InputError(
                "is negative", path="--startup-time", value=str(self.startup_s), allowed="0 or more"
            )
        if self.queue_limit is not None and self.queue_limit < 1:
            raise InputError(
                "is out of range", path="--max-in-flight", value=str(self.queue_limit),
                allowed="1 or more",
            )  # fmt: skip
        if not 0 <= self.port <= 65535:
            raise InputError(
                "is no port", path="--port", value=str(self.port), allowed="0 to 65535"
            )


def load_plan(path: Path) -> DeploymentPlan:
    """Read a deployment plan strictly.

    Raises:
        InputError: the file cannot be read or does not hold a plan; names every field.
    """
    content = _read(path)
    try:
        return _PLAN.validate_json(content, strict=True)
    except ValidationError as error:
        raise CombinedInputError(
            [
                InputError(
                    detail["msg"],
                    source=str(path),
                    path=".".join(str(part) for part in detail["loc"]) or None,
                    value=repr(detail["input"])[:80],
                )
                for detail in error.errors()
            ]
        ) from error


def load_step_times(choice: str) -> TimerFactory:
    """Step times by ``roofline``, ``profile:DIR``, ``table:FILE``, ``aic`` or ``aic:VERSION``.

    ``DIR`` is a result folder of the profiler, ``FILE`` a CSV, ``VERSION`` that of the engine
    in AIConfigurator's tables.

    Raises:
        InputError: an unknown choice, or a file that is missing or wrong.
        UnsupportedError: AIConfigurator is not installed.
    """
    kind, _, rest = choice.partition(":")
    if choice == "roofline":
        return roofline
    if kind == "aic" and (rest or ":" not in choice):
        return aic_times(rest or None)
    if kind == "table" and rest:
        try:
            lines = _read(Path(rest)).decode().splitlines()
        except UnicodeDecodeError as error:
            raise InputError(unreadable(error), source=rest) from error
        return table_times(parse_step_table(lines, source=rest))
    if kind == "profile" and rest:
        folder = Path(rest)
        files = _read(folder / PREFILL_FILE), _read(folder / DECODE_FILE)
        return curve_times(*parse_curves(*files, source=rest))
    raise InputError(
        "is unknown",
        path="--step-times",
        value=choice,
        allowed="roofline, profile:DIR, table:FILE, aic or aic:VERSION",
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(unreadable(error), source=str(path)) from error


def free_port(host: str) -> int:
    """A port that nobody listens on at the moment.

    Raises:
        InputError: the host is no address of this machine.
    """
    try:
        with socket.socket() as probe:
            probe.bind((host, 0))
            return int(probe.getsockname()[1])
    except OSError as error:
        raise InputError(f"cannot listen there: {error}", path="--host", value=host) from error
