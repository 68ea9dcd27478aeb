"""The frontend of a deployment: the fleet's, with Dynamo's options.

Workers are the ready endpoints of the Services of the worker components. The pod's service
account must be allowed to list EndpointSlices.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from contracts.errors import InputError
from mocker.dynamo.routing import ROUTING_OPTIONS, migrations_of, policy_of, routing_of
from mocker.dynamo.settings import DRAIN_LIMIT_S, host_of, option, port_of
from mocker.fleet.discovery import Discovery, kubernetes_slices, selector_of_services
from mocker.fleet.run import FrontendSettings

WORKERS_VARIABLE = "DGDR_WORKERS"
_PORT = 8000
_PORT_OPTION = "--http-port"
# A Service learns within this time that a frontend is about to go.
_LINGER_S = 1.0
# What is served is what the workers say.
_OPTIONS = (_PORT_OPTION, "--http-host", "--model-name", "--model-path", *ROUTING_OPTIONS)


def frontend_settings(
    args: Sequence[str], variables: Mapping[str, str], say: Callable[[str], object]
) -> FrontendSettings:
    """What the frontend of a deployment does.

    Args:
        args: of the container.
        variables: its environment.
        say: told the options that have no effect here.

    Raises:
        InputError: an option has a wrong value, or no worker is named.
        UnsupportedError: a router that is not modelled.
        PermanentError: the cluster's API has no address or credentials here.
    """
    unknown = [
        word for word in args if word.startswith("--") and word.partition("=")[0] not in _OPTIONS
    ]
    if unknown:
        say(f"frontend: without effect here: {', '.join(unknown)}\n")
    text = option(args, _PORT_OPTION)
    port = {**variables, **({"DYN_HTTP_PORT": text} if text else {})}
    return FrontendSettings(
        discovery=_discovery(variables),
        policy=policy_of(args, variables),
        routing=routing_of(args, variables),
        moves_max=migrations_of(args, variables),
        host=host_of(variables),
        port=port_of(port, "DYN_HTTP_PORT", _PORT),
        first_worker_s=None,
        linger_s=_LINGER_S,
        drain_limit_s=DRAIN_LIMIT_S,
    )


def worker_services(variables: Mapping[str, str]) -> tuple[str, ...]:
    """Names of the Services in ``DGDR_WORKERS``, ``type=service,type=service``.

    Raises:
        InputError: the variable is missing or names no worker that generates tokens.
    """
    text = variables.get(WORKERS_VARIABLE, "")
    pairs = [entry.partition("=")[::2] for entry in text.split(",") if entry]
    if all(kind == "prefill" for kind, _ in pairs):
        raise InputError(
            "names no worker that generates tokens",
            path=f"${WORKERS_VARIABLE}",
            value=text or "nothing",
            allowed="type=service,type=service",
        )
    return tuple(name for _, name in pairs)


def _discovery(variables: Mapping[str, str]) -> Discovery:
    selector = selector_of_services(worker_services(variables))
    return kubernetes_slices(variables.get("POD_NAMESPACE") or "default", selector, None)
