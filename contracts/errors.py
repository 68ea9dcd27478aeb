"""Errors, sorted by who must act.

::

    RehearsalError
    +-- InputError        the user must change the input        exit code 2
    +-- UnsupportedError  valid, but not on this rung or SKU    exit code 3
    +-- TransientError    try again later                       exit code 4
    +-- PermanentError    the infrastructure must be mended     exit code 4
    +-- InfeasibleError   nothing meets the request             exit code 1
    +-- InvariantError    our bug                               exit code 70

An SLO that was missed is a verdict, not an exception.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class RehearsalError(Exception):
    """Base of every error this project raises on purpose."""

    exit_code = 70

    def __reduce__(self) -> tuple[Any, ...]:
        """Errors travel between processes as they are, whatever their constructors ask for."""
        return _rebuilt, (type(self), self.args, self.__dict__)


def _rebuilt(
    kind: type[RehearsalError], arguments: tuple[Any, ...], attributes: dict[str, Any]
) -> RehearsalError:
    error = kind.__new__(kind)
    error.args = arguments
    error.__dict__.update(attributes)
    return error


class InputError(RehearsalError):
    """The user's input is wrong; says where, what was found and what is allowed.

    Attributes:
        source: file name or other origin of the input, if known.
        path: dotted path of the offending field, for example ``spec.sla.ttft``.
        value: the value that was found, already rendered for people.
        allowed: the values or range that would have been accepted.
    """

    exit_code = 2

    def __init__(
        self,
        message: str,
        *,
        source: str | None = None,
        path: str | None = None,
        value: str | None = None,
        allowed: str | None = None,
    ) -> None:
        self.message = message
        self.source = source
        self.path = path
        self.value = value
        self.allowed = allowed
        super().__init__(self._render())

    def _render(self) -> str:
        where = ": ".join(part for part in (self.source, self.path) if part)
        text = f"{where}: {self.message}" if where else self.message
        if self.value is not None:
            text += f" (got {self.value})"
        if self.allowed is not None:
            text += f"; allowed: {self.allowed}"
        return text


class CombinedInputError(InputError):
    """Several input errors found in one pass over a file."""

    def __init__(self, errors: Sequence[InputError]) -> None:
        first = errors[0]
        super().__init__(
            first.message,
            source=first.source,
            path=first.path,
            value=first.value,
            allowed=first.allowed,
        )
        self.errors = tuple(errors)

    def __str__(self) -> str:
        """One line for each error."""
        return "\n".join(str(error) for error in self.errors)


class UnsupportedError(RehearsalError):
    """The request is valid but this rung, backend or GPU cannot do it."""

    exit_code = 3


class TransientError(RehearsalError):
    """A failure that may go away; ``retry_after_s`` says when to try again."""

    exit_code = 4

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class PermanentError(RehearsalError):
    """An infrastructure failure that retrying cannot mend."""

    exit_code = 4


class InfeasibleError(RehearsalError):
    """Nothing satisfies the request.

    Attributes:
        binding_constraint: the constraint that rules everything out.
        closest: descriptions of the nearest candidates, best first.
    """

    exit_code = 1

    def __init__(
        self, message: str, *, binding_constraint: str, closest: Sequence[str] = ()
    ) -> None:
        text = f"{message}; binding constraint: {binding_constraint}"
        if closest:
            text += "; closest: " + "; ".join(closest)
        super().__init__(text)
        self.binding_constraint = binding_constraint
        self.closest = tuple(closest)


class InvariantError(RehearsalError):
    """Our bug: something that must never happen did."""

    exit_code = 70
