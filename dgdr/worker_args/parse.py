"""Splits a command line into options by a table of what each of them means."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from contracts.errors import InputError, UnsupportedError
from contracts.model import Dtype

_SIZE = re.compile(r"(\d+(?:\.\d+)?)([kKmM]?)")
_UNITS = {"": 1, "k": 1000, "K": 1024, "m": 1000**2, "M": 1024**2}


@dataclass(frozen=True, slots=True)
class Option:
    """One option: the name under which its value is kept, and how the value is read.

    Attributes:
        convert: ``None`` for a flag; its value is then ``value``.
        refused: why a rehearsal cannot honour it; ``None`` where it can.
    """

    name: str = ""
    convert: Callable[[str], Any] | None = None
    value: Any = True
    refused: str | None = None


class Options:
    """All options of one backend.

    Args:
        known: options by every spelling; an empty name has no effect on time.
        flags: options without a value and without an effect on time.
        values: options with a value and without an effect on time.
        refused: options that change the speed and are not modelled, with the reason.
    """

    def __init__(
        self,
        known: Mapping[str, Option],
        *,
        flags: Sequence[str] = (),
        values: Sequence[str] = (),
        refused: Mapping[str, str] | None = None,
    ) -> None:
        self._table = dict(known)
        self._table |= {name: Option() for name in flags}
        self._table |= {name: Option(convert=str) for name in values}
        self._table |= {name: Option(refused=why) for name, why in (refused or {}).items()}

    def key(self, word: str) -> str:
        """What an option is about, the same for all its spellings; unknown ones speak alone."""
        name = word.partition("=")[0]
        option = self._table.get(name) or self._table.get(name.replace("_", "-"))
        return option.name if option and option.name else name.replace("_", "-")

    def read(self, args: Sequence[str]) -> dict[str, Any]:
        """Values by name; of an option that is given twice the last one counts.

        Raises:
            InputError: unknown option, missing or wrong value.
            UnsupportedError: an option that is not modelled.
        """
        found: dict[str, Any] = {}
        rest = list(args)
        while rest:
            word = rest.pop(0)
            name, equals, inline = word.partition("=")
            if not name.startswith("-"):
                raise InputError("an argument without an option", path=name, value=repr(word))
            option = self._table.get(name) or self._table.get(name.replace("_", "-"))
            if option is None:
                raise InputError("the backend has no such option", path=name)
            if option.refused is not None:
                raise UnsupportedError(f"{name}: {option.refused}")
            if option.convert is None:
                if equals:
                    raise InputError("the option takes no value", path=name, value=inline)
                value = option.value
            else:
                if not equals and not rest:
                    raise InputError("the option needs a value", path=name)
                value = _converted(name, option.convert, inline if equals else rest.pop(0))
            if option.name:
                found[option.name] = value
        return found


def _converted(name: str, convert: Callable[[str], Any], text: str) -> Any:  # noqa: ANN401
    try:
        return convert(text)
    except InputError as error:
        raise InputError(
            error.message, path=name, value=repr(text), allowed=error.allowed
        ) from error


def tokens(text: str) -> int:
    """A count of at least one; ``32k`` is 32,000 and ``32K`` is 32,768, as vLLM reads it."""
    found = _SIZE.fullmatch(text)
    value = int(float(found[1]) * _UNITS[found[2]]) if found else 0
    if value < 1:
        raise InputError("must be a whole number of at least 1")
    return value


def ratio(text: str) -> float:
    """A number above 0 and at most 1."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1:
        raise InputError("must be a number", allowed="above 0, at most 1")
    return value


def positive(text: str) -> float:
    """A number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise InputError("must be a number above 0")
    return value


def one_of(**choices: Any) -> Callable[[str], Any]:  # noqa: ANN401
    """One of several words, each with its meaning; a refused one means an exception."""

    def convert(text: str) -> Any:  # noqa: ANN401
        if text.lower() not in choices:
            raise InputError("unknown value", allowed=", ".join(choices))
        return choices[text.lower()]

    return convert


def boolean(text: str) -> bool:
    """``true`` or ``false``."""
    return bool(one_of(true=True, false=False)(text))


def weights(text: str) -> Dtype | None:
    """Quantisation of weights."""
    known = {"fp8": Dtype.FP8, "modelopt": Dtype.FP8, "modelopt_fp8": Dtype.FP8}
    known |= {"modelopt_fp4": Dtype.FP4, "nvfp4": Dtype.FP4, "fp4": Dtype.FP4}
    known |= {"compressed-tensors": Dtype.FP8, "fbgemm_fp8": Dtype.FP8}
    if text.lower() not in known:
        raise UnsupportedError(
            f"quantisation {text!r} has no step times; known: {', '.join(known)}"
        )
    return known[text.lower()]


def sixteen_bits(text: str) -> Dtype | None:
    """Type of weights without quantisation."""
    kinds = one_of(auto=None, bfloat16=Dtype.BF16, float16=Dtype.BF16, half=Dtype.BF16)
    found: Dtype | None = kinds(text)
    return found


def kv_cache(text: str) -> Dtype | None:
    """Type of KV entries."""
    fp8 = dict.fromkeys(("fp8", "fp8_e4m3", "fp8_e5m2"), Dtype.FP8)
    bf16 = dict.fromkeys(("bfloat16", "bf16", "float16", "fp16"), Dtype.BF16)
    found: Dtype | None = one_of(auto=None, **fp8, **bf16)(text)
    return found


def as_json(text: str) -> dict[str, Any]:
    """A JSON object."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise InputError(f"is not JSON ({error})") from error
    if not isinstance(value, dict):
        raise InputError("must be a JSON object")
    return value
