"""Text to a checked :class:`Dgdr`: the only way in for requests from outside."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from contracts.errors import InputError, InvariantError
from dgdr.dialect import convert_draft, draft_warnings
from dgdr.parse import parse_document
from dgdr.problems import field_problems, near_text, raise_problems, render
from dgdr.request import API_GROUP, API_VERSION, KIND, Dgdr
from dgdr.validation import cross_field_problems

_log = logging.getLogger(__name__)
_LEGACY_VERSION = f"{API_GROUP}/v1alpha1"


def load_dgdr(text: str, *, source: str) -> Dgdr:
    """Return the request that a YAML or JSON text holds, checked in full.

    Args:
        text: one DynamoGraphDeploymentRequest of ``nvidia.com/v1beta1``.
        source: file name or other origin, named in every error.

    Raises:
        InputError: the text or the request is wrong; a
            :class:`~contracts.errors.CombinedInputError` lists every finding.
    """
    return parse_dgdr(parse_document(text, source=source), source=source)


def parse_dgdr(data: Mapping[str, Any], *, source: str) -> Dgdr:
    """Return the request that plain data holds, checked in full; warnings are logged.

    Args:
        data: a parsed document.
        source: origin, named in every error and warning.

    Raises:
        InputError: as for :func:`load_dgdr`.
    """
    raise_problems(_identity_problems(data, source))
    for warning in draft_warnings(data):
        _log.warning("%s: %s", source, warning)
    return checked_dgdr(data, source=source)


def checked_dgdr(data: Mapping[str, Any], *, source: str) -> Dgdr:
    """As :func:`parse_dgdr` for data that is known to be a request of this version; silent."""
    converted, problems = convert_draft(data, source=source)
    request: Dgdr | None = None
    try:
        request = Dgdr.model_validate(converted)
    except ValidationError as error:
        problems += field_problems(error, Dgdr, source)
    problems += cross_field_problems(converted, source=source)
    raise_problems(problems)
    if request is None:
        raise InvariantError(f"{source}: refused by the types, but without a finding")
    return request


def _identity_problems(data: Mapping[str, Any], source: str) -> list[InputError]:
    """Wrong apiVersion or kind: the rest of the file follows another schema then."""
    problems = []
    for key, wanted in (("apiVersion", API_VERSION), ("kind", KIND)):
        found = data.get(key)
        if found == wanted:
            continue
        if found is None:
            message = "is required"
        elif found == _LEGACY_VERSION:
            message = "v1alpha1 is not understood at present, v1beta1 is"
        else:
            message = f"unknown value{near_text(found, [wanted])}"
        problems.append(
            InputError(message, source=source, path=key, value=render(found), allowed=wanted)
        )
    return problems
