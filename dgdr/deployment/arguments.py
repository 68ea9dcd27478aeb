"""Looks into command lines that are there already: of the plan, of an override, of a shell."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dgdr.enums import ServingBackend
from dgdr.worker_args import option_key

_MODULE = re.compile(r"\bdynamo\.(\w+)")
_NEGATIVE = re.compile(r"-\d")


def module_of(container: Mapping[str, Any]) -> str | None:
    """``vllm``, ``sglang``, ``trtllm``, ``mocker``, ...: what a container starts."""
    found = _MODULE.search(" ".join([*_words(container, "command"), *_words(container, "args")]))
    return found[1] if found else None


def backend_of(container: Mapping[str, Any]) -> ServingBackend | None:
    """The engine that a container starts, if it starts one."""
    module = module_of(container)
    return ServingBackend(module) if module in list(ServingBackend) else None


def appended(
    backend: ServingBackend | None, base: Sequence[str], extra: Sequence[str]
) -> list[str]:
    """Arguments with further ones behind them; an option that comes again is said once.

    The later option counts, whatever its spelling: the earlier one is left out.
    """
    again = {option_key(backend, group[0]) for group in _groups(extra)}
    kept = [
        word
        for group in _groups(base)
        if option_key(backend, group[0]) not in again
        for word in group
    ]
    return [*kept, *extra]


def has_option(container: Mapping[str, Any], *names: str) -> bool:
    """Whether a command line, written as words or as a script, has one of some options."""
    text = " ".join([*_words(container, "command"), *_words(container, "args")])
    text = text.replace("_", "-")  # the engines take either
    return any(re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text) for name in names)


def add_option(container: dict[str, Any], *words: str) -> None:
    """Add an option to the worker that a container starts, also inside a shell's script."""
    for key in ("command", "args"):
        found = _words(container, key)
        for index, word in enumerate(found):
            if " " in word and (match := _MODULE.search(word)):
                found[index] = " ".join([word[: match.end()], *words]) + word[match.end() :]
                container[key] = found
                return
    container["args"] = [*_words(container, "args"), *words]


def _words(container: Mapping[str, Any], key: str) -> list[str]:
    return [str(word) for word in container.get(key) or []]


def _groups(args: Sequence[str]) -> Iterator[list[str]]:
    """Each option with its values."""
    group: list[str] = []
    for word in args:
        if group and word.startswith("-") and not _NEGATIVE.match(word):
            yield group
            group = []
        group.append(word)
    if group:
        yield group
