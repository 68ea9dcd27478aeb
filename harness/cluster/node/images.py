"""Image names to local commands.

A rule maps images (a glob over the name without registry and tag) to a command. Without a
rule, a container that names its own command runs it as it is; ``python`` becomes this
interpreter, and Dynamo's modules (``-m dynamo.vllm``) become their stand-ins. In a rule
``{args}`` stands for the container's arguments, ``{pod_ip}`` for its address, ``{port}`` for
its first port, ``{plan}`` for the deployment plan: ``$HARNESS_PLAN``, or the file
``plan.json`` in a mounted volume.
"""

from __future__ import annotations

import fnmatch
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from contracts.errors import InputError
from contracts.files import unreadable
from harness.cluster.objects.meta import Json, Obj

_MODULES = {
    "dynamo.planner": ("planner",),
    "dynamo.profiler": ("profiler",),
    **{
        f"dynamo.{name}": ("mocker.dynamo", name)
        for name in ("vllm", "sglang", "trtllm", "mocker", "frontend")
    },
}
_PYTHONS = frozenset({"python", "python3", "/usr/bin/python3", "/usr/local/bin/python3"})
_DEFAULT_PORT = 8000


class NoCommandError(Exception):
    """The image stands for no local command."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRule:
    """Images that match run a command.

    Attributes:
        image: glob.
        command: words with placeholders.
        override: replaces the container's own command as well.
    """

    image: str
    command: tuple[str, ...]
    override: bool = False


_MOCKER = ("python", "-m", "mocker", "serve", "--host", "{pod_ip}", "--port", "{port}")
DEFAULT_RULES = (
    ImageRule(image="dynamo-planner", command=("python", "-m", "profiler", "{args}")),
    ImageRule(image="dynamo-profiler", command=("python", "-m", "profiler", "{args}")),
    *(
        ImageRule(image=image, command=(*_MOCKER, "--plan", "{plan}"))
        for image in ("*-runtime", "dynamo-frontend", "mocker", "dynamo-mocker")
    ),
)


def load_rules(path: Path) -> tuple[ImageRule, ...]:
    """Rules of a YAML file: a list of ``{image, command, override}``; they come first.

    Raises:
        InputError: the file cannot be read or has another form.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(unreadable(error), source=str(path)) from error
    except yaml.YAMLError as error:
        raise InputError(f"is not YAML: {error}", source=str(path)) from error
    if not isinstance(content, list):
        raise InputError("must be a list of rules", source=str(path))
    return tuple(_rule(item, f"[{index}]", str(path)) for index, item in enumerate(content))


def _rule(item: Json, place: str, source: str) -> ImageRule:
    known = {"image", "command", "override"}
    if not isinstance(item, dict) or not set(item) <= known or not item.get("image"):
        raise InputError(
            "is no rule", source=source, path=place, value=repr(item), allowed=", ".join(known)
        )
    words = item.get("command")
    if not isinstance(words, list) or not words:
        raise InputError("needs a list of words", source=source, path=f"{place}.command")
    return ImageRule(
        image=str(item["image"]),
        command=tuple(str(word) for word in words),
        override=bool(item.get("override")),
    )


def plain_name(image: str) -> str:
    """The name of an image without registry, tag and digest."""
    return image.partition("@")[0].rpartition("/")[2].partition(":")[0]


def local_command(
    container: Obj, rules: Sequence[ImageRule], values: Mapping[str, str | None]
) -> list[str]:
    """The command of a container on this machine.

    Args:
        container: with variables already filled in.
        rules: the first that matches counts.
        values: ``pod_ip`` and ``plan``.

    Raises:
        NoCommandError: no rule, no command and no program in the arguments, or a placeholder
            without a value.
    """
    name = plain_name(container.get("image", ""))
    rule = next((rule for rule in rules if fnmatch.fnmatchcase(name, rule.image)), None)
    args = [str(word) for word in container.get("args") or ()]
    if rule is not None and (rule.override or not container.get("command")):
        ports = container.get("ports") or [{"containerPort": _DEFAULT_PORT}]
        known = {**values, "port": str(ports[0]["containerPort"])}
        return _local(_filled(rule.command, args, known))
    # Arguments alone are the command of an image without an entry point (kubectl run).
    command = [str(word) for word in container.get("command") or ()]
    if not command and not (args and shutil.which(args[0])):
        raise NoCommandError(
            f'image "{container.get("image")}" stands for no local command; give the container a '
            "command, or add a rule for the image"
        )
    return _local([*command, *args])


def _filled(
    words: Sequence[str], args: Sequence[str], known: Mapping[str, str | None]
) -> list[str]:
    found: list[str] = []
    for word in words:
        if word == "{args}":
            found += args
            continue
        for key, value in known.items():
            if f"{{{key}}}" in word:
                if value is None:
                    raise NoCommandError(f"the command needs {{{key}}}, which the pod lacks")
                word = word.replace(f"{{{key}}}", value)
        found.append(word)
    return found


def _local(words: list[str]) -> list[str]:
    if words and words[0] in _PYTHONS:
        words = [sys.executable, *words[1:]]
        if words[1:2] == ["-m"] and len(words) > 2:
            words[2:3] = _MODULES.get(words[2], (words[2],))
    return words
