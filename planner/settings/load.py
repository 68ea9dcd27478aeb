"""Read and check a configuration: YAML, JSON, or a mapping that was parsed elsewhere."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Mapping
from typing import Any

import yaml
from pydantic import ValidationError

from contracts.errors import CombinedInputError, InputError
from planner.settings.model import PlannerSettings
from planner.settings.names import ALIASES, NO_EFFECT, REFUSED


def own_deployment() -> str | None:
    """The DynamoGraphDeployment that this process is a pod of, as its operator says."""
    name = os.environ.get("DYN_PARENT_DGD_K8S_NAME")  # noqa: TID251  # the settings package
    return name or None


def load_settings(text: str, source: str) -> PlannerSettings:
    """Parse and check a configuration.

    Args:
        text: YAML or JSON.
        source: file name for messages.

    Raises:
        CombinedInputError: one error for each finding.
    """
    return settings_from(_parse(text, source), source)


def settings_from(raw: Mapping[str, Any], source: str) -> PlannerSettings:
    """Check an already parsed configuration, for example ``features.planner`` of a DGDR.

    Raises:
        CombinedInputError: one error for each finding.
    """
    values, errors = _resolve_names(raw, source)
    try:
        settings = PlannerSettings.model_validate(values)
    except ValidationError as error:
        spelled = {ALIASES[key]: key for key in raw if key in ALIASES}
        errors += [
            InputError(
                detail["msg"].removeprefix("Value error, "),
                source=source,
                path=_dotted(detail["loc"], spelled),
                value=repr(detail["input"]),
                allowed=_allowed(detail.get("ctx", {})),
            )
            for detail in error.errors()
        ]
        raise CombinedInputError(errors) from error
    if errors:
        raise CombinedInputError(errors)
    return settings


def _parse(text: str, source: str) -> Mapping[str, Any]:
    try:
        raw = json.loads(text) if text.lstrip().startswith("{") else yaml.safe_load(text)
    except (json.JSONDecodeError, yaml.YAMLError) as error:
        raise InputError(f"is neither YAML nor JSON: {error}", source=source) from error
    if not isinstance(raw, dict) or not all(isinstance(key, str) for key in raw):
        raise InputError("must be a mapping of settings", source=source, value=type(raw).__name__)
    return raw


def _resolve_names(raw: Mapping[str, Any], source: str) -> tuple[dict[str, Any], list[InputError]]:
    supported = (*PlannerSettings.model_fields, *ALIASES)
    values: dict[str, Any] = {}
    errors: list[InputError] = []
    for key, value in raw.items():
        name = ALIASES.get(key, key)
        if name in values:
            errors.append(InputError(f"is given twice, also as {name!r}", source=source, path=key))
        elif name in PlannerSettings.model_fields:
            values[name] = value
        elif name in NO_EFFECT:
            errors += _without_effect(key, value, source)
        else:
            errors.append(_unknown(key, source, supported))
    return values, errors


def _without_effect(key: str, value: object, source: str) -> list[InputError]:
    """A field that does nothing here may be spelled out, but not changed."""
    default, instead = NO_EFFECT[key]
    if value is None or value == default:
        return []
    message = f"is a field of Dynamo's PlannerConfig that is not supported here; {instead}"
    return [InputError(message, source=source, path=key, value=repr(value), allowed=repr(default))]


def _unknown(key: str, source: str, supported: tuple[str, ...]) -> InputError:
    if key in REFUSED:
        message = f"is a field of Dynamo's PlannerConfig that is not supported here; {REFUSED[key]}"
    else:
        near = difflib.get_close_matches(key, supported, n=1)
        message = "unknown setting" + (f"; did you mean {near[0]!r}?" if near else "")
    return InputError(message, source=source, path=key, allowed=", ".join(supported))


def _dotted(loc: tuple[int | str, ...], spelled: Mapping[str, str]) -> str:
    """The path under the name that the user wrote."""
    return ".".join(spelled.get(str(part), str(part)) for part in loc)


def _allowed(context: Mapping[str, Any]) -> str | None:
    words = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}
    bounds = [f"{word} {context[key]:g}" for key, word in words.items() if key in context]
    return " and ".join(bounds) or context.get("expected")
