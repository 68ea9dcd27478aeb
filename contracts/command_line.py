"""Commands with many options: the options are the fields of a dataclass."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import Any, TypeVar, get_type_hints

Options = TypeVar("Options")


def with_options(kind: type[Options], run: Callable[[Options], object]) -> Callable[..., object]:
    """A function with one keyword parameter for each field, as command-line libraries want it.

    Args:
        kind: a dataclass; annotations of its fields (``Annotated[...]``) become those of the
            parameters, and so do defaults that are values.
        run: is called with an instance; its name and docstring are those of the command.
    """

    def command(**given: Any) -> object:  # noqa: ANN401  # each by its annotation
        return run(kind(**given))

    hints = get_type_hints(kind, include_extras=True)
    parameters = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.default is MISSING else field.default,
            annotation=hints[field.name],
        )
        for field in fields(kind)  # type: ignore[arg-type]
    ]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__name__, command.__doc__ = run.__name__, run.__doc__
    return command
