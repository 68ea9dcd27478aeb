"""The environment of a container, and options of its command line."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from contracts.errors import InputError


def variables() -> Mapping[str, str]:
    """The environment of this process."""
    return dict(os.environ)


# Kubernetes kills a pod 30 s after it was told to end.
DRAIN_LIMIT_S = 27.0


def host_of(found: Mapping[str, str]) -> str:
    """The address to listen on."""
    return found.get("POD_IP") or "0.0.0.0"


def port_of(found: Mapping[str, str], name: str, default: int) -> int:
    """A port from a variable.

    Raises:
        InputError: it is none.
    """
    text = found.get(name) or str(default)
    if not text.isdigit() or not 0 < int(text) < 65536:
        raise InputError("is no port", path=f"${name}", value=text, allowed="1 to 65535")
    return int(text)


def speed_of(found: Mapping[str, str]) -> float:
    """``MOCKER_SPEED``: simulated seconds in a second of wall time.

    Raises:
        InputError: it is no number.
    """
    text = found.get("MOCKER_SPEED") or "1"
    try:
        return float(text)
    except ValueError as error:
        raise InputError("is no number", path="$MOCKER_SPEED", value=text) from error


def option(args: Sequence[str], name: str) -> str | None:
    """The value after ``--name`` or in ``--name=value``; ``None`` without one."""
    for index, word in enumerate(args):
        if word.startswith(f"{name}="):
            return word.partition("=")[2]
        if word == name and index + 1 < len(args):
            return args[index + 1]
    return None
