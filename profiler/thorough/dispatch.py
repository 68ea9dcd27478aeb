"""Whether a command line asks for the measured search; imports next to nothing."""

from __future__ import annotations

from collections.abc import Sequence

from contracts.errors import RehearsalError
from dgdr import SearchStrategy
from profiler.dgdr.inputs import load_request


def wants_thorough(arguments: Sequence[str]) -> bool:
    """Whether a command line asks for the measured search: by --deployer or in its DGDR.

    What is wrong with the DGDR is left for the search to say.
    """
    if any(word == "--deployer" or word.startswith("--deployer=") for word in arguments):
        return True
    config = _value(arguments, "--config")
    if config is None:
        return False
    try:
        return load_request(config).spec.search_strategy is SearchStrategy.THOROUGH
    except RehearsalError:
        return False


def _value(arguments: Sequence[str], name: str) -> str | None:
    for index, word in enumerate(arguments):
        if word.startswith(f"{name}="):
            return word.partition("=")[2]
        if word == name and index + 1 < len(arguments):
            return arguments[index + 1]
    return None
